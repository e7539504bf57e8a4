"""Network file to IR, refusing what cannot be executed exactly, by name."""

from pathlib import Path
from typing import Literal

from heddle.gen.importers import lowering, tflite_file
from heddle.gen.importers.survey import Survey, survey
from heddle.gen.ir import Network
from heddle.gen.passes import run_pipeline

__all__ = ["Survey", "load", "survey"]


def load(path: str | Path, *, reference: Literal["tflm", "litert"] = "tflm", passes: bool = True) -> Network:
    """Read the quantized network in the TFLite file at ``path``.

    Parameters
    ----------
    reference
        Whose integers to reproduce: ``"tflm"`` (TensorFlow Lite Micro) or ``"litert"`` (LiteRT's reference kernels,
        which round once in FULLY_CONNECTED).
    passes
        Whether to bring the network into the form that mapping expects; without, nodes stay as the file has them.

    Raises
    ------
    FileFormatError
        The file is unreadable, truncated, inconsistent or not TFLite.
    UnsupportedError
        Layers that Heddle cannot execute exactly: all of them, each with the fact and the remedy.
    """
    model = tflite_file.read(Path(path))
    lowered = lowering.lower(model, reference)
    if lowered.network is None:
        raise lowering.refuse(model, lowered.problems)
    return run_pipeline(lowered.network) if passes else lowered.network
