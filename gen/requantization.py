"""The cheapest exact parameters of the requantizers.

What follows an accumulator in a network - scaling, rounding once or twice, a zero point, clipping - is a monotone step
function of it, whatever its formula. Its thresholds say all: for each level the least accumulator that reaches it. So
the hardware may use any ``(total * multiplier + offset) >> shift`` with the same thresholds over the reachable range.
:func:`fit` finds the shortest multipliers of one layer, :func:`plan` one hardware for all layers, and proves it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from heddle.errors import UnsupportedError
from heddle.gen.staircase import (
    MAX_MULTIPLIER,
    MAX_SHIFT,
    Staircase,
    greatest_slopes,
    least_shifts,
    least_slopes,
    most_zeros_within,
    multiple_within,
)
from heddle.hdl.multiplier import LIMB_BITS, LOGIC_BITS, Primitive
from heddle.hdl.requantize import RequantizeConfig, RequantizeParams

log = logging.getLogger(__name__)

ACC_LIMIT = 2**31
"""Accumulators, bias included, are int32."""
RAW_BITS = 34
"""Width of any int32 accumulator less any int32 bias."""
CENTRED_BITS = LIMB_BITS + LOGIC_BITS
"""Sums that need more bits are centred with the bias: more would take another DSP."""
SPARE_BITS = 4
"""How many multiplier lengths :func:`plan` tries: a longer multiplier may allow much shorter offsets."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Lines:
    """The shortest exact line of each channel, ``(channels,)`` each.

    Parameters
    ----------
    exact
        There is one.
    shift, least
        The least shift, and its least multiplier.
    split
        Negative sums have an offset of their own.
    """

    exact: np.ndarray
    shift: np.ndarray
    least: np.ndarray
    split: np.ndarray

    @property
    def bits(self) -> np.ndarray:
        """Bits of the least multiplier; 0 where constant."""
        return np.array([int(value).bit_length() for value in self.least], np.int64)

    def or_better(self, other: "Lines") -> "Lines":
        """Return ``other``'s line for a channel where this one is not exact, or longer."""
        worse = ~self.exact | (other.exact & (self.bits > other.bits))
        return Lines(**{f.name: np.where(worse, getattr(other, f.name), getattr(self, f.name)) for f in fields(Lines)})


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerFit:
    """The step functions of one layer's channels and the lines that equal them.

    ``one`` has one offset per channel, ``two`` a second one for negative sums. The other fields are as given to
    :func:`fit`.
    """

    name: str
    staircase: Staircase
    bias: np.ndarray
    zero_point: int
    low: int
    high: int
    one: Lines
    two: Lines
    fallback: RequantizeParams | None

    @property
    def levels(self) -> np.ndarray:
        """The staircase's levels as a line must reach them, before the zero point is added."""
        return self.staircase.levels - self.zero_point


@dataclass(frozen=True, kw_only=True, eq=False)
class RequantizationPlan:
    """One hardware for all layers, and each layer's parameters, in the order of the fits."""

    config: RequantizeConfig
    params: tuple[RequantizeParams, ...]


def fit(
    step: Callable[[np.ndarray], np.ndarray],
    acc_min: np.ndarray,
    acc_max: np.ndarray,
    *,
    name: str,
    zero_point: int = 0,
    low: int = -128,
    high: int = 127,
    bias: np.ndarray | None = None,
    points: np.ndarray | None = None,
    fallback: RequantizeParams | None = None,
) -> LayerFit:
    """Find the shortest exact multipliers of a layer's channels.

    Parameters
    ----------
    step
        Monotone, from int64 ``(..., channels)`` accumulators, bias included, to integers in ``[low, high]``.
    acc_min, acc_max
        The reachable accumulators, bias included: ``(channels,)`` each. Fewer reachable ones give cheaper lines.
    name
        The layer, for messages.
    zero_point, low, high
        As :meth:`RequantizeConfig.compute` takes them.
    bias
        What the step function's accumulator has over the array's sum, ``(channels,)``; 0 if left out. The bias that
        is planned may differ from it.
    points
        The accumulators that occur, rising, ``(n,)``, where not all in the range do: the same in every channel.
    fallback
        The layer's own parameters, for channels for which no cheaper ones are found.

    Raises
    ------
    UnsupportedError
        A channel has no exact line, and no fallback was given.
    """
    first, last = (np.asarray(bound, np.int64).reshape(-1) for bound in (acc_min, acc_max))
    if np.any(first > last) or np.any(first < -ACC_LIMIT) or np.any(last >= ACC_LIMIT):
        raise ValueError(f"{name}: accumulators must be a range within int32")
    staircase = Staircase.of(step, first, last, low=low, high=high, points=points)
    levels = staircase.levels - zero_point
    one, two = (_shortest(staircase, levels, split=split) for split in (False, True))
    if fallback is None and not two.exact.all():
        raise UnsupportedError(
            f"no multiplier of {MAX_MULTIPLIER.bit_length()} bits scales output channel {np.argmin(two.exact)} exactly",
            where=name,
            remedy="quantize the layer with another output scale",
        )
    return LayerFit(
        name=name,
        staircase=staircase,
        bias=np.zeros_like(first) if bias is None else np.asarray(bias, np.int64),
        zero_point=zero_point,
        low=low,
        high=high,
        one=one,
        two=two,
        fallback=fallback,
    )


def plan(fits: Sequence[LayerFit], *, acc_bits: int, primitive: Primitive = "generic") -> RequantizationPlan:
    """Choose the hardware that serves all layers with the fewest DSPs, then the fewest parameter bits.

    Parameters
    ----------
    fits
        At least one layer.
    acc_bits
        Signed width of the sums that reach the requantizer, bias not included.

    Raises
    ------
    ValueError
        A layer's fallback is not equal to its step function.
    """
    choices = [[layer.one.or_better(layer.two) for layer in fits]]
    if all(layer.one.exact.all() for layer in fits):
        choices.append([layer.one for layer in fits])
    plans = [
        _plan(fits, lines, acc_bits=acc_bits, primitive=primitive, spare_bits=spare)
        for lines in choices
        for spare in range(SPARE_BITS)
    ]
    best = min(plans, key=lambda p: (p.config.dsps, p.config.params_layout.size, p.config.latency))
    for layer, params in zip(fits, best.params, strict=True):
        _prove(best.config, layer, params)
    log.debug("requantizer %s", best.config)
    return best


def _shortest(staircase: Staircase, levels: np.ndarray, *, split: bool) -> Lines:
    everywhere = np.full(len(staircase.first), split)
    shift, slopes = least_shifts(staircase.sides(everywhere), levels, len(everywhere))
    return Lines(exact=slopes.exact, shift=shift, least=slopes.least, split=everywhere)


def _plan(
    fits: Sequence[LayerFit], lines: Sequence[Lines], *, acc_bits: int, primitive: Primitive, spare_bits: int
) -> RequantizationPlan:
    """Plan with these lines, of which the longest multiplier may grow by ``spare_bits``."""
    bits, shift = (np.concatenate([getattr(part, name)[part.exact] for part in lines]) for name in ("bits", "shift"))
    # Up to a DSP's width multiplier bits are free. They buy a common shift, since a multiplier can double with its
    # shift until it has `limit` bits: each channel accepts a range of shifts.
    limit = min(max(int(bits.max(initial=0)) + spare_bits, LIMB_BITS), MAX_MULTIPLIER.bit_length())
    most = np.where(bits > 0, np.minimum(shift + limit - bits, MAX_SHIFT), MAX_SHIFT)
    lowest = min(int(shift.max(initial=0)) + spare_bits, int(most.min(initial=MAX_SHIFT)))
    chosen = [_Choice.of(layer, part, lowest, limit) for layer, part in zip(fits, lines, strict=True)]
    x_bits = max(2, *(_signed_bits(bound) for choice in chosen for bound in choice.extent))
    # A product that is shorter than the zeros would leave the offset's adder empty.
    zeros = min(x_bits, *(choice.zeros for choice in chosen))
    params = tuple(choice.params(zeros) for choice in chosen)
    every = RequantizeParams.join(list(params))
    bias_bits = max(2, _signed_bits(every.bias))
    config = RequantizeConfig(
        acc_bits=acc_bits,
        bias_bits=bias_bits,
        x_bits=min(x_bits, max(acc_bits, bias_bits) + 1),
        multiplier_bits=max(1, _signed_bits(every.multiplier) - 1),
        offset_bits=max(2, *(_signed_bits(offset) - zeros for offset in (every.offset, every.offset_negative))),
        offset_zeros=zeros,
        shift_min=int(every.shift.min()),
        shift_max=int(every.shift.max()),
        split_sign=bool(np.any(every.offset != every.offset_negative)),
        primitive=primitive,
    )
    return RequantizationPlan(config=config, params=params)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Choice:
    """One line for each of a layer's channels, its offsets still free.

    ``offsets`` holds each side's least and greatest, ``(channels,)``, the negative side first; ``extent`` what the
    product must distinguish.
    """

    layer: LayerFit
    exact: np.ndarray
    bias: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    offsets: tuple[tuple[np.ndarray, np.ndarray], ...]
    extent: tuple[np.ndarray, np.ndarray]

    @staticmethod
    def of(layer: LayerFit, lines: Lines, lowest: int, limit: int) -> "_Choice":
        """Raise shifts to at least ``lowest``; take the multiplier that leaves the offsets most room.

        No multiplier gets more than ``limit`` bits.
        """
        stairs, channels = layer.staircase, np.flatnonzero(lines.exact)
        sides = [side.take(channels) for side in stairs.sides(lines.split)]
        shift = np.maximum(lines.shift, lowest)
        at = shift[channels]
        least = least_slopes(sides, layer.levels, at).least
        most = greatest_slopes(sides, layer.levels, at, (1 << limit) - 1)
        # The room is concave between the ends. A constant needs no multiplier.
        multiplier = np.zeros_like(shift)
        multiplier[channels] = np.where(least == 0, 0, (least + most) >> 1)
        first, last = stairs.extent
        centre = np.where(_fits_signed(first, last, CENTRED_BITS) | lines.split, 0, (first + last) >> 1)
        offsets = []
        for side in sides:
            bounds = np.zeros((2, len(shift)), np.int64)
            bounds[:, channels] = side.offsets(layer.levels << at, multiplier[channels])
            offsets.append(tuple(bounds + multiplier * centre))
        return _Choice(
            layer=layer,
            exact=lines.exact,
            # Without a multiplier and a second offset no bias matters.
            bias=np.where((multiplier == 0) & ~lines.split, 0, layer.bias - centre),
            multiplier=multiplier,
            shift=shift,
            offsets=tuple(offsets),
            extent=(first - centre, last - centre),
        )

    @property
    def zeros(self) -> int:
        """Low zero bits that every offset can have."""
        zeros = [most_zeros_within(least, most)[self.exact] for least, most in self.offsets]
        if (own := self.layer.fallback) is not None:
            zeros += [most_zeros_within(offset, offset)[~self.exact] for offset in (own.offset, own.offset_negative)]
        return int(min(part.min(initial=MAX_SHIFT) for part in zeros))

    def params(self, zeros: int) -> RequantizeParams:
        """Offsets with ``zeros`` low zero bits; the fallback where there is no line."""
        offsets = [multiple_within(least, most, zeros) for least, most in self.offsets]
        found = {"multiplier": self.multiplier, "shift": self.shift, "bias": self.bias}
        found |= {"offset_negative": offsets[0], "offset": offsets[-1]}
        if self.layer.fallback is not None:
            own = self.layer.fallback
            found = {name: np.where(self.exact, value, getattr(own, name)) for name, value in found.items()}
        return RequantizeParams(**found)


def _prove(config: RequantizeConfig, layer: LayerFit, params: RequantizeParams) -> None:
    """Compare the hardware's model with the step function on both sides of every step, of zero, and at the ends.

    Between those points both are constant or rise with the sum, so equality there is equality everywhere. Where only
    some sums occur, all of them are compared.
    """
    stairs = layer.staircase
    ends = np.stack([stairs.first, stairs.last, np.full_like(stairs.first, -1), np.zeros_like(stairs.first)])
    points = np.concatenate([stairs.thresholds, stairs.below, ends]).clip(stairs.first, stairs.last)
    if stairs.points is not None:
        points = np.repeat(stairs.points[:, None], len(stairs.first), axis=1)
    # More bits for the sum than the array has: what it adds up to is not known here, only what it reaches with bias.
    model = replace(config, acc_bits=RAW_BITS)
    constants = {"zero_point": layer.zero_point, "low": layer.low, "high": layer.high}
    got = model.compute(points - layer.bias, params, **constants)
    if np.any(differs := got != stairs.value(points)):
        channel = int(np.argmax(differs.any(axis=0)))
        raise ValueError(f"{layer.name}: parameters of channel {channel} must equal its step function, but differ")


def _fits_signed(first: np.ndarray, last: np.ndarray, bits: int) -> np.ndarray:
    return (first >= -(1 << (bits - 1))) & (last < 1 << (bits - 1))


def _signed_bits(values: np.ndarray) -> int:
    """Width that holds all ``values`` in two's complement."""
    return 1 + max((int(value if value >= 0 else ~value).bit_length() for value in values), default=0)
