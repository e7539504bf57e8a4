"""Multiplexers of ECP5's slices: LUTs in pairs behind PFUMX, pairs of those behind L6MUX21.

A slice's own multiplexers take no LUT and hardly any time, but yosys gives them only to functions of up to seven
inputs: a choice among eight has eleven, and costs five LUTs a bit and two levels of wires. Here it is four, and none.
"""

from collections.abc import Sequence

from amaranth.hdl import Array, C, Cat, Instance, Module, Signal, Value

from heddle.hdl.multiplier import ECP5, Primitive

_SECOND_IF_C = 0xCACA
"""Table of a LUT4 that gives B where C is 1, else A."""


def select_luts(items: int) -> int:
    """Return the LUTs that :func:`selected` takes for each bit of ``items``, on ECP5.

    >>> [select_luts(items) for items in (2, 4, 8, 16)]
    [1, 2, 4, 8]
    """
    return items // 2


def selected(m: Module, items: Sequence[Value], select: Value, *, primitive: Primitive) -> Value:
    """Return ``items[select]``, combinational.

    Parameters
    ----------
    items
        2, 4, 8 or 16, of equal width.
    select
        Unsigned, of as many bits as it takes to name an item.
    primitive
        ``"mult18x18d"``, the DSP's name: ECP5's cells, instantiated; others: left to synthesis.
    """
    if primitive != ECP5:
        return Array(items)[select]
    return Cat(_tree(m, f"select_{bit}", [item[bit] for item in items], select) for bit in range(len(items[0])))


def _tree(m: Module, name: str, bits: Sequence[Value], select: Value) -> Value:
    """Choose between neighbours by the lowest bit of ``select``, between the chosen by the next, and so on."""
    level = 0
    while len(bits) > 1:
        bits = [
            _choice(m, f"{name}_{level}_{k}", level, bits[2 * k], bits[2 * k + 1], select[level])
            for k in range(len(bits) // 2)
        ]
        level += 1
    return bits[0]


def _choice(m: Module, name: str, level: int, first: Value, second: Value, choose: Value) -> Signal:
    """Return ``second`` where ``choose`` is 1, else ``first``, by the multiplexer of that level of the tree."""
    chosen = Signal(name=name)
    if level == 0:
        table = C(_SECOND_IF_C, 16)
        cell = Instance("LUT4", p_INIT=table, i_A=first, i_B=second, i_C=choose, i_D=C(0, 1), o_Z=chosen)
    elif level == 1:
        cell = Instance("PFUMX", i_BLUT=first, i_ALUT=second, i_C0=choose, o_Z=chosen)
    else:
        cell = Instance("L6MUX21", i_D0=first, i_D1=second, i_SD=choose, o_Z=chosen)
    m.submodules[name] = cell
    return chosen
