"""The output stage: accumulators to int8 blocks in feature-map memory.

``done`` of the array or of the vector unit starts a drain: q results a cycle go through q requantizers, whose
parameters come from the parameter memory in the same order, and M results make a block. The issuer keeps pixels at
least as far apart as a drain takes, so nothing here ever waits.
"""

from collections.abc import Sequence

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from heddle.hdl.config import CoreConfig
from heddle.hdl.delay import delay
from heddle.hdl.program import RecordFormat
from heddle.hdl.requantize import Requantize
from heddle.hdl.vector import TableSum

_OPERAND_CYCLES = TableSum.LATENCY
"""Drain counter to requantizer: the tables, and as long for accumulators and parameters."""


class OutputStage(wiring.Component):
    """Drains one pixel group of the array, or one block of the vector unit, after each ``done``.

    The first result block leaves :attr:`latency` cycles after ``done``; then ``M / q`` cycles a block.

    Members
    -------
    record, start : In
        The running slice.
    array_done, tile_end, spare, sums : In
        From :class:`heddle.hdl.array.SystolicArray`.
    vector_done, a, b : In
        From :class:`heddle.hdl.vector.BlockUnit`.
    push, block : Out
        A block to write at the next destination.
    """

    record: data.View
    start: Signal
    array_done: Signal
    tile_end: Signal
    spare: Signal
    sums: data.View
    vector_done: Signal
    a: data.View
    b: data.View
    push: Signal
    block: Signal

    def __init__(
        self, config: CoreConfig, record: RecordFormat, *, params: list[int], tables: tuple[list[int], list[int]]
    ) -> None:
        self.config, self.format, self.params, self.tables = config, record, params, tables
        array = config.array
        elements = data.ArrayLayout(signed(8), array.block)
        super().__init__(
            {
                "record": In(record.layout),
                "start": In(1),
                "array_done": In(1),
                "tile_end": In(1),
                "spare": In(unsigned(max(1, (array.pixels - 1).bit_length()))),
                "sums": In(data.ArrayLayout(signed(config.acc_bits), array.cols * array.pixels)),
                "vector_done": In(1),
                "a": In(elements),
                "b": In(elements),
                "push": Out(1),
                "block": Out(unsigned(8 * array.block)),
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
        array, record = self.config.array, self.record
        q, subs = array.requantizers, array.block // array.requantizers
        sub, pixel = Signal.like(record.subs_last), Signal(range(array.pixels))
        active, tile_end, spare = Signal(), Signal(), Signal.like(self.spare)
        last_sub = sub == record.subs_last
        vector = Signal()
        # The planes of a wide slice are one pixel's channels.
        last_pixel = (pixel == array.pixels - 1) | record.wide | vector
        with m.If(active):
            m.d.sync += sub.eq(sub + 1)
            with m.If(last_sub):
                m.d.sync += [sub.eq(0), pixel.eq(pixel + 1)]
                with m.If(last_pixel):
                    m.d.sync += active.eq(0)
        with m.If(self.array_done | self.vector_done):
            m.d.sync += [
                active.eq(1),
                vector.eq(self.vector_done),
                sub.eq(0),
                pixel.eq(0),
                tile_end.eq(self.tile_end & ~record.param_hold),
                spare.eq(self.spare),
            ]
        params = self._parameters(m, active, last_sub, last_pixel, tile_end)
        wanted = active & (vector | (pixel + spare < array.pixels))
        valid = delay(m, wanted, _OPERAND_CYCLES, name="valid", reset=True)
        values = self._values(m, sub, pixel, vector)
        results = []
        for lane in range(q):
            m.submodules[f"requantize{lane}"] = unit = Requantize(self.config.requantize)
            m.d.comb += [
                unit.acc.eq(values[lane]),
                unit.params.eq(params[lane]),
                unit.zero_point.eq(record.zero_point),
                unit.low.eq(record.low),
                unit.high.eq(record.high),
            ]
            results.append(unit.ofmap)
        arrived = delay(m, valid, self.config.requantize.latency, name="arrived", reset=True)
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

    def _parameters(self, m: Module, active: Signal, last_sub: Value, last_pixel: Value, tile_end: Signal) -> data.View:
        """Return the parameters of the q channels that are being drained, ``_OPERAND_CYCLES`` later."""
        q = self.config.array.requantizers
        layout = data.ArrayLayout(self.config.requantize.params_layout, q)
        m.submodules.params = memory = Memory(
            shape=unsigned(layout.size), depth=self.config.param_words, init=self.params, attrs={"ram_style": "block"}
        )
        port = memory.read_port()
        address = Signal(max(1, (self.config.param_words - 1).bit_length()))
        tile = Signal.like(address, name="tile_address")
        m.d.comb += port.addr.eq(address)
        with m.If(active):
            m.d.sync += address.eq(address + 1)
            with m.If(last_sub):
                m.d.sync += address.eq(tile)
                with m.If(last_pixel & tile_end):
                    m.d.sync += [address.eq(address + 1), tile.eq(address + 1)]
        with m.If(self.start):
            m.d.sync += [address.eq(self.record.param_base), tile.eq(self.record.param_base)]
        return data.View(layout, delay(m, port.data, _OPERAND_CYCLES - 1, name="params_out"))

    def _values(self, m: Module, sub: Signal, pixel: Signal, vector: Signal) -> Sequence[Value]:
        """Return the q accumulators to scale, ``_OPERAND_CYCLES`` after the drain counters name them."""
        array = self.config.array
        q, groups = array.requantizers, array.cols // array.requantizers
        words = [
            Cat(self.sums[v * array.cols + g * q + lane] for lane in range(q))
            for v in range(array.pixels)
            for g in range(groups)
        ]
        index = sub if array.pixels == 1 else pixel * groups + sub
        chosen = delay(m, Array(words)[index], _OPERAND_CYCLES, name="sums")
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
        m.d.comb += [
            tables.a.as_value().eq(self.a.as_value().word_select(sub, 8 * q)),
            tables.b.as_value().eq(self.b.as_value().word_select(sub, 8 * q)),
            tables.base.eq(self.record.table_base),
            tables.two.eq(self.record.operands),
        ]
        from_vector = delay(m, vector, _OPERAND_CYCLES, name="from_vector")
        merged = [Signal(signed(acc_bits), name=f"value{lane}") for lane in range(q)]
        for lane in range(q):
            m.d.comb += merged[lane].eq(Mux(from_vector, tables.total[lane], values[lane]))
        return merged
