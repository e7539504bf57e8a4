"""The digits example on a small array: a whole network that even an interpreting simulator runs in seconds."""

from pathlib import Path

import numpy as np

from heddle.gen.design import Design, compile_network
from heddle.gen.importers import load
from heddle.hdl.config import ArrayConfig

FOLDER = Path(__file__).parents[1] / "examples" / "digits"
SMALL = ArrayConfig(rows=3, cols=8, pixels=1, block=8, requantizers=2)


def digits(array: ArrayConfig = SMALL) -> Design:
    """Compile digits for ``array``."""
    return compile_network(load(FOLDER / "digits.tflite"), array)


def digit_samples(count: int) -> np.ndarray:
    """Return the first samples: int8 ``(count, 8, 8, 1)``."""
    with np.load(FOLDER / "samples.npz") as data:
        return data["x"][:count]


def only(outputs: np.ndarray | dict[str, np.ndarray]) -> np.ndarray:
    """Return the outputs of a network that has one."""
    assert isinstance(outputs, np.ndarray)
    return outputs
