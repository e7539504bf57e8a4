"""The accelerator's edges: byte streams in and out, and the path between them that reshapes a tensor.

Feature maps lie in blocks of M channels; streams carry the same elements as bytes in NHWC order. The movers work a byte
a cycle whatever the width of the stream, and each is an ordinary slice of the program.
"""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out


class AxiStreamInterface(wiring.PureInterface):
    """Signals of an :class:`AxiStream`."""

    tdata: Signal
    tlast: Signal
    tvalid: Signal
    tready: Signal


class AxiStream(wiring.Signature):
    """AXI4-Stream without side bands: ``tdata`` (byte 0 in the low bits), ``tlast``, ``tvalid``, ``tready``."""

    def __init__(self, *, width_bytes: int) -> None:
        super().__init__({"tdata": Out(unsigned(8 * width_bytes)), "tlast": Out(1), "tvalid": Out(1), "tready": In(1)})

    def create(self, *, path: tuple[str | int, ...] | None = None, src_loc_at: int = 0) -> AxiStreamInterface:
        """Return the signals, as ``Signature.create`` does."""
        return AxiStreamInterface(self, path=path or (), src_loc_at=src_loc_at + 1)


def byte_stream() -> stream.Signature:
    """Return the signature of a stream of bytes, each with whether it is the last of its packet."""
    return stream.Signature(data.StructLayout({"byte": unsigned(8), "last": unsigned(1)}))


class Unpack(wiring.Component):
    """AXI4-Stream beats to bytes, low byte first, while ``enable``; a beat leaves at one byte per cycle.

    ``last`` marks the last byte of the packet's last beat, though the tensor may end before it.
    """

    axi: AxiStreamInterface
    o: stream.Interface
    enable: Signal

    def __init__(self, *, width_bytes: int) -> None:
        self.width_bytes = width_bytes
        super().__init__({"axi": In(AxiStream(width_bytes=width_bytes)), "o": Out(byte_stream()), "enable": In(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        beat = Signal(8 * self.width_bytes, reset_less=True)
        beat_last = Signal(reset_less=True)
        left = Signal(range(self.width_bytes + 1))
        m.d.comb += [
            # Not the next packet's first beat: it waits for the slice that loads it.
            self.axi.tready.eq(self.enable & ((left == 0) | ((left == 1) & self.o.ready & ~beat_last))),
            self.o.valid.eq(left != 0),
            self.o.payload.byte.eq(beat[:8]),
            self.o.payload.last.eq(beat_last & (left == 1)),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [beat.eq(beat >> 8), left.eq(left - 1)]
        with m.If(self.axi.tvalid & self.axi.tready):
            m.d.sync += [beat.eq(self.axi.tdata), beat_last.eq(self.axi.tlast), left.eq(self.width_bytes)]
        return m


class Pack(wiring.Component):
    """Bytes to AXI4-Stream beats, low byte first; the last beat of a packet is filled with zeros.

    Throughput one byte per cycle; a beat is offered in the cycle after its last byte arrived.
    """

    i: stream.Interface
    axi: AxiStreamInterface

    def __init__(self, *, width_bytes: int) -> None:
        self.width_bytes = width_bytes
        super().__init__({"i": In(byte_stream()), "axi": Out(AxiStream(width_bytes=width_bytes))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        collected = Signal(8 * self.width_bytes, reset_less=True)
        count = Signal(range(self.width_bytes))
        beat = Signal(8 * self.width_bytes)
        complete = self.i.payload.last | (count == self.width_bytes - 1)
        m.d.comb += [
            beat.eq(Mux(count == 0, 0, collected)),
            beat.word_select(count, 8).eq(self.i.payload.byte),
            self.i.ready.eq(~self.axi.tvalid | self.axi.tready),
        ]
        with m.If(self.axi.tready):
            m.d.sync += self.axi.tvalid.eq(0)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [collected.eq(beat), count.eq(Mux(complete, 0, count + 1))]
            with m.If(complete):
                m.d.sync += [
                    self.axi.tdata.eq(beat),
                    self.axi.tlast.eq(self.i.payload.last),
                    self.axi.tvalid.eq(1),
                ]
        return m


class BlocksToBytes(wiring.Component):
    """Blocks of M bytes to bytes: all of a block, but only bytes 0 to ``tail`` of a block marked ``tail_block``.

    Blocks arrive by strobe from the static pipeline into a buffer; ``hold`` asks the issuer to pause while more than
    its ``depth`` could be under way. Throughput one byte per cycle.

    Members
    -------
    issued, push : In(1)
        A block was issued (will arrive); a block arrives now.
    """

    issued: Signal
    push: Signal
    entry: data.View
    tail: Signal
    hold: Signal
    o: stream.Interface

    def __init__(self, *, block: int, depth: int) -> None:
        self.block_size, self.depth = block, depth
        self.entry_shape = data.StructLayout({"block": unsigned(8 * block), "tail": unsigned(1), "final": unsigned(1)})
        super().__init__(
            {
                "issued": In(1),
                "push": In(1),
                "entry": In(self.entry_shape),
                "tail": In(unsigned(max(1, (block - 1).bit_length()))),
                "hold": Out(1),
                "o": Out(byte_stream()),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.buffer = buffer = SyncFIFOBuffered(width=self.entry_shape.size, depth=self.depth)
        head = data.View(self.entry_shape, buffer.r_data)
        pending = Signal(range(self.depth + 2))
        shift = Signal(8 * self.block_size, reset_less=True)
        position, last_position = Signal(range(self.block_size)), Signal(range(self.block_size))
        busy, final = Signal(), Signal()
        taken = self.o.valid & self.o.ready
        ends = position == last_position
        m.d.comb += [
            buffer.w_data.eq(self.entry),
            buffer.w_en.eq(self.push),
            self.o.valid.eq(busy),
            self.o.payload.byte.eq(shift[:8]),
            self.o.payload.last.eq(final & ends),
            buffer.r_en.eq(~busy | (taken & ends)),
        ]
        popped = buffer.r_en & buffer.r_rdy
        m.d.sync += pending.eq(pending + self.issued - popped)
        # Two more may be issued before this is seen.
        m.d.sync += self.hold.eq(pending >= self.depth - 3)
        with m.If(taken):
            m.d.sync += [shift.eq(shift >> 8), position.eq(position + 1)]
            with m.If(ends):
                m.d.sync += busy.eq(0)
        with m.If(popped):
            m.d.sync += [
                busy.eq(1),
                shift.eq(head.block),
                final.eq(head.final),
                position.eq(0),
                last_position.eq(Mux(head.tail, self.tail, self.block_size - 1)),
            ]
        return m


class BytesToBlocks(wiring.Component):
    """Bytes to blocks of M, the last block of each pixel ending after byte ``tail``; bytes beyond keep older values.

    Throughput one byte per cycle; ``push`` comes with a block's last byte.

    Members
    -------
    tail_block, final : In(1)
        The block being filled is the last of its pixel, of the tensor.
    push, block : Out
        A block is complete.
    packets : In(1)
        The bytes come in packets that must end with the tensor.
    restart : Out(1)
        A packet ended early: what was written of it is void, and the tensor begins again with the next packet.
    done : Out(1)
        The tensor is complete and its packet has ended. A packet that is too long is read to its end and cut.
    """

    i: stream.Interface
    start: Signal
    enable: Signal
    packets: Signal
    tail: Signal
    tail_block: Signal
    final: Signal
    push: Signal
    block: Signal
    restart: Signal
    done: Signal

    def __init__(self, *, block: int) -> None:
        self.block_size = block
        super().__init__(
            {
                "i": In(byte_stream()),
                "start": In(1),
                "enable": In(1),
                "packets": In(1),
                "tail": In(unsigned(max(1, (block - 1).bit_length()))),
                "tail_block": In(1),
                "final": In(1),
                "push": Out(1),
                "block": Out(unsigned(8 * block)),
                "restart": Out(1),
                "done": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        collected = Signal(8 * self.block_size)
        position = Signal(range(self.block_size))
        draining = Signal()
        taken = self.i.valid & self.i.ready
        ends = position == Mux(self.tail_block, self.tail, self.block_size - 1)
        complete = Signal()
        m.d.comb += [
            self.i.ready.eq(self.enable),
            self.block.eq(collected),
            self.block.word_select(position, 8).eq(self.i.payload.byte),
            self.push.eq(taken & ~draining & ends),
            complete.eq(self.push & self.final),
            self.restart.eq(taken & ~draining & ~complete & self.packets & self.i.payload.last),
            # In a beat's padding after the tensor `last` is still to come: drain to it.
            self.done.eq(Mux(self.packets, (complete | (taken & draining)) & self.i.payload.last, complete)),
        ]
        with m.If(taken):
            m.d.sync += [collected.eq(self.block), position.eq(Mux(ends, 0, position + 1))]
        with m.If(complete & ~self.done):
            m.d.sync += draining.eq(1)
        with m.If(self.start | self.restart | self.done):
            m.d.sync += [position.eq(0), draining.eq(0)]
        return m
