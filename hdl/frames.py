"""Frames on a stream of bytes, as :mod:`heddle.link.protocol` has them: found and checked, and made."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from heddle.link.protocol import CHECK_BYTES, ESCAPE, FLAG, FLIP, HEADER_BYTES

_LEAST = HEADER_BYTES + CHECK_BYTES
_POLYNOMIAL = 0xEDB88320
_WHOLE = 0xDEBB20E3
"""What is left of a frame whose check is right."""
BYTE_CYCLES = 7
"""Of a byte of a frame: five to read it, seven to write it."""
_BITS = 2
"""Of a byte, which the check takes in a cycle: its next state is a LUT a bit with two, five times that with eight."""
_STEPS = 8 // _BITS


class Check(wiring.Component):
    """The check of a frame: the CRC-32 of IEEE 802.3, low bits first, two in a cycle.

    Amaranth's own generator cannot hand the check out from where it is made: that would be a copy of 32 bits, which the
    smallest part has no room for.

    Members
    -------
    start : In(1)
        Strobe: a frame begins.
    step, bits : In
        Two more bits come.
    shift : In(1)
        With ``step``: two bits of ``crc`` leave instead; zeros follow.
    crc : Out(32)
        Of all bits so far, not yet inverted; a register.
    """

    start: Signal
    step: Signal
    bits: Signal
    shift: Signal
    crc: Signal

    def __init__(self) -> None:
        super().__init__(
            {
                "start": In(1),
                "step": In(1),
                "bits": In(unsigned(_BITS)),
                "shift": In(1),
                "crc": Out(unsigned(8 * CHECK_BYTES), init=-1),  # pyright: ignore[reportCallIssue]
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The polynomial's lowest bit is zero, so that neither bit depends on the other.
        first, second = Signal(), Signal()
        m.d.comb += Cat(first, second).eq(Mux(self.shift, 0, self.crc[:_BITS] ^ self.bits))
        taps = [_POLYNOMIAL >> i & 1 for i in range(len(self.crc))] + [0]
        moved = Cat(self.crc[_BITS:], C(0, _BITS))
        with m.If(self.step):
            m.d.sync += self.crc.eq(
                Cat(bit ^ (first if taps[i + 1] else 0) ^ (second if taps[i] else 0) for i, bit in enumerate(moved))
            )
        with m.If(self.start):
            m.d.sync += self.crc.eq(-1)
        return m


class _Steps:
    """Takes a byte to a :class:`Check`, step by step, in cycles that are all ``active``; ``last`` in the last one."""

    def __init__(self, m: Module, check: Check, byte: Value, active: Value) -> None:
        place, self.last = Signal(range(_STEPS)), Signal()
        m.d.comb += [
            self.last.eq(active & (place == _STEPS - 1)),
            check.step.eq(active),
            check.bits.eq(byte.word_select(place, _BITS)),
        ]
        m.d.sync += place.eq(Mux(active, place + 1, 0))


class FrameDecoder(wiring.Component):
    """Bytes of the line to bytes of frames, the check left out.

    Throughput one byte in five cycles. Latency: a frame's byte appears a cycle after the fourth one behind it has
    been taken.

    Members
    -------
    i : In(stream of 8 bits)
        The line's bytes.
    pause : In(1)
        Take none. One more ``strobe`` may follow.
    strobe, data : Out
        A byte of the frame, kind and sequence number first.
    end, good : Out(1)
        The frame has ended, and it was whole. ``end`` and ``strobe`` never come together.
    """

    i: stream.Interface
    pause: Signal
    strobe: Signal
    data: Signal
    end: Signal
    good: Signal

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(unsigned(8))),
                "pause": In(1),
                "strobe": Out(1),
                "data": Out(unsigned(8)),
                "end": Out(1),
                "good": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.check = check = Check()
        # The last bytes may be the check.
        behind = Signal(8 * CHECK_BYTES)
        count, escaped, checking = Signal(range(_LEAST + 1)), Signal(), Signal()
        taken, flag, escape, body = Signal(), Signal(), Signal(), Signal()
        byte = Signal(8)
        steps = _Steps(m, check, behind[-8:], checking)
        m.d.comb += [
            # So whoever sees a strobe has time to ask for a pause.
            self.i.ready.eq(~self.pause & ~checking),
            taken.eq(self.i.valid & self.i.ready),
            flag.eq(taken & (self.i.payload == FLAG)),
            escape.eq(taken & (self.i.payload == ESCAPE)),
            body.eq(taken & ~flag & ~escape),
            byte.eq(self.i.payload ^ Mux(escaped, FLIP, 0)),
            check.start.eq(flag),
        ]
        m.d.sync += [
            self.strobe.eq(body & (count >= CHECK_BYTES)),
            self.data.eq(behind[:8]),
            self.end.eq(flag & ((count != 0) | escaped)),
            self.good.eq((count == _LEAST) & ~escaped & (check.crc == _WHOLE)),
            checking.eq(body | (checking & ~steps.last)),
        ]
        with m.If(body):
            m.d.sync += [behind.eq(Cat(behind[8:], byte)), escaped.eq(0)]
            with m.If(count != _LEAST):
                m.d.sync += count.eq(count + 1)
        with m.If(escape):
            m.d.sync += escaped.eq(1)
        with m.If(flag):
            m.d.sync += [count.eq(0), escaped.eq(0)]
        return m


ENCODED = data.StructLayout({"data": unsigned(8), "last": unsigned(1)})
"""A byte of a frame, and whether the check follows it."""


class FrameEncoder(wiring.Component):
    """Bytes of frames to bytes of the line.

    Throughput one byte in seven cycles, but for what must be escaped.

    Members
    -------
    i : In(stream of ENCODED)
        The frame, kind and sequence number first.
    abort : In(1)
        Strobe: what has been taken of a frame is void, unless that was all of it; the next byte begins another one.
    o : Out(stream of 8 bits)
        The line's bytes.
    """

    i: stream.Interface
    abort: Signal
    o: stream.Interface

    def __init__(self) -> None:
        super().__init__({"i": In(stream.Signature(ENCODED)), "abort": In(1), "o": Out(stream.Signature(unsigned(8)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.check = check = Check()
        index = Signal(range(CHECK_BYTES))
        byte, escaped, gone, special = Signal(8), Signal(), Signal(), Signal()
        # Of the next byte: that it is in the check, or is the check's; then that it has been judged, too.
        counted, judged, counting = Signal(), Signal(), Signal()
        steps = _Steps(m, check, self.i.payload.data, counting & ~counted)
        # A byte waits in a register of its own: one that was offered stays, whatever becomes of its frame.
        payload, valid, ready, moves = Signal(8), Signal(), Signal(), Signal()
        m.d.comb += [ready.eq(~self.o.valid | self.o.ready), moves.eq(valid & ready)]
        with m.If(ready):
            m.d.sync += [self.o.payload.eq(payload), self.o.valid.eq(valid)]
        sent = Mux(special, ESCAPE, byte ^ Mux(escaped, FLIP, 0))
        m.d.comb += gone.eq(moves & ~special)
        m.d.sync += judged.eq(counted)
        with m.If(steps.last):
            m.d.sync += counted.eq(1)
        with m.If(~judged):
            m.d.sync += special.eq((byte == FLAG) | (byte == ESCAPE))

        def offer() -> None:
            m.d.comb += payload.eq(sent)
            with m.If(moves & special):
                m.d.sync += [special.eq(0), escaped.eq(1)]
            with m.If(gone):
                m.d.sync += [counted.eq(0), judged.eq(0), escaped.eq(0)]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [payload.eq(FLAG), valid.eq(self.i.valid & ~self.abort), check.start.eq(1)]
                m.d.sync += [counted.eq(0), judged.eq(0), escaped.eq(0), index.eq(0)]
                with m.If(moves):
                    m.next = "BODY"
            with m.State("BODY"):
                m.d.comb += [byte.eq(self.i.payload.data), counting.eq(self.i.valid)]
                m.d.comb += [valid.eq(judged & ~self.abort), self.i.ready.eq(gone)]
                offer()
                with m.If(self.abort):
                    m.next = "VOID"
                with m.Elif(gone & self.i.payload.last):
                    # The check's first byte lies where it is taken from.
                    m.d.sync += counted.eq(1)
                    m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += [byte.eq(~check.crc[:8]), counting.eq(1), check.shift.eq(1), valid.eq(judged)]
                offer()
                with m.If(gone):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == CHECK_BYTES - 1):
                        m.next = "END"
            with m.State("VOID"):
                # A flag behind an escape: RFC 1662 calls it an aborted frame.
                m.d.comb += [payload.eq(ESCAPE), valid.eq(1)]
                with m.If(moves):
                    m.next = "END"
            with m.State("END"):
                m.d.comb += [payload.eq(FLAG), valid.eq(1)]
                with m.If(moves):
                    m.next = "IDLE"
        return m
