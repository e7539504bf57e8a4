"""Operations to slices of a work-list core: what the lanes issue, what is drained, and where it goes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import NamedTuple

import numpy as np

from heddle.gen.ir import Network, Tensor
from heddle.gen.kinds import Accumulate, Core, Elementwise, Move
from heddle.gen.worklist_adds import Weight
from heddle.gen.worklist_layout import Group, Planes, Word, covering, groups, row_words
from heddle.gen.worklists import Loop, arrange, least_skew
from heddle.hdl.worklist_config import WorklistShape

LEAST_BUFFER = 64
"""Bytes that a load collects at least before it writes them, where there are so many."""


class Item(NamedTuple):
    """A weight and the place of its activation from the group's base."""

    weight: int
    offset: int
    high: bool = False


class DrainEntry(NamedTuple):
    """A drain as the list holds it; ``param`` is its channel's index in the requantization parameters."""

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
        Of each group; the units of each chunk where it loads.
    words
        Of each group, one or two after another.
    fills
        It only writes padding.
    """

    operation: int
    loop: Loop
    items: tuple[tuple[Item, ...], ...]
    drains: tuple[DrainEntry, ...]
    bases: tuple[int, ...]
    words: tuple[Word, ...]
    two_writes: bool = False
    fills: bool = False
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
    """Makes the slices of a network's operations, and a program of them."""

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
        self.skew = least_skew(shape.lanes, max(layout.phases[1] for layout in layouts.values()))
        self.load_shapes = {name: LoadShape.of(network.tensors[name], shape.pixels) for name in core.inputs}
        self.load_bytes = max(s.slots * s.piece for s in self.load_shapes.values())
        self.selections: dict[tuple[int | None, ...], int] = {}
        chunk_bytes = [
            count * s.piece
            for name, s in self.load_shapes.items()
            for _, _, count, _ in s.chunks(network.tensors[name])
        ]
        self.unit_bytes = gcd(shape.stream_bytes, *chunk_bytes)

    def slices(self) -> list[Slice]:
        """Return the slices of all operations."""
        every: list[Slice] = []
        grouped = {index: self._groups(op) for index, op in enumerate(self.core.operations) if not isinstance(op, Move)}
        filled: set[str] = set()
        for index, op in enumerate(self.core.operations):
            if op.dest and op.dest not in filled:
                filled.add(op.dest)
                every += self._fill(index, op.dest, grouped)
            if isinstance(op, Move):
                every.append(self._move(index, op))
            else:
                every.append(self._compute(index, op, grouped[index]))
        return every

    # --- groups and padding ----------------------------------------------------------------------------------------

    def _groups(self, op: Accumulate | Elementwise) -> list[Group]:
        source, dest = self.layouts[op.sources[0]], self.layouts[op.dest]
        if isinstance(op, Elementwise):
            rows, cols, stride, dest_at = (0, dest.height), (0, dest.width), (1, 1), (0, 0)
        else:
            rows, cols, stride, dest_at = op.rows, op.cols, op.window.stride, op.dest_at[:2]
        return groups(source, dest, rows=rows, cols=cols, stride=stride, dest_at=dest_at, pixels=self.shape.pixels)

    def _load_words(self, name: str) -> list[Word]:
        layout, shape = self.layouts[name], self.load_shapes[name]
        return [
            word._replace(base=word.base + channel * layout.plane)
            for y, x, count, channel in shape.chunks(self.network.tensors[name])
            for word in row_words(layout, y, x, count, pixels=self.shape.pixels, first=shape.slots - count)
        ]

    def _fill(self, index: int, name: str, grouped: Mapping[int, list[Group]]) -> list[Slice]:
        """Write the padding that no result's word brings along, of every channel and before the first."""
        layout = self.layouts[name]
        pads = layout.pads()
        if not pads:
            return []
        first = layout.base + layout.lead
        brought: list[tuple[set[int], set[int]]] = []
        for other, op in enumerate(self.core.operations):
            if op.dest != name:
                continue
            if isinstance(op, Move):
                words, channels = self._load_words(name), set(range(layout.channels))
                if self.load_shapes[name].piece < layout.channels:
                    words = []
            else:
                words = [word for group in grouped[other] for word in group.words]
                at, count = self._channels(op)
                channels = set(range(at, at + count))
            brought.append((channels, {place - first for word in words for place in _padding(word)}))
        left = set(layout.tail())
        # What is brought along is the same for most channels.
        for writers in {tuple(channel in channels for channels, _ in brought) for channel in range(layout.channels)}:
            left |= pads.difference(*(places for (_, places), writes in zip(brought, writers, strict=True) if writes))
        words = [word._replace(base=word.base + first) for word in covering(left, self.shape.pixels)]
        loop = arrange([0] * (layout.channels + 1), self.shape.lanes, skew=self.skew)
        drains = tuple(
            DrainEntry(self.shape.lanes, False, 0, (drain.channel - 1) * layout.plane, 0) for drain in loop.drains
        )
        items: tuple[tuple[Item, ...], ...] = ((),) * (layout.channels + 1)
        return [
            Slice(
                operation=index, loop=loop, items=items, drains=drains, bases=(0,) * len(words), words=tuple(words),
                pad=layout.pad, fills=True,
            )
        ]  # fmt: skip

    def _channels(self, op: Accumulate | Elementwise) -> tuple[int, int]:
        """First channel written and their number."""
        if isinstance(op, Elementwise):
            return 0, self.layouts[op.dest].channels
        return op.dest_at[2], len(op.bias)

    # --- slices ----------------------------------------------------------------------------------------------------

    def _compute(self, index: int, op: Accumulate | Elementwise, grouped: Sequence[Group]) -> Slice:
        dest = self.layouts[op.dest]
        items = self._sum_items(op) if isinstance(op, Accumulate) else self._add_items(index, op)
        two = dest.phases[1] == 2
        loop = arrange([len(own) for own in items], self.shape.lanes, writes=2 if two else 1, skew=self.skew)
        at, _ = self._channels(op)
        uniform = isinstance(op, Elementwise) or op.uniform
        drains = tuple(
            DrainEntry(
                self.shape.lanes if d.lane is None else d.lane,
                d.more,
                d.write,
                (at + d.channel) * dest.plane,
                self.starts[index] + (0 if uniform else d.channel),
            )
            for d in loop.drains
        )
        return Slice(
            operation=index, loop=loop, items=items, drains=drains, bases=tuple(g.source for g in grouped),
            words=tuple(word for group in grouped for word in group.words), two_writes=two, zero_point=op.zero_point,
            low=op.low, high=op.high, pad=dest.pad,
        )  # fmt: skip

    def _sum_items(self, op: Accumulate) -> tuple[tuple[Item, ...], ...]:
        """Return the non-zero weights of each channel, with their places."""
        source, w = self.layouts[op.source], op.window
        y, x = op.rows[0] * w.stride[0], op.cols[0] * w.stride[1]
        origin = source.at(y, x)
        taps = np.array(
            [
                [
                    source.at(y + i * w.dilation[0] - w.padding.top, x + j * w.dilation[1] - w.padding.left) - origin
                    for j in range(w.kernel[1])
                ]
                for i in range(w.kernel[0])
            ]
        )
        bases = op.bases(np.arange(len(op.bias)))
        every = []
        for channel, base in enumerate(bases.tolist()):
            i, j, c = np.nonzero(op.weight[channel])
            values = op.weight[channel][i, j, c].tolist()
            offsets = (taps[i, j] + (base + c) * source.plane).tolist()
            every.append(tuple(Item(v, o) for v, o in zip(values, offsets, strict=True)))
        return tuple(every)

    def _add_items(self, index: int, op: Elementwise) -> tuple[tuple[Item, ...], ...]:
        first, second = (self.layouts[name] for name in op.sources)
        places = (0, second.base - first.base)
        parts = [
            (Item(part, place, high))
            for value, place in zip(self.adds[index], places, strict=True)
            for part, high in zip(Weight.of(value), (False, True), strict=True)
            if part
        ]
        return tuple(
            tuple(part._replace(offset=part.offset + channel * first.plane) for part in parts)
            for channel in range(first.channels)
        )

    def _move(self, index: int, op: Move) -> Slice:
        return self._load(index, op.dest) if op.dest else self._store(index, op.source or "")

    def _load(self, index: int, name: str) -> Slice:
        layout, shape, tensor = self.layouts[name], self.load_shapes[name], self.network.tensors[name]
        two = layout.phases[1] == 2
        drains = []
        for channel in range(shape.piece):
            start = self.load_bytes - shape.slots * shape.piece + channel
            word = tuple(start + v * shape.piece if v < shape.slots else None for v in range(self.shape.pixels))
            source = self.selections.setdefault(word, len(self.selections))
            drains += [
                DrainEntry(source, False, write, channel * layout.plane, self.starts[index]) for write in range(1 + two)
            ]
        units = [count * shape.piece // self.unit_bytes - 1 for _, _, count, _ in shape.chunks(tensor)]
        return Slice(
            operation=index, loop=_idle(self.shape.lanes), items=(), drains=tuple(drains), bases=tuple(units),
            words=tuple(self._load_words(name)), two_writes=two, load=True, pad=layout.pad,
        )  # fmt: skip

    def _store(self, index: int, name: str) -> Slice:
        layout = self.layouts[name]
        items = tuple(Item(0, channel * layout.plane) for channel in range(layout.channels))
        # Lane 0 reads the bytes of a pixel one after another; nothing ends, and nothing is drained.
        loop = Loop(
            cycles=len(items),
            skew=self.skew,
            slots=(tuple((0, i) for i in range(len(items))), *((None,) * len(items),) * (self.shape.lanes - 1)),
            ends=(frozenset(),) * self.shape.lanes,
            drains=(),
        )
        bases = tuple(layout.at(y, x) for y in range(layout.height) for x in range(layout.width))
        return Slice(operation=index, loop=loop, items=(items,), drains=(), bases=bases, words=(), store=True)


def _idle(lanes: int) -> Loop:
    return Loop(cycles=1, skew=0, slots=((None,),) * lanes, ends=(frozenset(),) * lanes, drains=())


def _padding(word: Word) -> list[int]:
    return [word.base + bit for bit in range(word.pad.bit_length()) if word.pad >> bit & 1]
