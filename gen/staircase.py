"""Straight lines between the corners of integer staircases: what makes a cheap requantizer exact.

A monotone step function of an integer is a staircase; ``(m * x + c) >> s`` equals it exactly where the line
``m * x + c`` runs on or above ``level * 2**s`` at each threshold, and below it one step earlier. For a given ``s``
the offsets ``c`` that do form an interval whose width is concave in ``m``, so that the multipliers that do form an
interval too, and Newton's method on the most violated pair of corners finds its ends in a few exact integer steps.
If ``(m, c, s)`` is exact, so is ``(2 * m, 2 * c, s + 1)``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MAX_SHIFT = 40
MAX_MULTIPLIER = 2**30 - 1
"""Bounds of the search. With ``|x| <= 2**31`` and levels below 2**9 every number here fits int64."""
_BEYOND = np.int64(2**62)
"""Stands for a corner that does not exist."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Staircase:
    """Monotone step functions of an integer in ``[first, last]``, one per channel.

    Parameters
    ----------
    levels
        Consecutive integers, int64 ``(levels, 1)``.
    thresholds
        The least ``x`` whose value is at least the level, ``last + 1`` if none: int64 ``(levels, channels)``.
    first, last
        int64 ``(channels,)``.
    points
        Every ``x`` that occurs, rising, ``(n,)``; ``None`` where all of ``[first, last]`` do.
    """

    levels: np.ndarray
    thresholds: np.ndarray
    first: np.ndarray
    last: np.ndarray
    points: np.ndarray | None = None

    @staticmethod
    def of(
        step: Callable[[np.ndarray], np.ndarray],
        first: np.ndarray,
        last: np.ndarray,
        *,
        low: int,
        high: int,
        points: np.ndarray | None = None,
    ) -> "Staircase":
        """Measure ``step``, which maps ``(..., channels)`` to values in ``[low, high]``, by bisection.

        Where only ``points`` occur, a threshold is the least of them that reaches its level.
        """
        # A layer with one value only has a level that nothing reaches, rather than none.
        levels = np.arange(low + 1, max(high, low + 1) + 1, dtype=np.int64)[:, None]
        below = np.broadcast_to(first, (len(levels), len(first))).astype(np.int64)
        above = np.broadcast_to(last + 1, below.shape).astype(np.int64)
        while (searching := below < above).any():
            middle = np.minimum((below + above) >> 1, last)
            reached = step(middle) >= levels
            above = np.where(searching & reached, middle, above)
            below = np.where(searching & ~reached, middle + 1, below)
        if points is not None:
            above = np.append(points, last.max() + 1)[np.searchsorted(points, above)]
        return Staircase(levels=levels, thresholds=above, first=first, last=last, points=points)

    @property
    def below(self) -> np.ndarray:
        """The greatest ``x`` that does not reach each level, where there is one: int64 ``(levels, channels)``."""
        if self.points is None:
            return self.thresholds - 1
        return self.points[np.maximum(np.searchsorted(self.points, self.thresholds) - 1, 0)]

    def value(self, x: np.ndarray) -> np.ndarray:
        """Step functions at ``x`` ``(n, channels)``, as int64."""
        rising = np.array([np.searchsorted(t, at, side="right") for t, at in zip(self.thresholds.T, x.T, strict=True)])
        return rising.T + self.levels[0, 0] - 1

    @property
    def extent(self) -> tuple[np.ndarray, np.ndarray]:
        """The part of the range in which something happens: ``(channels,)`` each, inclusive; 0 to 0 if constant."""
        inside = (self.thresholds > self.first) & (self.thresholds <= self.last)
        some = inside.any(axis=0)
        least = np.where(inside, self.below, _BEYOND).min(axis=0, initial=_BEYOND)
        greatest = np.where(inside, self.thresholds, -_BEYOND).max(axis=0, initial=-_BEYOND)
        return np.where(some, least, 0), np.where(some, greatest, 0)

    def sides(self, split: np.ndarray) -> list["Side"]:
        """Return the whole range, or for channels with ``split`` its negative and its other part.

        Each side has its own offset; without any ``split`` there is only one.
        """
        if not split.any():
            return [self._side(self.first, self.last)]
        negative = self._side(self.first, np.where(split, np.minimum(self.last, -1), self.last))
        return [negative, self._side(np.where(split, np.maximum(self.first, 0), self.first), self.last)]

    def take(self, channels: np.ndarray) -> "Staircase":
        """Return these channels only."""
        return Staircase(
            levels=self.levels,
            thresholds=self.thresholds[:, channels],
            first=self.first[channels],
            last=self.last[channels],
            points=self.points,
        )

    def _side(self, first: np.ndarray, last: np.ndarray) -> "Side":
        if self.points is not None:
            # The ends of this part, too, are points that occur.
            least = np.searchsorted(self.points, first)
            most = np.searchsorted(self.points, last, side="right") - 1
            first = self.points[np.minimum(least, len(self.points) - 1)]
            last = np.where(least <= most, self.points[np.maximum(most, 0)], first - 1)
        thresholds = np.clip(self.thresholds, first, np.maximum(first, last + 1))
        some = first <= last
        at_least, below = some & (thresholds <= last), some & (thresholds > first)
        return Side(
            at_least=np.where(at_least, thresholds, 0),
            has_at_least=at_least,
            # Beyond this part of the range the neighbour of its end stands for the threshold.
            below=np.where(below, np.where(thresholds == self.thresholds, self.below, thresholds - 1), 0),
            has_below=below,
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Side:
    """Corners of a staircase over a range: what a line must fulfil. All ``(levels, channels)``.

    Where ``has_at_least``, the line reaches its level at ``x = at_least``; where ``has_below``, it is below its level
    at ``x = below``.
    """

    at_least: np.ndarray
    has_at_least: np.ndarray
    below: np.ndarray
    has_below: np.ndarray

    def take(self, channels: np.ndarray) -> "Side":
        """Return these channels only."""
        return Side(
            at_least=self.at_least[:, channels],
            has_at_least=self.has_at_least[:, channels],
            below=self.below[:, channels],
            has_below=self.has_below[:, channels],
        )

    def offsets(self, goals: np.ndarray, multiplier: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the greatest offset for ``goals = level << shift``.

        Where one of them does not exist, it is set one goal's distance off the other; 0 where both do not.
        """
        bounds = self._bounds(goals, multiplier)
        least, most = (np.take_along_axis(bound, pick, axis=0)[0] for bound, pick in bounds)
        step = goals[1] - goals[0] if len(goals) > 1 else np.ones_like(least)
        no_least, no_most = least == -_BEYOND, most == _BEYOND
        return (
            np.where(no_least, np.where(no_most, 0, most - step), least),
            np.where(no_most, np.where(no_least, 0, least + step), most),
        )

    def violation(self, goals: np.ndarray, multiplier: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return where no offset exists, and the pair of corners that says so: ``multiplier * run >= rise`` must hold.

        ``run`` and ``rise`` ``(channels,)`` are meaningful where violated.
        """
        (least, i), (most, j) = self._bounds(goals, multiplier)
        violated = (np.take_along_axis(least, i, axis=0) > np.take_along_axis(most, j, axis=0))[0]
        run = np.take_along_axis(self.at_least, i, axis=0) - np.take_along_axis(self.below, j, axis=0)
        rise = np.take_along_axis(goals, i, axis=0) - np.take_along_axis(goals, j, axis=0) + 1
        return violated, run[0], rise[0]

    def _bounds(self, goals: np.ndarray, multiplier: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        least = np.where(self.has_at_least, goals - multiplier * self.at_least, -_BEYOND)
        most = np.where(self.has_below, goals - 1 - multiplier * self.below, _BEYOND)
        return [(least, least.argmax(axis=0)[None]), (most, most.argmin(axis=0)[None])]


@dataclass(frozen=True, kw_only=True, eq=False)
class Slopes:
    """Multipliers that some offset makes exact at a given shift, ``(channels,)`` each.

    Parameters
    ----------
    least
        The least of them, where ``exact``.
    exact
        There is one up to :data:`MAX_MULTIPLIER`.
    contradiction
        There is none of any size: the shift is too small.
    """

    least: np.ndarray
    exact: np.ndarray
    contradiction: np.ndarray


def least_slopes(sides: Sequence[Side], levels: np.ndarray, shift: np.ndarray) -> Slopes:
    """Find the least exact multiplier of each channel at ``shift`` ``(channels,)``, with one offset per side."""
    multiplier = np.zeros(len(shift), np.int64)
    contradiction = np.zeros(len(shift), bool)
    active = np.arange(len(shift))
    while len(active):
        goals = levels << shift[active]
        raised, impossible = multiplier[active], np.zeros(len(active), bool)
        for side in sides:
            violated, run, rise = side.take(active).violation(goals, multiplier[active])
            # Up to here lies no exact multiplier: a pair of corners that asks for less has none at all.
            impossible |= violated & (run <= 0)
            raised = np.where(violated & (run > 0), np.maximum(raised, -(-rise // np.maximum(run, 1))), raised)
        contradiction[active] = impossible
        unfinished = (raised > multiplier[active]) & ~impossible
        multiplier[active] = raised
        active = active[unfinished & (raised <= MAX_MULTIPLIER)]
    return Slopes(least=multiplier, exact=~contradiction & (multiplier <= MAX_MULTIPLIER), contradiction=contradiction)


def greatest_slopes(sides: Sequence[Side], levels: np.ndarray, shift: np.ndarray, limit: int) -> np.ndarray:
    """Return the greatest exact multiplier up to ``limit``, ``(channels,)``, given that there is one."""
    multiplier = np.full(len(shift), limit, np.int64)
    active = np.arange(len(shift))
    while len(active):
        goals = levels << shift[active]
        lowered = multiplier[active]
        for side in sides:
            violated, run, rise = side.take(active).violation(goals, multiplier[active])
            lowered = np.where(violated, np.minimum(lowered, -rise // np.maximum(-run, 1)), lowered)
        unfinished = lowered < multiplier[active]
        multiplier[active] = lowered
        active = active[unfinished]
    return multiplier


def least_shifts(sides: Sequence[Side], levels: np.ndarray, channels: int) -> tuple[np.ndarray, Slopes]:
    """Find the least shift at which each channel has an exact line, and that line's least multiplier.

    By bisection: an exact line stays exact at any greater shift. Channels without one have ``exact`` false.
    """
    below, above = np.zeros(channels, np.int64), np.full(channels, MAX_SHIFT, np.int64)
    while (below < above).any():
        middle = (below + above) >> 1
        too_small = least_slopes(sides, levels, middle).contradiction
        below, above = np.where(too_small, middle + 1, below), np.where(too_small, above, middle)
        below = np.minimum(below, above)
    return above, least_slopes(sides, levels, above)


def multiple_within(least: np.ndarray, most: np.ndarray, zeros: int) -> np.ndarray:
    """Return the greatest multiple of ``2**zeros`` in ``[least, most]``, where there is one."""
    return np.maximum((most >> zeros) << zeros, least)


def most_zeros_within(least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """Return how many low zero bits a number in ``[least, most]`` can have, at most :data:`MAX_SHIFT`.

    >>> most_zeros_within(np.array([5, -3, 9]), np.array([6, 9, 9])).tolist()
    [1, 40, 0]
    """
    zeros = np.arange(MAX_SHIFT + 1)[:, None]
    return ((most >> zeros << zeros) >= least).sum(axis=0) - 1
