"""One unit that scales the sums of all of a network's operations, and its parameters for each of their channels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from heddle.errors import UnsupportedError
from heddle.gen import arithmetic, requantization
from heddle.gen.kinds import Accumulate, Elementwise, Move, Operation, StepFunction
from heddle.gen.mapping import signed_bits
from heddle.hdl.multiplier import Primitive
from heddle.hdl.requantize import RequantizeConfig, RequantizeParams

MAX_ACC_BITS = 32
"""The reference accumulates in int32."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantizers:
    """One unit that scales every operation's sums exactly, whatever the array: fitting it takes longest.

    Parameters
    ----------
    acc_bits
        Of the array's accumulators.
    config, params
        The unit, and the parameters of every channel of every operation.
    starts
        Where in ``params`` each operation's channels begin.
    """

    acc_bits: int
    config: RequantizeConfig
    params: RequantizeParams
    starts: Mapping[int, int]


def fit_requantizers(operations: Sequence[Operation], *, primitive: Primitive) -> Requantizers:
    """Choose the unit and its parameters for ``operations``.

    Raises
    ------
    UnsupportedError
        A layer that it cannot scale exactly.
    """
    acc_bits = bits = _acc_bits(operations)
    fits: list[requantization.LayerFit] = []
    starts: dict[int, int] = {}
    end = 0
    for members in _alike(operations):
        ops = [operations[index] for index in members]
        fits.append(_fit(ops))
        starts |= {index: end + column for column, index in enumerate(members)}
        end += len(fits[-1].bias)
        bits = max([bits, *(signed_bits(np.concatenate(op.range())) for op in ops if isinstance(op, Elementwise))])
    if not fits:
        none = RequantizeParams(**{f.name: np.zeros(0, np.int64) for f in fields(RequantizeParams)})
        return Requantizers(acc_bits=acc_bits, config=UNUSED, params=none, starts=starts)
    chosen = requantization.plan(fits, acc_bits=bits, primitive=primitive)
    params = RequantizeParams.join(list(chosen.params))
    return Requantizers(acc_bits=acc_bits, config=chosen.config, params=params, starts=starts)


def is_uniform(op: Operation) -> bool:
    """Return whether all channels of ``op`` share the parameters of one."""
    return isinstance(op, Accumulate) and op.uniform


def _alike(operations: Sequence[Operation]) -> list[list[int]]:
    """Group the indices of the operations that scale: those of one layer whose channels are all alike together."""
    groups: dict[int | str, list[int]] = {}
    for index, op in enumerate(operations):
        if not isinstance(op, Move):
            groups.setdefault(op.layer if is_uniform(op) else index, []).append(index)
    return list(groups.values())


def _fit(ops: Sequence[Operation]) -> requantization.LayerFit:
    """Fit the channels of one operation, or the one function of each of several operations of a layer.

    Raises
    ------
    UnsupportedError
        A sum exceeds int32.
    """
    op = ops[0]
    assert not isinstance(op, Move)
    first, last = op.range()
    bias, step, points = None, op.output, None
    if isinstance(op, Elementwise):
        points = op.sums()
    elif op.uniform:
        steps = [each.output for each in ops if isinstance(each, Accumulate)]
        # They differ in their functions only: the weights and the bias are the layer's.
        first, last, bias = (np.repeat(values[:1], len(ops)) for values in (first, last, op.bias))
        step = _side_by_side(steps)
    else:
        bias = op.bias
    if max(int(last.max()).bit_length(), int((~first).max()).bit_length()) >= MAX_ACC_BITS:
        raise UnsupportedError("sums exceed int32", where=op.layer, remedy="the reference would wrap: shorten the sum")
    return requantization.fit(
        step, first, last, name=op.layer, zero_point=op.zero_point, low=op.low, high=op.high, bias=bias,
        points=points, fallback=op.fallback,
    )  # fmt: skip


def _side_by_side(steps: Sequence[StepFunction]) -> StepFunction:
    """Return the function that applies each of ``steps`` to a channel of its own."""
    return lambda acc: np.stack([step(acc[..., i]) for i, step in enumerate(steps)], axis=-1)


UNUSED = RequantizeConfig(
    acc_bits=2, bias_bits=2, x_bits=2, multiplier_bits=1, offset_bits=2, shift_min=0, shift_max=0, split_sign=False
)
"""For a network that computes nothing: it only moves bytes."""


def _acc_bits(operations: Sequence[Operation]) -> int:
    """Bits of the widest partial sum: every product at its extreme, in the worst order.

    Raises
    ------
    UnsupportedError
        A layer whose sum exceeds int32: the reference would wrap.
    """
    widest = 2
    for op in operations:
        if isinstance(op, Accumulate):
            magnitude = np.abs(op.weight.reshape(len(op.bias), -1).astype(np.int64)).sum(axis=1) * -arithmetic.INT8_MIN
            bits = int(magnitude.max()).bit_length() + 1
            if bits > MAX_ACC_BITS:
                raise UnsupportedError(
                    f"sums of {bits} bits", where=op.layer, remedy=f"keep the reduction within {MAX_ACC_BITS} bits"
                )
            widest = max(widest, bits)
    return widest
