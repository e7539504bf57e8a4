"""The device's side of the host link: requests in, an accelerator's streams in the middle, replies out.

:mod:`heddle.link.protocol` says what passes over the line. One request is under way at a time; a later one replaces it.
An inference streams through: nothing of it is stored but two beats, and its last beat waits until the frame has proved
whole, so that the accelerator never ends what was damaged. Each inference begins with a reset of the accelerator, which
therefore takes every byte as fast as a line brings them.
"""

from dataclasses import dataclass

from amaranth.hdl import DomainRenamer, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import AsyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from heddle.hdl.edges import AxiStream, AxiStreamInterface
from heddle.hdl.frames import ENCODED, FrameDecoder, FrameEncoder
from heddle.hdl.packets import Packer, Unpacker
from heddle.hdl.uart import SerialRate, UartReceiver, UartTransmitter
from heddle.link.protocol import COUNTERS_BYTES, REFUSED, REPLY, Identity, Kind, Refusal

RESET_CYCLES = 4
"""For how long the accelerator is reset."""


@dataclass(frozen=True)
class _Request:
    """A frame as it comes in: its header, strobes, and with ``refused`` the reason."""

    kind: Signal
    sequence: Signal
    fed: Signal
    """A byte of an inference's input has come."""
    begins: Signal
    """An inference's header has come."""
    void: Signal
    """What has come of an inference is void."""
    due: Signal
    """The frame is whole and is answered with its own kind."""
    refused: Signal
    """It is not, for the reason ``refusal``."""
    refusal: Signal
    damaged: Signal


class HostLink(wiring.Component):
    """Bytes of the line to and from an accelerator's streams.

    Parameters
    ----------
    identity
        What the device says of itself; its packets are those of the streams.
    width_bytes
        Of both streams.

    Members
    -------
    i, o : In, Out (streams of 8 bits)
        The line's bytes. A byte of an inference is never kept waiting long.
    m_axis, s_axis : Out, In
        To the accelerator's input, from its output.
    clear : Out(1)
        Resets the accelerator; from a register.
    """

    i: stream.Interface
    o: stream.Interface
    m_axis: AxiStreamInterface
    s_axis: AxiStreamInterface
    clear: Signal

    def __init__(self, identity: Identity, *, width_bytes: int) -> None:
        self.identity, self.width_bytes = identity, width_bytes
        byte, axi = stream.Signature(unsigned(8)), AxiStream(width_bytes=width_bytes)
        super().__init__({"i": In(byte), "o": Out(byte), "m_axis": Out(axi), "s_axis": In(axi), "clear": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.decoder = decoder = FrameDecoder()
        m.submodules.packer = packer = Packer([p.size for p in self.identity.inputs], width_bytes=self.width_bytes)
        m.submodules.unpacker = unpacker = Unpacker(
            [p.size for p in self.identity.outputs], width_bytes=self.width_bytes
        )
        wiring.connect(m, wiring.flipped(self.i), decoder.i)
        request = self._requests(m, decoder)
        resets, released = self._accelerator(m, request, packer, unpacker)
        m.d.comb += [
            decoder.pause.eq(packer.pause),
            packer.strobe.eq(request.fed),
            packer.data.eq(decoder.data),
        ]
        self._replies(m, request, unpacker, resets, released)
        return m

    def _requests(self, m: Module, decoder: FrameDecoder) -> _Request:
        """Read headers, and judge frames."""
        total = sum(packet.size for packet in self.identity.inputs)
        left, extra, place = Signal(range(total + 1)), Signal(), Signal(range(3))
        fed, begins, void, due, refused, damaged = (
            Signal(name=name) for name in ("fed", "begins", "void", "due", "refused", "damaged")
        )
        kind, sequence = Signal(8, name="kind"), Signal(8, name="sequence")
        refusal = Signal(Refusal, name="refusal")
        request = _Request(kind, sequence, fed, begins, void, due, refused, refusal, damaged)
        infer = request.kind == Kind.INFER
        m.d.comb += [
            request.fed.eq(decoder.strobe & (place == 2) & infer & (left != 0)),
            request.damaged.eq(decoder.end & ~decoder.good),
        ]
        with m.If(decoder.strobe), m.Switch(place):
            with m.Case(0):
                m.d.sync += [request.kind.eq(decoder.data), place.eq(1)]
            with m.Case(1):
                m.d.sync += [request.sequence.eq(decoder.data), place.eq(2), extra.eq(0), left.eq(total)]
                m.d.comb += request.begins.eq(infer)
            with m.Default():
                m.d.sync += extra.eq(extra | ~request.fed)
        with m.If(request.fed):
            m.d.sync += left.eq(left - 1)

        def refuse(reason: Refusal) -> None:
            m.d.comb += [request.refused.eq(1), request.refusal.eq(reason), request.void.eq(infer)]

        with m.If(decoder.end):
            m.d.sync += place.eq(0)
        # Without a header there is nobody to answer.
        with m.If(decoder.end & (place == 2)):
            with m.If(~decoder.good):
                refuse(Refusal.DAMAGED)
            with m.Elif((request.kind == 0) | (request.kind > max(Kind))):
                refuse(Refusal.KIND)
            with m.Elif(extra | (infer & (left != 0))):
                refuse(Refusal.LENGTH)
            with m.Else():
                m.d.comb += request.due.eq(1)
        return request

    def _accelerator(self, m: Module, request: _Request, packer: Packer, unpacker: Unpacker) -> tuple[Signal, Signal]:
        """Reset it and connect its streams; return the strobe of a reset, and that an inference was released."""
        resets, released, quiet = Signal(), Signal(), Signal(range(RESET_CYCLES + 1), init=RESET_CYCLES)
        whole = request.due & (request.kind == Kind.INFER)
        m.d.comb += resets.eq(request.begins | request.void | (request.due & (request.kind == Kind.RESET)))
        # The accelerator sees `clear` for all cycles but the last of those in which its streams rest.
        m.d.sync += self.clear.eq(resets | (quiet > 1))
        with m.If(resets):
            m.d.sync += [quiet.eq(RESET_CYCLES), released.eq(0)]
        with m.Else():
            m.d.sync += [quiet.eq(Mux(quiet == 0, 0, quiet - 1)), released.eq(released | whole)]
        running = Signal()
        m.d.comb += [
            running.eq(quiet == 0),
            packer.clear.eq(resets),
            packer.release.eq(released),
            unpacker.clear.eq(~running),
            self.m_axis.tdata.eq(packer.m_axis.tdata),
            self.m_axis.tlast.eq(packer.m_axis.tlast),
            self.m_axis.tvalid.eq(packer.m_axis.tvalid & running),
            packer.m_axis.tready.eq(self.m_axis.tready & running),
            unpacker.s_axis.tdata.eq(self.s_axis.tdata),
            unpacker.s_axis.tlast.eq(self.s_axis.tlast),
            unpacker.s_axis.tvalid.eq(self.s_axis.tvalid & running),
            self.s_axis.tready.eq(unpacker.s_axis.tready),
        ]
        return resets, released

    def _replies(self, m: Module, request: _Request, unpacker: Unpacker, resets: Signal, released: Signal) -> None:
        """Answer, and count."""
        m.submodules.encoder = encoder = FrameEncoder()
        wiring.connect(m, encoder.o, wiring.flipped(self.o))
        identity = self.identity.pack()
        m.submodules.identity = memory = Memory(shape=unsigned(8), depth=len(identity), init=identity)
        port = memory.read_port(domain="comb")
        waiting, kind, sequence, refusal = Signal(), Signal(8), Signal(8), Signal(8)
        with m.If(request.due | request.refused):
            m.d.sync += [
                waiting.eq(1),
                kind.eq(Mux(request.refused, REFUSED, request.kind | REPLY)),
                sequence.eq(request.sequence),
                refusal.eq(request.refusal),
            ]
        index = Signal(range(max(len(identity), COUNTERS_BYTES)))
        # What is being sent: a later request may come meanwhile.
        sent_kind, sent_sequence, sent_refusal = Signal(8), Signal(8), Signal(8)
        infers, awaits = sent_kind == Kind.INFER | REPLY, kind == Kind.INFER | REPLY
        m.d.comb += port.addr.eq(index)
        counters, answered = self._counters(m, request, resets, waiting & awaits)
        shown = Signal.like(counters)
        # A byte waits in a register between where it comes from and the encoder: a line is slow, and wires are not.
        byte, valid, held, takes = Signal(ENCODED), Signal(), Signal(), Signal()
        replies, cut = Signal(), Signal()
        m.d.comb += [
            takes.eq(valid & ~held & ~cut),
            encoder.abort.eq(cut),
            encoder.i.valid.eq(held),
            # The output that the reply is of is gone. When its last byte is held, all of it is here.
            cut.eq(replies & infers & resets),
        ]

        def or_cut() -> None:
            m.d.comb += replies.eq(1)
            with m.If(cut):
                m.next = "IDLE"

        with m.If(held & encoder.i.ready | cut):
            m.d.sync += held.eq(0)
        with m.If(takes):
            m.d.sync += [held.eq(1), encoder.i.payload.eq(byte)]
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [
                    sent_kind.eq(kind), sent_sequence.eq(sequence), sent_refusal.eq(refusal), index.eq(0),
                    shown.eq(counters),
                ]  # fmt: skip
                # The output of an inference has to be there: a later request need not wait for it.
                with m.If(waiting & (~awaits | (released & unpacker.o.valid)) & ~resets):
                    m.d.sync += waiting.eq(request.due | request.refused)
                    m.next = "KIND"
            with m.State("KIND"):
                m.d.comb += [valid.eq(1), byte.data.eq(sent_kind)]
                with m.If(takes):
                    m.next = "SEQUENCE"
                or_cut()
            with m.State("SEQUENCE"):
                m.d.comb += [valid.eq(1), byte.data.eq(sent_sequence), byte.last.eq(sent_kind == Kind.RESET | REPLY)]
                with m.If(takes):
                    m.next = "PAYLOAD"
                    with m.If(byte.last):
                        m.next = "IDLE"
                or_cut()
            with m.State("PAYLOAD"):
                m.d.comb += valid.eq(1)
                with m.Switch(sent_kind):
                    with m.Case(Kind.IDENTIFY | REPLY):
                        m.d.comb += [byte.data.eq(port.data), byte.last.eq(index == len(identity) - 1)]
                    with m.Case(Kind.COUNTERS | REPLY):
                        m.d.comb += [byte.data.eq(shown[:8]), byte.last.eq(index == COUNTERS_BYTES - 1)]
                    with m.Case(Kind.INFER | REPLY):
                        m.d.comb += [
                            valid.eq(unpacker.o.valid), byte.eq(unpacker.o.payload), unpacker.o.ready.eq(~held),
                        ]  # fmt: skip
                    with m.Default():
                        m.d.comb += [byte.data.eq(sent_refusal), byte.last.eq(1)]
                with m.If(takes):
                    m.d.sync += [index.eq(index + 1), shown.eq(shown >> 8)]
                    with m.If(byte.last):
                        m.d.comb += answered.eq(infers)
                        m.next = "IDLE"
                or_cut()

    def _counters(self, m: Module, request: _Request, resets: Signal, awaited: Value) -> tuple[Value, Signal]:
        """Return what ``Counters`` packs, and the signal for the strobe that ends an inference's reply.

        ``awaited``: an inference's reply is due and has not begun.
        """
        answered, outstanding, started, offered = (
            Signal(name=name) for name in ("answered", "outstanding", "started", "offered")
        )
        elapsed, to_last, since = (Signal(32, name=name) for name in ("elapsed", "to_last", "since"))
        counters = Signal(data.ArrayLayout(32, COUNTERS_BYTES // 4))
        cycles, busy, inferences, damaged, abandoned = counters
        taken, given = self.m_axis.tvalid & self.m_axis.tready, self.s_axis.tvalid & self.s_axis.tready
        m.d.sync += [elapsed.eq(Mux(started, elapsed + 1, 1)), started.eq((started | taken) & ~resets)]
        with m.If(given):
            m.d.sync += to_last.eq(elapsed)
        with m.If(taken):
            m.d.sync += [since.eq(1), offered.eq(0)]
        with m.Elif(self.s_axis.tvalid):
            m.d.sync += offered.eq(1)
        with m.Elif(~offered):
            m.d.sync += since.eq(since + 1)
        infer, other = request.due & (request.kind == Kind.INFER), request.due | request.refused
        with m.If(answered):
            m.d.sync += [cycles.eq(to_last), busy.eq(since), inferences.eq(inferences + 1), outstanding.eq(0)]
        with m.Elif(outstanding & (resets | (awaited & other))):
            m.d.sync += [abandoned.eq(abandoned + 1), outstanding.eq(0)]
        with m.If(infer):
            m.d.sync += outstanding.eq(1)
        with m.If(request.damaged):
            m.d.sync += damaged.eq(damaged + 1)
        with m.If(request.due & (request.kind == Kind.RESET)):
            m.d.sync += counters.eq(0)
        return counters.as_value(), answered


class SerialLink(wiring.Component):
    """A :class:`HostLink` on a serial line with a clock of its own, domain ``link``: the accelerator's may be any.

    Members
    -------
    rx, tx : In, Out(1)
        The line.
    m_axis, s_axis, clear
        As of :class:`HostLink`, in the domain ``sync``.
    """

    rx: Signal
    tx: Signal
    m_axis: AxiStreamInterface
    s_axis: AxiStreamInterface
    clear: Signal

    def __init__(self, identity: Identity, rate: SerialRate, *, width_bytes: int) -> None:
        self.identity, self.rate, self.width_bytes = identity, rate, width_bytes
        axi = AxiStream(width_bytes=width_bytes)
        super().__init__({"rx": In(1), "tx": Out(1), "m_axis": Out(axi), "s_axis": In(axi), "clear": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        in_link = DomainRenamer({"sync": "link"})
        m.submodules.receiver = receiver = in_link(UartReceiver(self.rate))
        m.submodules.transmitter = transmitter = in_link(UartTransmitter(self.rate))
        m.submodules.link = link = HostLink(self.identity, width_bytes=self.width_bytes)
        m.submodules.received = received = self._queue(r_domain="sync", w_domain="link")
        m.submodules.to_send = to_send = self._queue(r_domain="link", w_domain="sync")
        wiring.connect(m, receiver.o, received.w_stream)  # pyright: ignore[reportArgumentType]
        wiring.connect(m, received.r_stream, link.i)  # pyright: ignore[reportArgumentType]
        wiring.connect(m, link.o, to_send.w_stream)  # pyright: ignore[reportArgumentType]
        wiring.connect(m, to_send.r_stream, transmitter.i)  # pyright: ignore[reportArgumentType]
        wiring.connect(m, link.m_axis, wiring.flipped(self.m_axis))
        wiring.connect(m, wiring.flipped(self.s_axis), link.s_axis)
        m.d.comb += [receiver.rx.eq(self.rx), self.tx.eq(transmitter.tx), self.clear.eq(link.clear)]
        return m

    def _queue(self, *, r_domain: str, w_domain: str) -> AsyncFIFOBuffered:
        """Return room for the bytes that come while the other clock's side looks."""
        return AsyncFIFOBuffered(width=8, depth=16, r_domain=r_domain, w_domain=w_domain)
