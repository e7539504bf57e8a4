"""What a network file holds, layer by layer, whether or not Heddle supports all of it: for ``heddle inspect``."""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heddle.errors import UnsupportedError
from heddle.gen.importers import lowering, tflite_file
from heddle.gen.importers.tflite_file import OPTIONAL, FileModel
from heddle.gen.ir import Linear


@dataclass(frozen=True, kw_only=True)
class SurveyedTensor:
    """A tensor as the file declares it."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class SurveyedLayer:
    """One operator of the file.

    Parameters
    ----------
    macs
        Multiply-accumulates of one inference; 0 for what is not a convolution or fully-connected.
    params, zeros
        Weights and biases, and how many of the weights are zero.
    problem
        Why Heddle refuses the layer (where, fact, remedy), or ``None``.
    folded
        The layer computes shapes that are known at compile time and vanishes.
    """

    name: str
    op: str
    inputs: tuple[SurveyedTensor, ...]
    outputs: tuple[SurveyedTensor, ...]
    macs: int
    params: int
    zeros: int
    problem: UnsupportedError | None
    folded: bool

    @property
    def supported(self) -> bool:
        """Whether Heddle executes the layer, bit for bit."""
        return self.problem is None


@dataclass(frozen=True, kw_only=True)
class Survey:
    """A network file at a glance; ``problems`` is all that stands between it and an accelerator."""

    name: str
    sha256: str
    size_bytes: int
    inputs: tuple[SurveyedTensor, ...]
    outputs: tuple[SurveyedTensor, ...]
    layers: tuple[SurveyedLayer, ...]
    problems: tuple[UnsupportedError, ...]

    @property
    def supported(self) -> bool:
        """Whether Heddle can execute the whole network."""
        return not self.problems

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def params(self) -> int:
        """Weights and biases of all layers."""
        return sum(layer.params for layer in self.layers)

    @property
    def zeros(self) -> int:
        """Weights that are zero."""
        return sum(layer.zeros for layer in self.layers)


def survey(path: str | Path) -> Survey:
    """Look at the TFLite file at ``path``.

    Raises
    ------
    FileFormatError
        The file is unreadable, truncated, inconsistent or not TFLite. (An unsupported layer is no error here.)
    """
    model = tflite_file.read(Path(path))
    lowered = lowering.lower(model, "tflm")
    return Survey(
        name=model.name,
        sha256=model.sha256,
        size_bytes=model.size_bytes,
        inputs=_surveyed(model, model.inputs),
        outputs=_surveyed(model, model.outputs),
        layers=tuple(_layer(model, layer) for layer in lowered.layers),
        problems=lowered.problems,
    )


def _surveyed(model: FileModel, indices: tuple[int, ...]) -> tuple[SurveyedTensor, ...]:
    tensors = [model.tensors[index] for index in indices]
    return tuple(SurveyedTensor(name=t.name, shape=t.shape, dtype=t.dtype) for t in tensors)


def _layer(model: FileModel, layer: lowering.Layer) -> SurveyedLayer:
    operator = layer.operator
    given = [index for index in operator.inputs if index != OPTIONAL]
    macs = params = zeros = 0
    for node in layer.nodes:
        if isinstance(node, Linear):
            macs = lowering.work(node, math.prod(model.tensors[operator.outputs[0]].shape))
            params = node.weight.size + node.bias.size
            zeros = int(node.weight.size - np.count_nonzero(node.weight))
    return SurveyedLayer(
        name=operator.name,
        op=operator.op,
        inputs=_surveyed(model, tuple(index for index in given if not model.tensors[index].data)),
        outputs=_surveyed(model, operator.outputs),
        macs=macs,
        params=params,
        zeros=zeros,
        problem=layer.problem,
        folded=layer.folded,
    )
