"""The device's side of the host link: requests in, an accelerator's streams in the middle, replies out.

:mod:`heddle.link.protocol` says what passes over the line. One request is under way at a time; a later one replaces it.
An inference streams through: nothing of it is stored but two beats, and its last beat waits until the frame has proved
whole, so that the accelerator never ends what was damaged. Each inference begins with a reset of the accelerator, which
therefore takes every byte as fast as a line brings them.
"""

from dataclasses import dataclass

from amaranth.hdl import DomainRenamer, Module, Mux, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import AsyncFIFOBuffered
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from heddle.hdl.counting import Counting
from heddle.hdl.edges import AxiStream, AxiStreamInterface
from heddle.hdl.frames import ENCODED, FrameDecoder, FrameEncoder
from heddle.hdl.packets import Packer, Unpacker
from heddle.hdl.uart import SerialRate, UartReceiver, UartTransmitter
from heddle.link.protocol import COUNTERS_BYTES, REFUSED, REPLY, Identity, Kind, Refusal

RESET_CYCLES = 4
"""For how long the accelerator is reset."""


_REFUSED = 0
"""Stands for a kind that there is not, and for a refusal: the others are those of :class:`Kind`."""


@dataclass(frozen=True)
class _Request:
    """A frame as it comes in: its header, and strobes. But for ``fed`` all of it comes from registers."""

    kind: Signal
    """:data:`_REFUSED` where there is none such."""
    sequence: Signal
    fed: Signal
    """A byte of an inference's input has come."""
    resets: Signal
    """An inference begins, what has come of one is void, or a reset was asked for."""
    due: Signal
    """The frame is whole and is answered with its own kind."""
    infers: Signal
    """It is, and is an inference."""
    zeroes: Signal
    """It is, and is a reset."""
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
        released = self._accelerator(m, request, packer, unpacker)
        m.d.comb += [
            decoder.pause.eq(packer.pause),
            packer.strobe.eq(request.fed),
            packer.data.eq(decoder.data),
        ]
        self._replies(m, request, unpacker, released)
        return m

    def _requests(self, m: Module, decoder: FrameDecoder) -> _Request:
        """Read headers, and judge frames."""
        total = sum(packet.size for packet in self.identity.inputs)
        left, extra, complete, place = Signal(range(total + 1)), Signal(), Signal(), Signal(range(3))
        kind, sequence = Signal(range(max(Kind) + 1), name="kind"), Signal(8, name="sequence")
        refusal = Signal(Refusal, name="refusal")
        fed, resets, due, infers, zeroes, refused, damaged = (
            Signal(name=name) for name in ("fed", "resets", "due", "infers", "zeroes", "refused", "damaged")
        )
        infer = Signal()
        m.d.sync += complete.eq(left == 0)
        m.d.comb += fed.eq(decoder.strobe & (place == 2) & infer & ~complete)
        with m.If(decoder.strobe), m.Switch(place):
            with m.Case(0):
                known = (decoder.data != 0) & (decoder.data <= max(Kind))
                m.d.sync += [kind.eq(Mux(known, decoder.data, _REFUSED)), infer.eq(decoder.data == Kind.INFER)]
                m.d.sync += place.eq(1)
            with m.Case(1):
                m.d.sync += [sequence.eq(decoder.data), place.eq(2), extra.eq(0), left.eq(total)]
            with m.Default():
                m.d.sync += extra.eq(extra | ~fed)
        with m.If(fed):
            m.d.sync += left.eq(left - 1)
        with m.If(decoder.end):
            m.d.sync += place.eq(0)
        # Without a header there is nobody to answer.
        ended, fits, good = decoder.end & (place == 2), Signal(), Signal()
        m.d.comb += [
            fits.eq(~extra & (complete | ~infer)),
            good.eq(ended & decoder.good & (kind != _REFUSED) & fits),
        ]
        begins, void = decoder.strobe & (place == 1) & infer, ended & ~good & infer
        m.d.sync += [
            due.eq(good),
            infers.eq(good & infer),
            zeroes.eq(good & (kind == Kind.RESET)),
            resets.eq(begins | void | (good & (kind == Kind.RESET))),
            refused.eq(ended & ~good),
            damaged.eq(decoder.end & ~decoder.good),
            refusal.eq(
                Mux(~decoder.good, Refusal.DAMAGED, Mux(kind == _REFUSED, Refusal.KIND, Refusal.LENGTH))
            ),
        ]  # fmt: skip
        return _Request(kind, sequence, fed, resets, due, infers, zeroes, refused, refusal, damaged)

    def _accelerator(self, m: Module, request: _Request, packer: Packer, unpacker: Unpacker) -> Signal:
        """Reset it and connect its streams; return that an inference was released."""
        released, quiet = Signal(), Signal(range(RESET_CYCLES + 1), init=RESET_CYCLES)
        # The accelerator sees `clear` for all cycles but the last of those in which its streams rest.
        m.d.sync += self.clear.eq(request.resets | (quiet > 1))
        with m.If(request.resets):
            m.d.sync += [quiet.eq(RESET_CYCLES), released.eq(0)]
        with m.Else():
            m.d.sync += [quiet.eq(Mux(quiet == 0, 0, quiet - 1)), released.eq(released | request.infers)]
        running = Signal()
        m.d.comb += [
            running.eq(quiet == 0),
            packer.clear.eq(request.resets),
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
        return released

    def _replies(self, m: Module, request: _Request, unpacker: Unpacker, released: Signal) -> None:
        """Answer, and count.

        The encoder takes a byte in several cycles, and so whatever a byte depends on has one more to be worked out:
        what is looked up is in a register, and what a byte that was taken changes, changes a cycle later.
        """
        m.submodules.encoder = encoder = FrameEncoder()
        wiring.connect(m, encoder.o, wiring.flipped(self.o))
        identity = self.identity.pack()
        m.submodules.identity = memory = Memory(shape=unsigned(8), depth=len(identity), init=identity)
        port = memory.read_port(domain="comb")
        waiting, kind, sequence, refusal = (
            Signal(), Signal.like(request.kind), Signal(8), Signal.like(request.refusal),
        )  # fmt: skip
        with m.If(request.due | request.refused):
            m.d.sync += [
                waiting.eq(1),
                kind.eq(Mux(request.refused, _REFUSED, request.kind)),
                sequence.eq(request.sequence),
                refusal.eq(request.refusal),
            ]
        # What is being sent: a later request may come meanwhile.
        sent_kind, sent_sequence, sent_refusal = Signal.like(kind), Signal(8), Signal.like(refusal)
        infers, awaits = sent_kind == Kind.INFER, kind == Kind.INFER
        index, looked_up, at_end = Signal(range(max(len(identity), COUNTERS_BYTES))), Signal(8), Signal()
        m.d.comb += port.addr.eq(index)
        lasts = Mux(sent_kind == Kind.COUNTERS, index == COUNTERS_BYTES - 1, index == len(identity) - 1)
        m.d.sync += [looked_up.eq(port.data), at_end.eq(lasts)]
        # A byte waits in a register between where it comes from and the encoder: a line is slow, and wires are not.
        byte, valid, held, takes, taken = Signal(ENCODED), Signal(), Signal(), Signal(), Signal()
        idle, replies, payload, cut, answered = Signal(), Signal(), Signal(), Signal(), Signal()
        m.submodules.counting = counting = Counting()
        m.d.comb += [
            takes.eq(valid & ~held & ~cut),
            encoder.abort.eq(cut),
            encoder.i.valid.eq(held),
            # The output that the reply is of is gone. When its last byte is held, all of it is here.
            cut.eq(replies & infers & request.resets),
        ]
        m.d.sync += [held.eq((held | takes) & ~(encoder.i.ready & held) & ~cut), taken.eq(takes & payload)]
        with m.If(~held):
            m.d.sync += encoder.i.payload.eq(byte)
        with m.If(taken):
            m.d.sync += index.eq(index + 1)
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += idle.eq(1)
                m.d.sync += [sent_kind.eq(kind), sent_sequence.eq(sequence), sent_refusal.eq(refusal), index.eq(0)]
                # The output of an inference has to be there: a later request need not wait for it.
                with m.If(waiting & ~held & (~awaits | (released & unpacker.o.valid)) & ~request.resets):
                    m.d.sync += waiting.eq(request.due | request.refused)
                    m.next = "KIND"
            with m.State("KIND"):
                m.d.comb += [replies.eq(1), valid.eq(1)]
                m.d.comb += byte.data.eq(Mux(sent_kind == _REFUSED, REFUSED, sent_kind | REPLY))
                with m.If(takes):
                    m.next = "SEQUENCE"
                with m.If(cut):
                    m.next = "IDLE"
            with m.State("SEQUENCE"):
                m.d.comb += [replies.eq(1), valid.eq(1)]
                m.d.comb += [byte.data.eq(sent_sequence), byte.last.eq(sent_kind == Kind.RESET)]
                with m.If(takes):
                    m.next = "PAYLOAD"
                    with m.If(byte.last):
                        m.next = "IDLE"
                with m.If(cut):
                    m.next = "IDLE"
            with m.State("PAYLOAD"):
                m.d.comb += [replies.eq(1), payload.eq(1), valid.eq(1)]
                with m.Switch(sent_kind):
                    with m.Case(Kind.IDENTIFY):
                        m.d.comb += [byte.data.eq(looked_up), byte.last.eq(at_end)]
                    with m.Case(Kind.COUNTERS):
                        m.d.comb += [byte.data.eq(counting.byte), byte.last.eq(at_end)]
                    with m.Case(Kind.INFER):
                        m.d.comb += [
                            valid.eq(unpacker.o.valid), byte.eq(unpacker.o.payload), unpacker.o.ready.eq(~held),
                        ]  # fmt: skip
                    with m.Default():
                        m.d.comb += [byte.data.eq(sent_refusal), byte.last.eq(1)]
                with m.If((takes & byte.last) | cut):
                    m.next = "IDLE"
        m.d.sync += answered.eq(takes & payload & byte.last & infers)
        # What is counted.
        given = self.s_axis.tvalid & self.s_axis.tready
        m.d.comb += [
            counting.taken.eq(self.m_axis.tvalid & self.m_axis.tready),
            counting.offered.eq(self.s_axis.tvalid),
            counting.ended.eq(given & self.s_axis.tlast & unpacker.final),
            counting.resets.eq(request.resets),
            counting.infers.eq(request.infers),
            counting.judged.eq(request.due | request.refused),
            counting.damaged.eq(request.damaged),
            counting.zeroes.eq(request.zeroes),
            counting.awaited.eq(waiting & awaits),
            counting.answered.eq(answered),
            counting.idle.eq(idle),
            counting.index.eq(index),
            counting.moves.eq(taken & (sent_kind == Kind.COUNTERS)),
        ]


class SerialLink(wiring.Component):
    """A :class:`HostLink` on a serial line.

    Parameters
    ----------
    identity, width_bytes
        As of :class:`HostLink`.
    rate
        Of the line, in ticks of its clock.
    one_clock
        The line's clock is the accelerator's; else it is that of a domain ``link``, and the accelerator's may be any.

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

    def __init__(self, identity: Identity, rate: SerialRate, *, width_bytes: int, one_clock: bool = False) -> None:
        self.identity, self.rate, self.width_bytes, self.one_clock = identity, rate, width_bytes, one_clock
        axi = AxiStream(width_bytes=width_bytes)
        super().__init__({"rx": In(1), "tx": Out(1), "m_axis": Out(axi), "s_axis": In(axi), "clear": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        in_link = DomainRenamer({} if self.one_clock else {"sync": "link"})
        m.submodules.receiver = receiver = in_link(UartReceiver(self.rate))
        m.submodules.transmitter = transmitter = in_link(UartTransmitter(self.rate))
        m.submodules.link = link = HostLink(self.identity, width_bytes=self.width_bytes)
        if self.one_clock:
            # A byte waits in the receiver for as long as the next one takes, longer than the link ever does.
            wiring.connect(m, receiver.o, link.i)
            wiring.connect(m, link.o, transmitter.i)
        else:
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
