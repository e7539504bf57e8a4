"""Output channels to tiles: what the array's columns compute at once, and which blocks of the source that takes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from heddle.gen.kinds import Accumulate
from heddle.hdl.config import ArrayConfig

Tap = tuple[int, int, int]
"""A block that a window reads: kernel row, kernel column, channel block."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tiles:
    """Consecutive tiles of output channels that use the same blocks, shifted by a constant.

    Parameters
    ----------
    channels
        Channel of each column: int64 ``(tiles, C)``, -1 where a column has none.
    first_block, blocks
        Destination block of tile 0, and how many blocks each tile writes.
    byte_enable
        Bytes of each block that are written.
    taps
        Blocks read, relative to a tile's shift: in tile ``t`` that is ``shift + t * stride``.
    """

    channels: np.ndarray
    first_block: int
    blocks: int
    byte_enable: int
    taps: tuple[Tap, ...]
    shift: int
    stride: int


def tile(op: Accumulate, array: ArrayConfig, *, source_blocks: int) -> Iterator[Tiles]:
    """Cut the output channels of ``op`` into tiles, and join equal neighbours.

    ``source_blocks`` is the number of blocks of a pixel of its source.
    """
    pending: Tiles | None = None
    for single in _single_tiles(op, array):
        joined = _join(pending, single, source_blocks) if pending else None
        if pending and not joined:
            yield pending
        pending = joined or single
    if pending:
        yield pending


def _single_tiles(op: Accumulate, array: ArrayConfig) -> Iterator[Tiles]:
    """Yield each tile, in order of channels. A block that another operation also writes is a tile of its own."""
    m = array.block
    cout, start = len(op.bias), op.dest_at[2]
    block, end = start // m, -(-(start + cout) // m)
    while block < end:
        mask = [start <= block * m + i < start + cout for i in range(m)]
        partial = op.shares_blocks and not all(mask)
        count = 1 if partial else min(array.cols // m, end - block)
        if op.shares_blocks and not partial and (block + count) * m > start + cout:
            count -= 1
        channels = block * m - start + np.arange(array.cols)
        channels[(channels < 0) | (channels >= cout) | (np.arange(array.cols) >= count * m)] = -1
        shift, taps = _blocks_used(op, channels, m)
        yield Tiles(
            channels=channels[None],
            first_block=block,
            blocks=count,
            byte_enable=sum(bit << i for i, bit in enumerate(mask)) if partial else (1 << m) - 1,
            taps=taps,
            shift=shift,
            stride=0,
        )
        block += count


def _blocks_used(op: Accumulate, channels: np.ndarray, block: int) -> tuple[int, tuple[Tap, ...]]:
    """Return the first channel block that the columns' groups read, and the taps behind it that have a weight.

    All-zero blocks are in no tap: never stored, never read.
    """
    per_group, group_in = len(op.bias) // op.groups, op.weight.shape[3]
    present = channels[channels >= 0]
    bases = present // per_group * group_in
    shift = int(bases.min()) // block
    used: set[Tap] = set()
    for channel, base in zip(present, bases, strict=True):
        ky, kx, cin = np.nonzero(op.weight[channel])
        used.update(zip(ky.tolist(), kx.tolist(), ((base + cin) // block - shift).tolist(), strict=True))
    return shift, tuple(sorted(used)) or ((0, 0, 0),)


def _join(left: Tiles, right: Tiles, source_blocks: int) -> Tiles | None:
    """Return both as one that reads the taps of either, if the right continues the left."""
    count = len(left.channels)
    stride = right.shift - (left.shift + (count - 1) * left.stride)
    follows = right.first_block == left.first_block + count * left.blocks
    same = (left.blocks, left.byte_enable) == (right.blocks, right.byte_enable)
    taps = tuple(sorted({*left.taps, *right.taps}))
    inside = right.shift + max(block for _, _, block in taps) < source_blocks
    if not (follows and same and inside and (count == 1 or stride == left.stride)):
        return None
    return replace(left, channels=np.concatenate([left.channels, right.channels]), stride=stride, taps=taps)
