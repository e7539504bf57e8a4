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
from heddle.hdl.program import SRC_LEVELS, RecordFormat, Selection, Unit


class Issuer(wiring.Component):
    """Operations of one slice, in loop order: tiles, rows, columns, steps, inner cycles.

    The first operation leaves :attr:`LATENCY` cycles after ``start``; then one each cycle, but ``last`` of a pixel
    never within ``drain_last`` cycles after the one before, and none while ``hold``. A slice that follows a load waits
    before each row until ``ready``, with one bubble where it is already.

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

    LATENCY = 1 + LoopNest.LATENCY

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
        running, primed, opens = Signal(), Signal(), Signal()
        # The step under way, and the one ahead: what a cycle decides is in registers when it comes.
        step, inner, limit = (
            Signal.like(record.step_last),
            Signal.like(record.inner_first),
            Signal.like(record.inner_first),
        )
        first_step, last_step = Signal(name="first_step"), Signal(name="last_step")
        first_inner, last_inner, group_end = (
            Signal(name="first_inner"),
            Signal(name="last_inner"),
            Signal(name="group_end"),
        )
        ahead, ahead_rest, ahead_first, ahead_last = Signal.like(step), Signal(), Signal(), Signal()
        # A flag beside the counter keeps the comparison out of the path that enables everything.
        cooldown, cooling, drains = Signal.like(record.drain_last), Signal(), Signal(reset_less=True)
        m.d.sync += drains.eq(record.drain_last != 0)
        y, x = Signal.like(self.y), Signal.like(self.x)
        word, tile_word = Signal.like(self.control.word), Signal.like(self.control.word)

        go, tile_end, final = Signal(), Signal(), Signal()
        m.d.comb += [
            nest.base.eq(record.src_base),
            nest.jumps.eq(record.src_jumps),
            nest.lasts.eq(record.src_lasts),
            nest.start.eq(self.start),
            tile_end.eq(nest.wraps[1]),
            final.eq(nest.wraps[2]),
            go.eq(running & ~self.hold & ~(group_end & cooling)),
            nest.step.eq(go & group_end),
            self.issued.eq(go),
            self.ended.eq(go & group_end & final),
        ]
        m.d.sync += primed.eq(self.start)
        with m.If(cooling):
            m.d.sync += [cooldown.eq(cooldown - 1), cooling.eq(cooldown != 1)]
        with m.If(self.start):
            m.d.sync += [
                opens.eq(1),
                cooling.eq(0),
                y.eq(record.row_start),
                x.eq(record.col_start),
                word.eq(record.weight_base),
                tile_word.eq(record.weight_base),
            ]
        with m.Elif(go):
            m.d.sync += [word.eq(word + 1)]
            with m.If(group_end):
                m.d.sync += [opens.eq(0), cooldown.eq(record.drain_last), cooling.eq(drains)]
                # The next pixel repeats the tile's weights; the next tile continues behind them.
                with m.If(tile_end):
                    m.d.sync += tile_word.eq(word + 1)
                with m.Else():
                    m.d.sync += word.eq(tile_word)
                m.d.sync += x.eq(x + record.col_step)
                with m.If(nest.wraps[0]):
                    m.d.sync += [x.eq(record.col_start), y.eq(Mux(tile_end, record.row_start, y + record.row_step))]
        with m.If(self.start):
            m.d.sync += self.waits.eq(self.follows)
        with m.Elif(self.waits & self.ready):
            m.d.sync += self.waits.eq(0)
        with m.Elif(go & group_end):
            m.d.sync += self.waits.eq(nest.wraps[0] & self.follows & ~final)
        with m.If((primed & ~self.waits) | (self.waits & self.ready)):
            m.d.sync += running.eq(1)
        with m.Elif(go & group_end):
            m.d.sync += running.eq(~(final | (nest.wraps[0] & self.follows)))

        first_ahead = [
            ahead.eq(0), ahead_first.eq(1), ahead_last.eq(record.step_last == 0), ahead_rest.eq(record.step_split == 0)
        ]  # fmt: skip
        with m.If(self.start):
            m.d.sync += first_ahead
        with m.Elif(primed | (go & last_inner)):
            cycles = Mux(ahead_rest, record.inner_rest, record.inner_first)
            m.d.sync += [
                step.eq(ahead), first_step.eq(ahead_first), last_step.eq(ahead_last),
                inner.eq(0), first_inner.eq(1), last_inner.eq(cycles == 0), limit.eq(cycles),
                group_end.eq(ahead_last & (cycles == 0)),
            ]  # fmt: skip
            with m.If(ahead_last):
                m.d.sync += first_ahead
            with m.Else():
                m.d.sync += [
                    ahead.eq(ahead + 1),
                    ahead_first.eq(0),
                    ahead_last.eq(ahead + 1 == record.step_last),
                    ahead_rest.eq(ahead_rest | (ahead + 1 == record.step_split)),
                ]
        with m.Elif(go):
            ends = inner + 1 == limit
            m.d.sync += [inner.eq(inner + 1), first_inner.eq(0), last_inner.eq(ends), group_end.eq(ends & last_step)]
        self._pixels(m, nest, first_inner, x)
        m.d.sync += [
            self.y.eq(y),
            self.step.eq(record.step_base + step),
            self.control.enable.eq(go),
            self.control.load.eq(go & first_inner),
            self.control.first.eq(first_inner & first_step),
            self.control.last.eq(group_end),
            self.control.opens.eq(opens),
            self.control.tile_end.eq(tile_end),
            self.control.indexed.eq(record.selection == Selection.INDEXED),
            self.control.diagonal.eq(record.selection == Selection.DIAGONAL),
            self.control.wide.eq(record.wide),
            self.control.spread.eq(record.spread),
            self.control.inner.eq(inner),
            self.control.word.eq(word),
            self.control.spare.eq(Mux(nest.wraps[0], record.spare_pixels, 0)),
            self.tail.eq(nest.wraps[0]),
            self.final.eq(final),
        ]
        return m

    def _pixels(self, m: Module, nest: LoopNest, first_inner: Signal, x: Signal) -> None:
        """Window origin of one of V pixels in each of the step's first V cycles."""
        if self.config.array.pixels == 1:
            m.d.sync += [self.origin.eq(nest.position), self.x.eq(x)]
            return
        here, here_x = Signal(self.position), Signal.like(self.x)
        later, later_x = Signal(self.position), Signal.like(self.x)
        m.d.comb += [here.eq(Mux(first_inner, nest.position, later)), here_x.eq(Mux(first_inner, x, later_x))]
        m.d.sync += [
            *add(here, self.record.pixel_stride, banks=self.config.array.rows).assign(later),
            later_x.eq(here_x + self.record.pixel_step),
            self.origin.eq(here),
            self.x.eq(here_x),
        ]


class Sequencer(wiring.Component):
    """Runs the program's slices one after another, for ever.

    While a slice runs, the next record is read from the program memory, 32 bits a cycle, and waits. A slice starts
    ``gap + 2`` cycles after ``ended`` of the one before, and not sooner than ``words + 5`` cycles after the start of
    that one.

    Members
    -------
    record : Out
        The slice that started last.
    unit : Out
        ``record.unit``, a bit for each :class:`heddle.hdl.program.Unit`.
    start, issue : Out(1)
        Strobes: ``record`` has changed and the slice begins; it is one for the issuer.
    ended : In(1)
        Strobe: the issuer is done with the slice, or the byte mover is; once a slice.
    slice : Out
        Number of the slice that started last, counted from the program's first.
    """

    record: data.View
    unit: data.View
    start: Signal
    issue: Signal
    ended: Signal
    slice: Signal

    def __init__(self, config: CoreConfig, record: RecordFormat, program: list[int]) -> None:
        self.config, self.format, self.program = config, record, program
        slice_bits = (len(program) // record.words).bit_length()
        super().__init__(
            {
                "record": Out(record.layout),
                "unit": Out(data.StructLayout({unit.name.lower(): 1 for unit in Unit})),
                "start": Out(1),
                "issue": Out(1),
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
        arriving, arrived, full = Signal(), Signal(), Signal()
        whole, complete, idle = Signal(), Signal(), Signal(init=1)
        # The word goes into a register of the block RAM first.
        word, chain = Signal(32, reset_less=True), Signal(32 * words, reset_less=True)
        begin, due = Signal(), Signal()
        record = Signal(self.format.layout, reset_less=True)
        next_record = data.View(self.format.layout, chain[: self.format.layout.size])
        waited, immediate, reads = Signal.like(next_record.gap), Signal(reset_less=True), Signal(reset_less=True)
        m.d.comb += [port.addr.eq(address), begin.eq(complete & due), self.record.eq(record)]
        m.d.sync += [
            arriving.eq((count != words) & ~begin),
            arrived.eq(arriving),
            word.eq(port.data),
            # The record is whole two cycles before it can start: so are the flags that its gap needs.
            whole.eq(full & ~begin),
            complete.eq(whole & ~begin),
            immediate.eq(next_record.gap == 0),
            due.eq(Mux(self.ended, immediate, idle & (waited + 1 >= next_record.gap)) & ~begin),
            self.start.eq(begin),
            self.issue.eq(begin & reads),
            reads.eq(next_record.unit != Unit.LOAD),
        ]
        with m.If(count != words):
            m.d.sync += [address.eq(address + 1), count.eq(count + 1)]
        with m.If(arrived):
            m.d.sync += chain.eq(Cat(chain[32:], word))
            m.d.sync += full.eq(~arriving)
        with m.If(self.ended):
            m.d.sync += [idle.eq(1), waited.eq(0)]
        with m.Elif(~waited.all()):
            m.d.sync += waited.eq(waited + 1)
        with m.If(begin):
            m.d.sync += [
                record.eq(next_record),
                *(self.unit[unit.name.lower()].eq(next_record.unit == unit) for unit in Unit),
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
