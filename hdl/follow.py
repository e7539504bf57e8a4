"""A load in the background: its own way into the feature-map memory, and the interlock of the slice that follows it.

The input stream may pause at any time, so how far the load has come is known to the hardware only. The slice behind it
waits before each row of windows until the rows that they read are complete, and before its last row until all of the
load is: so it never ends before the load, and whatever comes next finds a quiet mover.
"""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from heddle.hdl.addressing import LoopNest
from heddle.hdl.config import CoreConfig
from heddle.hdl.program import RecordFormat

LEVELS = 3
"""Of a load's loop nest: blocks, columns, rows."""


class FollowedLoad(wiring.Component):
    """Destinations of a load's blocks, a buffer of two where they wait for their bank, and the rows that are complete.

    A packet that ends early is dropped by the mover, and the load begins again. What the slice that follows has
    computed of it is void: it finishes its row, waits until all its results are written, and begins again too. It
    cannot have ended, for its last row waits for the load's end.

    Parameters
    ----------
    drain_bits
        ``2 ** drain_bits`` cycles after a slice's last operation its results are written.

    Members
    -------
    load, record : In
        A load that is followed begins; the slice that started last.
    push, push_ready, block : In, Out, In
        The mover's blocks.
    final : Out(1)
        The block pushed next is the last.
    restart, done : In(1)
        The mover begins again; the mover has ended.
    active : Out(1)
        The mover's blocks come here: from the cycle after ``load`` to that of ``done``.
    strobe, at, payload, row_ends, taken : Out, Out, Out, Out, In
        A block to write at the scratchpad's second port, whether its row is complete with it, and whether it was taken.
    begin, waits, follows, ready : In, In, Out, Out
        Of the issuer; ``begin`` is its ``start``.
    rewind : Out(1)
        The issuer must begin again.
    """

    load: Signal
    record: data.View
    push: Signal
    push_ready: Signal
    block: Signal
    final: Signal
    restart: Signal
    done: Signal
    active: Signal
    strobe: Signal
    at: data.View
    payload: Signal
    row_ends: Signal
    taken: Signal
    begin: Signal
    waits: Signal
    follows: Signal
    ready: Signal
    rewind: Signal

    def __init__(self, config: CoreConfig, record: RecordFormat, *, drain_bits: int) -> None:
        self.config, self.format, self.drain_bits = config, record, drain_bits
        self.nest = LoopNest(
            levels=LEVELS,
            count_bits=record.widths["count"],
            address_bits=config.address_bits,
            banks=config.array.rows,
        )
        block = unsigned(8 * config.followed_bytes)
        super().__init__(
            {
                "load": In(1),
                "record": In(record.layout),
                "push": In(1),
                "push_ready": Out(1),
                "block": In(block),
                "final": Out(1),
                "restart": In(1),
                "done": In(1),
                "active": Out(1),
                "strobe": Out(1),
                "at": Out(self.nest.position_shape),
                "payload": Out(block),
                "row_ends": Out(1),
                "taken": In(1),
                "begin": In(1),
                "waits": In(1),
                "follows": Out(1),
                "ready": Out(1),
                "rewind": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._destinations(m)
        spare = self._buffer(m)
        with m.If(self.load):
            m.d.sync += self.active.eq(1)
        with m.Elif(self.done):
            m.d.sync += self.active.eq(0)
        m.d.sync += self.follows.eq(self.load | self.active | self.strobe | spare)
        self._interlock(m)
        return m

    def _destinations(self, m: Module) -> None:
        """Walk the load's loops, of a record that the sequencer soon replaces."""
        m.submodules.nest = nest = self.nest
        begins = Signal()
        m.d.sync += begins.eq(self.load)
        base, jumps, lasts = (Signal.like(s, reset_less=True) for s in (nest.base, nest.jumps, nest.lasts))
        with m.If(self.load):
            m.d.sync += base.eq(self.record.dst_base)
            for level in range(LEVELS):
                m.d.sync += [
                    jumps[level].eq(self.record.dst_jumps[level]),
                    lasts[level].eq(self.record.dst_lasts[level]),
                ]
        m.d.comb += [
            nest.base.eq(base),
            nest.jumps.eq(jumps),
            nest.lasts.eq(lasts),
            nest.start.eq(begins | self.restart),
            nest.step.eq(self.push & self.active),
            self.final.eq(nest.wraps[LEVELS - 1]),
        ]

    def _buffer(self, m: Module) -> Signal:
        """Hold a block until its bank is free, and the next one; return whether there is a next one."""
        here = Cat(self.block, self.nest.position.as_value(), self.nest.wraps[1])
        head, spare = Signal.like(here, reset_less=True), Signal.like(here, reset_less=True)
        waiting, come, moves = Signal(), Signal(), Signal()
        m.d.comb += [
            come.eq(self.push & self.active),
            moves.eq(self.taken | ~self.strobe),
            self.push_ready.eq(~waiting),
            Cat(self.payload, self.at.as_value(), self.row_ends).eq(head),
        ]
        with m.If(moves):
            m.d.sync += [head.eq(Mux(waiting, spare, here)), self.strobe.eq(waiting | come), waiting.eq(0)]
        with m.Elif(come):
            m.d.sync += waiting.eq(1)
        with m.If(~waiting):
            m.d.sync += spare.eq(here)
        with m.If(self.restart):
            m.d.sync += [self.strobe.eq(0), waiting.eq(0)]
        return waiting

    def _interlock(self, m: Module) -> None:
        """Compare rows needed with rows complete; after a restart wait until the pipeline is empty, and rewind."""
        complete, needed = (Signal(self.format.widths["coordinate"], name=name) for name in ("complete", "needed"))
        void, count = Signal(), Signal(self.drain_bits)
        m.d.comb += self.rewind.eq(void & self.waits & count.all())
        m.d.sync += [
            self.ready.eq((~self.follows | (complete >= needed)) & ~void & ~self.begin),
            count.eq(Mux(self.waits, count + 1, 0)),
        ]
        with m.If(self.strobe & self.taken & self.row_ends):
            m.d.sync += complete.eq(complete + 1)
        with m.If(self.load | self.restart):
            m.d.sync += complete.eq(0)
        with m.If(self.waits & self.ready):
            m.d.sync += needed.eq(needed + self.record.row_step)
        with m.If(self.begin):
            m.d.sync += [needed.eq(self.record.lead), void.eq(0)]
        # A slice that has not begun has computed nothing.
        with m.If(self.restart & self.active):
            m.d.sync += void.eq(1)
