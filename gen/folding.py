"""Neighbouring columns of a network's input as the channels of one pixel.

An input of few channels fills a block in part only, and a load writes a block a cycle. NHWC order puts neighbouring
pixels side by side: ``f`` columns of ``c`` channels are, byte for byte, one column of ``f * c``. A layer that reads
such a map has the same weights, spread over wider taps, and computes ``g`` of its own columns at once: as channels of
one result, which lie in memory as those columns do. The layer is the same sum of the same products and zeros.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from math import gcd

import numpy as np

from heddle.errors import CapacityError
from heddle.gen.ir import Padding, Tensor, Window
from heddle.gen.kinds import Accumulate, Move, Operation
from heddle.gen.placement import Layout, choose_layouts
from heddle.gen.reduction import reductions
from heddle.hdl.config import ArrayConfig

MOST_COLUMNS = 8
"""Of results that are computed at once."""


def fold_inputs(
    operations: Sequence[Operation], tensors: Mapping[str, Tensor], layouts: Mapping[str, Layout], array: ArrayConfig
) -> tuple[tuple[Operation, ...], Mapping[str, Tensor]]:
    """Fold each input whose only reader is faster so; return the operations and tensors as they are then.

    ``layouts`` are those of the tensors as they are.
    """
    folded, shapes = list(operations), dict(tensors)
    for load, op in enumerate(operations):
        if not isinstance(op, Move) or op.source is not None or op.dest is None:
            continue
        readers = [i for i, other in enumerate(operations) if op.dest in other.sources]
        if len(readers) != 1:
            continue
        reader, tensor, follows = operations[readers[0]], tensors[op.dest], readers[0] == load + 1
        if not isinstance(reader, Accumulate):
            continue
        dest, contiguous = tensors[reader.dest], layouts[reader.dest].pixel_pitch == layouts[reader.dest].blocks
        # The first is as it is, and stays so unless another one is faster.
        choices = [(tensor, reader)]
        choices += [
            choice for choice in folds(reader, tensor, dest, block=array.block) if contiguous or choice[1].columns == 1
        ]
        shapes[op.dest], folded[readers[0]] = _fastest(choices, dest, array, follows=follows)
    return tuple(folded), shapes


@lru_cache(maxsize=16)
def folds(op: Accumulate, source: Tensor, dest: Tensor, *, block: int) -> tuple[tuple[Tensor, Accumulate], ...]:
    """Return ``source`` and ``op`` with columns folded, in all ways that fit blocks of ``block`` channels.

    The last ones are kept, as :func:`~heddle.gen.operations.lower` does.
    """
    return tuple(_folds(op, source, dest, block))


def _folds(op: Accumulate, source: Tensor, dest: Tensor, block: int) -> Iterator[tuple[Tensor, Accumulate]]:
    (height, width, channels), window = source.hwc, op.window
    whole = op.groups == 1 and op.source_at == 0 and op.dest_at == (0, 0, 0) and not op.shares_blocks
    _, out_width, out_channels = dest.hwc
    if not whole or op.cols != (0, out_width) or window.dilation[1] != 1:
        return
    for f in range(1, block // channels + 1):
        if width % f:
            continue
        least = f // gcd(f, window.stride[1])
        for g in range(least, MOST_COLUMNS + 1, least):
            if f * g == 1 or out_width % g or (g > 1 and out_channels % block):
                continue
            yield replace(source, layout=(height, width // f, channels * f)), _fold(op, f, g, width=width)


def _fold(op: Accumulate, f: int, g: int, *, width: int) -> Accumulate:
    """Return ``op`` over columns of ``f`` of the source's, computing ``g`` of its own at once."""
    window, (cout, kh, kw, cin) = op.window, op.weight.shape
    left = -(-window.padding.left // f)
    # Column of the folded tap, and of the source within it, of each column of the kernel for each result.
    at = np.arange(g)[:, None] * window.stride[1] + np.arange(kw) + left * f - window.padding.left
    taps = int(at.max()) // f + 1
    weight = np.zeros((g, cout, kh, taps, f, cin), np.int8)
    for j, k in np.ndindex(at.shape):
        weight[j, :, :, at[j, k] // f, at[j, k] % f] = op.weight[:, :, k]
    stride = g * window.stride[1] // f
    positions = (op.cols[1] - op.cols[0]) // g
    right = (positions - 1) * stride + taps - left - width // f
    return replace(
        op,
        window=Window(
            kernel=(kh, taps),
            stride=(window.stride[0], stride),
            dilation=window.dilation,
            padding=Padding(top=window.padding.top, bottom=window.padding.bottom, left=left, right=max(0, right)),
        ),
        weight=weight.reshape(g * cout, kh, taps, f * cin),
        bias=np.tile(op.bias, g),
        output=lambda acc: op.output(acc.reshape(*acc.shape[:-1], g, cout)).reshape(acc.shape),
        cols=(0, positions),
        columns=g,
        fallback=None,
    )


def _fastest(
    choices: Sequence[tuple[Tensor, Accumulate]], dest: Tensor, array: ArrayConfig, *, follows: bool
) -> tuple[Tensor, Accumulate]:
    """Return the first of the fastest; of those that take as long to load as another one in all no more is asked."""
    best, fewest = choices[0], _cycles(*choices[0], dest, array, follows=follows)
    for choice in choices[1:]:
        if _load_cycles(choice[0], array) < fewest:
            cycles = _cycles(*choice, dest, array, follows=follows)
            if cycles < fewest:
                best, fewest = choice, cycles
    return best


def _load_cycles(tensor: Tensor, array: ArrayConfig) -> int:
    height, width, channels = tensor.hwc
    blocks = height * width * -(-channels // array.block)
    return max(blocks, -(-height * width * channels // array.stream_bytes))


def _cycles(tensor: Tensor, op: Accumulate, dest: Tensor, array: ArrayConfig, *, follows: bool) -> int:
    """Estimate the cycles of a load and of the operation that reads it; ``follows``: row by row, perhaps."""
    tensors = {op.source: tensor, op.dest: dest}
    layout = choose_layouts(tensors, [op], banks=array.rows, block=array.block)[op.source]
    load = _load_cycles(tensor, array)
    try:
        reduce = sum(reduction.cycles(op) for reduction in reductions([op], array, layout))
    except CapacityError:
        return 10**12
    return max(load, reduce) if follows else load + reduce
