"""The intermediate representation: a quantized network as immutable nodes over named tensors.

Importers make a :class:`Network`, passes rewrite it, ``golden`` executes it, mapping turns it into a design. Layout
is NHWC with batch 1 throughout; weights are ``(cout, kh, kw, cin / groups)``. All arithmetic that gives a node its
meaning is in :mod:`heddle.gen.arithmetic`; nothing here computes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import pairwise, product
from math import prod
from types import MappingProxyType
from typing import Literal

import numpy as np

Rounding = Literal["double", "single"]
"""``double``: gemmlowp double rounding (TFLM; LiteRT but for FULLY_CONNECTED). ``single``: rounds once, ties up."""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An activation tensor: batch 1, quantized per tensor.

    Parameters
    ----------
    name
        The name in the network file, unique in the network.
    shape
        As in the file, the leading batch of 1 included: ``(1, H, W, C)``, ``(1, C)``, ...
    dtype
        ``"int8"`` inside the network; ``"uint8"``, ``"float32"``, ``"int32"`` or ``"int64"`` only at its edges.
    scale, zero_point
        ``real = scale * (q - zero_point)``; ``scale`` is the float32 of the file, 0 where ``dtype`` is not quantized.
    layout
        Height, width and channels as the nodes see them, where ``shape`` (which callers see) says otherwise: what is
        left of a reshape at the network's edge.
    kept
        Which of the file's channels these are, rising, where a pass removed others.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "int8"
    scale: float = 0.0
    zero_point: int = 0
    layout: tuple[int, int, int] | None = None
    kept: tuple[int, ...] | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of one sample: without the batch of 1, which a tensor of rank one does not have."""
        return self.shape[1:] if len(self.shape) > 1 else self.shape

    @property
    def hwc(self) -> tuple[int, int, int]:
        """Shape as height, width, channels: leading dimensions of lower rank are 1.

        A tensor of rank above four folds its leading dimensions into the height.
        """
        if self.layout is not None:
            return self.layout
        dims = (1,) * (3 - len(self.sample_shape)) + self.sample_shape
        return (prod(dims[:-2]), dims[-2], dims[-1])


@dataclass(frozen=True, kw_only=True)
class Padding:
    """Elements added around a feature map before a window slides over it; the value is the zero point."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0


@dataclass(frozen=True, kw_only=True)
class Window:
    """Geometry of a sliding window. Output size: ``(in + pads - ((kernel - 1) * dilation + 1)) // stride + 1``."""

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: Padding = Padding()

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of the output of an input of ``height`` rows and ``width`` columns."""
        p = self.padding
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True)]
        return (
            (height + p.top + p.bottom - reach[0]) // self.stride[0] + 1,
            (width + p.left + p.right - reach[1]) // self.stride[1] + 1,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Node:
    """One operation. ``name`` is unique; ``op`` is the operator's name in the file, used in messages and reports."""

    name: str
    op: str
    inputs: tuple[str, ...]
    output: str


@dataclass(frozen=True, kw_only=True, eq=False)
class Linear(Node):
    """Convolution of any grouping, and fully-connected as a convolution over a ``1 x 1`` map or of kernel ``H x W``.

    ``acc[o] = bias[o] + local_bias[o] + sum(weight[o] * (ifmap - zp_in))`` then
    ``ofmap = clip(zp_out + scale(acc, multiplier[o], shift[o]), act_min, act_max)``.

    Parameters
    ----------
    weight
        int8, ``(cout, kh, kw, cin / groups)``; output channel ``o`` belongs to group ``o // (cout / groups)``.
    bias
        int32, ``(cout,)``.
    multiplier, shift
        int32 Q31 and its power of two (positive: left), each ``(cout,)``; see ``arithmetic.multiply``.
    local_bias
        int32 ``(rows, cols, cout)``, added to ``bias`` at each position of the output; ``None`` where that is nothing.
    file_weights
        How many weights the layer has in the file, where a pass removed channels.
    """

    window: Window
    weight: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    groups: int = 1
    rounding: Rounding = "double"
    act_min: int = -128
    act_max: int = 127
    local_bias: np.ndarray | None = None
    file_weights: int | None = None

    def rectangles(self, height: int, width: int) -> list[tuple[tuple[int, int], tuple[int, int]]]:
        """Divide an output of that size into ranges of rows and columns, half-open, that have one bias each."""
        if self.local_bias is None:
            return [((0, height), (0, width))]
        cuts = []
        for axis, size in enumerate((height, width)):
            changes = np.diff(self.local_bias, axis=axis).any(axis=(1 - axis, 2))
            cuts.append([0, *(np.flatnonzero(changes) + 1).tolist(), size])
        return list(product(pairwise(cuts[0]), pairwise(cuts[1])))


@dataclass(frozen=True, kw_only=True, eq=False)
class AveragePool(Node):
    """Mean over the window's elements that lie inside the map, ties away from zero; input and output scales equal."""

    window: Window
    act_min: int = -128
    act_max: int = 127


@dataclass(frozen=True, kw_only=True, eq=False)
class MaxPool(Node):
    """Maximum over the window's elements that lie inside the map."""

    window: Window
    act_min: int = -128
    act_max: int = 127


@dataclass(frozen=True, kw_only=True, eq=False)
class Mean(Node):
    """Mean over all rows and columns with a change of scale.

    ``acc = sum(ifmap - zp_in)``; ``ofmap = f(acc)`` as ``arithmetic`` defines it from ``multiplier`` and ``shift``.
    """

    multiplier: int
    shift: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Add(Node):
    """Element-wise sum of two tensors of one shape (``sign`` +1) or their difference (-1), each with its own scale.

    The parameters are TFLite's: each input is shifted left by ``left_shift`` and scaled, and the sum is scaled to the
    output.
    """

    left_shift: int
    multipliers: tuple[int, int]
    shifts: tuple[int, int]
    output_multiplier: int
    output_shift: int
    sign: int = 1
    act_min: int = -128
    act_max: int = 127


@dataclass(frozen=True, kw_only=True, eq=False)
class Table(Node):
    """A function of one int8: ``ofmap = table[ifmap + 128]``. ``table`` is int8, ``(256,)``."""

    table: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Concat(Node):
    """The inputs one after another along ``axis`` of their ``hwc`` shape (0 rows, 1 columns, 2 channels)."""

    axis: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Pad(Node):
    """Constant ``value`` around the map: ``before`` and ``after`` along (rows, columns, channels)."""

    before: tuple[int, int, int]
    after: tuple[int, int, int]
    value: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Reshape(Node):
    """The same elements in the same (NHWC) order under another shape."""


@dataclass(frozen=True, kw_only=True, eq=False)
class HostNode(Node):
    """Runs in the host, exactly, before or after the accelerator: only at the network's edges."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Quantize(HostNode):
    """float32, uint8 or int8 to int8 or uint8 at an edge; inside a network int8 to int8 is a :class:`Table`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dequantize(HostNode):
    """int8 or uint8 to float32 at the end."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Softmax(HostNode):
    """Softmax over the last axis at the end of the network; ``beta`` as in the file."""

    beta: float = 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class ArgMax(HostNode):
    """Index of the first maximum along ``axis`` of the file's shape, at the end of the network."""

    axis: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Network:
    """A quantized network: ``nodes`` in execution order over ``tensors``.

    ``inputs`` and ``outputs`` are tensor names in the file's order; ``sha256`` is the hash of the file it came from.
    ``undivided`` is the same network with no :attr:`Linear.local_bias`, for a core to which rectangles cost more than
    they save; ``None`` if this one has none. :func:`dataclasses.replace` forgets it: it is of this network alone.
    """

    name: str
    tensors: Mapping[str, Tensor]
    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    sha256: str = ""
    reference: Literal["tflm", "litert"] = "tflm"
    notes: tuple[str, ...] = field(default=())
    undivided: "Network | None" = field(default=None, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))

    def named(self, name: str) -> "Network":
        """Return this network under another name."""
        renamed = replace(self, name=name)
        return renamed if self.undivided is None else renamed.divided_from(self.undivided.named(name))

    def divided_from(self, undivided: "Network") -> "Network":
        """Return this network, knowing what it was before its layers were divided."""
        result = replace(self)
        object.__setattr__(result, "undivided", undivided)
        return result

    def predict(self, inputs: Mapping[str, np.ndarray] | np.ndarray) -> np.ndarray | dict[str, np.ndarray]:
        """Return the outputs as integers for samples ``(samples, *shape[1:])``: see :func:`heddle.gen.golden.predict`.

        Raises
        ------
        InputError
            Samples of another shape, type or range than the network's inputs.
        """
        # By name: the model imports what this module defines, and can only be imported after it.
        return import_module("heddle.gen.golden").predict(self, inputs)

    def consumers(self, tensor: str) -> tuple[Node, ...]:
        """Nodes that read ``tensor``, in order."""
        return tuple(node for node in self.nodes if tensor in node.inputs)

    def producer(self, tensor: str) -> Node | None:
        """Return the node that writes ``tensor``, or ``None`` for a network input."""
        return next((node for node in self.nodes if node.output == tensor), None)
