"""Products of int8 for processing elements: all in LUTs, one in a DSP, or two in a DSP.

ECP5's DSPs run out long before its LUTs, so an array takes what it can of both. Measured, with what else was
considered, in ``docs/decisions/0007-processing-elements.md``.
"""

from typing import Literal

import numpy as np
from amaranth.hdl import C, Cat, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from heddle.hdl.carry import MINUS_AND, Cell, chain, row_pair
from heddle.hdl.delay import delay
from heddle.hdl.multiplier import Multiplier, Primitive

ProductPrimitive = Literal["generic", "mult18x18d", "sb_mac16", "lut"]
PRODUCT_LATENCY = 3
"""Cycles from operands to product of everything that :func:`product` makes."""
BITS = 8
_PAIR_BITS = BITS + 2


def _register(m: Module, name: str, value: Value, bits: int) -> Signal:
    """Return ``value`` in a signed register of ``bits`` bits."""
    register = Signal(signed(bits), name=name, reset_less=True)
    m.d.sync += register.eq(value)
    return register


class LutMultiplier(wiring.Component):
    """``p = a * b``, signed 8 x 8 bits and exact, in 79 LUTs and 80 flip-flops of an ECP5 and no DSP.

    ``q[i] = a * (b[2i] + 2 * b[2i+1])`` for ``i`` in 0..3, the highest bit counting negative: four chains of 11 LUTs.
    Then ``p = (q[0] + 4 * q[1]) + 16 * (q[2] + 4 * q[3])``, where the bits below the shift bypass the adder: 11, 11
    and 13 LUTs.

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
            rows = row_pair(m, f"rows_{i}", self.a, self.b[i], self.b[i + 1], _PAIR_BITS, minus=i + 2 == BITS)
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

    def __init__(self, *, primitive: Primitive) -> None:
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


class PairMultiplier(wiring.Component):
    """``p1 = y * x1`` and ``p0 = y * x0``, signed 8 x 8 bits and exact, in one 18 x 18 DSP, 54 LUTs and 82 flip-flops.

    ``S = y * (x1 * 2**10 + u0)``, where ``u0 = x0 mod 256``: the operand is 18 bits side by side, and ``y * u0`` has 16
    bits, of which the highest 6 overlap ``y * x1``. Its lowest 6 are ``L = y * x1 mod 64``, from rows of ANDs; then
    ``F = (S >> 10) - L + 32`` holds ``p1 >> 6`` above, and ``(y * u0 >> 10) + 32`` in its lowest 6 bits, both in one
    subtraction. Last, ``p0 = y * u0 - 256 * (y if x0 < 0 else 0)``.

    Latency :attr:`latency` = 4 cycles with every primitive, throughput one pair per cycle. A static pipeline: no stall,
    no valid, registers without reset.

    Parameters
    ----------
    primitive
        ``"mult18x18d"``: ECP5's DSP with input and output registers, and carry chains; ``"generic"``: registers behind
        two ``*``.

    Members
    -------
    y, x1, x0 : In(signed(8))
    p1, p0 : Out(signed(16))
    """

    y: Signal
    x1: Signal
    x0: Signal
    p1: Signal
    p0: Signal

    latency = 4

    def __init__(self, *, primitive: Primitive = "mult18x18d") -> None:
        if primitive not in ("generic", "mult18x18d"):
            raise ValueError(f"primitive must be 'generic' or 'mult18x18d', not {primitive!r}")
        self.primitive = primitive
        operands = {name: In(signed(BITS)) for name in ("y", "x1", "x0")}
        super().__init__({**operands, "p1": Out(signed(2 * BITS)), "p0": Out(signed(2 * BITS))})

    @staticmethod
    def compute(y: np.ndarray, x1: np.ndarray, x0: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``p1`` and ``p0`` by the formulas of the class.

        >>> p1, p0 = PairMultiplier.compute(*(np.array([-128, 3]) for _ in range(3)))
        >>> p1.tolist(), p0.tolist()
        ([16384, 9], [16384, 9])
        """
        y, x1, x0 = (operand.astype(np.int32) for operand in (y, x1, x0))
        s = y * ((x1 << 10) + (x0 & 255))
        low = (y & 63) * (x1 & 63) & 63
        f = _wrap((s >> 10) - low + 32, 16)
        p1 = f & ~63 | low
        p0 = _wrap((((f & 63) - 32) << 10 | s & 1023) - ((y & -(x0 < 0).astype(np.int32)) << 8), 16)
        return p1, p0

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.primitive == "generic":
            for p, x in ((self.p1, self.x1), (self.p0, self.x0)):
                m.d.comb += p.eq(delay(m, self.y * x, self.latency, name=f"product_{p.name}"))
            return m
        m.submodules.multiplier = multiplier = Multiplier(18, BITS, primitive="mult18x18d")
        m.d.comb += [
            multiplier.a.eq(Cat(self.x0, C(0, 2), self.x1).as_signed()),
            multiplier.b.eq(self.y),
        ]
        s, low = multiplier.p, self._low_product(m)
        # -L + 32 is L with its highest bit inverted, read as signed, and negated.
        f = _register(m, "f", s[10:].as_signed() - Cat(low[:5], ~low[5]).as_signed(), 16)
        lowest, low = delay(m, s[:10], 1, name="lowest"), delay(m, low, 1, name="low")
        y, negative = delay(m, self.y, 3, name="y"), delay(m, self.x0[-1], 3, name="negative")
        upper = Cat(lowest[8:], f[:6])
        cells = [Cell(MINUS_AND, bit, y[k], negative) for k, bit in enumerate(upper)]
        # The highest bit of F's lower part is inverted, too.
        cells[-1] = cells[-1]._replace(table=MINUS_AND ^ 0xFFFF)
        p0 = Cat(lowest[:8], chain(m, "p0", cells, 1)).as_signed()
        m.d.comb += [
            self.p1.eq(_register(m, "p1_out", Cat(low, f[6:]).as_signed(), 2 * BITS)),
            self.p0.eq(_register(m, "p0_out", p0, 2 * BITS)),
        ]
        return m

    def _low_product(self, m: Module) -> Signal:
        """Return ``y * x1 mod 64``, unsigned, 2 cycles later: of rows, lest yosys take a second DSP."""
        y, x = self.y, self.x1
        pairs = []
        for i in range(0, 6, 2):
            pair = Signal(6 - i, name=f"low_pair_{i}", reset_less=True)
            m.d.sync += pair.eq(row_pair(m, f"low_rows_{i}", y[: 6 - i], x[i], x[i + 1], 6 - i))
            pairs.append(pair)
        first, second, third = pairs
        # A sum of 2 bits: in LUTs, where a chain would take as many again.
        carry = second[2] & third[0]
        sum_2 = Cat(second[:2], second[2] ^ third[0], second[3] ^ third[1] ^ carry)
        low = Signal(6, name="low", reset_less=True)
        m.d.sync += low.eq(Cat(first[:2], (first[2:] + sum_2)[:4]))
        return low
