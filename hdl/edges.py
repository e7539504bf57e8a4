"""The accelerator's edges: byte streams in and out, and the path between them that reshapes a tensor.

Feature maps lie in blocks of M channels; streams carry the same elements as bytes in NHWC order. Loading, storing and
reshaping are ordinary slices of the program; each takes about as many cycles as it has beats or blocks, whichever are
more.
"""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from heddle.hdl.gearbox import LEAST_ROWS, Buffer, Gearbox
from heddle.hdl.multiplier import Primitive


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


class Mover(wiring.Component):
    """Moves a tensor: input stream to blocks, blocks to output stream, or blocks to blocks of pixels of another depth.

    One :class:`Gearbox` between a beat or a block a cycle on the one side, and a block or a beat a cycle on the other:
    whichever side has more chunks bounds the throughput. Blocks hold M bytes, the last block of each pixel only bytes 0
    to ``tail``; what such a block holds beyond is arbitrary. A block that need not wait leaves :attr:`BLOCK_LATENCY`
    cycles after its last byte came, a beat :attr:`BEAT_LATENCY`. The last beat of a packet is filled with zeros.

    Input packets must end with the tensor. One that is too long is read to its end and cut; one that ends early is
    dropped, and the tensor begins again with the next packet. No beat of the next packet is taken before its slice has
    started.

    Parameters
    ----------
    width_bytes, block
        Bytes of a beat and of a block.
    grain
        Power of two that divides these, and the bytes of every pixel's last block.
    pipeline_cycles
        From the issue of a block to its arrival; ``hold`` asks the issuer in time to pause.
    count_bits
        Width of ``dst_last_block``.
    primitive
        As of :class:`Gearbox`.

    Members
    -------
    start, from_stream, to_stream : In(1)
        The slice begins, and what it moves.
    src_tail, dst_tail, dst_last_block : In
        Last byte of a pixel's last block, of blocks read and of blocks written; last index of a written pixel's blocks.
        All that describes the slice is taken with ``start``.
    arrived, entry : In
        A block arrives, and whether it is its pixel's last and the tensor's last.
    push, block, push_ready : Out, Out, In
        A block is written, in a cycle in which ``push_ready``.
    final : In(1)
        The block to be written next is the tensor's last.
    restart : Out(1)
        A packet ended early: what was written of it is void.
    done : Out(1)
        All blocks are written, and the packet has ended.
    """

    BEAT_LATENCY = Gearbox.LATENCY
    BLOCK_LATENCY = BEAT_LATENCY + 1

    s_axis: AxiStreamInterface
    m_axis: AxiStreamInterface
    start: Signal
    from_stream: Signal
    to_stream: Signal
    src_tail: Signal
    dst_tail: Signal
    dst_last_block: Signal
    arrived: Signal
    entry: data.View
    hold: Signal
    push: Signal
    block: Signal
    push_ready: Signal
    final: Signal
    restart: Signal
    done: Signal

    def __init__(
        self,
        *,
        width_bytes: int,
        block: int,
        grain: int,
        pipeline_cycles: int,
        count_bits: int,
        primitive: Primitive = "generic",
    ) -> None:
        self.width_bytes, self.block_size, self.grain = width_bytes, block, grain
        self.entry_shape = data.StructLayout({"block": unsigned(8 * block), "tail": unsigned(1), "final": unsigned(1)})
        buffer = self.buffer(width_bytes=width_bytes, block=block, pipeline_cycles=pipeline_cycles)
        self.gearbox = Gearbox(buffer, grain=grain, primitive=primitive)
        axi, tail = AxiStream(width_bytes=width_bytes), unsigned((block - 1).bit_length())
        super().__init__(
            {
                "s_axis": In(axi),
                "m_axis": Out(axi),
                "start": In(1),
                "from_stream": In(1),
                "to_stream": In(1),
                "src_tail": In(tail),
                "dst_tail": In(tail),
                "dst_last_block": In(unsigned(count_bits)),
                "arrived": In(1),
                "entry": In(self.entry_shape),
                "hold": Out(1),
                "push": Out(1),
                "block": Out(unsigned(8 * block)),
                "push_ready": In(1),
                "final": In(1),
                "restart": Out(1),
                "done": Out(1),
            }
        )

    @staticmethod
    def buffer(*, width_bytes: int, block: int, pipeline_cycles: int) -> Buffer:
        """Size of the gearbox of a mover with these parameters."""
        width = 1 << (max(width_bytes, block) - 1).bit_length()
        # `hold` is known a cycle after the level, which blocks reach two cycles after they arrive.
        under_way = pipeline_cycles + 2
        margin = max(under_way * block, 2 * width_bytes)
        # After `hold` the buffer lasts until blocks arrive again.
        words = 2 + -(-(margin + (under_way + 1) * block) // width)
        rows = max(LEAST_ROWS, 1 << (words - 1).bit_length())
        return Buffer(width=width, rows=rows, margin=margin)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.gearbox = gearbox = self.gearbox
        loading, packet_ended, draining = Signal(), Signal(), Signal()
        beat, complete, begin, ready = Signal(), Signal(), Signal(), Signal()
        # A block waits in a register of its own, and so does whether it counts: what counts the blocks begins there.
        offered, void = Signal(reset_less=True), Signal(reset_less=True)
        block = Signal.like(self.block, reset_less=True)
        from_stream, to_stream, src_tail = (
            self._taken(m, s) for s in (self.from_stream, self.to_stream, self.src_tail)
        )
        m.d.comb += [
            begin.eq(self.start | self.restart | self.done),
            # Not the next packet's first beat: it waits for the slice that loads it.
            self.s_axis.tready.eq(loading & ~gearbox.full & ~packet_ended),
            beat.eq(self.s_axis.tvalid & self.s_axis.tready),
            gearbox.i_push.eq(beat | self.arrived),
            gearbox.i_data.eq(Mux(from_stream, self.s_axis.tdata, self.entry.block)),
            gearbox.i_tail.eq(
                Mux(
                    from_stream,
                    self._grain(self.width_bytes - 1),
                    Mux(self.entry.tail, self._grain(src_tail), self._grain(self.block_size - 1)),
                )
            ),
            gearbox.i_final.eq(Mux(from_stream, self.s_axis.tlast, self.entry.final)),
            gearbox.cut.eq(to_stream),
            gearbox.o_ready.eq(Mux(to_stream, self.m_axis.tready, ready)),
            # A load may go on while the issuer works for others.
            gearbox.pauses.eq(~from_stream),
            self.hold.eq(gearbox.hold),
            self.m_axis.tvalid.eq(gearbox.o_valid & to_stream),
            self.m_axis.tdata.eq(gearbox.o_data),
            self.m_axis.tlast.eq(gearbox.o_final),
            self.block.eq(block),
            ready.eq(~offered | self.push_ready),
            self.push.eq(offered & self.push_ready),
            complete.eq(self.push & self.final),
            self.restart.eq(void),
            # In a beat's padding after the tensor `tlast` is still to come: drain to it.
            self.done.eq(Mux(from_stream, (complete | draining) & packet_ended, complete)),
        ]
        comes = gearbox.o_valid & ~to_stream & ~draining & ~complete
        with m.If(ready):
            m.d.sync += [
                block.eq(gearbox.o_data),
                offered.eq(comes & ~gearbox.o_final),
            ]
        m.d.sync += void.eq(ready & comes & gearbox.o_final & from_stream)
        with m.If(gearbox.clear):
            m.d.sync += [offered.eq(0), void.eq(0)]
        with m.If(self.start):
            m.d.sync += loading.eq(self.from_stream)
        with m.Elif(self.done):
            m.d.sync += loading.eq(0)
        with m.If(beat & self.s_axis.tlast):
            m.d.sync += packet_ended.eq(1)
        with m.If(begin):
            m.d.sync += packet_ended.eq(0)
        # A beat that is accepted in the cycle after `begin` reaches the buffer when it is clear.
        m.d.sync += gearbox.clear.eq(begin)
        with m.If(gearbox.clear):
            m.d.sync += draining.eq(0)
        with m.If(complete):
            m.d.sync += draining.eq(1)
        self._want(m, to_stream)
        return m

    def _taken(self, m: Module, value: Signal) -> Signal:
        """Return the slice's ``value``, from the cycle after ``start`` on."""
        taken = Signal.like(value, name=f"taken_{value.name}", reset_less=True)
        with m.If(self.start):
            m.d.sync += taken.eq(value)
        return taken

    def _want(self, m: Module, to_stream: Signal) -> None:
        """Ask for a beat, or for the blocks of a pixel one after another."""
        gearbox = self.gearbox
        dst_tail, last_block = self._taken(m, self.dst_tail), self._taken(m, self.dst_last_block)
        whole, tail, beat = (self._grain(t) for t in (self.block_size - 1, dst_tail, self.width_bytes - 1))
        # Blocks of the pixel after the one wanted.
        left, want = Signal.like(last_block), Signal.like(gearbox.o_tail)
        m.d.comb += gearbox.o_tail.eq(want)
        with m.If(gearbox.clear):
            blocks = Mux(last_block == 0, tail, whole)
            m.d.sync += [left.eq(last_block), want.eq(Mux(to_stream, beat, blocks))]
        with m.Elif(gearbox.taken & ~to_stream):
            ends = Mux(left == 0, last_block == 0, left == 1)
            m.d.sync += [left.eq(Mux(left == 0, last_block, left - 1)), want.eq(Mux(ends, tail, whole))]

    def _grain(self, byte: Value | int) -> Value | int:
        """Return the grain that ``byte`` of a chunk lies in."""
        return byte >> (self.grain.bit_length() - 1)
