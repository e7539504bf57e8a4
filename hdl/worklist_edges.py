"""The edges of a work-list core: beats of the input stream to chunks of pixels, bytes to beats of the output stream."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out

from heddle.hdl.edges import AxiStream, AxiStreamInterface
from heddle.hdl.worklist_config import WorklistConfig, bits_for


class Loader(wiring.Component):
    """Collects the bytes of a chunk in a buffer and then lets the chunk's words be drained from there.

    A beat is taken in units of ``unit_bytes``, one a cycle; the newest byte is the buffer's last. Drains follow, T
    cycles each, and :attr:`PAUSE` cycles in which the last of them reads the buffer.

    Input packets must end with the tensor. Of one that is too long the excess is dropped; one that ends early is
    dropped, and the tensor begins again with the next packet. No beat of the next packet is taken before its slice has
    started. Beats wait in a short queue, so that nobody outside is tied to what happens here within a cycle.

    Members
    -------
    start : In(1)
    units_last : In(unsigned)
        Units of the chunk that is collected, less one: read when a beat is there.
    drains_last, chunks_last : In(unsigned)
        Drains of each chunk and chunks of the tensor, less one, from ``start`` to ``done``.
    advance, rewind : Out(1)
        The next chunk begins, and the first one again: ``units_last`` follows within :attr:`PAUSE` cycles.
    pulse : Out(1)
        A drain begins; the next one T cycles later.
    buffer : Out(8 * load_bytes)
    done : Out(1)
        All drains have begun and the packet has ended.
    """

    PAUSE = 4
    DEPTH = 4
    """Beats in the queue: one a cycle passes. The first ones have passed when a slice's pause has ended."""

    s_axis: AxiStreamInterface
    start: Signal
    units_last: Signal
    drains_last: Signal
    chunks_last: Signal
    advance: Signal
    rewind: Signal
    pulse: Signal
    buffer: Signal
    done: Signal

    def __init__(self, config: WorklistConfig) -> None:
        self.config = config
        super().__init__(
            {
                "s_axis": In(AxiStream(width_bytes=config.array.stream_bytes)),
                "start": In(1),
                "units_last": In(unsigned(config.base_bits)),
                "drains_last": In(unsigned(bits_for(config.drain_words))),
                "chunks_last": In(unsigned(config.field_bits["group_last"])),
                "advance": Out(1),
                "rewind": Out(1),
                "pulse": Out(1),
                "buffer": Out(unsigned(8 * config.load_bytes)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, unit = self.config, 8 * self.config.unit_bytes
        per_beat = config.array.stream_bytes // config.unit_bytes
        beat = Signal(8 * config.array.stream_bytes, reset_less=True)
        left, units, drains, chunks = (
            Signal(range(per_beat + 1)),
            Signal.like(self.units_last, name="units"),
            Signal.like(self.drains_last, name="drains"),
            Signal.like(self.chunks_last, name="chunks"),
        )
        pause = Signal(range(self.PAUSE + 1))
        turns = config.array.turns
        # A power of two: it begins again by itself.
        turn = Signal(range(turns))
        collecting, ended, shift = Signal(), Signal(), Signal()
        m.d.comb += shift.eq(collecting & (left != 0))
        wanted, short = Signal(), Signal()
        queue = self._queue(m, short)
        taken = wanted & ~ended & queue.r_rdy
        m.d.comb += queue.r_en.eq(wanted & ~ended)
        with m.If(shift):
            m.d.sync += [
                self.buffer.eq(Cat(self.buffer, beat[:unit])[unit:]),
                beat.eq(beat >> unit),
                left.eq(left - 1),
                units.eq(units + 1),
            ]
        with m.If(taken):
            m.d.sync += [beat.eq(queue.r_data[:-1]), left.eq(per_beat), ended.eq(queue.r_data[-1])]
        complete = Signal()
        with m.FSM() as fsm:
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [left.eq(0), ended.eq(0), units.eq(0), drains.eq(0), chunks.eq(0), pause.eq(self.PAUSE)]
                m.next = "PAUSE"
            with m.State("COLLECT"):
                with m.If(complete):
                    m.d.sync += [units.eq(0), drains.eq(0)]
                    m.next = "DRAIN"
                with m.Elif(short):
                    # The packet is void: from the first chunk again.
                    m.d.sync += [ended.eq(0), units.eq(0), chunks.eq(0), pause.eq(self.PAUSE)]
                    m.next = "PAUSE"
            with m.State("DRAIN"):
                m.d.sync += turn.eq(turn + 1)
                with m.If(turn == turns - 1):
                    m.d.sync += drains.eq(drains + 1)
                with m.If(self.advance):
                    m.d.sync += [chunks.eq(chunks + 1), pause.eq(self.PAUSE)]
                    m.next = "PAUSE"
                    with m.If(chunks == self.chunks_last):
                        m.d.sync += left.eq(0)
                        m.next = "EXCESS"
            with m.State("PAUSE"):
                m.d.sync += pause.eq(pause - 1)
                with m.If(pause == 1):
                    m.next = "COLLECT"
            with m.State("EXCESS"), m.If(ended):
                m.next = "IDLE"
            # Outside of the states: a simulator that waits for events sees assignments from the beginning.
            excess, draining = fsm.ongoing("EXCESS"), fsm.ongoing("DRAIN")
            m.d.comb += [
                collecting.eq(fsm.ongoing("COLLECT")),
                wanted.eq(excess | (collecting & ((left == 0) | (left == 1)))),
                complete.eq(shift & (units == self.units_last)),
                short.eq(collecting & (left == 0) & ended),
                self.rewind.eq(short),
                self.pulse.eq(draining & (turn == 0)),
                self.advance.eq(draining & (turn == turns - 1) & (drains == self.drains_last)),
                self.done.eq(excess & ended),
            ]
        return m

    def _queue(self, m: Module, short: Signal) -> SyncFIFOBuffered:
        """Return the queue of beats, which takes those of a packet once a slice has started, or one was too short."""
        m.submodules.queue = queue = SyncFIFOBuffered(width=8 * self.config.array.stream_bytes + 1, depth=self.DEPTH)
        is_open = Signal()
        m.d.comb += [
            self.s_axis.tready.eq(is_open & queue.w_rdy),
            queue.w_en.eq(is_open & self.s_axis.tvalid),
            queue.w_data.eq(Cat(self.s_axis.tdata, self.s_axis.tlast)),
        ]
        with m.If(self.s_axis.tvalid & self.s_axis.tready & self.s_axis.tlast):
            m.d.sync += is_open.eq(0)
        with m.If(self.start | short):
            m.d.sync += is_open.eq(1)
        return queue


class Storer(wiring.Component):
    """Collects bytes to beats; the last beat of a packet is filled with zeros.

    Members
    -------
    valid, byte, last : In
        A byte, and whether it is the packet's last.
    hold : Out(1)
        No more bytes than are under way, please.
    m_axis : Out
    done : Out(1)
        The packet's last beat is taken.
    """

    DEPTH, LEVEL = 32, 16
    """Beats that fit, and from how many on to ask for no more: what is under way fits beside them.

    So few of them are a memory of LUTs: block RAMs are what such a core lacks first.
    """

    valid: Signal
    byte: Signal
    last: Signal
    hold: Signal
    m_axis: AxiStreamInterface
    done: Signal

    def __init__(self, width_bytes: int) -> None:
        self.width_bytes = width_bytes
        super().__init__(
            {
                "valid": In(1),
                "byte": In(8),
                "last": In(1),
                "hold": Out(1),
                "m_axis": Out(AxiStream(width_bytes=width_bytes)),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self.width_bytes
        m.submodules.beats = beats = SyncFIFOBuffered(width=8 * width + 1, depth=self.DEPTH)
        beat, count, ends, push = Signal(8 * width), Signal(range(width)), Signal(), Signal()
        with m.If(push):
            m.d.sync += beat.eq(0)
        m.d.sync += push.eq(0)
        with m.If(self.valid):
            full = self.last | (count == width - 1)
            for i in range(width):
                with m.If(count == i):
                    m.d.sync += beat[8 * i : 8 * i + 8].eq(self.byte)
            m.d.sync += [push.eq(full), ends.eq(self.last), count.eq(Mux(full, 0, count + 1))]
        m.d.comb += [
            beats.w_en.eq(push),
            beats.w_data.eq(Cat(beat, ends)),
            beats.r_en.eq(self.m_axis.tready),
            self.m_axis.tvalid.eq(beats.r_rdy),
            self.m_axis.tdata.eq(beats.r_data[:-1]),
            self.m_axis.tlast.eq(beats.r_data[-1]),
            self.done.eq(self.m_axis.tvalid & self.m_axis.tready & self.m_axis.tlast),
        ]
        m.d.sync += self.hold.eq(beats.w_level >= self.LEVEL)
        return m
