"""Output channels to tiles: what the array's columns compute at once, and which blocks of the source that takes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from heddle.gen.kinds import Accumulate
from heddle.gen.limits import MAX_WEIGHT_BYTES, check_limit
from heddle.gen.placement import Layout

Tap = tuple[int, int, int]
"""A block that a window reads: kernel row, kernel column, channel block."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Tiles:
    """Consecutive tiles of output channels that use the same blocks, shifted by a constant.

    Parameters
    ----------
    channels
        Channel of each column: int64 ``(tiles, columns)``, -1 where a column has none.
    first_block, blocks
        Destination block of tile 0, and how many blocks each tile writes.
    byte_enable
        Bytes of each block that are written.
    weights
        The blocks read, in order, relative to a tile's shift (in tile ``t`` that is ``shift + t * stride``), and the
        most weights that a column has for each.
    """

    channels: np.ndarray
    first_block: int
    blocks: int
    byte_enable: int
    weights: dict[Tap, int]
    shift: int
    stride: int

    @property
    def taps(self) -> tuple[Tap, ...]:
        """The blocks read."""
        return tuple(self.weights)


def tilings(op: Accumulate, columns: int, block: int, source: Layout) -> tuple[tuple[Tiles, ...], ...]:
    """Cut the output channels of ``op`` into tiles of ``columns`` and join neighbours, in one or two ways.

    The first has the fewest slices: tiles begin where their groups do, neighbours read what either of them needs. The
    second reads the fewest blocks: tiles begin with the first block they use, and only those that use the same join.
    """
    return _tilings(op, columns, block, source.blocks, source.channels)


@lru_cache(maxsize=512)  # whoever compares arrays asks for one network's again and again
def _tilings(
    op: Accumulate, columns: int, block: int, source_blocks: int, source_channels: int
) -> tuple[tuple[Tiles, ...], ...]:
    singles = list(_single_tiles(op, columns, block, source_channels))
    fewest = tuple(_joined(singles, source_blocks, union=True))
    tight = tuple(_joined(map(_tight, singles), source_blocks, union=False))
    same = [tiles.weights for tiles in fewest] == [tiles.weights for tiles in tight]
    return (fewest,) if same else (fewest, tight)


def _single_tiles(op: Accumulate, columns: int, m: int, source_channels: int) -> Iterator[Tiles]:
    """Yield each tile, in order of channels. A block that another operation also writes is a tile of its own."""
    words = 0
    cout, start = len(op.bias), op.dest_at[2]
    block, end = start // m, -(-(start + cout) // m)
    while block < end:
        mask = [start <= block * m + i < start + cout for i in range(m)]
        partial = op.shares_blocks and not all(mask)
        count = 1 if partial else min(columns // m, end - block)
        if op.shares_blocks and not partial and (block + count) * m > start + cout:
            count -= 1
        channels = block * m - start + np.arange(columns)
        channels[(channels < 0) | (channels >= cout) | (np.arange(columns) >= count * m)] = -1
        shift, counts = _blocks_used(op, channels, m, source_channels)
        # Each tap of each tile is at least a word in one lane.
        words += int(np.count_nonzero(counts))
        check_limit(words * columns, MAX_WEIGHT_BYTES, "bytes of weights or more", layer=op.layer, remedy=SHORTER)
        yield Tiles(
            channels=channels[None],
            first_block=block,
            blocks=count,
            byte_enable=sum(bit << i for i, bit in enumerate(mask)) if partial else (1 << m) - 1,
            weights={(y, x, k): int(counts[y, x, k]) for y, x, k in np.argwhere(counts).tolist()} or {(0, 0, 0): 0},
            shift=shift,
            stride=0,
        )
        block += count


def is_diagonal(op: Accumulate, tiles: Tiles, block: int) -> bool:
    """Whether each column ``c`` has weights for channel ``c mod block`` of its blocks only, as depthwise layers do."""
    _, columns = tiles.channels.shape
    channels = np.maximum(tiles.channels, 0)
    meets = (op.bases(channels)[..., None] + np.arange(op.weight.shape[3])) % block
    others = meets != (np.arange(columns) % block)[:, None]
    used = np.any(op.weight != 0, axis=(1, 2))[channels]
    return not np.any(used & others & (tiles.channels >= 0)[..., None])


SHORTER = "use a smaller window or fewer channels"


def _blocks_used(op: Accumulate, channels: np.ndarray, block: int, source_channels: int) -> tuple[int, np.ndarray]:
    """Return the first channel block that the columns' groups read, and the most weights of a column for each behind.

    The latter are int64 ``(kh, kw, blocks)``. All-zero blocks count 0: they are in no tap, never stored, never read.
    """
    group_in = op.weight.shape[3]
    present = channels[channels >= 0]
    bases = op.bases(present)
    # The groups of padding lie outside the source; they have no weights.
    inside = (bases >= 0) & (bases < source_channels)
    if not inside.any():
        return 0, np.zeros((*op.window.kernel, 1), np.int64)
    present, bases = present[inside], bases[inside]
    shift = int(bases.min()) // block
    last = (int(bases.max()) + group_in - 1) // block
    counts = np.zeros((*op.window.kernel, last - shift + 1), np.int64)
    for base in np.unique(bases):
        before, first = base % block, base // block - shift
        blocks = -(-(before + group_in) // block)
        used = np.zeros((np.count_nonzero(bases == base), *op.window.kernel, blocks * block), bool)
        used[..., before : before + group_in] = op.weight[present[bases == base]] != 0
        most = used.reshape(*used.shape[:3], blocks, block).sum(axis=4).max(axis=0)
        here = counts[:, :, first : first + blocks]
        np.maximum(here, most, out=here)
    return shift, counts


def _tight(tiles: Tiles) -> Tiles:
    """Return the same tile with its shift at the first block that it uses."""
    least = min(block for _, _, block in tiles.weights)
    weights = {(y, x, block - least): count for (y, x, block), count in tiles.weights.items()}
    return replace(tiles, weights=weights, shift=tiles.shift + least)


def _joined(singles: Iterable[Tiles], source_blocks: int, *, union: bool) -> Iterator[Tiles]:
    """Join neighbours that continue each other: any with ``union``, or else those that read the same taps."""
    run: list[Tiles] = []
    taps: set[Tap] = set()
    for single in singles:
        either = taps | single.weights.keys()
        if run and not (
            _continues(run, single, either, source_blocks)
            and (union or len(either) == len(taps) == len(single.weights))
        ):
            yield _one(run)
            run, either = [], set(single.weights)
        run.append(single)
        taps = either
    if run:
        yield _one(run)


def _continues(run: list[Tiles], right: Tiles, taps: set[Tap], source_blocks: int) -> bool:
    """Whether ``right`` follows ``run`` in its destination, at the run's stride, and ``taps`` lie in the source."""
    left = run[-1]
    return (
        right.first_block == left.first_block + left.blocks
        and (left.blocks, left.byte_enable) == (right.blocks, right.byte_enable)
        and right.shift + max(block for _, _, block in taps) < source_blocks
        and (len(run) == 1 or right.shift - left.shift == run[1].shift - run[0].shift)
    )


def _one(run: list[Tiles]) -> Tiles:
    """Return consecutive tiles as one that reads the taps of any."""
    weights: dict[Tap, int] = {}
    for single in run:
        for tap, count in single.weights.items():
            weights[tap] = max(weights.get(tap, 0), count)
    return replace(
        run[0],
        channels=np.concatenate([single.channels for single in run]),
        weights=dict(sorted(weights.items())),
        stride=run[1].shift - run[0].shift if len(run) > 1 else 0,
    )
