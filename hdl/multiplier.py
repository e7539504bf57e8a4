"""A signed multiplier with registers all the way, on any number of DSPs: 18 x 18 bits, or 16 x 16 on iCE40.

ECP5's MULT18X18D is instantiated rather than inferred: yosys leaves the registers of an inferred product outside of
the DSP, which halves the clock (147 MHz instead of more than 400). iCE40's SB_MAC16 is, too: yosys 0.70 makes a
constant of an inferred one that two registers follow.
"""

from dataclasses import dataclass
from itertools import product
from typing import Literal, get_args

from amaranth.hdl import C, Cat, ClockSignal, Const, Instance, Module, Shape, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

Primitive = Literal["generic", "mult18x18d", "sb_mac16"]
"""What a core is made of: plain operators, or the DSPs of a family, instantiated."""
ECP5: Primitive = "mult18x18d"
"""With this one carry chains and multiplexers are ECP5's cells, too; with the others they are plain operators."""
LIMB_BITS = 17
"""Bits of an unsigned limb: it enters the signed 18-bit operand of a DSP with a zero above it."""


def dsp_bits(primitive: Primitive) -> int:
    """Return the width of a DSP's signed operands; plain operators are cut as on ECP5."""
    return 16 if primitive == "sb_mac16" else LIMB_BITS + 1


LOGIC_BITS = 4
"""A limb of at most so many bits is multiplied by rows of adders, some 26 LUT a bit, rather than by another DSP."""


def limb_widths(bits: int, primitive: Primitive = ECP5) -> list[int]:
    """Return the limbs of a signed number of ``bits``, lowest first: unsigned ones below one signed limb.

    >>> [limb_widths(bits) for bits in (8, 18, 19, 36)]
    [[8], [18], [17, 2], [17, 17, 2]]
    """
    whole = dsp_bits(primitive)
    low = max(0, -(-(bits - whole) // (whole - 1)))
    return [whole - 1] * low + [bits - (whole - 1) * low]


def multiplier_latency(a_bits: int, b_bits: int, primitive: Primitive = ECP5) -> int:
    """Cycles from operands to product: 2 in a DSP, and 1 for each level of the tree that adds partial products.

    >>> multiplier_latency(18, 18), multiplier_latency(32, 18), multiplier_latency(32, 32)
    (2, 3, 4)
    """
    return 2 + (sum(_row_pairs(a, b) or 1 for a, b in _limb_pairs(a_bits, b_bits, primitive)) - 1).bit_length()


def multiplier_dsps(a_bits: int, b_bits: int, primitive: Primitive = ECP5) -> int:
    """Return the number of DSPs in an ``a_bits`` by ``b_bits`` multiplier.

    >>> multiplier_dsps(18, 18), multiplier_dsps(20, 18), multiplier_dsps(20, 25), multiplier_dsps(32, 32)
    (1, 1, 2, 4)
    >>> multiplier_dsps(16, 16, "sb_mac16"), multiplier_dsps(26, 24, "sb_mac16")
    (1, 4)
    """
    return sum(not _row_pairs(a, b) for a, b in _limb_pairs(a_bits, b_bits, primitive))


def _limb_pairs(a_bits: int, b_bits: int, primitive: Primitive) -> list[tuple[int, int]]:
    return list(product(limb_widths(a_bits, primitive), limb_widths(b_bits, primitive)))


def _row_pairs(a_bits: int, b_bits: int) -> int:
    """Return how many pairs of rows make the product of two limbs; 0 if a DSP makes it."""
    narrow = min(a_bits, b_bits)
    return -(-narrow // 2) if narrow <= LOGIC_BITS else 0


@dataclass(frozen=True)
class _Term:
    """``value << shift``, one of the numbers whose sum is the product."""

    value: Value
    shift: int


class Multiplier(wiring.Component):
    """``p = a * b``, signed and exact.

    Latency :attr:`latency` cycles; throughput one product per cycle. A static
    pipeline: it has no stall and no valid, its registers are not reset, and the caller delays what belongs to an
    item by ``latency``.

    Operands of more bits than a DSP's are cut into unsigned limbs of one bit less below one signed limb. The product
    of two limbs takes a DSP, or rows of adders where one has at most :data:`LOGIC_BITS`; a registered tree adds them.

    Parameters
    ----------
    a_bits, b_bits
        Widths of the operands, at least 2.
    primitive
        ``"generic"``: registers around ``*``; ``"mult18x18d"``, ``"sb_mac16"``: ECP5's or iCE40's DSP with input and
        output registers.

    Members
    -------
    a : In(signed(a_bits))
    b : In(signed(b_bits))
    p : Out(signed(a_bits + b_bits))
    """

    a: Signal
    b: Signal
    p: Signal

    def __init__(self, a_bits: int, b_bits: int, *, primitive: Primitive = "generic") -> None:
        for name, bits in (("a_bits", a_bits), ("b_bits", b_bits)):
            if bits < 2:
                raise ValueError(f"{name} must be at least 2, not {bits}")
        if primitive not in get_args(Primitive):
            raise ValueError(f"primitive must be one of {get_args(Primitive)}, not {primitive!r}")
        self.a_bits, self.b_bits = a_bits, b_bits
        self.primitive: Primitive = primitive
        super().__init__({"a": In(signed(a_bits)), "b": In(signed(b_bits)), "p": Out(signed(a_bits + b_bits))})

    @property
    def latency(self) -> int:
        """Cycles from ``a`` and ``b`` to ``p``; see :func:`multiplier_latency`."""
        return multiplier_latency(self.a_bits, self.b_bits, self.primitive)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        product = self._generic(m) if self.primitive == "generic" else self._partial_products(m)
        m.d.comb += self.p.eq(product)
        return m

    def _generic(self, m: Module) -> Value:
        a, b = Signal.like(self.a, name="a_registered"), Signal.like(self.b, name="b_registered")
        m.d.sync += [a.eq(self.a), b.eq(self.b)]
        value: Value = a * b
        for index in range(1, self.latency):
            stage = Signal(self.p.shape(), name=f"product_{index}", reset_less=True)
            m.d.sync += stage.eq(value)
            value = stage
        return value

    def _partial_products(self, m: Module) -> Value:
        terms, dsp, limb = [], _DSPS[self.primitive], dsp_bits(self.primitive) - 1
        for i, a in enumerate(_limbs(self.a, self.primitive)):
            for j, b in enumerate(_limbs(self.b, self.primitive)):
                shift = limb * (i + j)
                if _row_pairs(len(a), len(b)):
                    narrow, wide = sorted((a, b), key=len)
                    terms += [_Term(row.value, shift + row.shift) for row in _row_products(m, narrow, wide)]
                    continue
                partial = Signal(signed(len(a) + len(b)), name=f"partial_{i}_{j}")
                m.submodules[f"dsp_{i}_{j}"] = dsp(a, b, partial)
                terms.append(_Term(partial, shift))
        terms.sort(key=lambda term: term.shift)
        while len(terms) > 1:
            pairs = [terms[index : index + 2] for index in range(0, len(terms), 2)]
            terms = [_add_registered(m, pair, self.p.shape()) for pair in pairs]
        return terms[0].value


def _limbs(operand: Value, primitive: Primitive) -> list[Value]:
    """Cut a signed value into signed limbs as wide as a DSP's operand at most, ``sum(limb << (width - 1) * index)``."""
    limb = dsp_bits(primitive) - 1
    cuts = [limb * index for index in range(len(limb_widths(len(operand), primitive)))]
    low = [Cat(operand[cut : cut + limb], C(0, 1)).as_signed() for cut in cuts[:-1]]
    return [*low, operand[cuts[-1] :].as_signed()]


def _row_products(m: Module, narrow: Value, wide: Value) -> list[_Term]:
    """Multiply in adders, 2 cycles as in a DSP: the masked rows are registered, then the sums of two rows each."""
    rows = []
    for bit in range(len(narrow)):
        row = Signal(signed(len(wide)), name=f"row_{bit}", reset_less=True)
        m.d.sync += row.eq(wide & narrow[bit].replicate(len(wide)))
        rows.append(row)
    terms = []
    for index in range(0, len(rows), 2):
        even, odd = rows[index], rows[index + 1] if index + 1 < len(rows) else None
        total = Signal(signed(len(wide) + 2), name=f"rows_{index}", reset_less=True)
        # The highest bit of a signed limb counts negative.
        if odd is None:
            m.d.sync += total.eq(-even)
        elif index + 2 == len(rows):
            m.d.sync += total.eq(even - (odd << 1))
        else:
            m.d.sync += total.eq(even + (odd << 1))
        terms.append(_Term(total, index))
    return terms


def _add_registered(m: Module, terms: list[_Term], total: Shape) -> _Term:
    """Add one or two terms (the lower first) into a register; the bits below the second bypass the adder."""
    low, distance = terms[0], 0
    value = low.value
    if len(terms) == 2:
        distance = terms[1].shift - low.shift
        value = Cat(low.value[:distance], low.value[distance:].as_signed() + terms[1].value).as_signed()
    width = min(len(value), total.width - low.shift)
    register = Signal(signed(width), reset_less=True, name="sum")
    m.d.sync += register.eq(value)
    return _Term(register, low.shift)


def _mult18x18d(a: Value, b: Value, product: Signal) -> Instance:
    """Instantiate a signed MULT18X18D with input and output registers (2 cycles) and its cascades unused.

    A and B are registered both or neither: nextpnr's timing supports nothing else.
    """
    stages = {f"p_REG_{stage}_CLK": "CLK0" for stage in ("INPUTA", "INPUTB", "OUTPUT")}
    operands = {
        f"i_{port}{bit}": wire for port, value in (("A", a), ("B", b)) for bit, wire in enumerate(_at_top(value, 18))
    }
    unused = {f"i_C{bit}": Const(0, 1) for bit in range(18)}
    result = {f"o_P{36 - len(product) + bit}": product[bit] for bit in range(len(product))}
    control = {
        **{f"i_{name}": Const(1, 1) for name in ("SIGNEDA", "SIGNEDB", "CE0")},
        **{f"i_{name}": Const(0, 1) for name in ("SOURCEA", "SOURCEB", "RST0")},
    }
    return Instance("MULT18X18D", **stages, **operands, **unused, **result, **control, i_CLK0=ClockSignal("sync"))


def _sb_mac16(a: Value, b: Value, product: Signal) -> Module:
    """Instantiate a signed SB_MAC16 with input and output registers (2 cycles), its adders and cascades unused."""
    parameters = {
        **dict.fromkeys(("A_REG", "B_REG", "A_SIGNED", "B_SIGNED", "PIPELINE_16x16_MULT_REG2"), 1),
        # The 32 bits of the product itself.
        **dict.fromkeys(("TOPOUTPUT_SELECT", "BOTOUTPUT_SELECT"), 3),
    }
    controls = (
        "AHOLD", "BHOLD", "CHOLD", "DHOLD", "IRSTTOP", "IRSTBOT", "ORSTTOP", "ORSTBOT", "OLOADTOP", "OLOADBOT",
        "ADDSUBTOP", "ADDSUBBOT", "OHOLDTOP", "OHOLDBOT", "CI", "ACCUMCI", "SIGNEXTIN",
    )  # fmt: skip
    output = Signal(32, name=f"{product.name}_whole")
    instance = Instance(
        "SB_MAC16",
        **{f"p_{name}": C(value, 2 if name.endswith("SELECT") else 1) for name, value in parameters.items()},
        **{f"i_{name}": Const(0, 1) for name in controls},
        i_A=_at_top(a, 16),
        i_B=_at_top(b, 16),
        i_C=Const(0, 16),
        i_D=Const(0, 16),
        i_CE=Const(1, 1),
        i_CLK=ClockSignal("sync"),
        o_O=output,
    )
    wrapper = Module()
    wrapper.submodules.mac = instance
    wrapper.d.comb += product.eq(output[32 - len(product) :])
    return wrapper


def _at_top(value: Value, bits: int) -> Value:
    """Put a value into the highest bits of a DSP's operand, so that the product comes in the highest bits, too.

    Constants below cost no wires; copies of the sign above take as many as there are, all into the same tile.
    """
    return Cat(C(0, bits - len(value)), value)


_DSPS = {"mult18x18d": _mult18x18d, "sb_mac16": _sb_mac16}
"""What instantiates each family's DSP: operands, and the signal that takes their product two cycles later."""
