"""What the host link counts: cycles of the last inference, and what became of all of them."""

from amaranth.hdl import Cat, Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from heddle.link.protocol import COUNTERS_BYTES

_BITS = 32
_KEPT_BYTES = 3 * _BITS // 8
"""Those of the numbers that change only when a reply ends, and so never while they are read."""


class Counting(wiring.Component):
    """The numbers of :class:`heddle.link.protocol.Counters`, and what reads them byte by byte, all of one moment.

    Members
    -------
    taken, offered, ended : In(1)
        Of the accelerator: it takes a beat; it offers one; its last beat of all is taken from it.
    resets : In(1)
        Strobe: the accelerator is reset.
    infers, judged, damaged, zeroes : In(1)
        Strobes: an inference has come whole; any request has been judged; a frame is damaged; all shall be zero.
    awaited : In(1)
        An inference's reply is due and has not begun.
    answered : In(1)
        Strobe: an inference's reply has ended.
    idle : In(1)
        No reply is under way: what is read next is of this cycle.
    index, moves, byte : In, In(1), Out
        The byte that is read, and a strobe that it was; the byte, two cycles after either has changed.
    """

    taken: Signal
    offered: Signal
    ended: Signal
    resets: Signal
    infers: Signal
    judged: Signal
    damaged: Signal
    zeroes: Signal
    awaited: Signal
    answered: Signal
    idle: Signal
    index: Signal
    moves: Signal
    byte: Signal

    def __init__(self) -> None:
        strobes = ("taken", "offered", "ended", "resets", "infers", "judged", "damaged", "zeroes")
        strobes += ("awaited", "answered", "idle", "moves")
        super().__init__(
            {
                **{name: In(1) for name in strobes},
                "index": In(range(COUNTERS_BYTES)),
                "byte": Out(unsigned(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        elapsed, since = self._cycles(m)
        cycles, busy, inferences = (Signal(_BITS, name=name) for name in ("cycles", "busy", "inferences"))
        damaged, abandoned = (Signal(_BITS, name=name) for name in ("all_damaged", "abandoned"))
        outstanding, zero, beyond = Signal(), Signal(), Signal()
        # Read by turning it once round; of the others there is a copy, for they may change meanwhile.
        kept, shown = Cat(cycles, busy, inferences), Signal(8 * COUNTERS_BYTES - 3 * _BITS)
        m.d.sync += beyond.eq(self.index >= _KEPT_BYTES)
        m.d.comb += self.byte.eq(shown[:8])
        with m.If(~beyond):
            m.d.comb += self.byte.eq(kept[:8])
        with m.If(self.moves & ~beyond):
            m.d.sync += kept.eq(Cat(kept[8:], kept[:8]))
        with m.If(self.answered):
            m.d.sync += [cycles.eq(elapsed), busy.eq(since), inferences.eq(inferences + 1)]
        with m.If(zero & self.idle):
            m.d.sync += [kept.eq(0), zero.eq(0)]
        with m.If(self.idle):
            m.d.sync += shown.eq(Cat(damaged, abandoned))
        with m.Elif(self.moves & beyond):
            m.d.sync += shown.eq(shown >> 8)

        with m.If(self.answered):
            m.d.sync += outstanding.eq(0)
        with m.Elif(outstanding & (self.resets | (self.awaited & self.judged))):
            m.d.sync += [abandoned.eq(abandoned + 1), outstanding.eq(0)]
        with m.If(self.infers):
            m.d.sync += outstanding.eq(1)
        with m.If(self.damaged):
            m.d.sync += damaged.eq(damaged + 1)
        with m.If(self.zeroes):
            m.d.sync += [damaged.eq(0), abandoned.eq(0), zero.eq(1)]
        return m

    def _cycles(self, m: Module) -> tuple[Signal, Signal]:
        """Return the cycles from the first beat in to the last one out, and from the last one in to the first out."""
        elapsed, since = Signal(_BITS), Signal(_BITS)
        started, stopped, waited = Signal(), Signal(), Signal()
        m.d.sync += [
            started.eq((started | self.taken) & ~self.resets),
            stopped.eq((stopped | self.ended) & ~self.resets),
        ]
        with m.If(~started):
            m.d.sync += elapsed.eq(0)
        with m.Elif(~stopped):
            m.d.sync += elapsed.eq(elapsed + 1)
        with m.If(self.taken):
            m.d.sync += [since.eq(1), waited.eq(0)]
        with m.Elif(self.offered):
            m.d.sync += waited.eq(1)
        with m.Elif(~waited):
            m.d.sync += since.eq(since + 1)
        return elapsed, since
