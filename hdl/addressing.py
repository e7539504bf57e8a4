"""Addresses in the block-interleaved feature-map memory, and loop nests that walk them without multipliers.

Linear block ``L`` lies in bank ``L mod B`` at row ``L div B``: a *position* is the pair ``(row, bank)``. Neither
mapping needs a divider, because a position only ever moves by constants that the compiler has divided beforehand.
"""

from dataclasses import dataclass

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out


def position_layout(address_bits: int, banks: int) -> data.StructLayout:
    """``row`` (``address_bits``) and ``bank`` (0 to ``banks - 1``) of one block."""
    return data.StructLayout({"row": unsigned(address_bits), "bank": unsigned(max(1, (banks - 1).bit_length()))})


def split(offset: int, *, address_bits: int, banks: int) -> dict[str, int]:
    """Position of linear block ``offset``; a negative one wraps in the row, so that adding it moves back.

    >>> split(-1, address_bits=4, banks=9)
    {'row': 15, 'bank': 8}
    """
    return {"row": (offset // banks) % (1 << address_bits), "bank": offset % banks}


@dataclass(frozen=True)
class Sum:
    """Combinational sum of two positions."""

    row: Value
    bank: Value

    def assign(self, target: data.View) -> list:
        """Statements that give ``target`` this position."""
        return [target.row.eq(self.row), target.bank.eq(self.bank)]


def add(a: data.View | Sum, b: data.View | Sum, *, banks: int) -> Sum:
    """Return ``a + b``: banks add modulo ``banks`` and carry into the row; rows wrap at their width."""
    total, less = a.bank + b.bank, a.bank + (b.bank - banks)
    wrap = ~less[-1]
    # Both rows are ready when the carry is: one carry chain, not two, bounds the clock.
    row = Mux(wrap, add_carry(a.row, b.row, C(1, 1)), a.row + b.row)
    return Sum(row=row, bank=Mux(wrap, less, total))


def add_carry(a: Value, b: Value, carry: Value) -> Value:
    """Return ``a + b + carry`` as one carry chain; ``carry`` is one bit. As wide as the wider, the overflow dropped."""
    return (Cat(C(1, 1), a) + Cat(carry, b))[1 : 1 + max(len(a), len(b))]


class LoopNest(wiring.Component):
    """A nest of counted loops over positions: ``position = base + sum(index[i] * stride[i])``.

    ``start`` clears the indices; each ``step`` moves to the next iteration, level 0 innermost. When level ``i``
    advances, the levels below it return to 0, so the move is one constant the compiler prepared:
    ``jumps[i] = stride[i] - sum(lasts[j] * stride[j] for j < i)``. After the last iteration the nest must
    be started again.

    ``position`` and ``wraps`` are the first iteration's :attr:`LATENCY` cycles after ``start``, and steps count from
    then on; until then ``position`` is the nest's before, and steps move it. Throughput 1 step per cycle. ``base``,
    ``jumps`` and ``lasts`` are held from ``start`` on.

    The loops are counted an iteration ahead: the move that a step makes, and whether it is the last, are in registers
    when it comes.

    Members
    -------
    wraps : Out(levels)
        Bit ``i``: levels 0 to ``i`` are all at their last index. The top bit marks the last iteration.
    """

    LATENCY = 2

    start: Signal
    step: Signal
    base: data.View
    jumps: data.View
    lasts: data.View
    position: data.View
    wraps: Signal

    def __init__(self, *, levels: int, count_bits: int, address_bits: int, banks: int) -> None:
        self.levels, self.banks = levels, banks
        self.position_shape = position_layout(address_bits, banks)
        self.count_bits = count_bits
        super().__init__(
            {
                "start": In(1),
                "step": In(1),
                "base": In(self.position_shape),
                "jumps": In(data.ArrayLayout(self.position_shape, levels)),
                "lasts": In(data.ArrayLayout(unsigned(count_bits), levels)),
                "position": Out(self.position_shape),
                "wraps": Out(levels),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Of the iteration ahead.
        remaining = [Signal(self.count_bits, name=f"remaining{i}") for i in range(self.levels)]
        at_last, single = Signal(self.levels), Signal(self.levels, reset_less=True)
        wrapped = Signal(self.levels)
        first, move, jump = Signal(), Signal(self.position_shape), Signal(self.position_shape, reset_less=True)
        m.d.comb += move.eq(self.jumps[self.levels - 1])
        for i in reversed(range(self.levels - 1)):
            # The lowest level that is not at its end advances.
            with m.If(~at_last[i]):
                m.d.comb += move.eq(self.jumps[i])
        m.d.sync += first.eq(self.start)
        for i in range(self.levels):
            m.d.comb += wrapped[i].eq(at_last[: i + 1].all())
            m.d.sync += single[i].eq(self.lasts[i] == 0)
        with m.If(self.start):
            for i, left in enumerate(remaining):
                m.d.sync += [left.eq(self.lasts[i]), at_last[i].eq(self.lasts[i] == 0)]
        with m.Elif(first | self.step):
            m.d.sync += [self.wraps.eq(wrapped), jump.eq(move)]
            for i, left in enumerate(remaining):
                with m.If(wrapped[i - 1] if i else 1):
                    m.d.sync += [
                        left.eq(Mux(at_last[i], self.lasts[i], left - 1)),
                        at_last[i].eq(Mux(at_last[i], single[i], left == 1)),
                    ]
        with m.If(first):
            m.d.sync += self.position.eq(self.base)
        with m.Elif(self.step):
            m.d.sync += add(self.position, jump, banks=self.banks).assign(self.position)
        return m
