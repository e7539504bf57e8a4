"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED become :class:`~heddle.gen.ir.Linear` nodes."""

import math

import numpy as np

from heddle.errors import FileFormatError
from heddle.gen import arithmetic
from heddle.gen.importers.operation import Operation
from heddle.gen.importers.window import window_of
from heddle.gen.ir import Linear, Node, Rounding, Tensor, Window

_MAX_SHIFT = 30


def conv_2d(operation: Operation) -> list[Node]:
    """Lower a convolution, whose filters are ``(cout, kh, kw, cin / groups)``."""
    operation.count(2, 3)
    ifmap, ofmap = operation.input(), operation.output()
    height, width, cin = operation.spatial(ifmap)
    operation.spatial(ofmap)
    weight = _weight(operation, rank=4)
    cout, *kernel, depth = weight.shape
    if cin % depth or cout % (cin // depth):
        raise operation.refuse(
            f"{cin} input channels do not divide into filters of {depth} for {cout} outputs", "convert again"
        )
    window = window_of(operation, (kernel[0], kernel[1]), (height, width, cin), dilated=True)
    operation.expect(ofmap, (*window.output_size(height, width), cout))
    return [_linear(operation, ifmap, ofmap, weight, window, groups=cin // depth, scale_axis=0)]


def depthwise_conv_2d(operation: Operation) -> list[Node]:
    """Lower a convolution with one group for each input channel; filters are ``(1, kh, kw, cout)``."""
    operation.count(2, 3)
    ifmap, ofmap = operation.input(), operation.output()
    height, width, cin = operation.spatial(ifmap)
    operation.spatial(ofmap)
    weight = _weight(operation, rank=4)
    _, *kernel, cout = weight.shape
    if weight.shape[0] != 1 or cout % cin:
        raise operation.refuse(f"filters {weight.shape} do not suit {cin} input channels", "convert again")
    window = window_of(operation, (kernel[0], kernel[1]), (height, width, cin), dilated=True)
    operation.expect(ofmap, (*window.output_size(height, width), cout))
    by_channel = np.ascontiguousarray(weight.transpose(3, 1, 2, 0))
    return [_linear(operation, ifmap, ofmap, by_channel, window, groups=cin, scale_axis=3)]


def fully_connected(operation: Operation) -> list[Node]:
    """Over the last dimension: a ``1 x 1`` convolution. Over a whole map: a convolution with a kernel of its size."""
    operation.count(2, 3)
    ifmap, ofmap = operation.input(), operation.output()
    if operation.option("WeightsFormat"):
        raise operation.refuse("its weights are shuffled", "convert with the default weights format")
    weight = _weight(operation, rank=2)
    cout, depth = weight.shape
    height, width, channels = ifmap.hwc
    if channels == depth and ofmap.hwc == (1, height * width, cout) != (height, width, cout):
        # TFLite flattens the pixels into one dimension unless told to keep them.
        raise operation.refuse(
            f"it flattens {ifmap.name} of shape {ifmap.shape}",
            "keep the dimensions (keep_num_dims) or RESHAPE before it",
        )
    if channels == depth:
        kernel, pixels = (1, 1), (height, width)
    elif ifmap.size == depth:
        kernel, pixels = (height, width), (1, 1)
    else:
        raise operation.refuse(
            f"its weights take {depth} values, {ifmap.name} has shape {ifmap.shape}", "insert a RESHAPE"
        )
    operation.expect(ofmap, (*pixels, cout))
    node = _linear(
        *(operation, ifmap, ofmap, weight.reshape(cout, *kernel, -1), Window(kernel=kernel)),
        groups=1,
        scale_axis=0,
        rounding="single" if operation.reference == "litert" else "double",
    )
    return [node]


def _weight(operation: Operation, *, rank: int) -> np.ndarray:
    weight = operation.constant(1, "weights")
    if weight.dtype != np.int8:
        raise operation.refuse(f"its weights are {weight.dtype}, int8 is needed", "quantize the weights to int8")
    if weight.ndim != rank or not weight.size:
        raise FileFormatError(f"weights of shape {weight.shape}", where=operation.name, remedy="convert again")
    return weight


def _bias(operation: Operation, cout: int) -> np.ndarray:
    if not operation.has(2):
        return np.zeros(cout, np.int32)
    bias = operation.constant(2, "biases")
    if bias.dtype != np.int32:
        raise operation.refuse(f"its biases are {bias.dtype}, int32 is needed", "quantize the biases to int32")
    if bias.size != cout:
        raise FileFormatError(
            f"{bias.size} biases for {cout} outputs", where=operation.name, remedy="convert the network again"
        )
    return bias.reshape(cout)


def _multipliers(
    operation: Operation, ifmap: Tensor, ofmap: Tensor, cout: int, scale_axis: int
) -> tuple[np.ndarray, np.ndarray]:
    """Q31 multiplier and shift of each output channel, int64 ``(cout,)`` both."""
    weight = operation.file_tensor(1)
    if any(weight.zero_points):
        raise operation.refuse("its weights have a zero point other than 0", "quantize the weights symmetrically")
    if len(weight.scales) not in (1, cout) or (len(weight.scales) > 1 and weight.axis != scale_axis):
        raise operation.refuse(
            f"its weights have {len(weight.scales)} scales along axis {weight.axis} for {cout} outputs",
            "quantize the weights per tensor or per output channel",
        )
    if not all(math.isfinite(scale) and scale >= 0 for scale in weight.scales):
        raise FileFormatError("a weight scale is negative or not finite", where=operation.name, remedy="convert again")
    pairs = [arithmetic.quantize_multiplier(ifmap.scale * scale / ofmap.scale) for scale in weight.scales]
    multiplier, shift = np.array(pairs * (cout // len(pairs)), np.int64).T
    if shift.max() > _MAX_SHIFT:
        raise operation.refuse(f"a scale of 2**{shift.max()} leaves int32", "convert the network again")
    return multiplier, shift


def _linear(
    operation: Operation,
    ifmap: Tensor,
    ofmap: Tensor,
    weight: np.ndarray,
    window: Window,
    *,
    groups: int,
    scale_axis: int,
    rounding: Rounding = "double",
) -> Linear:
    cout = len(weight)
    multiplier, shift = _multipliers(operation, ifmap, ofmap, cout, scale_axis)
    act_min, act_max = operation.activation_range(ofmap)
    node = Linear(
        name=operation.name,
        op=operation.operator.op,
        inputs=(ifmap.name,),
        output=ofmap.name,
        window=window,
        weight=weight,
        bias=_bias(operation, cout),
        multiplier=multiplier.astype(np.int32),
        shift=shift.astype(np.int32),
        groups=groups,
        rounding=rounding,
        act_min=act_min,
        act_max=act_max,
    )
    if not arithmetic.fits_int32(*arithmetic.linear_range(node, ifmap.zero_point), shift):
        raise operation.refuse(
            "its accumulator can leave int32, where TFLite's result is undefined", "reduce the biases or the scales"
        )
    return node
