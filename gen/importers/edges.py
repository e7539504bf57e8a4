"""QUANTIZE, DEQUANTIZE, SOFTMAX and ARG_MAX become host nodes, QUANTIZE inside the network a table."""

import math

from heddle.gen import host
from heddle.gen.importers.operation import Operation
from heddle.gen.importers.unary import requantize
from heddle.gen.ir import ArgMax, Dequantize, Node, Quantize, Softmax


def quantize(operation: Operation) -> list[Node]:
    """From float32, uint8 or int8 to int8 or uint8."""
    operation.count(1, 1)
    source, target = operation.input(0, "float32", "uint8", "int8"), operation.output("int8", "uint8")
    operation.expect(target, source.hwc)
    if (source.dtype, target.dtype) == ("int8", "int8"):
        return requantize(operation)
    if source.dtype == "float32" and target.dtype == "uint8":
        raise operation.refuse("float32 is quantized to uint8", "quantize to int8")
    common = {"name": operation.name, "op": operation.operator.op}
    return [Quantize(**common, inputs=(source.name,), output=target.name)]


def dequantize(operation: Operation) -> list[Node]:
    """From int8 or uint8 to float32."""
    operation.count(1, 1)
    source, target = operation.input(0, "int8", "uint8"), operation.output("float32")
    operation.expect(target, source.hwc)
    return [Dequantize(name=operation.name, op="DEQUANTIZE", inputs=(source.name,), output=target.name)]


def softmax(operation: Operation) -> list[Node]:
    """Over the last dimension; TFLite fixes the output's quantization."""
    operation.count(1, 1)
    source, target = operation.input(), operation.output()
    operation.expect(target, source.hwc)
    if (target.scale, target.zero_point) != (host.SOFTMAX_SCALE, host.SOFTMAX_ZERO_POINT):
        raise operation.refuse(
            f"its output has scale {target.scale} and zero point {target.zero_point}",
            "quantize it with scale 1/256 and zero point -128",
        )
    beta = float(operation.operator.options.get("Beta", 0.0))
    if not math.isfinite(beta) or beta * source.scale <= host.SOFTMAX_MIN_STEP:
        raise operation.refuse(f"beta {beta} with scale {source.scale} has no integer form", "use beta 1")
    if source.hwc[2] > 2048:
        # The sum of exponentials is kept with 12 integer bits.
        raise operation.refuse(f"{source.hwc[2]} classes overflow the sum", "use at most 2048 classes")
    return [Softmax(name=operation.name, op="SOFTMAX", inputs=(source.name,), output=target.name, beta=beta)]


def arg_max(operation: Operation) -> list[Node]:
    """Along the last dimension."""
    operation.count(2, 2)
    source, target = operation.input(), operation.output("int32", "int64")
    rank = len(operation.file_tensor(0).shape)
    axes = operation.constant(1, "axes").reshape(-1).tolist()
    if axes not in ([-1], [rank - 1]):
        raise operation.refuse(f"the maximum is taken along axes {axes}", "take it along the last one")
    if target.size * source.hwc[2] != source.size:
        operation.expect(target, (1, *source.hwc[:2]))
    return [ArgMax(name=operation.name, op="ARG_MAX", inputs=(source.name,), output=target.name, axis=-1)]
