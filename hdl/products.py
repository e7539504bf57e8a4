"""Products of int8 for processing elements: all in LUTs, one in a DSP, or two in a DSP; each three cycles or more long.

The rows of a product in LUTs lie on ECP5's carry chains, two rows to a chain: a LUT4 in front of a carry takes the sum
of two ANDs. yosys maps an addition to one LUT a bit but never takes the ANDs in, so those chains are instantiated; all
other additions are plain. Table 0x7888 is ``(A & B) ^ (C & D)`` and generates the carry ``A & B``; 0x8777 is the same
with ``A & B`` inverted. Measured in ``docs/decisions/0007-processing-elements.md``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from amaranth.hdl import Cat, Const, Instance, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from heddle.hdl.delay import delay
from heddle.hdl.multiplier import Multiplier

ProductPrimitive = Literal["generic", "mult18x18d", "lut"]
PRODUCT_LATENCY = 3
"""Cycles from operands to product of everything that :func:`product` makes."""
BITS = 8
_PAIR_BITS = BITS + 2


@dataclass(frozen=True)
class _Cell:
    """One LUT4 on a carry chain: its table and its inputs A, B, C, D."""

    table: int
    inputs: tuple[Value, Value, Value, Value]


_ZERO = Const(0, 1)
_SPARE = _Cell(0, (_ZERO,) * 4)


def _chain(m: Module, name: str, cells: Sequence[_Cell], carry_in: int = 0) -> Signal:
    """Return the sums of a chain of CCU2C, lowest cell first, combinational."""
    sums = Signal(len(cells) + len(cells) % 2, name=f"{name}_sums")
    padded = [*cells, _SPARE] if len(cells) % 2 else cells
    carry: Value = Const(carry_in, 1)
    for index in range(0, len(padded), 2):
        carry_out = Signal(name=f"{name}_carry_{index}")
        operands = {
            f"i_{port}{half}": wire
            for half in range(2)
            for port, wire in zip("ABCD", padded[index + half].inputs, strict=True)
        }
        m.submodules[f"{name}_{index}"] = Instance(
            "CCU2C",
            **{f"p_INIT{half}": Const(padded[index + half].table, 16) for half in range(2)},
            **{f"p_INJECT1_{half}": "NO" for half in range(2)},
            **operands,
            i_CIN=carry,
            **{f"o_S{half}": sums[index + half] for half in range(2)},
            o_COUT=carry_out,
        )
        carry = carry_out
    return sums


def _row_pair(m: Module, name: str, x: Value, low: Value, high: Value, bits: int, *, minus: bool = False) -> Value:
    """Return ``bits`` bits of ``x * low + 2 * x * high`` (``minus``: the second subtracted), one LUT each.

    ``x`` is signed; ``low`` and ``high`` are single bits.
    """
    cells = []
    for k in range(bits):
        here = x[min(k, len(x) - 1)]
        below = x[min(k - 1, len(x) - 1)] if k else _ZERO
        # The row that is inverted must be the one that generates the carry.
        cells.append(_Cell(0x8777, (below, high, here, low)) if minus else _Cell(0x7888, (here, low, below, high)))
    return _chain(m, name, cells, carry_in=int(minus))[:bits]


def _register(m: Module, name: str, value: Value, bits: int) -> Signal:
    """Return ``value`` in a signed register of ``bits`` bits."""
    register = Signal(signed(bits), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


class LutMultiplier(wiring.Component):
    """``p = a * b``, signed 8 x 8 bits and exact, in 72 LUT and 80 flip-flops of an ECP5 and no DSP.

    ``q[i] = a * (b[2i] + 2 * b[2i+1])`` for ``i`` in 0..3, the highest bit counting negative: four chains of 10 LUTs.
    Then ``p = (q[0] + 4 * q[1]) + 16 * (q[2] + 4 * q[3])``, where the bits below the shift bypass the adder: 10, 10
    and 12 LUTs.

    Latency :attr:`latency` = 3 cycles with every primitive, one chain a cycle: the operands are not registered.
    Throughput one product per cycle. A static pipeline: no stall, no valid, registers without reset.

    Parameters
    ----------
    primitive
        ``"lut"``: ECP5's carry chains, instantiated; ``"generic"``: registers behind ``*``.

    Members
    -------
    a, b : In(signed(8))
    p : Out(signed(16))
    """

    a: Signal
    b: Signal
    p: Signal

    latency = PRODUCT_LATENCY

    def __init__(self, *, primitive: Literal["generic", "lut"] = "lut") -> None:
        if primitive not in ("generic", "lut"):
            raise ValueError(f"primitive must be 'generic' or 'lut', not {primitive!r}")
        self.primitive = primitive
        super().__init__({"a": In(signed(BITS)), "b": In(signed(BITS)), "p": Out(signed(2 * BITS))})

    @staticmethod
    def compute(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return what the chains and adders come to, each cut to its width.

        >>> LutMultiplier.compute(np.array([-128, 127]), np.array([-128, -3])).tolist()
        [16384, -381]
        """
        a, b = a.astype(np.int32), b.astype(np.int32)
        weights = [(b >> 2 * i & 1) + (2 if i < 3 else -2) * (b >> 2 * i + 1 & 1) for i in range(4)]
        q = [_wrap(a * weight, _PAIR_BITS) for weight in weights]
        low, high = (_wrap(q[i] + (q[i + 1] << 2), 12) for i in (0, 2))
        return _wrap(low + (high << 4), 16)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.primitive == "generic":
            m.d.comb += self.p.eq(delay(m, self.a * self.b, self.latency, name="product"))
            return m
        pairs = []
        for i in range(0, BITS, 2):
            rows = _row_pair(m, f"rows_{i}", self.a, self.b[i], self.b[i + 1], _PAIR_BITS, minus=i + 2 == BITS)
            pairs.append(_register(m, f"pair_{i}", rows.as_signed(), _PAIR_BITS))
        low, high = (_add_shifted(m, f"half_{i}", pairs[i], pairs[i + 1], 2) for i in (0, 2))
        m.d.comb += self.p.eq(_add_shifted(m, "product", low, high, 4))
        return m


def _add_shifted(m: Module, name: str, low: Signal, high: Signal, shift: int) -> Signal:
    """Return ``low + (high << shift)`` in a register of ``len(high) + shift`` bits, which must be enough."""
    total = Cat(low[:shift], low[shift:].as_signed() + high)
    return _register(m, name, total, len(high) + shift)


def _wrap(value: np.ndarray, bits: int) -> np.ndarray:
    """Return the low ``bits`` bits of ``value``, read as signed."""
    half = 1 << (bits - 1)
    return (value + half & 2 * half - 1) - half


class RegisteredMultiplier(wiring.Component):
    """``p = a * b``: the 8 x 8 :class:`Multiplier` and one register behind it.

    The register beside the DSP's own lets placement put a product where its sum is. Latency :attr:`latency` = 3
    cycles, throughput one product per cycle; no stall, no valid, registers without reset.

    Members
    -------
    a, b : In(signed(8))
    p : Out(signed(16))
    """

    a: Signal
    b: Signal
    p: Signal

    latency = PRODUCT_LATENCY

    def __init__(self, *, primitive: Literal["generic", "mult18x18d"]) -> None:
        self.multiplier = Multiplier(BITS, BITS, primitive=primitive)
        super().__init__({"a": In(signed(BITS)), "b": In(signed(BITS)), "p": Out(signed(2 * BITS))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiplier = self.multiplier
        m.d.comb += [self.multiplier.a.eq(self.a), self.multiplier.b.eq(self.b)]
        m.d.comb += self.p.eq(delay(m, self.multiplier.p, self.latency - self.multiplier.latency, name="product"))
        return m


def product(primitive: ProductPrimitive) -> LutMultiplier | RegisteredMultiplier:
    """Return a signed 8 x 8 multiplier with members ``a``, ``b``, ``p`` and ``latency`` :data:`PRODUCT_LATENCY`.

    So elements of one array may be made of different ones.
    """
    return LutMultiplier() if primitive == "lut" else RegisteredMultiplier(primitive=primitive)
