"""Requantization: accumulator to int8 activation, exactly, with parameters that :mod:`heddle.gen.requantization` finds.

Scale: arXiv:1712.05877, eq. (6). That paper rounds the product; here any rounding is an offset, and rounding that
differs for negative sums (gemmlowp rounds twice, ties away from zero) is a second offset. Formula, widths and
latency are in :class:`RequantizeConfig`, which is also the software model.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np
from amaranth.hdl import Cat, Module, Mux, Shape, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from heddle.hdl.delay import delay
from heddle.hdl.multiplier import Multiplier, Primitive, multiplier_dsps, multiplier_latency
from heddle.hdl.packing import packer

CARRY_BITS = 48
"""The widest adder in one pipeline stage: longer carry chains would limit the clock."""
LEVEL_BITS = 9
"""A result before its zero point, saturated: beyond 9 bits it lies outside of int8 with any zero point."""
INT64_BITS = 63
"""The widest signed sum that int64 holds with room for a zero point; wider ones are computed in Python integers."""


@dataclass(frozen=True, kw_only=True)
class RequantizeParams:
    """Parameters of ``n`` channels, in the formula's units. Integer arrays ``(n,)``.

    ``offset_negative`` equals ``offset`` where negative sums round like the others.
    """

    bias: np.ndarray
    multiplier: np.ndarray
    offset: np.ndarray
    offset_negative: np.ndarray
    shift: np.ndarray

    def __len__(self) -> int:
        return len(self.bias)

    def rows(self, first: int, count: int) -> "RequantizeParams":
        """Return channels ``first`` to ``first + count - 1``."""
        return self.take(np.arange(first, first + count))

    def take(self, channels: np.ndarray) -> "RequantizeParams":
        """Return the channels with these indices ``(k,)``, in this order; an index may repeat."""
        return RequantizeParams(**{field.name: getattr(self, field.name)[channels] for field in fields(self)})

    def pack(self, config: "RequantizeConfig") -> list[int]:
        """One word of ``config.params_layout`` per channel.

        Raises
        ------
        ValueError
            A parameter does not fit ``config``.
        """
        columns = config.encode(self)
        pack = packer(config.params_layout)
        return [pack(dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]

    @staticmethod
    def join(parts: "list[RequantizeParams]") -> "RequantizeParams":
        """Return the channels of all parts, one after another."""
        return RequantizeParams(
            **{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(RequantizeParams)}
        )


@dataclass(frozen=True, kw_only=True)
class RequantizeConfig:
    """Widths of a requantizer, its latency and its software model.

    ::

        total = acc + bias
        x     = total saturated to x_bits
        y     = (x * multiplier + (offset_negative if total < 0 else offset)) >> shift
        ofmap = y + zero_point, clipped to [low, high]

    All is exact but for the saturation of ``total``, which the parameters must make harmless: beyond
    ``x_bits`` their result is constant. :func:`heddle.gen.requantization.plan` proves that.

    Parameters
    ----------
    acc_bits, bias_bits
        Signed widths of the accumulator and its bias.
    x_bits
        Signed width after saturation; at most ``total_bits``, where it saturates nothing.
    multiplier_bits
        Unsigned width; with ``x_bits`` up to 18, up to 17 bits need one 18 x 18 DSP.
    offset_bits, offset_zeros
        Signed width of the stored offset, which stands for ``offset >> offset_zeros``.
    shift_min, shift_max
        The shifts that occur. Equal: no barrel shifter.
    split_sign
        Negative sums have their own offset. Otherwise ``offset_negative`` must equal ``offset``.
    primitive
        The multiplier's primitive; it does not change results.
    """

    acc_bits: int
    bias_bits: int
    x_bits: int
    multiplier_bits: int
    offset_bits: int
    offset_zeros: int = 0
    shift_min: int
    shift_max: int
    split_sign: bool
    primitive: Primitive = "generic"

    def __post_init__(self) -> None:
        legal = {
            "acc_bits": range(2, 65),
            "bias_bits": range(2, 65),
            "x_bits": range(2, self.total_bits + 1),
            "multiplier_bits": range(1, 64),
            "offset_bits": range(2, 129),
            "offset_zeros": range(self.x_bits + self.multiplier_bits + 1),
            "shift_min": range(64),
            "shift_max": range(self.shift_min, 64),
        }
        for name, allowed in legal.items():
            if (got := getattr(self, name)) not in allowed:
                raise ValueError(f"{name} must be in {allowed}, not {got!r}")

    @property
    def total_bits(self) -> int:
        """Width of ``acc + bias``, which cannot overflow it."""
        return max(self.acc_bits, self.bias_bits) + 1

    @property
    def scaled_bits(self) -> int:
        """Width of ``x * multiplier + offset``, which cannot overflow it."""
        return max(self.x_bits + self.multiplier_bits + 1, self.offset_bits + self.offset_zeros) + 1

    @property
    def shift_bits(self) -> int:
        """Width of the stored shift, ``shift - shift_min``."""
        return (self.shift_max - self.shift_min).bit_length()

    @property
    def latency(self) -> int:
        """Cycles from ``acc`` to ``ofmap``: bias, product, offset, shift (2 bits each), limit, zero point, clip."""
        offset_stages = len(_cut(self.scaled_bits - self.offset_zeros))
        return 1 + self._product_latency + offset_stages + -(-self.shift_bits // 2) + 3

    @property
    def dsps(self) -> int:
        """Number of multipliers, of 18 x 18 bits or as the primitive has them."""
        return multiplier_dsps(self.x_bits, self.multiplier_bits + 1, self.primitive)

    @property
    def params_layout(self) -> data.StructLayout:
        """A channel's parameters as the hardware takes them: offsets without their zeros, shift less ``shift_min``."""
        members = {
            "bias": signed(self.bias_bits),
            "multiplier": unsigned(self.multiplier_bits),
            "offset": signed(self.offset_bits),
        }
        if self.split_sign:
            members["offset_negative"] = signed(self.offset_bits)
        if self.shift_bits:
            members["shift"] = unsigned(self.shift_bits)
        return data.StructLayout(members)

    @property
    def _product_latency(self) -> int:
        return multiplier_latency(self.x_bits, self.multiplier_bits + 1, self.primitive)

    def encode(self, params: RequantizeParams) -> Mapping[str, list[int]]:
        """Return each member of :attr:`params_layout` for every channel.

        Raises
        ------
        ValueError
            A parameter does not fit its width, names the parameter and the first channel.
        """
        encoded: dict[str, list[int]] = {}
        for name, member in self.params_layout.members.items():
            shape = Shape.cast(member)
            values = [int(value) for value in getattr(params, name)]
            zeros = self.offset_zeros if name.startswith("offset") else 0
            base = self.shift_min if name == "shift" else 0
            low, high = (-(1 << shape.width - 1), 1 << shape.width - 1) if shape.signed else (0, 1 << shape.width)
            for channel, value in enumerate(values):
                if value & (1 << zeros) - 1 or not low <= (value >> zeros) - base < high:
                    raise ValueError(f"{name} of channel {channel} must fit {shape} at {zeros} zeros, not {value}")
            encoded[name] = [(value >> zeros) - base for value in values]
        if not self.split_sign and np.any(params.offset != params.offset_negative):
            raise ValueError("offset_negative must equal offset without split_sign")
        if not self.shift_bits and np.any(params.shift != self.shift_min):
            raise ValueError(f"shift must be {self.shift_min} without a shifter")
        return encoded

    def compute(self, acc: np.ndarray, params: RequantizeParams, *, zero_point: int, low: int, high: int) -> np.ndarray:
        """Software model: integers ``(..., n)`` that fit ``acc_bits`` to int8 of the same shape.

        Raises
        ------
        ValueError
            An accumulator or a parameter does not fit its width.

        >>> config = RequantizeConfig(acc_bits=16, bias_bits=8, x_bits=17, multiplier_bits=1, offset_bits=2,
        ...                           shift_min=1, shift_max=1, split_sign=True)
        >>> one, zero = np.array([1]), np.array([0])
        >>> half = RequantizeParams(bias=zero, multiplier=one, offset=one, offset_negative=zero, shift=one)
        >>> config.compute(np.array([[3], [-3], [1000]]), half, zero_point=0, low=-128, high=127).ravel().tolist()
        [2, -2, 127]
        """
        self.encode(params)
        acc = np.asarray(acc)
        limit = 1 << self.acc_bits - 1
        if acc.size and not -limit <= acc.min() <= acc.max() < limit:
            raise ValueError(f"acc must fit {self.acc_bits} bits, not [{acc.min()}, {acc.max()}]")
        wide = max(self.scaled_bits, self.total_bits) > INT64_BITS
        p = {f.name: getattr(params, f.name).astype(object if wide else np.int64) for f in fields(params)}
        total = acc.astype(object if wide else np.int64) + p["bias"]
        x = np.clip(total, -(1 << self.x_bits - 1), (1 << self.x_bits - 1) - 1)
        scaled = x * p["multiplier"] + np.where(total < 0, p["offset_negative"], p["offset"])
        return np.clip((scaled >> p["shift"]) + zero_point, low, high).astype(np.int8)

    def create(self) -> "Requantize":
        """Make hardware that equals :meth:`compute` bit for bit."""
        return Requantize(self)


class Requantize(wiring.Component):
    """One requantizer; :class:`RequantizeConfig` has its formula.

    Latency ``config.latency`` cycles, throughput one item per cycle. A static pipeline without valid or stall; its
    registers are not reset.

    Members
    -------
    acc : In(signed(acc_bits))
        Accumulator, in units of ``ifmap_scale * weight_scale``.
    params : In(config.params_layout)
        Parameters of the accumulator's channel, in the same cycle.
    zero_point, low, high : In(signed(8))
        The layer's, :data:`ZERO_POINT_CYCLES` and :data:`LIMIT_CYCLES` before its item's ``ofmap``.
    ofmap : Out(signed(8))
        Activation, in units of ``ofmap_scale``.
    """

    ZERO_POINT_CYCLES, LIMIT_CYCLES = 2, 1

    acc: Signal
    params: data.View
    zero_point: Signal
    low: Signal
    high: Signal
    ofmap: Signal

    def __init__(self, config: RequantizeConfig) -> None:
        self.config = config
        int8 = signed(8)
        super().__init__(
            {
                "acc": In(signed(config.acc_bits)),
                "params": In(config.params_layout),
                "zero_point": In(int8),
                "low": In(int8),
                "high": In(int8),
                "ofmap": Out(int8),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        total = Signal(signed(config.total_bits), reset_less=True)
        m.d.sync += total.eq(self.acc + self.params.bias)
        m.submodules.multiplier = multiplier = Multiplier(
            config.x_bits, config.multiplier_bits + 1, primitive=config.primitive
        )
        # Saturation shares a stage with the multiplier's input register.
        m.d.comb += [
            multiplier.a.eq(_saturate(total, config.x_bits)),
            multiplier.b.eq(delay(m, self.params.multiplier, 1, name="multiplier")),
        ]
        scaled = self._add_offset(m, multiplier.p, total < 0)
        shifted = self._shift(m, scaled)
        # Saturation that no zero point can undo: the adder and the comparisons after it stay short.
        level, moved = Signal(signed(LEVEL_BITS), reset_less=True), Signal(signed(LEVEL_BITS + 1), reset_less=True)
        m.d.sync += [
            level.eq(_saturate(shifted, LEVEL_BITS)),
            moved.eq(level + self.zero_point),
            self.ofmap.eq(
                Mux(_negative(moved - self.low), self.low, Mux(_negative(self.high - moved), self.high, moved))
            ),
        ]
        return m

    def _add_offset(self, m: Module, product: Value, negative: Value) -> Value:
        """Add the offset that the sum's sign chooses, from its lowest stored bit up, a stage for each carry chain."""
        config = self.config
        offset = delay(m, self.params.offset, 1, name="offset")
        if config.split_sign:
            offset = Mux(negative, delay(m, self.params.offset_negative, 1, name="offset_negative"), offset)
        chosen = Signal(signed(config.offset_bits))
        m.d.comb += chosen.eq(offset)
        waiting = Value.cast(delay(m, chosen, config._product_latency, name="chosen_offset"))
        total_bits = config.scaled_bits - config.offset_zeros
        augend = _sign_extend(product[config.offset_zeros :], total_bits)
        done: list[Value] = [product[: config.offset_zeros]]
        addend, carry = _sign_extend(waiting, total_bits), Value.cast(0)
        for start, stop in _cut(total_bits):
            part = Signal(stop - start + 1, name=f"scaled_{start}", reset_less=True)
            m.d.sync += part.eq(augend[: stop - start] + addend[: stop - start] + carry)
            rest = [augend[stop - start :], addend[stop - start :]]
            augend, addend = (Value.cast(delay(m, bits, 1, name=f"rest_{stop}")) for bits in rest)
            done = [Value.cast(delay(m, Cat(done), 1, name=f"low_{start}")), part[:-1]]
            carry = part[-1]
        return Cat(done).as_signed()

    def _shift(self, m: Module, scaled: Value) -> Value:
        """Shift right: the common part by wiring, the rest two bits of ``shift`` a stage (4:1 multiplexers)."""
        config = self.config
        # A slice: Amaranth's `>>` keeps the width, and every later stage would pay for it.
        shifted = scaled[config.shift_min :].as_signed() if config.shift_min < len(scaled) else scaled[-1:].as_signed()
        if not config.shift_bits:
            return shifted
        waited = config.latency - 3 - -(-config.shift_bits // 2)
        amount = Value.cast(delay(m, self.params.shift, waited, name="shift"))
        # The largest first, so that the multiplexers shrink; dropped low bits never matter again.
        for top in range(config.shift_bits, 0, -2):
            bottom = max(0, top - 2)
            stage = Signal.like(shifted, name=f"shifted_{bottom}", reset_less=True)
            m.d.sync += stage.eq(shifted >> (amount[bottom:top] << bottom))
            shifted, amount = stage, Value.cast(delay(m, amount, 1, name=f"shift_{bottom}"))
        return shifted


def _cut(bits: int) -> list[tuple[int, int]]:
    """Cut an adder of ``bits`` into equal parts of at most :data:`CARRY_BITS`: ``(start, stop)`` of each."""
    count = -(-bits // CARRY_BITS)
    edges = [bits * part // count for part in range(count + 1)]
    return list(pairwise(edges))


def _sign_extend(value: Value, bits: int) -> Value:
    return Cat(value, value[-1].replicate(bits - len(value)))


def _negative(difference: Value) -> Value:
    """Compare by the sign of a difference: on ECP5 the carry out that ``<`` needs costs a detour of 1.2 ns."""
    return difference[-1]


def _saturate(value: Value, bits: int) -> Value:
    """Limit a signed value to ``bits``: all bits from the sign down must be equal, or the sign decides."""
    if bits >= len(value):
        return value
    upper, sign = value[bits - 1 :], value[-1]
    fits = (upper == 0) | upper.all()
    limit = Cat((~sign).replicate(bits - 1), sign)
    return Mux(fits, value[:bits], limit).as_signed()
