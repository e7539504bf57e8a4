"""Samples to run: read from an ``.npz``, or drawn at random; checked against the network before anything is built.

A part of the driver too.
"""

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from heddle.errors import InputError
from heddle.gen.inputs import check_inputs
from heddle.gen.ir import Network, Tensor

LABEL, SINGLE = "label", "x"
"""Names of arrays with a meaning of their own: expected classes, and the input of a network that has one."""
EXPECTED = "expected."
"""Before the name of an output: what it is to be, to the last bit."""

UNREADABLE = (
    *(OSError, ValueError, TypeError, EOFError, KeyError, MemoryError),
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    # zipfile's, for a member that is encrypted or packed by a method it does not know.
    RuntimeError,
    # NumPy parses the header of an array as Python.
    *(SyntaxError, tokenize.TokenError),
)
"""What zipfile, its decompressors and NumPy raise on a broken archive."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Samples:
    """Inputs by name, ``(samples, *shape[1:])`` each; ``label`` is integers ``(samples,)`` or ``None``.

    ``expected`` has outputs by name, as ``inputs`` are: those that are known.
    """

    inputs: Mapping[str, np.ndarray]
    label: np.ndarray | None
    source: str
    expected: Mapping[str, np.ndarray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(next(iter(self.inputs.values())))

    def first(self, count: int) -> "Samples":
        """Return the first ``count`` of them, or all if there are not so many."""
        return replace(
            self,
            inputs={name: value[:count] for name, value in self.inputs.items()},
            label=None if self.label is None else self.label[:count],
            expected={name: value[:count] for name, value in self.expected.items()},
        )

    def accuracy(self, outputs: np.ndarray | Mapping[str, np.ndarray]) -> float | None:
        """Return the share of samples whose greatest output is at their label; ``None`` where that has no meaning."""
        if self.label is None or isinstance(outputs, Mapping):
            return None
        return float((classes(outputs) == self.label).mean())

    def difference(self, outputs: np.ndarray | Mapping[str, np.ndarray]) -> str | None:
        """Say where ``outputs`` are not what is expected; ``None`` where they are, or nothing is expected of them."""
        for name, expected in self.expected.items():
            got = outputs[name] if isinstance(outputs, Mapping) else outputs
            if len(places := np.argwhere(got != expected)):
                sample, *index = map(int, places[0])
                return (
                    f"{len(places)} of {expected.size} values of {name} differ from what is expected, "
                    f"first in sample {sample}: {index} is {got[sample, *index]}, not {expected[sample, *index]}"
                )
        return None


def classes(outputs: np.ndarray) -> np.ndarray:
    """Return the class that each sample of ``outputs`` names: integers ``(samples,)``."""
    scores = outputs.reshape(len(outputs), -1)
    # A single output is the class itself: the network ends in ARG_MAX.
    return scores[:, 0] if scores.shape[1] == 1 else scores.argmax(axis=1)


def read_samples(path: Path, network: Network, count: int | None = None) -> Samples:
    """Read the first ``count`` samples (all if left out) from an ``.npz``.

    It holds an array for each input by its name, or ``x`` for a network with one input, and may hold ``label``, and
    what outputs are to be: ``expected.`` and their names.

    Raises
    ------
    InputError
        The file is unreadable or not an ``.npz``, or its arrays do not match the network.
    """
    where = str(path)
    try:
        # Opened here: NumPy leaves the file of a broken archive open.
        with path.open("rb") as file:
            archive = np.load(file, allow_pickle=False)
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise InputError("is not an .npz archive", where=where, remedy="write it with numpy.savez")
            present = list(archive.files)
            known = {*network.inputs, SINGLE, LABEL, *(EXPECTED + name for name in network.outputs)}
            arrays = {name: archive[name] for name in present if name in known}
    except FileNotFoundError:
        raise InputError("does not exist", where=where, remedy="give an .npz file with the samples") from None
    except UNREADABLE as error:
        raise InputError(f"cannot be read ({error})", where=where, remedy="write it with numpy.savez") from error
    # An input may have any name.
    label = arrays.pop(LABEL, None) if LABEL not in network.inputs else None
    expected = {
        name: arrays.pop(EXPECTED + name)
        for name in network.outputs
        if EXPECTED + name in arrays and EXPECTED + name not in network.inputs
    }
    if len(network.inputs) == 1 and network.inputs[0] not in arrays and SINGLE in arrays:
        arrays[network.inputs[0]] = arrays.pop(SINGLE)
    if missing := [name for name in network.inputs if name not in arrays]:
        single = f"{SINGLE} or " if len(network.inputs) == 1 else ""
        raise InputError(
            f"has {', '.join(present) or 'no arrays'}, but not {', '.join(missing)}",
            where=where,
            remedy=f"name its arrays {single}{', '.join(network.inputs)}",
        )
    inputs = {name: arrays[name] for name in network.inputs}
    check_inputs(network, inputs)
    length = len(inputs[network.inputs[0]])
    if label is not None and (label.shape != (length,) or label.dtype.kind not in "iu"):
        raise InputError(
            f"label is {label.dtype} {label.shape}", where=where, remedy=f"make it integers of shape ({length},)"
        )
    for name, value in expected.items():
        wanted = (length, *network.tensors[name].sample_shape)
        if value.shape != wanted or value.dtype != network.tensors[name].dtype:
            raise InputError(
                f"{EXPECTED}{name} is {value.dtype} {value.shape}",
                where=where,
                remedy=f"make it {network.tensors[name].dtype} of shape {wanted}",
            )
    if not length:
        raise InputError("holds no samples", where=where, remedy="give at least one")
    read = Samples(inputs=inputs, label=label, source=path.name, expected=expected)
    return read if count is None else read.first(count)


def random_samples(network: Network, count: int, seed: int) -> Samples:
    """Draw ``count`` samples over each input's whole range; the same seed gives the same samples."""
    rng = np.random.default_rng(seed)
    inputs = {name: _draw(network.tensors[name], count, rng) for name in network.inputs}
    return Samples(inputs=inputs, label=None, source=f"random, seed {seed}")


def _draw(tensor: Tensor, count: int, rng: np.random.Generator) -> np.ndarray:
    shape = (count, *tensor.sample_shape)
    if tensor.dtype == "float32":
        return rng.uniform(-1, 1, shape).astype(np.float32)
    info = np.iinfo(tensor.dtype)
    return rng.integers(info.min, info.max, shape, dtype=tensor.dtype, endpoint=True)
