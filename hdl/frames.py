"""Frames on a stream of bytes, as :mod:`heddle.link.protocol` has them: found and checked, and made."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ISO_HDLC
from amaranth.lib.wiring import In, Out

from heddle.link.protocol import CHECK_BYTES, ESCAPE, FLAG, FLIP, HEADER_BYTES

_LEAST = HEADER_BYTES + CHECK_BYTES


class FrameDecoder(wiring.Component):
    """Bytes of the line to bytes of frames, the check left out.

    Throughput one byte in three cycles. Latency: a frame's byte appears a cycle after the fourth one behind it has
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
        m.submodules.crc = crc = CRC32_ISO_HDLC(8).create()
        # The last bytes may be the check.
        behind = Signal(8 * CHECK_BYTES)
        count, escaped, resting = Signal(range(_LEAST + 1)), Signal(), Signal()
        taken, flag, escape, body = Signal(), Signal(), Signal(), Signal()
        byte = Signal(8)
        m.d.comb += [
            # Whoever sees a strobe has a cycle to ask for a pause.
            self.i.ready.eq(~self.pause & ~self.strobe & ~resting),
            taken.eq(self.i.valid & self.i.ready),
            flag.eq(taken & (self.i.payload == FLAG)),
            escape.eq(taken & (self.i.payload == ESCAPE)),
            body.eq(taken & ~flag & ~escape),
            byte.eq(self.i.payload ^ Mux(escaped, FLIP, 0)),
            crc.start.eq(flag),
            crc.data.eq(byte),
            crc.valid.eq(body),
        ]
        m.d.sync += [
            resting.eq(self.strobe),
            self.strobe.eq(body & (count >= CHECK_BYTES)),
            self.data.eq(behind[:8]),
            self.end.eq(flag & ((count != 0) | escaped)),
            self.good.eq((count == _LEAST) & ~escaped & crc.match_detected),  # pyright: ignore[reportArgumentType]
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

    Throughput one byte a cycle, but for what must be escaped.

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
        m.submodules.crc = crc = CRC32_ISO_HDLC(8).create()
        check, index = Signal(8 * CHECK_BYTES), Signal(range(CHECK_BYTES))
        byte, escaped, gone, special = Signal(8), Signal(), Signal(), Signal()
        # A byte waits in a register of its own: one that was offered stays, whatever becomes of its frame.
        payload, valid, ready, moves = Signal(8), Signal(), Signal(), Signal()
        m.d.comb += [ready.eq(~self.o.valid | self.o.ready), moves.eq(valid & ready)]
        with m.If(ready):
            m.d.sync += [self.o.payload.eq(payload), self.o.valid.eq(valid)]
        sent = Mux(special, ESCAPE, byte ^ Mux(escaped, FLIP, 0))
        m.d.comb += [
            special.eq(((byte == FLAG) | (byte == ESCAPE)) & ~escaped),
            gone.eq(moves & ~special),
            crc.data.eq(byte),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [payload.eq(FLAG), valid.eq(self.i.valid & ~self.abort)]
                m.d.sync += [escaped.eq(0), index.eq(0)]
                with m.If(moves):
                    m.d.comb += crc.start.eq(1)  # pyright: ignore[reportOperatorIssue]
                    m.next = "BODY"
            with m.State("BODY"):
                m.d.comb += [byte.eq(self.i.payload.data), valid.eq(self.i.valid & ~self.abort)]
                m.d.comb += [payload.eq(sent), self.i.ready.eq(gone), crc.valid.eq(gone)]
                with m.If(moves):
                    m.d.sync += escaped.eq(special)
                with m.If(self.abort):
                    m.next = "VOID"
                with m.Elif(gone & self.i.payload.last):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.sync += check.eq(crc.crc)  # pyright: ignore[reportArgumentType]
                m.next = "CHECK"
            with m.State("CHECK"):
                m.d.comb += [byte.eq(check[:8]), valid.eq(1), payload.eq(sent)]
                with m.If(moves):
                    m.d.sync += escaped.eq(special)
                with m.If(gone):
                    m.d.sync += [check.eq(check >> 8), index.eq(index + 1)]
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
