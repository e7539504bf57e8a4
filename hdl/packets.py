"""Packets of known sizes: bytes one by one to beats of a stream, and beats to bytes."""

from collections.abc import Sequence

from amaranth.hdl import Array, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from heddle.hdl.edges import AxiStream, AxiStreamInterface
from heddle.hdl.frames import ENCODED


class _Place:
    """Where the next byte lies: in the ``final`` packet; ``ends`` its beat, its packet, or all of them."""

    def __init__(self, m: Module, sizes: Sequence[int], width: int, *, step: Value, clear: Value) -> None:
        left, packet, lane = (
            Signal(range(max(sizes)), init=sizes[0] - 1),
            Signal(range(len(sizes))),
            Signal(range(width)),
        )
        self.lane, self.ends, self.ends_packet, self.ends_all = lane, Signal(), Signal(), Signal()
        self.final = packet == len(sizes) - 1
        m.d.comb += [
            self.ends_packet.eq(left == 0),
            self.ends.eq(self.ends_packet | (lane == width - 1)),
            self.ends_all.eq(self.ends_packet & self.final),
        ]
        following = Array([*sizes[1:], sizes[0]])[packet] - 1
        with m.If(step):
            m.d.sync += [lane.eq(Mux(self.ends, 0, lane + 1)), left.eq(Mux(self.ends_packet, following, left - 1))]
            with m.If(self.ends_packet):
                m.d.sync += packet.eq(Mux(self.ends_all, 0, packet + 1))
        with m.If(clear):
            m.d.sync += [lane.eq(0), left.eq(sizes[0] - 1), packet.eq(0)]


class Packer(wiring.Component):
    """Bytes to beats; the last beat of all packets waits for ``release``.

    Throughput a byte a cycle, but for one in which a beat that is complete moves on.

    Parameters
    ----------
    sizes
        Bytes of each packet, in their order, over and over.
    width_bytes
        Of a beat; a packet's last one is filled with zeros.

    Members
    -------
    clear : In(1)
        Begin again with the first packet.
    strobe, data : In
        A byte, in no cycle in which ``pause``.
    pause : Out(1)
        The beat that is complete finds no place. Never because of ``release``.
    release : In(1)
        The last beat may go.
    m_axis : Out
        The packets.
    """

    clear: Signal
    strobe: Signal
    data: Signal
    pause: Signal
    release: Signal
    m_axis: AxiStreamInterface

    def __init__(self, sizes: Sequence[int], *, width_bytes: int) -> None:
        self.sizes, self.width_bytes = tuple(sizes), width_bytes
        super().__init__(
            {
                "clear": In(1),
                "strobe": In(1),
                "data": In(unsigned(8)),
                "pause": Out(1),
                "release": In(1),
                "m_axis": Out(AxiStream(width_bytes=width_bytes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        place = _Place(m, self.sizes, self.width_bytes, step=self.strobe, clear=self.clear)
        gathered, complete, last, final = Signal(8 * self.width_bytes), Signal(), Signal(), Signal()
        free, moves = Signal(), Signal()
        m.d.comb += [
            free.eq(~self.m_axis.tvalid | self.m_axis.tready),
            moves.eq(complete & free & (~final | self.release)),
            self.pause.eq(complete & ~final),
        ]
        with m.If(free):
            m.d.sync += self.m_axis.tvalid.eq(0)
        with m.If(moves):
            m.d.sync += [
                self.m_axis.tdata.eq(gathered),
                self.m_axis.tlast.eq(last),
                self.m_axis.tvalid.eq(1),
                gathered.eq(0),
                complete.eq(0),
            ]
        with m.If(self.strobe):
            m.d.sync += [
                gathered.word_select(place.lane, 8).eq(self.data),
                complete.eq(place.ends),
                last.eq(place.ends_packet),
                final.eq(place.ends_all),
            ]
        with m.If(self.clear):
            m.d.sync += [self.m_axis.tvalid.eq(0), complete.eq(0), final.eq(0), gathered.eq(0)]
        return m


class Unpacker(wiring.Component):
    """Beats to bytes; ``last`` marks the last byte of all packets.

    Throughput a byte a cycle, but for one in which the next beat is taken.

    Parameters
    ----------
    sizes, width_bytes
        As of :class:`Packer`.

    Members
    -------
    clear : In(1)
        Begin again with the first packet.
    s_axis : In
        The packets.
    final : Out(1)
        The beat that is taken is of the last packet.
    o : Out(stream of ENCODED)
        Their bytes, without what fills beats.
    """

    clear: Signal
    s_axis: AxiStreamInterface
    final: Signal
    o: stream.Interface

    def __init__(self, sizes: Sequence[int], *, width_bytes: int) -> None:
        self.sizes, self.width_bytes = tuple(sizes), width_bytes
        super().__init__(
            {
                "clear": In(1),
                "s_axis": In(AxiStream(width_bytes=width_bytes)),
                "final": Out(1),
                "o": Out(stream.Signature(ENCODED)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        moves, beat, held = Signal(), Signal(8 * self.width_bytes), Signal()
        place = _Place(m, self.sizes, self.width_bytes, step=moves, clear=self.clear)
        m.d.comb += [
            moves.eq(self.o.valid & self.o.ready),
            self.s_axis.tready.eq(~held & ~self.clear),
            self.final.eq(place.final),
            self.o.valid.eq(held),
            self.o.payload.data.eq(beat[:8]),
            self.o.payload.last.eq(place.ends_all),
        ]
        with m.If(moves):
            m.d.sync += [beat.eq(beat[8:]), held.eq(~place.ends)]
        with m.Elif(self.s_axis.tvalid & self.s_axis.tready):
            m.d.sync += [beat.eq(self.s_axis.tdata), held.eq(1)]
        with m.If(self.clear):
            m.d.sync += held.eq(0)
        return m
