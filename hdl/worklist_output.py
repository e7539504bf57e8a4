"""What follows the lanes of a work-list core: sums to int8 words of V pixels in the feature maps.

Every drain takes a lane's sums, or a word of the load buffer, through Q requantizers that share one channel's
parameters: the first Q pixels, then the next ones, V / Q times. All is in the drain list, in order; nothing here ever
waits.
"""

from collections.abc import Sequence
from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from heddle.hdl.delay import delay
from heddle.hdl.requantize import Requantize
from heddle.hdl.scratchpad import rotate
from heddle.hdl.worklist_config import WorklistConfig, bits_for
from heddle.hdl.worklist_lane import ROM_CYCLES, bank_rows, read_only, rotation_cycles

_ROW_CYCLES = 2
"""Of :func:`bank_rows`."""


class Drains(wiring.Component):
    """Scales and writes: the word of a drain without ``more`` is written :meth:`latency` cycles after its last turn.

    Members
    -------
    record : In(config.record_layout)
        The slice's, from ``start`` until its last word is written.
    start : In(1)
        Drains begin with the first of the record's, and destinations too.
    pulse : In(1)
        A drain begins, at least T cycles after the one before: its sums are read :attr:`READ` cycles later, Q pixels a
        cycle.
    sums : In(G x V x signed(acc_bits))
    buffer : In(8 * load_bytes)
        The load buffer, read in place of sums where the record loads.
    write : Out(config.write_layout())
    """

    READ = ROM_CYCLES + 1
    """Cycles from ``pulse`` to the first sums read."""

    record: data.View
    start: Signal
    pulse: Signal
    sums: data.View
    buffer: Signal
    write: data.View

    def __init__(self, config: WorklistConfig, *, drains: Sequence[int], dests: Sequence[int]) -> None:
        self.config, self.drains, self.dests = config, drains, dests
        lane = data.ArrayLayout(signed(config.acc_bits), config.array.pixels)
        super().__init__(
            {
                "record": In(config.record_layout),
                "start": In(1),
                "pulse": In(1),
                "sums": In(data.ArrayLayout(lane, config.array.lanes)),
                "buffer": In(unsigned(8 * config.load_bytes)),
                "write": Out(config.write_layout()),
            }
        )

    @staticmethod
    def latency(config: WorklistConfig) -> int:
        """Cycles from a drain's last turn to the write: list, sum, more, requantizer, every second pixel, rotation.

        Turns are counted from ``pulse``: the last is T - 1 cycles behind it.
        """
        return Drains.READ + 2 + config.requantize.latency + 1 + max(_ROW_CYCLES, rotation_cycles(config.array.pixels))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, requantize = self.config, self.config.requantize
        turns = config.array.turns
        entry, dest_at = self._next(m)
        taken = delay(m, self.pulse, ROM_CYCLES, name="taken", reset=True)
        # All of its turns need it.
        own = data.View(entry.shape(), Signal(entry.shape().size, name="own", reset_less=True))
        with m.If(taken):
            m.d.sync += own.eq(entry)
        total = self._total(m, entry, own, taken)
        params = delay(m, own.params, 2, name="params")
        last_turn = []
        for q in range(config.array.requantizers):
            m.submodules[f"requantize{q}"] = unit = Requantize(requantize)
            m.d.comb += [
                unit.acc.eq(total[q]),
                unit.params.eq(params),
                unit.zero_point.eq(self.record.zero_point),
                unit.low.eq(self.record.low),
                unit.high.eq(self.record.high),
            ]
            last_turn.append(unit.ofmap)
        # Those of earlier turns wait for the last.
        results = [
            delay(m, result, turns - 1 - turn, name=f"result{q}")
            for turn in range(turns)
            for q, result in enumerate(last_turn)
        ]
        to_result = self.READ - ROM_CYCLES + 2 + requantize.latency + turns - 1
        # Late, so that little has to wait: the table's word comes with the results.
        index = Signal.like(dest_at, name="dest_index", reset_less=True)
        m.d.sync += index.eq(dest_at + entry.write)
        address = delay(m, index, to_result - 1 - ROM_CYCLES, name="dest_address")
        dest = read_only(m, "dests", config.dest_layout, self.dests, address)
        self._write(
            m,
            results,
            dest,
            offset=delay(m, entry.offset, to_result, name="offset"),
            done=delay(m, taken & ~entry.more, to_result, name="done", reset=True),
        )
        return m

    def _next(self, m: Module) -> tuple[data.View, Value]:
        """Return the drain that a pulse began, and its group's first destination, :data:`ROM_CYCLES` later."""
        record = self.record
        at, left = Signal.like(record.drain_base, name="at"), Signal.like(record.drain_last, name="left")
        dest = Signal.like(record.dest_base, name="dest")
        with m.If(self.pulse):
            m.d.sync += [at.eq(at + 1), left.eq(left - 1)]
            with m.If(left == 0):
                m.d.sync += [
                    at.eq(record.drain_base),
                    left.eq(record.drain_last),
                    dest.eq(dest + record.writes),
                ]
        with m.If(self.start):
            m.d.sync += [at.eq(record.drain_base), left.eq(record.drain_last), dest.eq(record.dest_base)]
        entry = read_only(m, "drains", self.config.drain_layout, self.drains, at)
        return entry, delay(m, dest, ROM_CYCLES, name="dest_at")

    def _total(self, m: Module, entry: data.View, own: data.View, taken: Value) -> list[Value]:
        """Return Q sums, three cycles after the entry: the lane's, and those before it that had ``more``."""
        config, shape = self.config, self.config.array
        # A bit for each lane and turn: an index would make a tree of multiplexers for each bit of the sum.
        first = Signal(shape.lanes, name="chosen0")
        chosen: list[Value] = [first]
        m.d.sync += first.eq(entry.source[: shape.lanes] & taken.replicate(shape.lanes))
        begun = [delay(m, taken, 1, name="begun0", reset=True)]
        for later in range(1, shape.turns):
            chosen.append(delay(m, chosen[-1], 1, name=f"chosen{later}", reset=True))
            begun.append(delay(m, begun[-1], 1, name=f"begun{later}", reset=True))
        turn = Signal(range(shape.turns))
        m.d.sync += turn.eq(Mux(taken, 0, turn + 1))
        valid = delay(m, reduce(or_, begun), 1, name="valid", reset=True)
        more = delay(m, own.more, 1, name="more")
        totals = []
        for q in range(shape.requantizers):
            pixels = range(q, shape.pixels, shape.requantizers)
            raw, total, both = (Signal(signed(config.acc_bits), name=f"{name}{q}") for name in ("raw", "total", "both"))
            sums = (
                self.sums[lane][v] & strobes[lane].replicate(config.acc_bits)
                for v, strobes in zip(pixels, chosen, strict=True)
                for lane in range(shape.lanes)
            )
            loaded = Signal(signed(8), name=f"loaded{q}")
            choices = [selection[v] for selection in config.selections for v in pixels]
            if any(choice is not None for choice in choices):
                bytes_ = [self.buffer.word_select(choice or 0, 8).as_signed() for choice in choices]
                index = Cat(turn, own.source[: bits_for(len(config.selections))])
                m.d.comb += loaded.eq(Array(bytes_)[index])
            m.d.sync += [raw.eq(Mux(self.record.load, loaded, reduce(or_, sums).as_signed())), total.eq(both)]
            # Of each turn one, the next turn's first.
            held = [Signal(signed(config.acc_bits), name=f"held{v}") for v in pixels]
            m.d.comb += both.eq(raw + held[0])
            with m.If(valid):
                m.d.sync += [at.eq(later) for at, later in zip(held, [*held[1:], Mux(more, both, 0)], strict=True)]
            totals.append(total)
        return totals

    def _write(self, m: Module, results: list[Value], dest: data.View, *, offset: Value, done: Value) -> None:
        config, pixels = self.config, self.config.array.pixels
        position = Signal(config.position_bits, reset_less=True)
        m.d.sync += position.eq(dest.base + offset)
        places = []
        for v in range(pixels):
            byte, strobe = Signal(8, name=f"byte{v}", reset_less=True), Signal(name=f"strobe{v}")
            if v < pixels // 2:
                second = Mux(dest.parity, results[2 * v + 1], results[2 * v])
            else:
                second = results[2 * v + 1 - pixels]
            value = Mux(dest.halve, second, results[v])
            m.d.sync += [
                byte.eq(value),
                strobe.eq(dest.write[v] & done),
            ]
            places.append(Cat(byte, strobe))
        apart = Signal(config.row_bits)
        m.d.sync += apart.eq(Mux(dest.halve, self.record.apart, 0))
        rows, _ = bank_rows(m, "write", position, config.bank_bits, apart=apart)
        turned, cycles = rotate(m, places, position[: config.bank_bits], left=False, name="turn", per_register=2)
        late = max(_ROW_CYCLES, cycles)
        for b in range(pixels):
            place = delay(m, Value.cast(turned[b]), late - cycles, name=f"place{b}", reset=True)
            m.d.comb += [
                self.write.rows[b].eq(delay(m, rows[b], late - _ROW_CYCLES, name=f"row{b}")),
                self.write.bytes[b].eq(place[:8]),
                self.write.strobes[b].eq(place[8]),
            ]
