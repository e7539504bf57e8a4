"""One core: sequencer, issuer, feature-map memory, array, vector unit, output stage and mover.

Data moves one way round: feature-map memory -> array or vector unit -> output stage -> feature-map memory. The issuer
starts every cycle of it and nothing stalls on the way; only the mover waits, for the world outside.
"""

from dataclasses import dataclass

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from heddle.hdl.addressing import LoopNest, position_layout
from heddle.hdl.array import Lane, LaneImages, SystolicArray, delay_control
from heddle.hdl.config import CoreConfig
from heddle.hdl.delay import delay
from heddle.hdl.edges import AxiStream, AxiStreamInterface, Mover
from heddle.hdl.element import ElementLibrary
from heddle.hdl.follow import FollowedLoad
from heddle.hdl.issue import Issuer, Sequencer
from heddle.hdl.output import OutputStage
from heddle.hdl.program import DST_LEVELS, RecordFormat
from heddle.hdl.scratchpad import Fetch, Scratchpad
from heddle.hdl.vector import BlockUnit


@dataclass(frozen=True, kw_only=True)
class CoreImages:
    """Initial contents of a core's memories, one integer per word; see the component that owns each.

    Parameters
    ----------
    lanes
        The memories beside each lane.
    steps, params, program
        Step table, requantization parameters, program words.
    tables
        The vector unit's tables of the first and of the second operand.
    """

    lanes: list[LaneImages]
    steps: list[int]
    params: list[int]
    tables: tuple[list[int], list[int]]
    program: list[int]


class Core(wiring.Component):
    """Runs the program for ever: an inference each time round. See :mod:`heddle.hdl.timing` for its cycles.

    Parameters
    ----------
    name
        Of the exported top. Modules of :attr:`library`, which are not part of what this elaborates to, begin with it.

    Members
    -------
    s_axis, m_axis
        Input and output tensors: bytes in NHWC order, ``tlast`` with the last beat of each tensor.
    """

    s_axis: AxiStreamInterface
    m_axis: AxiStreamInterface

    def __init__(self, config: CoreConfig, images: CoreImages, *, name: str) -> None:
        self.config, self.images = config, images
        array = config.array
        self.format = RecordFormat(config.field_bits, config.address_bits, array.rows)
        self.sequencer = Sequencer(config, self.format, images.program)
        self.issuer = Issuer(config, self.format)
        self.scratchpad = Scratchpad(
            banks=array.rows,
            words=config.bank_words,
            block=array.block,
            byte_writes=config.byte_writes,
            load_bytes=config.followed_bytes,
        )
        self.fetch = Fetch(
            banks=array.rows,
            block=array.block,
            address_bits=config.address_bits,
            coordinate_bits=config.field_bits["coordinate"],
            step_bits=config.step_bits,
            steps=images.steps,
            step_words=config.step_words,
            scratchpad_latency=self.scratchpad.latency,
            spreads=config.spread,
        )
        self.library = ElementLibrary(
            name=f"{name}_pe", block=array.block, primitive=array.primitive, products=frozenset(array.primitives)
        )
        self.array = SystolicArray(
            cols=array.cols,
            library=self.library,
            images=images.lanes,
            diagonal=config.diagonal,
            acc_bits=config.acc_bits,
            primitives=array.primitives,
        )
        self.output = OutputStage(config, self.format, params=images.params, tables=images.tables)
        axi = AxiStream(width_bytes=array.stream_bytes)
        super().__init__({"s_axis": In(axi), "m_axis": Out(axi)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, array = self.config, self.config.array
        sequencer, issuer, fetch, output = self.sequencer, self.issuer, self.fetch, self.output
        m.submodules.sequencer = sequencer
        m.submodules.issuer = issuer
        m.submodules.scratchpad = scratchpad = self.scratchpad
        m.submodules.fetch = fetch
        m.submodules.array = self.array
        m.submodules.output = output
        record, unit = sequencer.record, sequencer.unit

        # Again, where the packet ended early that the slice has followed.
        rewind = Signal()
        m.d.comb += [
            issuer.record.eq(record),
            issuer.start.eq(sequencer.issue | rewind),
            fetch.step.eq(issuer.step),
            fetch.origin.eq(issuer.origin),
            fetch.y.eq(issuer.y),
            fetch.x.eq(issuer.x),
            fetch.start.eq(delay(m, issuer.start, Issuer.LATENCY, name="fetch_start", reset=True)),
            fetch.height.eq(record.height),
            fetch.width.eq(record.width),
            fetch.pad_value.eq(record.pad_value),
            fetch.spread.eq(record.spread),
            scratchpad.base_bank.eq(fetch.base_bank),
            scratchpad.rows.eq(fetch.rows),
            fetch.read_blocks.eq(scratchpad.blocks),
        ]
        early = delay_control(m, issuer.control, fetch.latency - Lane.LEAD, name="early")
        control = delay_control(m, early, Lane.LEAD - 1, name="control")
        tail = delay(m, issuer.tail, fetch.latency, name="tail")
        final = delay(m, issuer.final, fetch.latency, name="final")
        # An operation is for the unit of the slice that issued it, which need not be the last that has started.
        enable = {
            name: delay(m, issuer.control.enable & selected, cycles, name=f"to_{name}", reset=True)
            for name, selected, cycles in (
                ("array", unit.array, fetch.latency - Lane.LEAD),
                ("vector", unit.vector, fetch.latency - 1),
                ("mover", unit.store | unit.reshape, fetch.latency),
            )
        }

        m.d.comb += [
            self.array.control.eq(early),
            self.array.control.enable.eq(enable["array"]),
            self.array.blocks.eq(fetch.blocks),
            output.record.eq(record),
            output.take.eq(sequencer.start & ((unit.load & ~record.followed) | unit.reshape)),
            output.array_done.eq(self.array.done),
            output.array_opens.eq(self.array.opens),
            output.tile_end.eq(self.array.tile_end),
            output.spare.eq(self.array.spare),
            output.sums.eq(self.array.sums),
        ]
        if config.table_words:
            m.submodules.vector = vector = BlockUnit(
                block=array.block, maximum=config.maximum, second_operand=config.second_operand
            )
            operands, paired = Signal(reset_less=True), Signal(reset_less=True)
            with m.If(delay(m, fetch.start, fetch.latency - 1, name="vector_start", reset=True)):
                m.d.sync += [operands.eq(record.operands), paired.eq(record.paired)]
            m.d.comb += [
                vector.enable.eq(enable["vector"]),
                vector.first.eq(control.first),
                vector.last.eq(control.last),
                vector.opens.eq(control.opens),
                vector.operands.eq(operands),
                vector.paired.eq(paired if config.paired else 0),
                vector.block.as_value().eq(fetch.blocks[0]),
                vector.second.as_value().eq(fetch.blocks[1] if config.paired else 0),
                output.vector_done.eq(vector.done),
                output.vector_opens.eq(vector.begins),
                output.a.eq(vector.a),
                output.b.eq(vector.b),
            ]

        m.submodules.mover = mover = Mover(
            width_bytes=array.stream_bytes,
            block=array.block,
            grain=config.grain,
            # A cycle from `issued` to `control`.
            pipeline_cycles=1 + fetch.latency,
            count_bits=self.format.widths["count"],
            primitive=array.primitive,
        )
        wiring.connect(m, mover.s_axis, wiring.flipped(self.s_axis))
        wiring.connect(m, wiring.flipped(self.m_axis), mover.m_axis)
        m.d.comb += [
            mover.start.eq(sequencer.start & (unit.load | unit.store | unit.reshape)),
            mover.from_stream.eq(unit.load),
            mover.to_stream.eq(unit.store),
            mover.src_tail.eq(record.src_tail),
            mover.dst_tail.eq(record.dst_tail),
            mover.dst_last_block.eq(record.dst_lasts[0]),
            mover.arrived.eq(enable["mover"]),
            mover.entry.block.eq(fetch.blocks[0]),
            mover.entry.tail.eq(tail),
            mover.entry.final.eq(final),
            issuer.hold.eq(mover.hold),
        ]
        aside = Signal()
        if config.followed_bytes:
            self._follow(m, mover, aside=aside, rewind=rewind)
        else:
            m.d.comb += mover.push_ready.eq(1)
        self._write(m, mover, aside=aside)
        return m

    def _follow(self, m: Module, mover: Mover, *, aside: Signal, rewind: Signal) -> None:
        """Blocks of a load that is followed go their own way (``aside``), and the slice behind it waits for them."""
        sequencer, issuer, scratchpad, record = self.sequencer, self.issuer, self.scratchpad, self.sequencer.record
        m.submodules.load = load = FollowedLoad(self.config, self.format, drain_bits=self.format.widths["gap"])
        m.d.comb += [
            load.load.eq(sequencer.start & sequencer.unit.load & record.followed),
            load.record.eq(record),
            load.push.eq(mover.push),
            mover.push_ready.eq(load.push_ready | ~aside),
            load.block.eq(mover.block),
            load.restart.eq(mover.restart),
            load.done.eq(mover.done),
            aside.eq(load.active),
            scratchpad.load_strobe.eq(load.strobe),
            scratchpad.load_at.eq(load.at),
            scratchpad.load_data.eq(load.payload),
            load.taken.eq(scratchpad.load_taken),
            load.begin.eq(issuer.start),
            load.waits.eq(issuer.waits),
            issuer.follows.eq(load.follows),
            issuer.ready.eq(load.ready),
            rewind.eq(load.rewind),
        ]
        with m.If(aside):
            m.d.comb += mover.final.eq(load.final)

    def _write(self, m: Module, mover: Mover, *, aside: Signal) -> None:
        """Blocks from the output stage or the mover go to the next destination."""
        config, unit, taken = self.config, self.sequencer.unit, self.output.taken
        m.submodules.destination = nest = LoopNest(
            levels=DST_LEVELS,
            count_bits=self.format.widths["count"],
            address_bits=config.address_bits,
            banks=config.array.rows,
        )
        redirect = self.output.redirect | (mover.restart & ~aside)
        # The output stage may take another record before the last block of this one has come.
        jumps, lasts = Signal.like(taken.dst_jumps, reset_less=True), Signal.like(taken.dst_lasts, reset_less=True)
        byte_enable = Signal.like(taken.byte_enable, reset_less=True)
        with m.If(redirect):
            m.d.sync += [jumps.eq(taken.dst_jumps), lasts.eq(taken.dst_lasts)]
        starts = delay(m, redirect, 1, name="destination_starts", reset=True)
        # With the nest's first position, and not before: the slice before may still write.
        with m.If(delay(m, starts, LoopNest.LATENCY - 1, name="destination_begins", reset=True)):
            m.d.sync += byte_enable.eq(taken.byte_enable)
        push, written = Signal(), Signal()
        at = Signal(position_layout(config.address_bits, config.array.rows), reset_less=True)
        block = Signal(8 * config.array.block, reset_less=True)
        enabled = Signal.like(byte_enable, name="enabled", reset_less=True)
        m.d.comb += [
            nest.base.eq(taken.dst_base),
            nest.jumps.eq(jumps),
            nest.lasts.eq(lasts),
            nest.start.eq(starts),
            push.eq(self.output.push | (mover.push & ~aside)),
            nest.step.eq(push),
            self.scratchpad.write_strobe.eq(written),
            self.scratchpad.write_at.eq(at),
            self.scratchpad.write_data.eq(block),
            self.scratchpad.write_bytes.eq(enabled),
        ]
        with m.If(~aside):
            m.d.comb += mover.final.eq(nest.wraps[DST_LEVELS - 1])
        m.d.sync += [
            written.eq(push),
            at.eq(nest.position),
            block.eq(Mux(self.output.push, self.output.block, mover.block)),
            enabled.eq(byte_enable),
        ]
        stored = self.m_axis.tvalid & self.m_axis.tready & self.m_axis.tlast
        # Only reading slices end with their last operation; what they still write, the gaps of the next allow for.
        moved = Signal()
        m.d.sync += moved.eq(Mux(self.sequencer.record.followed, self.sequencer.start, mover.done | stored))
        m.d.comb += self.sequencer.ended.eq(Mux(unit.array | unit.vector, self.issuer.ended, moved))
