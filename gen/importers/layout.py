"""Operators that move values without changing them: PAD, RESHAPE and its kin, CONCATENATION; and MEAN over space."""

import math

from heddle.gen.arithmetic import mean_multiplier
from heddle.gen.importers.operation import Operation, scalar
from heddle.gen.ir import Concat, Mean, Node, Pad, Reshape


def reshape(operation: Operation) -> list[Node]:
    """RESHAPE, SQUEEZE, EXPAND_DIMS: the file declares the resulting shape."""
    operation.count(1, 2)
    source, target = operation.input(), operation.output()
    operation.expect_same_quantization(source, target)
    if source.size != target.size:
        operation.expect(target, source.hwc)
    return [Reshape(name=operation.name, op=operation.operator.op, inputs=(source.name,), output=target.name)]


def concatenation(operation: Operation) -> list[Node]:
    """Along rows, columns or channels, of any number of activations."""
    operation.count(1, 1024)
    target = operation.output()
    sources = [operation.input(position) for position in range(len(operation.operator.inputs))]
    rank = len(operation.file_tensor(0).shape)
    axis = operation.option("Axis")
    # Counted from the last dimension, which is always the channels.
    axis = (axis if axis < 0 else axis - rank) + 3
    if axis not in range(3) or len(target.shape) > 4 or len(target.shape) + axis - 3 < min(1, len(target.shape) - 1):
        raise operation.refuse(
            f"it joins along axis {operation.option('Axis')} of {rank}", "join along rows, columns or channels"
        )
    if operation.option("FusedActivationFunction"):
        raise operation.refuse("it has a fused activation", "apply the activation before joining")
    for source in sources:
        operation.expect_same_quantization(source, target)
    joined = list(sources[0].hwc)
    joined[axis] = sum(source.hwc[axis] for source in sources)
    for source in sources:
        if any(source.hwc[i] != joined[i] for i in range(3) if i != axis):
            operation.expect(target, source.hwc)
    operation.expect(target, (joined[0], joined[1], joined[2]))
    names = tuple(source.name for source in sources)
    return [Concat(name=operation.name, op="CONCATENATION", inputs=names, output=target.name, axis=axis)]


def pad(operation: Operation) -> list[Node]:
    """PAD with the zero point, PADV2 with a constant."""
    operation.count(2, 3)
    source, target = operation.input(), operation.output()
    operation.expect_same_quantization(source, target)
    amounts = operation.constant(1, "amounts").astype(int)
    rank = len(source.shape)
    if rank > 4 or amounts.size != 2 * rank or amounts.min() < 0 or amounts.max() > 2**24:
        raise operation.refuse(
            f"amounts of shape {amounts.shape} for {source.shape}", "pad up to four dimensions, by 0 or more"
        )
    amounts = amounts.reshape(rank, 2).tolist()
    if rank > 1 and any(amounts[0]):
        raise operation.refuse("it pads the batch", "pad rows, columns or channels only")
    inner = [[0, 0]] * (3 - len(source.sample_shape)) + amounts[-len(source.sample_shape) :]
    value = source.zero_point
    if operation.has(2):
        constant, value = scalar(operation, 2)
        operation.expect_same_quantization(constant, target)
    (top, bottom), (left, right), (first, last) = inner
    height, width, channels = source.hwc
    operation.expect(target, (height + top + bottom, width + left + right, channels + first + last))
    node = Pad(
        name=operation.name,
        op=operation.operator.op,
        inputs=(source.name,),
        output=target.name,
        before=(top, left, first),
        after=(bottom, right, last),
        value=value,
    )
    return [node]


def mean(operation: Operation) -> list[Node]:
    """Over all rows and columns."""
    operation.count(2, 2)
    source, target = operation.input(), operation.output()
    rank = len(operation.file_tensor(0).shape)
    axes = {int(axis) % rank for axis in operation.constant(1, "axes").reshape(-1)} if rank else set()
    shape = operation.file_tensor(0).shape
    kept = [size for axis, size in enumerate(shape[:-1]) if axis not in axes]
    if rank - 1 in axes or math.prod(kept) != 1 or not axes:
        raise operation.refuse(f"it averages axes {sorted(axes)} of {shape}", "average over all rows and columns")
    operation.expect(target, (1, 1, source.hwc[2]))
    count = source.hwc[0] * source.hwc[1]
    multiplier, shift = mean_multiplier(source.scale, target.scale, count)
    if shift > 0 and (count * 255) << shift >= 2**31:
        raise operation.refuse("its sum can leave int32, where TFLite's result is undefined", "convert again")
    common = {"name": operation.name, "op": "MEAN", "inputs": (source.name,), "output": target.name}
    return [Mean(**common, multiplier=multiplier, shift=shift)]
