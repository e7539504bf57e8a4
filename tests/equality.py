"""Compares the importer and the golden model with TensorFlow Lite Micro, for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from reference import run_litert, run_tflm
from tflite_builder import TFLiteBuilder

from heddle.gen import golden
from heddle.gen.importers import load
from heddle.gen.ir import Network


def draw(builder: TFLiteBuilder, tensors: Sequence[int], count: int) -> list[np.ndarray]:
    """Draw ``count`` samples of each tensor, over the whole range of its type."""
    drawn = []
    for index in tensors:
        shape = (count, *builder.shape(index)[1:])
        match builder.dtype(index):
            case "float32":
                drawn.append(builder.rng.normal(0, 50 * builder.rng.uniform(0, 1), shape).astype(np.float32))
            case dtype:
                info = np.iinfo(dtype)
                drawn.append(builder.rng.integers(info.min, info.max + 1, shape).astype(dtype))
    return drawn


def assert_equal(
    folder: Path,
    builder: TFLiteBuilder,
    inputs: Sequence[int],
    outputs: Sequence[int],
    *,
    count: int = 6,
    reference: str = "tflm",
    samples: Sequence[np.ndarray] | None = None,
) -> Network:
    """Assert that every output of the network so far equals the reference's; return it, after the passes."""
    data = builder.finish(inputs, outputs)
    path = folder / "net.tflite"
    path.write_bytes(data)
    samples = draw(builder, inputs, count) if samples is None else samples
    expected = (run_litert if reference == "litert" else run_tflm)(data, samples)
    network = load(path, reference="litert" if reference == "litert" else "tflm")
    actual = golden.run(network, dict(zip(network.inputs, samples, strict=True)))
    for name, wanted in zip(network.outputs, expected, strict=True):
        got = actual[name]
        assert got.dtype == wanted.dtype
        assert got.size == wanted.size
        differing = np.flatnonzero(got.reshape(-1) != wanted.reshape(-1))
        assert not differing.size, f"{name} differs at {differing[:5]} of {got.size}"
    return network
