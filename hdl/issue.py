"""The issuer: walks a slice's loops and sends one operation a cycle into the static pipeline.

Nothing downstream can stall, so the issuer alone decides when a cycle is used: it leaves a bubble only where the
requantizers need more cycles for a pixel than its reduction takes, or where the mover's buffer is full. That makes
a slice's cycles a sum the compiler can predict exactly (:mod:`heddle.hdl.timing`).
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from heddle.hdl.addressing import LoopNest, add, position_layout
from heddle.hdl.array import control_layout
from heddle.hdl.config import CoreConfig
from heddle.hdl.program import SRC_LEVELS, RecordFormat


class Issuer(wiring.Component):
    """Operations of one slice, in loop order: tiles, rows, columns, steps, inner cycles.

    The first operation leaves 2 cycles after ``start``; then one each cycle, but ``last`` of a pixel never within
    ``drain_last`` cycles after the one before, and none while ``hold``. A slice that follows a load waits before each
    row until ``ready``, with one bubble where it is already.

    Members
    -------
    record : In
        The slice; held from ``start`` until a cycle after ``ended``.
    follows, ready : In
        A load goes on that the slice follows; the rows that its next row of windows reads are there.
    waits : Out(1)
        The next row waits for ``ready``.
    origin, y, x, step : Out
        For :class:`heddle.hdl.scratchpad.Fetch`.
    control : Out
        For the consumer, ``Fetch.latency`` cycles later; ``enable`` marks an operation.
    issued, ended : Out
        An operation begins (a cycle before ``control.enable``); it is the slice's last.
    tail, final : Out
        With ``control``: last iteration of the innermost loop, and of all loops.
    """

    LATENCY = 2

    start: Signal
    record: data.View
    hold: Signal
    follows: Signal
    ready: Signal
    waits: Signal
    origin: data.View
    y: Signal
    x: Signal
    step: Signal
    control: data.View
    issued: Signal
    ended: Signal
    tail: Signal
    final: Signal

    def __init__(self, config: CoreConfig, record: RecordFormat) -> None:
        self.config, self.format = config, record
        array = config.array
        self.position = position_layout(config.address_bits, array.rows)
        self.control_layout = control_layout(block=array.block, weight_words=config.weight_words, pixels=array.pixels)
        coordinate = signed(record.widths["coordinate"])
        super().__init__(
            {
                "start": In(1),
                "record": In(record.layout),
                "hold": In(1),
                "follows": In(1),
                "ready": In(1),
                "waits": Out(1),
                "origin": Out(self.position),
                "y": Out(coordinate),
                "x": Out(coordinate),
                "step": Out(unsigned(max(1, (config.step_words - 1).bit_length()))),
                "control": Out(self.control_layout),
                "issued": Out(1),
                "ended": Out(1),
                "tail": Out(1),
                "final": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        record, banks = self.record, self.config.array.rows
        m.submodules.nest = nest = LoopNest(
            levels=SRC_LEVELS,
            count_bits=self.format.widths["count"],
            address_bits=self.config.address_bits,
            banks=banks,
        )
        running = Signal()
        step = Signal.like(record.step_last)
        rest, opens = Signal(), Signal()
        inner = Signal.like(record.inner_first)
        # A flag beside the counter keeps the comparison out of the path that enables everything.
        cooldown, cooling, drains = Signal.like(record.drain_last), Signal(), Signal(reset_less=True)
        m.d.sync += drains.eq(record.drain_last != 0)
        y, x = Signal.like(self.y), Signal.like(self.x)
        word, tile_word = Signal.like(self.control.word), Signal.like(self.control.word)

        go, inner_end, group_end, tile_end = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            nest.base.eq(record.src_base),
            nest.jumps.eq(record.src_jumps),
            nest.lasts.eq(record.src_lasts),
            nest.start.eq(self.start),
            inner_end.eq(inner == Mux(rest, record.inner_rest, record.inner_first)),
            group_end.eq(inner_end & (step == record.step_last)),
            tile_end.eq(nest.wraps[1]),
            go.eq(running & ~self.hold & ~(group_end & cooling)),
            nest.step.eq(go & group_end),
            self.issued.eq(go),
            self.ended.eq(go & group_end & nest.wraps[2]),
        ]
        with m.If(cooling):
            m.d.sync += [cooldown.eq(cooldown - 1), cooling.eq(cooldown != 1)]
        with m.If(self.waits & self.ready):
            m.d.sync += [running.eq(1), self.waits.eq(0)]
        with m.If(self.start):
            m.d.sync += [
                running.eq(~self.follows),
                self.waits.eq(self.follows),
                opens.eq(1),
                step.eq(0),
                rest.eq(record.step_split == 0),
                inner.eq(0),
                cooling.eq(0),
                y.eq(record.row_start),
                x.eq(record.col_start),
                word.eq(record.weight_base),
                tile_word.eq(record.weight_base),
            ]
        with m.Elif(go):
            m.d.sync += [inner.eq(inner + 1), word.eq(word + 1)]
            with m.If(inner_end):
                m.d.sync += [inner.eq(0), step.eq(step + 1), rest.eq(rest | (step + 1 == record.step_split))]
            with m.If(group_end):
                m.d.sync += [
                    opens.eq(0),
                    step.eq(0),
                    rest.eq(record.step_split == 0),
                    cooldown.eq(record.drain_last),
                    cooling.eq(drains),
                ]
                m.d.sync += [
                    running.eq(~(nest.wraps[2] | (nest.wraps[0] & self.follows))),
                    self.waits.eq(nest.wraps[0] & self.follows & ~nest.wraps[2]),
                ]
                # The next pixel repeats the tile's weights; the next tile continues behind them.
                with m.If(tile_end):
                    m.d.sync += tile_word.eq(word + 1)
                with m.Else():
                    m.d.sync += word.eq(tile_word)
                m.d.sync += x.eq(x + record.col_step)
                with m.If(nest.wraps[0]):
                    m.d.sync += [x.eq(record.col_start), y.eq(Mux(tile_end, record.row_start, y + record.row_step))]
        self._pixels(m, nest, inner, x)
        m.d.sync += [
            self.y.eq(y),
            self.step.eq(record.step_base + step),
            self.control.enable.eq(go),
            self.control.load.eq(go & (inner == 0)),
            self.control.first.eq((inner == 0) & (step == 0)),
            self.control.last.eq(group_end),
            self.control.opens.eq(opens),
            self.control.tile_end.eq(tile_end),
            self.control.indexed.eq(record.indexed),
            self.control.wide.eq(record.wide),
            self.control.spread.eq(record.spread),
            self.control.inner.eq(inner),
            self.control.word.eq(word),
            self.control.spare.eq(Mux(nest.wraps[0], record.spare_pixels, 0)),
            self.tail.eq(nest.wraps[0]),
            self.final.eq(nest.wraps[2]),
        ]
        return m

    def _pixels(self, m: Module, nest: LoopNest, inner: Signal, x: Signal) -> None:
        """Window origin of the step's ``inner``-th pixel: one of V each cycle."""
        if self.config.array.pixels == 1:
            m.d.sync += [self.origin.eq(nest.position), self.x.eq(x)]
            return
        here, here_x = Signal(self.position), Signal.like(self.x)
        later, later_x = Signal(self.position), Signal.like(self.x)
        m.d.comb += [here.eq(Mux(inner == 0, nest.position, later)), here_x.eq(Mux(inner == 0, x, later_x))]
        m.d.sync += [
            *add(here, self.record.pixel_stride, banks=self.config.array.rows).assign(later),
            later_x.eq(here_x + self.record.pixel_step),
            self.origin.eq(here),
            self.x.eq(here_x),
        ]


class Sequencer(wiring.Component):
    """Runs the program's slices one after another, for ever.

    While a slice runs, the next record is read from the program memory, 32 bits a cycle, and waits. A slice starts
    ``gap + 2`` cycles after ``ended`` of the one before, and not sooner than ``words + 3`` cycles after its start.

    Members
    -------
    record : Out
        The slice that started last.
    start : Out(1)
        Strobe: ``record`` has changed and the slice begins.
    ended : In(1)
        Strobe: the issuer is done with the slice, or the byte mover is; once a slice.
    slice : Out
        Number of the slice that started last, counted from the program's first.
    """

    record: data.View
    start: Signal
    ended: Signal
    slice: Signal

    def __init__(self, config: CoreConfig, record: RecordFormat, program: list[int]) -> None:
        self.config, self.format, self.program = config, record, program
        slice_bits = (len(program) // record.words).bit_length()
        super().__init__(
            {
                "record": Out(record.layout),
                "start": Out(1),
                "ended": In(1),
                # All ones before the first slice. The stubs still call `init` what it was in Amaranth 0.4.
                "slice": Out(unsigned(slice_bits), init=(1 << slice_bits) - 1),  # pyright: ignore[reportCallIssue]
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = self.format.words
        m.submodules.program = memory = Memory(
            shape=unsigned(32), depth=len(self.program), init=self.program, attrs={"ram_style": "block"}
        )
        port = memory.read_port()
        address = Signal(range(len(self.program) + 1))
        count = Signal(range(words + 1))
        arriving, full, complete, idle = Signal(), Signal(), Signal(), Signal(init=1)
        chain = Signal(32 * words, reset_less=True)
        begin, due = Signal(), Signal()
        record = Signal(self.format.layout, reset_less=True)
        next_record = data.View(self.format.layout, chain[: self.format.layout.size])
        waited = Signal.like(next_record.gap)
        m.d.comb += [port.addr.eq(address), begin.eq(complete & due), self.record.eq(record)]
        m.d.sync += [
            arriving.eq((count != words) & ~begin),
            # The record is whole before its gap counts.
            complete.eq(full & ~begin),
            due.eq(Mux(self.ended, next_record.gap == 0, idle & (waited + 1 >= next_record.gap)) & ~begin),
            self.start.eq(begin),
        ]
        with m.If(count != words):
            m.d.sync += [address.eq(address + 1), count.eq(count + 1)]
        with m.If(arriving):
            m.d.sync += chain.eq(Cat(chain[32:], port.data))
            m.d.sync += full.eq(count == words)
        with m.If(self.ended):
            m.d.sync += [idle.eq(1), waited.eq(0)]
        with m.Elif(~waited.all()):
            m.d.sync += waited.eq(waited + 1)
        with m.If(begin):
            m.d.sync += [
                record.eq(next_record),
                idle.eq(0),
                full.eq(0),
                count.eq(0),
                self.slice.eq(self.slice + 1),
            ]
            with m.If(next_record.final):
                m.d.sync += address.eq(0)
            with m.If(record.final):
                m.d.sync += self.slice.eq(0)
        return m
