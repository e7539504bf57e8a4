"""The output stage: accumulators to int8 blocks in feature-map memory.

``done`` of the array or of the vector unit starts a drain: q results a cycle go through q requantizers, whose
parameters come from the parameter memory in the same order, and M results make a block. The issuer keeps pixels at
least as far apart as a drain takes, so nothing here ever waits.

Slices follow one another without a gap: each stage takes what it needs of the record when the slice's first result
reaches it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from heddle.hdl.addressing import LoopNest
from heddle.hdl.config import CoreConfig
from heddle.hdl.delay import delay
from heddle.hdl.program import RecordFormat
from heddle.hdl.requantize import Requantize
from heddle.hdl.vector import TableSum

_OPERAND_CYCLES = TableSum.LATENCY
"""Drain counter to requantizer: the tables, and as long for accumulators and parameters."""


@dataclass(frozen=True, kw_only=True)
class Drained:
    """Which accumulators are drained: the plane, and the group of q within its columns."""

    group: Signal
    plane: Signal


class OutputStage(wiring.Component):
    """Drains one pixel group of the array, or one block of the vector unit, after each ``done``.

    The first result block leaves :attr:`latency` cycles after ``done``; then ``M / q`` cycles a block.

    Members
    -------
    record : In
        The slice whose first ``done`` comes next: at least until then.
    take : In(1)
        A byte mover's slice begins, which has no ``done``.
    array_done, array_opens, tile_end, spare, sums : In
        From :class:`heddle.hdl.array.SystolicArray`.
    vector_done, vector_opens, a, b : In
        From :class:`heddle.hdl.vector.BlockUnit`.
    push, block : Out
        A block to write at the next destination.
    taken, redirect : Out
        The record that was taken last; strobe, :attr:`REDIRECT_CYCLES` before the first block of its slice or, for a
        byte mover, the cycle after ``take``: ``taken`` has the destination of that block and all after it.
    """

    REDIRECT_CYCLES = 1 + LoopNest.LATENCY

    record: data.View
    take: Signal
    array_done: Signal
    array_opens: Signal
    tile_end: Signal
    spare: Signal
    sums: data.View
    vector_done: Signal
    vector_opens: Signal
    a: data.View
    b: data.View
    push: Signal
    block: Signal
    taken: data.View
    redirect: Signal

    def __init__(
        self, config: CoreConfig, record: RecordFormat, *, params: list[int], tables: tuple[list[int], list[int]]
    ) -> None:
        self.config, self.format, self.params, self.tables = config, record, params, tables
        array = config.array
        elements = data.ArrayLayout(signed(8), array.block)
        super().__init__(
            {
                "record": In(record.layout),
                "take": In(1),
                "array_done": In(1),
                "array_opens": In(1),
                "tile_end": In(1),
                "spare": In(unsigned(max(1, (array.pixels - 1).bit_length()))),
                "sums": In(data.ArrayLayout(signed(config.acc_bits), array.cols * array.pixels)),
                "vector_done": In(1),
                "vector_opens": In(1),
                "a": In(elements),
                "b": In(elements),
                "push": Out(1),
                "block": Out(unsigned(8 * array.block)),
                "taken": Out(record.layout),
                "redirect": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``done`` to the ``push`` of the first block."""
        return self.latency_of(self.config)

    @staticmethod
    def latency_of(config: CoreConfig) -> int:
        """Latency with that configuration."""
        return 1 + _OPERAND_CYCLES + config.requantize.latency + config.array.block // config.array.requantizers - 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        array, requantize = self.config.array, self.config.requantize
        q, subs = array.requantizers, array.block // array.requantizers
        record = Signal(self.format.layout, name="taken", reset_less=True)
        done, first = Signal(), Signal()
        m.d.comb += [
            done.eq(self.array_done | self.vector_done),
            first.eq(self.array_opens | self.vector_opens),
            self.taken.eq(record),
        ]
        with m.If(first | self.take):
            m.d.sync += record.eq(self.record)
        sub, pixel = Signal.like(record.subs_last, name="sub"), Signal(range(array.pixels), name="pixel")
        # What the accumulators are chosen by, which lie all over a device: in registers, with nothing left to work out,
        # and without reset, since yosys would merge them with the counters.
        groups = array.cols // q
        drained = Drained(
            group=Signal(range(groups), name="drained_group", reset_less=True),
            plane=Signal(range(array.pixels), name="drained_plane", reset_less=True),
        )
        after = range(1, (1 << len(sub)) + 1)
        active, tile_end, spare = Signal(), Signal(), Signal.like(self.spare)
        last_sub = sub == record.subs_last
        vector = Signal()
        # The planes of a wide slice are one pixel's channels.
        last_pixel = (pixel == array.pixels - 1) | record.wide | vector
        with m.If(active):
            m.d.sync += [
                sub.eq(sub + 1),
                drained.group.eq(Array(i % groups for i in after)[sub]),
                drained.plane.eq(pixel + Array(i // groups for i in after)[sub]),
            ]
            with m.If(last_sub):
                m.d.sync += [sub.eq(0), drained.group.eq(0)]
                m.d.sync += [counter.eq(pixel + 1) for counter in (pixel, drained.plane)]
            with m.If(last_sub & last_pixel):
                m.d.sync += active.eq(0)
        with m.If(done):
            m.d.sync += [
                active.eq(1),
                vector.eq(self.vector_done),
                sub.eq(0),
                pixel.eq(0),
                drained.group.eq(0),
                drained.plane.eq(0),
                tile_end.eq(self.tile_end & ~Mux(first, self.record.param_hold, record.param_hold)),
                spare.eq(self.spare),
            ]
        params = self._parameters(m, first, active, last_sub, last_pixel, tile_end)
        wanted = active & (vector | (pixel + spare < array.pixels))
        valid = delay(m, wanted, _OPERAND_CYCLES, name="valid", reset=True)
        values = self._values(m, record, sub, drained, vector)
        # A cycle after the slice's first drain has begun, and then with its first results.
        begins = delay(m, first, 1, name="begins", reset=True)
        zero_point, low, high = (Signal(signed(8), name=name, reset_less=True) for name in ("zero", "low", "high"))
        result_cycles = _OPERAND_CYCLES + requantize.latency
        with m.If(delay(m, begins, result_cycles - Requantize.ZERO_POINT_CYCLES - 1, name="zero_begins", reset=True)):
            m.d.sync += zero_point.eq(record.zero_point)
        with m.If(delay(m, begins, result_cycles - Requantize.LIMIT_CYCLES - 1, name="limits_begin", reset=True)):
            m.d.sync += [low.eq(record.low), high.eq(record.high)]
        m.d.comb += self.redirect.eq(
            delay(m, begins, result_cycles + subs - 1 - self.REDIRECT_CYCLES, name="redirect", reset=True)
            | delay(m, self.take, 1, name="mover_begins", reset=True)
        )
        results = []
        for lane in range(q):
            m.submodules[f"requantize{lane}"] = unit = Requantize(requantize)
            m.d.comb += [
                unit.acc.eq(values[lane]),
                unit.params.eq(params[lane]),
                unit.zero_point.eq(zero_point),
                unit.low.eq(low),
                unit.high.eq(high),
            ]
            results.append(unit.ofmap)
        arrived = delay(m, valid, requantize.latency, name="arrived", reset=True)
        if subs == 1:
            m.d.comb += [self.block.eq(Cat(results)), self.push.eq(arrived)]
            return m
        part = Signal(range(subs))
        collected = Signal(8 * array.block, reset_less=True)
        with m.If(arrived):
            m.d.sync += [part.eq(part + 1), collected.eq(Cat(collected[8 * q :], *results))]
        m.d.comb += [
            self.block.eq(Cat(collected[8 * q :], *results)),
            self.push.eq(arrived & (part == subs - 1)),
        ]
        return m

    def _parameters(
        self, m: Module, first: Signal, active: Signal, last_sub: Value, last_pixel: Value, tile_end: Signal
    ) -> data.View:
        """Return the parameters of the q channels that are being drained, ``_OPERAND_CYCLES`` later."""
        q = self.config.array.requantizers
        layout = data.ArrayLayout(self.config.requantize.params_layout, q)
        m.submodules.params = memory = Memory(
            shape=unsigned(layout.size), depth=self.config.param_words, init=self.params, attrs={"ram_style": "block"}
        )
        port = memory.read_port()
        address = Signal(max(1, (self.config.param_words - 1).bit_length()))
        tile = Signal.like(address, name="tile_address")
        # The counter is a small loop; the memory's blocks lie all over a device.
        m.d.comb += port.addr.eq(delay(m, address, 1, name="params_at"))
        with m.If(active):
            m.d.sync += address.eq(address + 1)
            with m.If(last_sub):
                m.d.sync += address.eq(tile)
                with m.If(last_pixel & tile_end):
                    m.d.sync += [address.eq(address + 1), tile.eq(address + 1)]
        with m.If(first):
            m.d.sync += [address.eq(self.record.param_base), tile.eq(self.record.param_base)]
        return data.View(layout, delay(m, port.data, _OPERAND_CYCLES - 2, name="params_out"))

    def _drained(self, m: Module, drained: Drained) -> Value:
        """Return the q accumulators to drain, ``_OPERAND_CYCLES`` later: those of each plane, then of one plane."""
        array = self.config.array
        q, groups = array.requantizers, array.cols // array.requantizers
        words = [
            [Cat(self.sums[(v * groups + g) * q + lane] for lane in range(q)) for g in range(groups)]
            for v in range(array.pixels)
        ]
        # Accumulators lie all over a device: two stages, and a register on the way.
        planes = [delay(m, Array(own)[drained.group], 1, name=f"sums{v}") for v, own in enumerate(words)]
        plane = delay(m, drained.plane, 1, name="plane")
        chosen = Array(planes)[plane] if array.pixels > 1 else planes[0]
        return delay(m, chosen, _OPERAND_CYCLES - 1, name="sums")

    def _values(self, m: Module, record: data.View, sub: Signal, drained: Drained, vector: Signal) -> Sequence[Value]:
        """Return the q accumulators to scale, ``_OPERAND_CYCLES`` after the drain counters name them."""
        q, chosen = self.config.array.requantizers, self._drained(m, drained)
        acc_bits = self.config.requantize.acc_bits
        values = [chosen.word_select(lane, self.config.acc_bits).as_signed() for lane in range(q)]
        if not self.config.table_words:
            return values
        m.submodules.tables = tables = TableSum(
            lanes=q,
            bits=self.config.table_bits,
            words=self.config.table_words,
            first=self.tables[0],
            second=self.tables[1] if self.config.second_operand else None,
        )
        # Where a block leaves in one cycle, nothing lies between its register and the addresses of the tables.
        groups = self.config.array.block // q
        a, b = (v.as_value().word_select(sub, 8 * q) if groups > 1 else v.as_value() for v in (self.a, self.b))
        m.d.comb += [
            tables.a.as_value().eq(a),
            tables.b.as_value().eq(b),
            tables.base.eq(record.table_base),
            tables.two.eq(record.operands),
        ]
        from_vector = delay(m, vector, _OPERAND_CYCLES, name="from_vector")
        merged = [Signal(signed(acc_bits), name=f"value{lane}") for lane in range(q)]
        for lane in range(q):
            m.d.comb += merged[lane].eq(Mux(from_vector, tables.total[lane], values[lane]))
        return merged
