"""Sums of ANDs on ECP5's carry chains, built of CCU2C.

A LUT4 in front of a carry computes any propagate signal ``Z`` of four bits, and the carry ``G`` of two of them where
``Z`` is 0: so it adds two ANDs, or a number and an AND, in the one LUT that an addition takes anyway. yosys never takes
the ANDs in, so these chains are instantiated; plain additions need not be.
"""

from collections.abc import Sequence
from typing import NamedTuple

from amaranth.hdl import C, Cat, Instance, Module, Signal, Value

ZERO, ONE = C(0, 1), C(1, 1)

TWO_ANDS = 0x7888
"""``Z = (A & B) ^ (C & D)``, ``G = A & B``: the sum of two ANDs."""
TWO_ANDS_MINUS = 0x8777
"""The same with ``A & B`` inverted: the second AND less the first."""
MINUS_AND = 0x95AA
"""``Z = A ^ ~(B & C)`` if ``D`` is 1, ``G = A``: a number less an AND."""

PLUS_UNLESS = 0xA6AA
"""``Z = A ^ (B & ~C)`` if ``D`` is 1, ``G = A``: the sum of ``A`` and of ``B`` where ``C`` is 0."""


class Cell(NamedTuple):
    """One LUT4 on a carry chain: its table, and its inputs A, B, C, D."""

    table: int
    a: Value
    b: Value
    c: Value
    d: Value = ONE


def chain(m: Module, name: str, cells: Sequence[Cell], carry_in: int) -> Value:
    """Return the sums of ``cells``, the lowest first, combinational. Takes one LUT a cell, and one."""
    luts = [*cells, *[Cell(0, ZERO, ZERO, ZERO, ZERO)] * (len(cells) % 2)]
    sums = Signal(len(luts), name=f"{name}_sums")
    carry: Value = C(carry_in, 1)
    for index in range(0, len(luts), 2):
        pair = luts[index : index + 2]
        carry_out = Signal(name=f"{name}_carry_{index}")
        operands = {
            f"i_{port}{half}": wire for half, lut in enumerate(pair) for port, wire in zip("ABCD", lut[1:], strict=True)
        }
        m.submodules[f"{name}_{index}"] = Instance(
            "CCU2C",
            **{f"p_INIT{half}": C(lut.table, 16) for half, lut in enumerate(pair)},
            **{f"p_INJECT1_{half}": "NO" for half in range(2)},
            **operands,
            i_CIN=carry,
            **{f"o_S{half}": sums[index + half] for half in range(2)},
            o_COUT=carry_out,
        )
        carry = carry_out
    return sums[: len(cells)]


def row_pair(m: Module, name: str, x: Value, low: Value, high: Value, bits: int, *, minus: bool = False) -> Value:
    """Return ``bits`` bits of ``x * low + 2 * x * high``, or with ``minus`` of ``x * low - 2 * x * high``.

    ``x`` is extended by its highest bit; ``low`` and ``high`` are bits. One LUT a bit, and one.
    """
    extended = Cat(x, x[-1].replicate(max(0, bits - len(x))))
    cells = []
    for k in range(1, bits):
        row, shifted = (extended[k], low), (extended[k - 1], high)
        # The term that is inverted must be the one that makes the carry.
        cells.append(Cell(TWO_ANDS_MINUS, *shifted, *row) if minus else Cell(TWO_ANDS, *row, *shifted))
    return Cat(x[0] & low, chain(m, name, cells, int(minus)))
