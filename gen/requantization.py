"""The cheapest exact parameters of the requantizers.

What follows an accumulator in a network - scaling, rounding once or twice, a zero point, clipping - is a monotone step
function of it, whatever its formula. Its thresholds say all: for each level the least accumulator that reaches it. So
the hardware may use any ``(total * multiplier + offset) >> shift`` with the same thresholds over the reachable range.
:func:`fit` finds the shortest multipliers of one layer, :func:`plan` one hardware for all layers, and proves it.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from heddle.errors import UnsupportedError
from heddle.gen.staircase import (
    MAX_MULTIPLIER,
    MAX_SHIFT,
    Slopes,
    Staircase,
    greatest_slopes,
    least_shifts,
    least_slopes,
    most_zeros_within,
    roundest_within,
)
from heddle.hdl.multiplier import DSP_BITS, Primitive
from heddle.hdl.requantize import RequantizeConfig, RequantizeParams

log = logging.getLogger(__name__)

ACC_LIMIT = 2**31
"""Accumulators, bias included, are int32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Lines:
    """For each channel the least shift at which an exact line exists, and the least multiplier there."""

    shift: np.ndarray
    slopes: Slopes

    @property
    def bits(self) -> np.ndarray:
        """Bits of the least multiplier; 0 where constant."""
        return _bit_length(self.slopes.least)


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

    def lines(self, *, split: bool) -> Lines:
        """Return ``two`` if ``split``, else ``one``."""
        return self.two if split else self.one


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
        What the hardware adds to the array's sum, ``(channels,)``; 0 if left out.
    fallback
        The layer's own parameters, for channels for which no cheaper ones are found; ``bias`` is taken from here too.

    Raises
    ------
    UnsupportedError
        A channel has no exact line, and no fallback was given.
    """
    first, last = (np.asarray(bound, np.int64).reshape(-1) for bound in (acc_min, acc_max))
    if np.any(first > last) or np.any(first < -ACC_LIMIT) or np.any(last >= ACC_LIMIT):
        raise ValueError(f"{name}: accumulators must be a range within int32")
    staircase = Staircase.of(step, first, last, low=low, high=high)
    levels = staircase.levels - zero_point
    one, two = (
        Lines(shift=shift, slopes=slopes)
        for shift, slopes in (least_shifts(staircase.sides(split=split), levels, len(first)) for split in (False, True))
    )
    if fallback is None and not two.slopes.exact.all():
        channel = int(np.argmin(two.slopes.exact))
        raise UnsupportedError(
            f"no multiplier of {MAX_MULTIPLIER.bit_length()} bits scales output channel {channel} exactly",
            where=name,
            remedy="quantize the layer with another output scale",
        )
    if bias is None:
        bias = fallback.bias if fallback is not None else np.zeros(len(first), np.int64)
    return LayerFit(
        name=name,
        staircase=staircase,
        bias=np.asarray(bias, np.int64),
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
    modes = [False, True] if all(layer.one.slopes.exact.all() for layer in fits) else [True]
    plans = [_plan(fits, split=split, acc_bits=acc_bits, primitive=primitive) for split in modes]
    best = min(plans, key=lambda p: (p.config.dsps, p.config.params_layout.size, p.config.latency))
    for layer, params in zip(fits, best.params, strict=True):
        _prove(best.config, layer, params)
    log.debug("requantizer %s", best.config)
    return best


@dataclass(frozen=True, kw_only=True, eq=False)
class _Choice:
    """Lines chosen for a layer's channels, ``(channels,)``; ``offsets`` holds the least and greatest of each side."""

    exact: np.ndarray
    multiplier: np.ndarray
    shift: np.ndarray
    offsets: tuple[tuple[np.ndarray, np.ndarray], ...]

    @property
    def zeros(self) -> int:
        """Low zero bits that every offset can have."""
        zeros = [most_zeros_within(least, most)[self.exact] for least, most in self.offsets]
        return int(min(z.min(initial=MAX_SHIFT) for z in zeros))

    def params(self, layer: LayerFit, zeros: int) -> RequantizeParams:
        """Offsets with ``zeros`` low zero bits; the fallback where there is no line."""
        offsets = [
            roundest_within(np.where(self.exact, least, 0), np.where(self.exact, most, 0), zeros)
            for least, most in self.offsets
        ]
        found = {"multiplier": self.multiplier, "shift": self.shift, "bias": layer.bias}
        found |= {"offset_negative": offsets[0], "offset": offsets[-1]}
        if layer.fallback is not None:
            found = {name: np.where(self.exact, value, getattr(layer.fallback, name)) for name, value in found.items()}
        return RequantizeParams(**found)


def _plan(fits: Sequence[LayerFit], *, split: bool, acc_bits: int, primitive: Primitive) -> RequantizationPlan:
    lines = [layer.lines(split=split) for layer in fits]
    exact = np.concatenate([line.slopes.exact for line in lines])
    bits, least = (np.concatenate(part)[exact] for part in zip(*((li.bits, li.shift) for li in lines), strict=True))
    # Up to a DSP's width multiplier bits are free. They buy a common shift, since a multiplier can double with its
    # shift until it has `limit` bits: each channel accepts a range of shifts.
    limit = max(int(bits.max(initial=0)), DSP_BITS - 1)
    most = np.where(bits > 0, np.minimum(least + limit - bits, MAX_SHIFT), MAX_SHIFT)
    lowest = min(int(least.max(initial=0)), int(most.min(initial=MAX_SHIFT)))
    choices = [
        _choose(layer, line, split=split, lowest=lowest, limit=limit) for layer, line in zip(fits, lines, strict=True)
    ]
    fallbacks = [layer.fallback.take(~c.exact) for layer, c in zip(fits, choices, strict=True) if layer.fallback]
    spare = [_zeros(offset) for f in fallbacks for offset in (*f.offset, *f.offset_negative)]
    extent = np.concatenate([bound for layer in fits for bound in layer.staircase.extent])
    x_bits = max(2, _signed_bits(extent))
    # A product that is shorter than the zeros would leave the offset's adder empty.
    zeros = min([choice.zeros for choice in choices] + spare + [x_bits])
    params = tuple(choice.params(layer, zeros) for choice, layer in zip(choices, fits, strict=True))
    every = RequantizeParams.join(list(params))
    total_bits = max(acc_bits, bias_bits := max(2, _signed_bits(every.bias))) + 1
    config = RequantizeConfig(
        acc_bits=acc_bits,
        bias_bits=bias_bits,
        x_bits=min(x_bits, total_bits),
        multiplier_bits=max(1, *(int(value).bit_length() for value in every.multiplier)),
        offset_bits=max(2, *(_signed_bits(offset) - zeros for offset in (every.offset, every.offset_negative))),
        offset_zeros=zeros,
        shift_min=int(every.shift.min()),
        shift_max=int(every.shift.max()),
        split_sign=split,
        primitive=primitive,
    )
    return RequantizationPlan(config=config, params=params)


def _choose(layer: LayerFit, lines: Lines, *, split: bool, lowest: int, limit: int) -> _Choice:
    """Raise every shift to at least ``lowest`` and take the multiplier that leaves its offsets the most room."""
    channels = np.flatnonzero(lines.slopes.exact)
    sides = [side.take(channels) for side in layer.staircase.sides(split=split)]
    levels = layer.staircase.levels - layer.zero_point
    shift = np.maximum(lines.shift[channels], lowest)
    least = least_slopes(sides, levels, shift).least
    most = greatest_slopes(sides, levels, shift, (1 << limit) - 1)
    # The room is concave between the ends. A constant needs no multiplier.
    multiplier = np.where(least == 0, 0, (least + most) >> 1)
    everywhere = len(lines.shift)
    return _Choice(
        exact=lines.slopes.exact,
        multiplier=_scatter(multiplier, channels, everywhere),
        shift=_scatter(shift, channels, everywhere),
        offsets=tuple(
            tuple(_scatter(bound, channels, everywhere) for bound in side.offsets(levels << shift, multiplier))
            for side in sides
        ),
    )


def _prove(config: RequantizeConfig, layer: LayerFit, params: RequantizeParams) -> None:
    """Compare the hardware's model with the step function on both sides of every step, of zero, and at the ends.

    Between those points both are constant or rise with the sum, so equality there is equality everywhere.
    """
    stairs = layer.staircase
    ends = np.stack([stairs.first, stairs.last, np.full_like(stairs.first, -1), np.zeros_like(stairs.first)])
    points = np.concatenate([stairs.thresholds, stairs.thresholds - 1, ends]).clip(stairs.first, stairs.last)
    # The sum may exceed `acc_bits` by its bias: the model is asked for sums, with the bias taken out.
    sums = replace(config, acc_bits=config.total_bits, bias_bits=2) if config.total_bits > 2 else config
    unbiased = replace(params, bias=np.zeros_like(params.bias))
    got = sums.compute(points, unbiased, zero_point=layer.zero_point, low=layer.low, high=layer.high)
    if np.any(differs := got != stairs.value(points)):
        channel = int(np.argmax(differs.any(axis=0)))
        raise ValueError(f"{layer.name}: parameters of channel {channel} must equal its step function, but differ")


def _scatter(values: np.ndarray, channels: np.ndarray, count: int) -> np.ndarray:
    everywhere = np.zeros(count, values.dtype)
    everywhere[channels] = values
    return everywhere


def _bit_length(values: np.ndarray) -> np.ndarray:
    """Bits of non-negative integers, element by element."""
    return np.array([int(value).bit_length() for value in values], np.int64)


def _signed_bits(values: np.ndarray) -> int:
    """Width that holds all ``values`` in two's complement."""
    return 1 + max((int(value if value >= 0 else ~value).bit_length() for value in values), default=0)


def _zeros(value: int) -> int:
    """Low zero bits of ``value``, at most :data:`MAX_SHIFT`."""
    return min((int(value) & -int(value)).bit_length() - 1, MAX_SHIFT) if value else MAX_SHIFT
