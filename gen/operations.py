"""From IR nodes to what a core can do: sums of products, element-wise work, and moves of bytes.

An :class:`~heddle.gen.kinds.Accumulate` covers convolutions of all groupings, fully-connected layers, average pools and
means, and also concatenation and padding, whose weights are ones that pick a channel. An
:class:`~heddle.gen.kinds.Elementwise` covers maximum pools, tables and sums of two.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import groupby

import numpy as np

from heddle.errors import UnsupportedError
from heddle.gen import arithmetic
from heddle.gen.ir import (
    Add,
    AveragePool,
    Concat,
    HostNode,
    Linear,
    MaxPool,
    Mean,
    Network,
    Node,
    Pad,
    Padding,
    Reshape,
    Rounding,
    Table,
    Tensor,
    Window,
)
from heddle.gen.kinds import Accumulate, Core, Elementwise, Move, Operation, StepFunction
from heddle.gen.limits import MAX_SLICES, check_limit
from heddle.hdl.requantize import RequantizeParams


@lru_cache(maxsize=1)
def lower(network: Network) -> Core:
    """Operations of ``network`` in execution order, the moves at its edges included.

    The last network's are kept: for another array they are the same objects, and so is what is known of them.

    Raises
    ------
    UnsupportedError
        A node that no operation covers.
    CapacityError
        A node that takes more than :mod:`heddle.gen.limits` allows on any array.
    """
    inputs, outputs = edges(network)
    operations: list[Operation] = [Move(layer=f"load:{t}", op="LOAD", source=None, dest=t) for t in inputs]
    for node in network.nodes:
        if not isinstance(node, HostNode):
            operations += _LOWER[type(node)](node, network)
    operations += [Move(layer=f"store:{t}", op="STORE", source=t, dest=None) for t in outputs]
    return Core(inputs=inputs, outputs=outputs, operations=tuple(operations))


def edges(network: Network) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the tensors that enter and leave the accelerator, in the order of the network's inputs and outputs.

    They are what its operations read and do not write, and what the host or a caller reads of what they write.

    Raises
    ------
    UnsupportedError
        No output is computed by anything but the host.
    """
    nodes = [node for node in network.nodes if not isinstance(node, HostNode)]
    of_host = {node.output: node.inputs[0] for node in network.nodes if isinstance(node, HostNode)}
    written = {node.output for node in nodes}
    read = dict.fromkeys(name for node in nodes for name in node.inputs if name not in written)

    def before_host(name: str) -> str:
        while name in of_host:
            name = of_host[name]
        return name

    inputs = sorted(read, key=lambda name: network.inputs.index(before_host(name)))
    outputs = [name for name in dict.fromkeys(map(before_host, network.outputs)) if name in written]
    if not outputs:
        raise UnsupportedError(
            "there is nothing between its inputs and outputs for the accelerator to do",
            where=network.name,
            remedy="compute it in the host",
        )
    return tuple(inputs), tuple(outputs)


def _linear(node: Linear, network: Network) -> Iterator[Operation]:
    """One operation for each rectangle of positions that have the same bias."""
    source, dest = network.tensors[node.inputs[0]], network.tensors[node.output]
    folded = node.bias.astype(np.int64) - source.zero_point * node.weight.reshape(len(node.bias), -1).sum(1, np.int64)
    rectangles = node.rectangles(*dest.hwc[:2])
    check_limit(len(rectangles), MAX_SLICES, "slices", layer=node.name, remedy="pad less")
    for rows, cols in rectangles:
        area = (rows[1] - rows[0]) * (cols[1] - cols[0])
        bias = folded if node.local_bias is None else folded + node.local_bias[rows[0], cols[0]]
        yield Accumulate(
            layer=node.name,
            op=node.op,
            source=source.name,
            dest=dest.name,
            window=node.window,
            weight=node.weight,
            bias=bias,
            groups=node.groups,
            pad_value=source.zero_point,
            output=lambda acc: arithmetic.linear_output(node, network.tensors, acc),
            zero_point=dest.zero_point,
            low=node.act_min,
            high=node.act_max,
            rows=rows,
            cols=cols,
            fallback=_reference_params(node.multiplier, node.shift, bias, node.rounding),
            macs=area * (node.file_weights or node.weight.size),
            live_macs=area * node.weight.size,
        )


def _reference_params(
    multiplier: np.ndarray, shift: np.ndarray, bias: np.ndarray, rounding: Rounding = "double"
) -> RequantizeParams:
    """Return the reference's own scaling: both roundings are one offset, which depends on the sign of the sum."""
    multiplier, shift = np.asarray(multiplier, np.int64), np.asarray(shift, np.int64)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    half = np.int64(1) << (30 + right)
    first_rounding = np.where((right > 0) & (rounding == "double"), np.int64(1) << 30, 0)
    return RequantizeParams(
        bias=bias,
        multiplier=multiplier << left,
        offset=half + first_rounding,
        offset_negative=half - first_rounding,
        shift=31 + right,
    )


def _average_pool(node: AveragePool, network: Network) -> Iterator[Operation]:
    """One operation for each rectangle of positions whose windows hold the same number of elements."""
    source, dest = network.tensors[node.inputs[0]], network.tensors[node.output]
    (height, width, channels), (out_height, out_width, _) = source.hwc, dest.hwc
    w = node.window
    weight = _ones(channels, w.kernel)
    inside_rows = _inside(out_height, w.stride[0], w.padding.top, w.kernel[0], height)
    inside_cols = _inside(out_width, w.stride[1], w.padding.left, w.kernel[1], width)
    runs = list(_runs(inside_rows)), list(_runs(inside_cols))
    remedy = "pad less, or use a smaller window"
    check_limit(len(runs[0]) * len(runs[1]), MAX_SLICES, "slices", layer=node.name, remedy=remedy)
    for rows, row_count in runs[0]:
        for cols, col_count in runs[1]:
            count = row_count * col_count
            yield Accumulate(
                layer=node.name,
                op=node.op,
                source=source.name,
                dest=dest.name,
                window=w,
                weight=weight,
                bias=np.zeros(channels, np.int64),
                groups=channels,
                pad_value=0,
                output=lambda acc, count=count: arithmetic.average_output(node, acc, count),
                uniform=True,
                zero_point=0,
                low=node.act_min,
                high=node.act_max,
                rows=rows,
                cols=cols,
            )


def _inside(positions: int, stride: int, before: int, kernel: int, size: int) -> list[int]:
    """For each window position along one axis, how many of its ``kernel`` elements lie in the map."""
    starts = [i * stride - before for i in range(positions)]
    return [min(start + kernel, size) - max(start, 0) for start in starts]


def _runs(values: list[int]) -> Iterator[tuple[tuple[int, int], int]]:
    """Half-open ranges of equal consecutive values, with the value."""
    start = 0
    for value, run in groupby(values):
        length = len(list(run))
        yield (start, start + length), value
        start += length


def _mean(node: Mean, network: Network) -> Iterator[Operation]:
    source, dest = network.tensors[node.inputs[0]], network.tensors[node.output]
    height, width, channels = source.hwc
    yield Accumulate(
        layer=node.name,
        op=node.op,
        source=source.name,
        dest=dest.name,
        window=Window(kernel=(height, width)),
        weight=_ones(channels, (height, width)),
        bias=np.full(channels, -source.zero_point * height * width, np.int64),
        groups=channels,
        pad_value=0,
        output=lambda acc: arithmetic.mean_output(node, network.tensors, acc),
        uniform=True,
        zero_point=dest.zero_point,
        low=arithmetic.INT8_MIN,
        high=arithmetic.INT8_MAX,
        rows=(0, 1),
        cols=(0, 1),
    )


def _ones(channels: int, kernel: tuple[int, int]) -> np.ndarray:
    """Weights of a sum over a window, channel by channel: int8 ``(channels, kh, kw, 1)``."""
    return np.ones((channels, *kernel, 1), np.int8)


def _identity(acc: np.ndarray) -> np.ndarray:
    return arithmetic.clip_output(acc, 0)


def _copy(node: Node, source: Tensor, dest: Tensor) -> Accumulate:
    """``source`` into ``dest`` unchanged, channel by channel."""
    height, width, channels = source.hwc
    return Accumulate(
        layer=node.name,
        op=node.op,
        source=source.name,
        dest=dest.name,
        window=Window(kernel=(1, 1)),
        weight=_ones(channels, (1, 1)),
        bias=np.zeros(channels, np.int64),
        groups=channels,
        pad_value=0,
        output=_identity,
        uniform=True,
        zero_point=0,
        low=arithmetic.INT8_MIN,
        high=arithmetic.INT8_MAX,
        rows=(0, height),
        cols=(0, width),
    )


def _concat(node: Concat, network: Network) -> Iterator[Operation]:
    dest, at = network.tensors[node.output], [0, 0, 0]
    for name in node.inputs:
        source = network.tensors[name]
        yield replace(_copy(node, source, dest), dest_at=(at[0], at[1], at[2]), shares_blocks=node.axis == 2)
        at[node.axis] += source.hwc[node.axis]


def _pad(node: Pad, network: Network) -> Iterator[Operation]:
    """Copy through a window with padding; channels that do not exist have no weights, and the value as bias."""
    source, dest = network.tensors[node.inputs[0]], network.tensors[node.output]
    height, width, channels = dest.hwc
    weight = _ones(channels, (1, 1))
    bias = np.full(channels, node.value, np.int64)
    here = slice(node.before[2], node.before[2] + source.hwc[2])
    weight[: here.start] = weight[here.stop :] = 0
    bias[here] = 0
    yield replace(
        _copy(node, source, dest),
        window=Window(
            kernel=(1, 1),
            padding=Padding(top=node.before[0], bottom=node.after[0], left=node.before[1], right=node.after[1]),
        ),
        weight=weight,
        bias=bias,
        groups=channels,
        source_at=-here.start,
        uniform=channels == source.hwc[2],
        pad_value=node.value,
        rows=(0, height),
        cols=(0, width),
    )


_VALUES = np.arange(-128, 128, dtype=np.int64)


def _max_pool(node: MaxPool, network: Network) -> Iterator[Operation]:
    yield _elementwise(node, _VALUES, None, _clip(node.act_min, node.act_max), window=node.window,
                       low=node.act_min, high=node.act_max)  # fmt: skip


def _table(node: Table, network: Network) -> Iterator[Operation]:
    yield _elementwise(node, node.table.astype(np.int64), None, _identity)


def _add(node: Add, network: Network) -> Iterator[Operation]:
    first, second = arithmetic.add_terms(node, network.tensors)
    yield _elementwise(
        node,
        first,
        second,
        lambda total: arithmetic.add_output(node, network.tensors, total),
        zero_point=network.tensors[node.output].zero_point,
        low=node.act_min,
        high=node.act_max,
        fallback=_reference_params(
            np.array([node.output_multiplier]), np.array([node.output_shift]), np.zeros(1, np.int64)
        ),
    )


def _clip(low: int, high: int) -> StepFunction:
    return lambda acc: arithmetic.clip_output(acc, 0, low, high)


def _elementwise(
    node: Node,
    first: np.ndarray,
    second: np.ndarray | None,
    output: StepFunction,
    *,
    window: Window | None = None,
    zero_point: int = 0,
    low: int = arithmetic.INT8_MIN,
    high: int = arithmetic.INT8_MAX,
    fallback: RequantizeParams | None = None,
) -> Elementwise:
    return Elementwise(
        layer=node.name,
        op=node.op,
        sources=node.inputs,
        dest=node.output,
        window=window or Window(kernel=(1, 1)),
        first=first,
        second=second,
        output=output,
        zero_point=zero_point,
        low=low,
        high=high,
        fallback=fallback,
    )


def _reshape(node: Reshape, network: Network) -> Iterator[Operation]:
    yield Move(layer=node.name, op=node.op, source=node.inputs[0], dest=node.output)


_LOWER: dict[type[Node], Callable[..., Iterator[Operation]]] = {
    Linear: _linear,
    AveragePool: _average_pool,
    Mean: _mean,
    Concat: _concat,
    Pad: _pad,
    MaxPool: _max_pool,
    Table: _table,
    Add: _add,
    Reshape: _reshape,
}
