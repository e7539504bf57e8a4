"""The work-list core: G lanes in lockstep, one loop of items for each group of V pixels, and drains behind them.

Slices follow one another; each begins when all that the one before writes is written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from heddle.hdl.delay import delay
from heddle.hdl.edges import AxiStream, AxiStreamInterface
from heddle.hdl.worklist_config import WorklistConfig, bits_for
from heddle.hdl.worklist_edges import Loader, Storer
from heddle.hdl.worklist_lane import ROM_CYCLES, Lane, read_only
from heddle.hdl.worklist_output import Drains

_BETWEEN = 4
"""Cycles from the end of a slice to ``start`` of the next: its record is read."""


@dataclass(frozen=True, kw_only=True)
class WorklistRecord:
    """A slice, as numbers of :attr:`WorklistConfig.record_layout`; flags are 0 or 1."""

    item_base: int
    loop_last: int
    group_last: int
    base_base: int
    dest_base: int
    drain_base: int
    drain_last: int
    skew: int = 0
    tap_base: int = 0
    plane: int = 0
    zero_point: int = 0
    low: int = -128
    high: int = 127
    pad: int = 0
    load: int = 0
    store: int = 0
    writes: int = 1
    apart: int = 0


@dataclass(frozen=True, kw_only=True)
class WorklistImages:
    """Contents of a core's memories, one integer per word: each lane's items, then the tables."""

    items: tuple[Sequence[int], ...]
    drains: Sequence[int]
    bases: Sequence[int]
    dests: Sequence[int]
    taps: Sequence[int]
    masks: Sequence[int]
    records: Sequence[int]


def drain_delay(config: WorklistConfig) -> int:
    """Cycles from lane 0's ``drain`` to its pulse, beside the slice's skew.

    The sums of an item issued at ``t`` can be read ``Lane.latency`` later. A drain at ``skew + at`` begins to read a
    cycle before its number, :attr:`Drains.READ` after its pulse.
    """
    return Lane.latency(config) - 1 - ROM_CYCLES - Drains.READ


class WorklistTiming:
    """Exact cycles of slices: nothing waits but for the world outside, which here never does."""

    def __init__(self, config: WorklistConfig) -> None:
        self.config = config

    @property
    def flush(self) -> int:
        """Cycles from the last item to the last write it causes, beside the slice's skew."""
        return ROM_CYCLES + drain_delay(self.config) + Drains.latency(self.config) + 1

    def slice_cycles(self, record: WorklistRecord, *, units: Iterable[int] = ()) -> int:
        """Cycles from ``start`` to ``start`` of the next slice; ``units`` of each chunk where it loads."""
        groups, loop = record.group_last + 1, record.loop_last + 1
        if record.load:
            return self._load_cycles(record, list(units)) + Drains.latency(self.config) + 1 + _BETWEEN
        if record.store:
            return self.run_cycles(record) + _BETWEEN
        return groups * loop + self.config.skews[record.skew] + self.flush + _BETWEEN

    def run_cycles(self, record: WorklistRecord) -> int:
        """Cycles from ``start`` of a store to its last beat taken: last byte, beat, buffer."""
        items = (record.group_last + 1) * (record.loop_last + 1)
        return items + Lane.byte_latency(self.config) + 3

    def _load_cycles(self, record: WorklistRecord, units: Sequence[int]) -> int:
        """Cycles from ``start`` to ``done``: a beat is taken ahead of its first unit, and while the last one leaves."""
        per_beat = self.config.array.stream_bytes // self.config.unit_bytes
        now, left = 0, 0
        for count in units:
            now += Loader.PAUSE + (1 if left == 0 else 0)
            # A beat comes as the last unit of the one before leaves, whether the chunk ends with it or not.
            short = max(0, count - left)
            beats = -(-short // per_beat)
            left = left + beats * per_beat - count
            if left == 0:
                left = per_beat
            now += count + (record.drain_last + 1) * self.config.array.turns
        return now + 1

    def first_beat(self) -> int:
        """Cycles from a load's ``start`` to the first beat it accepts."""
        return 1


class Sequencer(wiring.Component):
    """Reads the record of one slice after another, for ever.

    Members
    -------
    record : Out(config.record_layout)
        From ``start`` to ``ended``.
    start : Out(1)
    ended : In(1)
        The slice is done.
    """

    record: data.View
    start: Signal
    ended: Signal

    def __init__(self, config: WorklistConfig, records: Sequence[int]) -> None:
        self.config, self.records = config, records
        super().__init__({"record": Out(config.record_layout), "start": Out(1), "ended": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        index = Signal(bits_for(self.config.records))
        first = Signal(init=1)
        m.d.sync += first.eq(0)
        with m.If(self.ended):
            m.d.sync += index.eq(Mux(index == self.config.records - 1, 0, index + 1))
        m.d.comb += [
            self.record.eq(read_only(m, "records", self.config.record_layout, self.records, index)),
            self.start.eq(delay(m, self.ended | first, _BETWEEN, name="start", reset=True)),
        ]
        return m


class WorklistCore(wiring.Component):
    """Runs its slices for ever: an inference each time round. :class:`WorklistTiming` has its cycles.

    Members
    -------
    s_axis, m_axis
        Input and output tensors: bytes in NHWC order, ``tlast`` with the last beat of each tensor.
    """

    s_axis: AxiStreamInterface
    m_axis: AxiStreamInterface

    def __init__(self, config: WorklistConfig, images: WorklistImages) -> None:
        self.config, self.images = config, images
        self.sequencer = Sequencer(config, images.records)
        self.lanes = [
            Lane(config, items, taps=images.taps, masks=images.masks, lane=i) for i, items in enumerate(images.items)
        ]
        self.drains = Drains(config, drains=images.drains, dests=images.dests)
        self.loader = Loader(config)
        self.storer = Storer(config.array.stream_bytes)
        axi = AxiStream(width_bytes=config.array.stream_bytes)
        super().__init__({"s_axis": In(axi), "m_axis": Out(axi)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.sequencer = sequencer = self.sequencer
        m.submodules.drains = drains = self.drains
        m.submodules.loader = loader = self.loader
        m.submodules.storer = storer = self.storer
        wiring.connect(m, loader.s_axis, wiring.flipped(self.s_axis))
        wiring.connect(m, wiring.flipped(self.m_axis), storer.m_axis)
        record, start = sequencer.record, sequencer.start
        address, issued, last = self._issue(m)
        base_at = self._base_address(m, last)
        group = read_only(m, "bases", config.base_layout, self.images.bases, base_at)
        for i, lane in enumerate(self.lanes):
            m.submodules[f"lane{i}"] = lane
            m.d.comb += [
                lane.address.eq(address),
                lane.valid.eq(issued),
                lane.record.eq(record),
                lane.group.eq(group),
                lane.write.eq(drains.write),
                drains.sums[i].eq(lane.sums),
            ]
        drained = delay(
            m, self._skewed(m, "drain", self.lanes[0].drain), drain_delay(config), name="drained", reset=True
        )
        m.d.comb += [
            drains.record.eq(record),
            drains.start.eq(start | loader.rewind),
            drains.pulse.eq(drained | loader.pulse),
            drains.buffer.eq(loader.buffer),
            loader.start.eq(start & record.load),
            loader.units_last.eq(group.base),
            loader.drains_last.eq(record.drain_last),
            loader.chunks_last.eq(record.group_last),
        ]
        latency = Lane.byte_latency(config)
        m.d.comb += [
            storer.valid.eq(delay(m, issued & record.store, latency, name="store_valid", reset=True)),
            storer.last.eq(delay(m, self.finishing & record.store, latency, name="store_last", reset=True)),
            storer.byte.eq(self.lanes[0].byte),
        ]
        finished = self._skewed(m, "finish", self.finishing & ~record.store)
        computed = delay(m, finished, WorklistTiming(config).flush, name="computed", reset=True)
        loaded = delay(m, loader.done, Drains.latency(config) + 1, name="loaded", reset=True)
        m.d.comb += sequencer.ended.eq(computed | loaded | storer.done)
        return m

    def _skewed(self, m: Module, name: str, strobe: Value) -> Value:
        """Return ``strobe`` as late as the slice's drains are.

        It enters the chain where as much is left of it: once it is out, nothing is behind it that a later slice could
        take for its own.
        """
        skews, chosen = self.config.skews, self.sequencer.record.skew
        late: Value = Const(0)
        for i in reversed(range(len(skews))):
            entered = late | (strobe & (chosen == i))
            late = delay(m, entered, skews[i] - (skews[i - 1] if i else 0), name=f"{name}_skew{i}", reset=True)
        return late

    def _issue(self, m: Module) -> tuple[Signal, Signal, Signal]:
        """Return the address of an item, whether it is issued, and whether it is its group's last."""
        record, start = self.sequencer.record, self.sequencer.start
        active, issued, last = Signal(), Signal(), Signal()
        address = Signal.like(record.item_base, name="address")
        loop, group = Signal.like(record.loop_last, name="loop"), Signal.like(record.group_last, name="group")
        self.finishing = Signal()
        m.d.comb += [
            issued.eq(active & ~(record.store & self.storer.hold)),
            last.eq(issued & (loop == record.loop_last)),
            self.finishing.eq(last & (group == record.group_last)),
        ]
        with m.If(issued):
            m.d.sync += [address.eq(address + 1), loop.eq(loop + 1)]
        with m.If(last):
            m.d.sync += [address.eq(record.item_base), loop.eq(0), group.eq(group + 1)]
        with m.If(self.finishing):
            m.d.sync += active.eq(0)
        with m.If(start):
            m.d.sync += [active.eq(~record.load), address.eq(record.item_base), loop.eq(0), group.eq(0)]
        return address, issued, last

    def _base_address(self, m: Module, last: Signal) -> Signal:
        """Return where the group's base is, or the number of a chunk's units."""
        record = self.sequencer.record
        at = Signal.like(record.base_base, name="base_at")
        with m.If(last | self.loader.advance):
            m.d.sync += at.eq(at + 1)
        with m.If(self.sequencer.start | self.loader.rewind):
            m.d.sync += at.eq(record.base_base)
        return at
