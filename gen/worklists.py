"""Work lists: non-zero products of output channels, balanced over lanes, and the cycle in which each is issued.

All lanes of a work-list core run one loop in lockstep: ``cycles`` items each, the same again for every group of pixels.
An item that ends a channel leaves its sum in the lane's shadow register; drains, one after another, take sums from
there to the requantizers. Nothing is decided at run time, so what a loop takes is known here, exactly.

``docs/decisions/0017-work-list-core.md`` has the core's structure.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Part(NamedTuple):
    """Items ``start`` to ``stop - 1`` of output channel ``channel``, all on one lane."""

    channel: int
    start: int
    stop: int


class Drain(NamedTuple):
    """A sum leaves a lane's shadow register.

    ``at`` is the loop's cycle in which it begins, less ``skew``; ``lane`` is ``None`` for a channel without items,
    whose sum is 0. A sum with ``more`` is kept and added to the next; of the last one write number ``write`` of the
    channel is made.
    """

    at: int
    lane: int | None
    channel: int
    write: int
    more: bool


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What the lanes issue for one group of pixels.

    Parameters
    ----------
    cycles
        Its length.
    skew
        Cycles by which drains run behind the loop: a channel that ends with the loop is drained in the next one.
    slots
        For each lane and cycle the channel and which of its items, or ``None`` where the lane idles.
    ends
        For each lane the cycles whose item ends a part.
    drains
        In order.
    """

    cycles: int
    skew: int
    slots: tuple[tuple[tuple[int, int] | None, ...], ...]
    ends: tuple[frozenset[int], ...]
    drains: tuple[Drain, ...]

    @property
    def idle(self) -> int:
        """Lane-cycles without an item."""
        return sum(slot is None for lane in self.slots for slot in lane)


def balance(counts: Sequence[int], lanes: int, *, divided: int = 0) -> list[list[Part]]:
    """Give the items of each channel to lanes: whole channels, longest first, each to the lane with the fewest items.

    The ``divided`` largest ones level out what the others leave uneven: their items go to several lanes. They come
    last, in the same order on every lane.

    >>> [[part.channel for part in lane] for lane in balance([5, 4, 3, 3], 2)]
    [[0, 3], [1, 2]]
    >>> [sum(part.stop - part.start for part in lane) for lane in balance([10, 10, 10], 2, divided=1)]
    [15, 15]
    """
    order = sorted((c for c, count in enumerate(counts) if count), key=lambda c: (-counts[c], c))
    return _assign(counts, lanes, order[:divided], order[divided:])


def _assign(counts: Sequence[int], lanes: int, divided: Sequence[int], whole: Sequence[int]) -> list[list[Part]]:
    assigned: list[list[Part]] = [[] for _ in range(lanes)]
    loads = [0] * lanes
    for channel in whole:
        lane = loads.index(min(loads))
        assigned[lane].append(Part(channel, 0, counts[channel]))
        loads[lane] += counts[channel]
    for channel in divided:
        start = 0
        for lane, share in enumerate(_levelling(loads, counts[channel])):
            if share:
                assigned[lane].append(Part(channel, start, start + share))
                loads[lane] += share
                start += share
    return assigned


def _levelling(loads: Sequence[int], items: int) -> list[int]:
    """Divide ``items`` so that the fullest lane has as few as possible: fill the emptiest up to a common level."""
    order = sorted(range(len(loads)), key=lambda lane: (loads[lane], lane))
    filled, total = 0, items
    for filled in range(1, len(order) + 1):
        total = items + sum(loads[lane] for lane in order[:filled])
        if filled == len(order) or total <= filled * loads[order[filled]]:
            break
    level, above = divmod(total, filled)
    shares = [0] * len(loads)
    for place, lane in enumerate(order[:filled]):
        shares[lane] = level + (place < above) - loads[lane]
    return shares


def least_skew(lanes: int, writes: int, turns: int) -> int:
    """Cycles in which all that the lanes' shadow registers hold is drained."""
    return lanes * writes * turns


def arrange(counts: Sequence[int], lanes: int, *, writes: int = 1, turns: int = 1) -> Loop:
    """Find the loop that computes channels of ``counts`` items each, ``writes`` words written for each of them.

    A drain takes ``turns`` cycles, and reads its lane's shadow register in all of them.
    A lane idles rather than end a channel while its shadow register still holds the one before. As many channels are
    divided as make the shortest loop, at most one for each lane.
    """
    skew = least_skew(lanes, writes, turns)
    # No loop is shorter than its items or its writes take.
    least = max(-(-sum(counts) // lanes), writes * len(counts) * turns, 1)
    best: Loop | None = None
    for divided in range(min(lanes, sum(count > 1 for count in counts)) + 1 if lanes > 1 else 1):
        loop = _arrange(counts, balance(counts, lanes, divided=divided), writes, turns, skew)
        if best is None or loop.cycles < best.cycles:
            best = loop
        if best.cycles == least:
            break
    assert best is not None
    return best


class _Lane:
    """One lane as the loop is found: what it has issued and what it holds."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = deque(parts)
        self.item = parts[0].start if parts else 0
        self.shadow: int | None = None
        self.slots: list[tuple[int, int] | None] = []
        self.ends: set[int] = set()

    def issue(self, cycle: int, *, may_end: bool) -> int | None:
        """Issue an item if there is one; return the channel of which a part has ended."""
        if not self.parts:
            self.slots.append(None)
            return None
        part = self.parts[0]
        ends = self.item + 1 == part.stop
        if ends and not may_end:
            self.slots.append(None)
            return None
        self.slots.append((part.channel, self.item))
        self.item += 1
        if not ends:
            return None
        self.ends.add(cycle)
        self.parts.popleft()
        if self.parts:
            self.item = self.parts[0].start
        self.shadow = part.channel
        return part.channel


def _arrange(counts: Sequence[int], assigned: Sequence[Sequence[Part]], writes: int, turns: int, skew: int) -> Loop:
    lanes = [_Lane(parts) for parts in assigned]
    waits = Counter(part.channel for parts in assigned for part in parts)
    empty = deque(channel for channel in range(len(counts)) if not waits[channel])
    ready: deque[int] = deque()
    queue: deque[Drain] = deque()
    drains: list[Drain] = []
    cycle = issued = 0
    left, released = 0, None
    while left or queue or ready or empty or any(lane.parts or lane.shadow is not None for lane in lanes):
        if cycle >= skew and not left:
            if not queue and (ready or empty):
                channel = (ready or empty).popleft()
                holders = [i for i, lane in enumerate(lanes) if lane.shadow == channel] or [None]
                queue.extend(
                    Drain(0, lane, channel, write, place + 1 < len(holders))
                    for write in range(writes)
                    for place, lane in enumerate(holders)
                )
            if queue:
                drain = queue.popleft()
                drains.append(drain._replace(at=cycle - skew))
                left = turns
                released = drain.lane if drain.write == writes - 1 else None
        if left:
            left -= 1
            # In its last cycle the sum is read as the next one takes its place.
            if not left and released is not None:
                lanes[released].shadow = None
        for lane in lanes:
            if lane.parts:
                issued = cycle + 1
            # The sums that a loop leaves are drained in the first `skew` cycles of the next one.
            ended = lane.issue(cycle, may_end=lane.shadow is None and cycle >= skew - 1)
            if ended is not None:
                waits[ended] -= 1
                if not waits[ended]:
                    ready.append(ended)
        cycle += 1
    cycles = max(issued, cycle - skew, 1)
    return Loop(
        cycles=cycles,
        skew=skew,
        slots=tuple(tuple((lane.slots + [None] * cycles)[:cycles]) for lane in lanes),
        ends=tuple(frozenset(lane.ends) for lane in lanes),
        drains=tuple(drains),
    )
