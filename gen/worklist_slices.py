"""Operations to slices of a work-list core: what the lanes issue, what is drained, and where it goes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from math import gcd
from typing import NamedTuple

import numpy as np

from heddle.gen.ir import Network, Tensor
from heddle.gen.kinds import Accumulate, Core, Elementwise, Move
from heddle.gen.limits import MAX_MASKS, check_limit
from heddle.gen.worklist_adds import Weight
from heddle.gen.worklist_layout import Group, Planes, Word, groups, masks, row_words, unpacked
from heddle.gen.worklists import Loop, arrange, least_skew
from heddle.hdl.worklist_config import WorklistShape

LEAST_BUFFER = 64
"""Bytes that a load collects at least before it writes them, where there are so many."""
MOST_WORDS = (1, 2, 4, 8, 16)
"""Words of a group that are tried."""
NOTHING = Word(0, 0)


class Item(NamedTuple):
    """A weight and its activation: which tap of the window, or which source, and which channel."""

    weight: int
    tap: int
    channel: int
    high: bool = False


class Base(NamedTuple):
    """Where a group's windows have their origin, and the slice's run of masks for it, ``None`` if all is inside."""

    place: int
    masks: int | None = None


class DrainEntry(NamedTuple):
    """A drain as the list holds it; ``param`` is its channel's index in the requantization parameters.

    ``source`` has a bit for each lane, that of the sum set, none if there is no sum; or it is a selection of the load's
    buffer.
    """

    source: int
    more: bool
    write: int
    offset: int
    param: int


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One slice before it has its place in the tables.

    Parameters
    ----------
    operation
        Which operation it belongs to.
    loop
        What the lanes issue.
    items
        For each channel of the loop, its items.
    drains
        In the loop's order.
    bases
        Of each group; where it loads, the units of each chunk less one.
    words
        Of each group ``writes``, one after another.
    apart
        Rows from what every second result becomes to what the others do (:meth:`Planes.apart`).
    taps
        Place of each tap from the group's.
    masks
        Runs of a mask for each tap: which of the group's pixels meet what lies beyond the map's edge.
    plane
        Places from a channel of the source to the next.
    pad
        What lies beyond the edge.
    """

    operation: int
    loop: Loop
    items: tuple[tuple[Item, ...], ...]
    drains: tuple[DrainEntry, ...]
    bases: tuple[Base, ...]
    words: tuple[Word, ...]
    taps: tuple[int, ...] = (0,)
    masks: tuple[tuple[int, ...], ...] = ()
    plane: int = 0
    apart: int = 0
    writes: int = 1
    load: bool = False
    store: bool = False
    zero_point: int = 0
    low: int = -128
    high: int = 127
    pad: int = 0


@dataclass(frozen=True, kw_only=True)
class LoadShape:
    """How an input is taken from the stream: pixels of a row at a time, and channels of them."""

    slots: int
    piece: int

    @staticmethod
    def of(tensor: Tensor, pixels: int) -> "LoadShape":
        """Choose chunks that a buffer of a few words holds."""
        _, width, channels = tensor.hwc
        limit = max(4 * pixels, LEAST_BUFFER)
        slots = min(pixels, width, max(1, limit // channels))
        piece = max(p for p in range(1, min(channels, limit) + 1) if channels % p == 0)
        return LoadShape(slots=slots, piece=piece)

    def chunks(self, tensor: Tensor) -> list[tuple[int, int, int, int]]:
        """Row, column, pixels and first channel of each chunk, in the stream's order."""
        height, width, channels = tensor.hwc
        return [
            (y, x, min(self.slots, width - x), c)
            for y in range(height)
            for x in range(0, width, self.slots)
            for c in range(0, channels, self.piece)
        ]


class Assembler:
    """Makes the slices of a network's operations; :func:`heddle.gen.worklist_program.program` puts them together."""

    def __init__(
        self,
        network: Network,
        core: Core,
        layouts: Mapping[str, Planes],
        shape: WorklistShape,
        *,
        starts: Mapping[int, int],
        adds: Mapping[int, tuple[int, int]],
    ) -> None:
        self.network, self.core, self.layouts, self.shape = network, core, layouts, shape
        self.starts, self.adds = starts, adds
        self.grouped = self._choose_groups()
        self.load_shapes = {name: LoadShape.of(network.tensors[name], shape.pixels) for name in core.inputs}
        self.load_bytes = max(s.slots * s.piece for s in self.load_shapes.values())
        self.selections: dict[tuple[int | None, ...], int] = {}
        self._masks = 0
        chunk_bytes = [
            count * s.piece
            for name, s in self.load_shapes.items()
            for _, _, count, _ in s.chunks(network.tensors[name])
        ]
        self.unit_bytes = gcd(shape.stream_bytes, *chunk_bytes)

    def slices(self) -> list[Slice]:
        """Return the slices of all operations."""
        every: list[Slice] = []
        for index, op in enumerate(self.core.operations):
            every.append(self._move(index, op) if isinstance(op, Move) else self._compute(index, op))
        return every

    # --- groups ----------------------------------------------------------------------------------------------------

    def _choose_groups(self) -> dict[int, list[Group]]:
        """Divide each operation's pixels: as few groups as pay, for one of several rows writes more words a channel."""
        chosen = {}
        for index, op in enumerate(self.core.operations):
            if not isinstance(op, Move):
                chosen[index] = min(self._ways(op), key=partial(self._expected_cycles, index, op))
        return chosen

    def _ways(self, op: Accumulate | Elementwise) -> Iterator[list[Group]]:
        for most in MOST_WORDS:
            divided = self._groups(op, most)
            yield divided
            if max(len(group.words) for group in divided) < most:
                # More words would change nothing.
                return

    def _groups(self, op: Accumulate | Elementwise, most_words: int) -> list[Group]:
        source, dest = self.layouts[op.sources[0]], self.layouts[op.dest]
        if isinstance(op, Elementwise):
            rows, cols, stride, dest_at = (0, dest.height), (0, dest.width), (1, 1), (0, 0)
        else:
            rows, cols, stride, dest_at = op.rows, op.cols, op.window.stride, op.dest_at[:2]
        return groups(
            source, dest, rows=rows, cols=cols, stride=stride, dest_at=dest_at, pixels=self.shape.pixels,
            most_words=most_words,
        )  # fmt: skip

    def _expected_cycles(self, index: int, op: Accumulate | Elementwise, divided: Sequence[Group]) -> int:
        """Items at the peak, or drains if these are more; and as drains run late, idling where channels are short."""
        lanes = self.shape.lanes
        if isinstance(op, Accumulate):
            items, channels = int(np.count_nonzero(op.weight)), len(op.bias)
        else:
            channels = self.layouts[op.dest].channels
            items = channels * sum(part != 0 for value in self.adds[index] for part in Weight.of(value))
        words = max(len(group.words) for group in divided)
        turns = self.shape.turns
        skew = least_skew(lanes, words, turns)
        # No channel may end while the last loop's sums are drained.
        idle = max(0, skew - 1 - items // channels)
        return len(divided) * max(-(-items // lanes) + idle, words * channels * turns) + skew

    def _load_words(self, name: str) -> list[tuple[Word, ...]]:
        """Return the words of each chunk, as many of each."""
        layout, shape, pixels = self.layouts[name], self.load_shapes[name], self.shape.pixels
        chunks = [
            tuple(
                word._replace(base=word.base + channel * layout.plane)
                for word in row_words(layout, y, x, count, pixels=pixels, first=shape.slots - count)
            )
            for y, x, count, channel in shape.chunks(self.network.tensors[name])
        ]
        return _filled(chunks)

    def _apart(self, name: str) -> int:
        return self.layouts[name].apart(self.shape.pixels) or 0

    # --- slices ----------------------------------------------------------------------------------------------------

    def _compute(self, index: int, op: Accumulate | Elementwise) -> Slice:
        source, dest, grouped = self.layouts[op.sources[0]], self.layouts[op.dest], self.grouped[index]
        if isinstance(op, Accumulate):
            items, taps, pad = _sum_items(op), _taps(op, source), op.pad_value
            beyond = masks(grouped, op.window, source)
            kinds = dict.fromkeys(run for run in beyond if run)
            self._masks += len(kinds) * len(taps)
            check_limit(self._masks, MAX_MASKS, "masks at edges of maps", layer=op.layer, remedy="use the array core")
            runs = tuple(unpacked(run, op.window) for run in kinds)
        else:
            items, taps, pad = self._add_items(index, op), self._add_taps(op), 0
            beyond, kinds, runs = [b""] * len(grouped), {}, ()
        number = {run: place for place, run in enumerate(kinds)}
        words = _filled([group.words for group in grouped])
        writes = len(words[0])
        loop = arrange([len(own) for own in items], self.shape.lanes, writes=writes, turns=self.shape.turns)
        at = op.dest_at[2] if isinstance(op, Accumulate) else 0
        uniform = isinstance(op, Elementwise) or op.uniform
        drains = tuple(
            DrainEntry(
                0 if d.lane is None else 1 << d.lane,
                d.more,
                d.write,
                (at + d.channel) * dest.plane,
                self.starts[index] + (0 if uniform else d.channel),
            )
            for d in loop.drains
        )
        return Slice(
            operation=index, loop=loop, items=items, drains=drains, taps=taps, masks=runs, plane=source.plane,
            bases=tuple(Base(g.source, number.get(run)) for g, run in zip(grouped, beyond, strict=True)),
            words=tuple(chain(*words)), apart=self._apart(op.dest), writes=writes,
            zero_point=op.zero_point, low=op.low, high=op.high, pad=pad,
        )  # fmt: skip

    def _add_items(self, index: int, op: Elementwise) -> tuple[tuple[Item, ...], ...]:
        parts = [
            (part, source, high)
            for source, value in enumerate(self.adds[index])
            for part, high in zip(Weight.of(value), (False, True), strict=True)
            if part
        ]
        channels = self.layouts[op.dest].channels
        return tuple(tuple(Item(part, source, c, high) for part, source, high in parts) for c in range(channels))

    def _add_taps(self, op: Elementwise) -> tuple[int, ...]:
        first, *others = (self.layouts[name].base for name in op.sources)
        return (0, *(other - first for other in others))

    def _move(self, index: int, op: Move) -> Slice:
        return self._load(index, op.dest) if op.dest else self._store(index, op.source or "")

    def _load(self, index: int, name: str) -> Slice:
        layout, shape, tensor = self.layouts[name], self.load_shapes[name], self.network.tensors[name]
        words = self._load_words(name)
        writes = len(words[0])
        drains = []
        for channel in range(shape.piece):
            start = self.load_bytes - shape.slots * shape.piece + channel
            word = tuple(start + v * shape.piece if v < shape.slots else None for v in range(self.shape.pixels))
            source = self.selections.setdefault(word, len(self.selections))
            drains += [
                DrainEntry(source, False, write, channel * layout.plane, self.starts[index]) for write in range(writes)
            ]
        units = [Base(count * shape.piece // self.unit_bytes - 1) for _, _, count, _ in shape.chunks(tensor)]
        return Slice(
            operation=index, loop=_idle(self.shape.lanes), items=(), drains=tuple(drains), bases=tuple(units),
            words=tuple(chain(*words)), apart=self._apart(name), writes=writes, load=True,
        )  # fmt: skip

    def _store(self, index: int, name: str) -> Slice:
        layout = self.layouts[name]
        items = tuple(Item(0, 0, channel) for channel in range(layout.channels))
        # Lane 0 reads the bytes of a pixel one after another; nothing ends, and nothing is drained.
        loop = Loop(
            cycles=len(items),
            skew=0,
            slots=(tuple((0, i) for i in range(len(items))), *((None,) * len(items),) * (self.shape.lanes - 1)),
            ends=(frozenset(),) * self.shape.lanes,
            drains=(),
        )
        bases = tuple(Base(layout.at(y, x)) for y in range(layout.height) for x in range(layout.width))
        return Slice(
            operation=index, loop=loop, items=(items,), drains=(), bases=bases, words=(), plane=layout.plane, store=True
        )  # fmt: skip


def _filled(words: Sequence[tuple[Word, ...]]) -> list[tuple[Word, ...]]:
    """Return the words of each group, or chunk, with :data:`NOTHING` behind them where others have more."""
    writes = max(map(len, words))
    return [(*own, *[NOTHING] * (writes - len(own))) for own in words]


def _idle(lanes: int) -> Loop:
    return Loop(cycles=1, skew=0, slots=((None,),) * lanes, ends=(frozenset(),) * lanes, drains=())


def _sum_items(op: Accumulate) -> tuple[tuple[Item, ...], ...]:
    """Return the non-zero weights of each channel, with their taps and source channels."""
    bases = op.bases(np.arange(len(op.bias)))
    columns = op.window.kernel[1]
    every = []
    for weight, base in zip(op.weight, bases.tolist(), strict=True):
        i, j, c = np.nonzero(weight)
        fields = (weight[i, j, c], i * columns + j, base + c)
        every.append(tuple(Item(*item) for item in zip(*(field.tolist() for field in fields), strict=True)))
    return tuple(every)


def _taps(op: Accumulate, source: Planes) -> tuple[int, ...]:
    """Return the place of each tap from that of the window's origin, padding not counted."""
    w = op.window
    y, x = op.rows[0] * w.stride[0], op.cols[0] * w.stride[1]
    origin = source.at(y, x)
    return tuple(
        source.at(y + i * w.dilation[0] - w.padding.top, x + j * w.dilation[1] - w.padding.left) - origin
        for i in range(w.kernel[0])
        for j in range(w.kernel[1])
    )
