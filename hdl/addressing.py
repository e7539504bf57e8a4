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

    ``start`` loads ``base`` and clears the indices; each ``step`` moves to the next iteration, level 0 innermost. When
    level ``i`` advances, the levels below it return to 0, so the move is one constant the compiler prepared:
    ``jumps[i] = stride[i] - sum(lasts[j] * stride[j] for j < i)``. After the last iteration the nest must
    be started again.

    Latency 1 cycle, throughput 1 step per cycle. ``base``, ``jumps`` and ``lasts`` are held from ``start`` on.

    Members
    -------
    wraps : Out(levels)
        Bit ``i``: levels 0 to ``i`` are all at their last index. The top bit marks the last iteration.
    """

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
        remaining = [Signal(self.count_bits, name=f"remaining{i}") for i in range(self.levels)]
        # Flags in registers: what moves next depends on them alone, so that they do not lengthen the adder's path.
        at_last, single = Signal(self.levels), Signal(self.levels, reset_less=True)
        jump = Signal(self.position_shape)
        m.d.comb += jump.eq(self.jumps[self.levels - 1])
        for i in reversed(range(self.levels - 1)):
            # The lowest level that is not at its end advances.
            with m.If(~at_last[i]):
                m.d.comb += jump.eq(self.jumps[i])
        for i in range(self.levels):
            m.d.comb += self.wraps[i].eq(at_last[: i + 1].all())
            m.d.sync += single[i].eq(self.lasts[i] == 0)
        with m.If(self.start):
            m.d.sync += self.position.eq(self.base)
            for i, left in enumerate(remaining):
                m.d.sync += [left.eq(self.lasts[i]), at_last[i].eq(self.lasts[i] == 0)]
        with m.Elif(self.step):
            m.d.sync += add(self.position, jump, banks=self.banks).assign(self.position)
            for i, left in enumerate(remaining):
                with m.If(self.wraps[i - 1] if i else 1):
                    m.d.sync += [
                        left.eq(Mux(at_last[i], self.lasts[i], left - 1)),
                        at_last[i].eq(Mux(at_last[i], single[i], left == 1)),
                    ]
        return m
