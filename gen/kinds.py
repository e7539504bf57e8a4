"""What a core can do: three kinds of operation.

An :class:`Accumulate` is any weighted sum over a window followed by a monotone function, an :class:`Elementwise` a
maximum, a table or a sum of two, a :class:`Move` the mover. :mod:`heddle.gen.operations` makes them of IR nodes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from heddle.gen import arithmetic
from heddle.gen.ir import Window
from heddle.hdl.requantize import RequantizeParams

StepFunction = Callable[[np.ndarray], np.ndarray]
"""Monotone: int64 accumulators ``(..., channels)`` to int8."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Accumulate:
    """``dest = output(bias + sum(weight * source))`` over a window, elements outside the map being ``pad_value``.

    Parameters
    ----------
    layer, op
        Name and operator of the node this came from.
    weight, groups
        int8, ``(cout, kh, kw, cin / groups)``.
    source_at
        Source channel of the first group's first weight; below 0 where the first output channels read nothing.
    bias
        int64, ``(cout,)``: the source enters as stored, its zero point folded in here.
    output
        The function of the sum, per channel; ``zero_point``, ``low`` and ``high`` are its output's.
    rows, cols
        The window positions computed, half-open.
    dest_at
        Row, column and channel in ``dest`` of the result at window position (0, 0), channel 0.
    columns
        Neighbouring columns of ``dest`` that are one position here: its channels are those of the first, then those of
        the second, and so on; weights, biases and ``output`` are of all. See :mod:`heddle.gen.folding`.
    shares_blocks
        Another operation writes the rest of a block this one writes in part.
    fallback
        Parameters that compute ``output`` as the reference does, for channels with no cheaper exact ones.
    uniform
        All channels have the same weights, bias and function of the sum.
    macs
        Multiply-accumulates of a convolution or fully-connected layer as the file has it, padding included; 0 for pools
        and copies.
    live_macs
        As ``macs``, of the channels that are left.
    """

    layer: str
    op: str
    source: str
    dest: str
    window: Window
    weight: np.ndarray
    bias: np.ndarray
    pad_value: int
    output: StepFunction
    zero_point: int
    low: int
    high: int
    rows: tuple[int, int]
    cols: tuple[int, int]
    groups: int = 1
    source_at: int = 0
    dest_at: tuple[int, int, int] = (0, 0, 0)
    columns: int = 1
    shares_blocks: bool = False
    fallback: RequantizeParams | None = None
    uniform: bool = False
    macs: int = 0
    live_macs: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the tensors read."""
        return (self.source,)

    def bases(self, channels: np.ndarray) -> np.ndarray:
        """Source channel that meets the first weight of each of ``channels``: int64 of that shape."""
        return channels // (len(self.bias) // self.groups) * self.weight.shape[3] + self.source_at

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest sum of each channel over all int8 sources: two int64 ``(cout,)``."""
        weight = self.weight.reshape(len(self.bias), -1).astype(np.int64)
        low, high = weight * arithmetic.INT8_MIN, weight * arithmetic.INT8_MAX
        return self.bias + np.minimum(low, high).sum(1), self.bias + np.maximum(low, high).sum(1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Elementwise:
    """``dest = output(first[max(window of source)])``, or ``output(first[a] + second[b])`` of two sources.

    ``first`` and ``second`` are int64 ``(256,)`` indexed by the int8 plus 128.
    """

    layer: str
    op: str
    sources: tuple[str, ...]
    dest: str
    window: Window
    first: np.ndarray
    second: np.ndarray | None
    output: StepFunction
    zero_point: int
    low: int
    high: int
    fallback: RequantizeParams | None = None
    macs: int = 0
    live_macs: int = 0

    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """Least and greatest sum of table entries: two int64 ``(1,)``."""
        sums = self.sums()
        return sums[:1], sums[-1:]

    def sums(self) -> np.ndarray:
        """Every sum of table entries that can occur, rising: int64, at most 65,536."""
        return np.unique(self.first if self.second is None else self.first[:, None] + self.second)


@dataclass(frozen=True, kw_only=True)
class Move:
    """Bytes in NHWC order: from the input stream (no source), to the output stream (no dest), or to another shape."""

    layer: str
    op: str
    source: str | None
    dest: str | None
    macs: int = 0
    live_macs: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the tensors read."""
        return (self.source,) if self.source else ()


Operation = Accumulate | Elementwise | Move


@dataclass(frozen=True, kw_only=True)
class Core:
    """The part of a network that a core runs: everything between its edges.

    ``inputs`` and ``outputs`` are the int8 tensors that cross the streams, in packet order.
    """

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]
