"""Sums of two scaled tensors as weighted sums: ``output(first[a] + second[b]) == step(v * a + w * b)`` exactly.

The reference scales each operand with a rounding of its own. What comes of it depends on the pair of int8 only, and
65,536 pairs can all be compared: integer weights are sought whose order of sums is one in which the outputs never fall.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from heddle.errors import UnsupportedError
from heddle.gen import arithmetic
from heddle.gen.kinds import Elementwise
from heddle.hdl.worklist_config import HIGH_SHIFT

VALUES = np.arange(arithmetic.INT8_MIN, arithmetic.INT8_MAX + 1, dtype=np.int64)
LARGEST = 127 * (1 << HIGH_SHIFT) + (1 << HIGH_SHIFT - 1) - 1
"""The largest weight that two items make."""
CANDIDATES = 64
"""Ratios of integers that are tried, nearest first."""


class Weight(NamedTuple):
    """``low + high * 2**HIGH_SHIFT``, each an int8 other than -128."""

    low: int
    high: int

    @staticmethod
    def of(value: int) -> "Weight":
        """Divide ``value``, of at most :data:`LARGEST` in magnitude.

        >>> Weight.of(100), Weight.of(-200), Weight.of(16319)
        (Weight(low=100, high=0), Weight(low=56, high=-2), Weight(low=63, high=127))
        """
        if abs(value) <= 127:
            return Weight(value, 0)
        half = 1 << HIGH_SHIFT - 1
        low = (value + half) % (2 * half) - half
        return Weight(low, (value - low) >> HIGH_SHIFT)


def weights_of(op: Elementwise) -> tuple[int, int]:
    """Find the weights of the two operands.

    Raises
    ------
    UnsupportedError
        ``op`` is no sum of two, or there are none.
    """
    if op.second is None:
        raise UnsupportedError(
            "a work-list core has neither maximum nor tables", where=op.layer, remedy="use the array core"
        )
    result = op.output(op.first[:, None] + op.second).reshape(-1)
    slopes = [float(table[-1] - table[0]) for table in (op.first, op.second)]
    for first, second in _candidates(*slopes):
        sums = (VALUES[:, None] * first + VALUES * second).reshape(-1)
        if _is_step(sums, result):
            return first, second
    raise UnsupportedError(
        f"no weights of {LARGEST.bit_length() + 1} bits give this sum exactly", where=op.layer,
        remedy="use the array core",
    )  # fmt: skip


def as_weighted(op: Elementwise, weights: tuple[int, int]) -> Elementwise:
    """Return ``op`` as a function of the weighted sum."""
    assert op.second is not None
    result = op.output(op.first[:, None] + op.second).reshape(-1)
    sums, first = np.unique((VALUES[:, None] * weights[0] + VALUES * weights[1]).reshape(-1), return_index=True)
    levels = result[first].astype(np.int64)

    def step(acc: np.ndarray) -> np.ndarray:
        return levels[np.clip(np.searchsorted(sums, acc, side="right") - 1, 0, len(levels) - 1)]

    return replace(op, first=VALUES * weights[0], second=VALUES * weights[1], output=step, fallback=None)


def _candidates(first: float, second: float) -> list[tuple[int, int]]:
    """Integers whose ratio is near that of the slopes, the nearest first."""
    swap = abs(second) > abs(first)
    large, small = (second, first) if swap else (first, second)
    if not large:
        return [(0, 0)]
    sizes = np.arange(1, LARGEST + 1)
    others = np.rint(sizes * (small / large)).astype(np.int64)
    # Of one ratio the largest numbers are no better than the smallest, and take more items.
    order = np.argsort(np.abs(others / sizes - small / large) + sizes * 1e-15, kind="stable")
    sign = 1 if large > 0 else -1
    found: dict[float, tuple[int, int]] = {}
    for index in order.tolist():
        own, other = sign * int(sizes[index]), sign * int(others[index])
        found.setdefault(other / own, (other, own) if swap else (own, other))
        if len(found) == CANDIDATES:
            break
    return list(found.values())


def _is_step(sums: np.ndarray, result: np.ndarray) -> bool:
    order = np.lexsort((result, sums))
    sums, result = sums[order], result[order].astype(np.int64)
    rises = np.diff(result)
    return bool(np.all(rises >= 0) and not np.any(rises[np.diff(sums) == 0]))
