"""Writes TFLite files for tests: any operator, with quantization drawn from a seeded generator.

Scales and zero points are drawn so that a signal survives: a layer whose output is clipped everywhere tests nothing.

>>> b = TFLiteBuilder(seed=1)
>>> x = b.activation((1, 6, 5, 3))
>>> y = b.conv_2d(x, cout=4, kernel=(3, 3), stride=(2, 1), padding="SAME", activation="RELU")
>>> data = b.finish([x], [y])
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tflite_writer import FileOperator, FileTensor, serialize

PADDING = {"SAME": 0, "VALID": 1}
ACTIVATION = {"NONE": 0, "RELU": 1, "RELU_N1_TO_1": 2, "RELU6": 3}
Pair = tuple[int, int]


class TFLiteBuilder:
    """Collects tensors and operators; tensors are referred to by index. ``per_channel`` draws weight scales so."""

    def __init__(self, seed: int = 0, *, per_channel: bool = True) -> None:
        self.rng = np.random.default_rng(seed)
        self.per_channel = per_channel
        self._tensors: list[FileTensor] = []
        self._operators: list[FileOperator] = []

    # Tensors

    def tensor(
        self,
        shape: Sequence[int],
        dtype: str = "int8",
        *,
        scales: Sequence[float] = (),
        zero_points: Sequence[int] = (),
        axis: int = 0,
        data: np.ndarray | None = None,
        signature: tuple[int, ...] | None = None,
        name: str | None = None,
    ) -> int:
        """Add a tensor exactly as told."""
        name = f"t{len(self._tensors)}" if name is None else name
        fields = (name, tuple(shape), dtype, tuple(scales), tuple(zero_points), axis, data, signature)
        self._tensors.append(FileTensor(*fields))
        return len(self._tensors) - 1

    def activation(
        self, shape: Sequence[int], *, scale: float | None = None, zero_point: int | None = None, dtype: str = "int8"
    ) -> int:
        """Add an int8 or uint8 activation; scale and zero point are drawn where not given."""
        scale = float(np.exp(self.rng.uniform(-5, 0))) if scale is None else scale
        low = 0 if dtype == "uint8" else -128
        zero_point = int(self.rng.integers(low, low + 256)) if zero_point is None else zero_point
        return self.tensor(shape, dtype, scales=[scale], zero_points=[zero_point])

    def like(self, index: int, shape: Sequence[int]) -> int:
        """Add an activation with the quantization of another."""
        return self.activation(shape, scale=self.scale(index), zero_point=self._tensors[index].zero_points[0])

    def integers(self, values: Any) -> int:
        """Add an int32 constant."""
        data = np.asarray(values, np.int32)
        return self.tensor(data.shape, "int32", data=data)

    def scalar(self, value: int, *, scale: float | None = None, zero_point: int | None = None) -> int:
        """Add an int8 constant of one element."""
        index = self.activation((1,), scale=scale, zero_point=zero_point)
        self._tensors[index].data = np.array([value], np.int8)
        return index

    def scalar_like(self, index: int, value: int) -> int:
        """Add an int8 constant of one element with the quantization of another tensor."""
        return self.scalar(value, scale=self.scale(index), zero_point=self._tensors[index].zero_points[0])

    def clear_channel(self, weight: int, channel: int) -> None:
        """Make the weights of one output channel zero."""
        data = self._tensors[weight].data
        assert data is not None
        data[channel] = 0

    def dtype(self, index: int) -> str:
        return self._tensors[index].dtype

    def shape(self, index: int) -> tuple[int, ...]:
        return self._tensors[index].shape

    def scale(self, index: int) -> float:
        return self._tensors[index].scales[0]

    # Operators

    def op(self, op: str, inputs: Sequence[int], outputs: Sequence[int], kind: str = "", **options: Any) -> int:
        """Add an operator exactly as told, with the options table ``kind``; give its first output."""
        self._operators.append(FileOperator(op, inputs, outputs, (kind, options) if kind else None))
        return outputs[0]

    def conv_2d(
        self,
        x: int,
        *,
        cout: int,
        kernel: Pair = (3, 3),
        stride: Pair = (1, 1),
        dilation: Pair = (1, 1),
        padding: str = "SAME",
        activation: str = "NONE",
        groups: int = 1,
        bias: bool = True,
    ) -> int:
        cin = self.shape(x)[3]
        weight = self._weights(x, (cout, *kernel, cin // groups), scale_axis=0)
        fields = {"DilationHFactor": dilation[0], "DilationWFactor": dilation[1]}
        return self._convolution(
            *("CONV_2D", "Conv2DOptions", x, weight, cout, kernel, stride, dilation, padding, activation, bias), fields
        )

    def depthwise_conv_2d(
        self,
        x: int,
        *,
        multiplier: int = 1,
        kernel: Pair = (3, 3),
        stride: Pair = (1, 1),
        dilation: Pair = (1, 1),
        padding: str = "SAME",
        activation: str = "NONE",
        bias: bool = True,
    ) -> int:
        cout = self.shape(x)[3] * multiplier
        weight = self._weights(x, (1, *kernel, cout), scale_axis=3)
        fields = {"DilationHFactor": dilation[0], "DilationWFactor": dilation[1], "DepthMultiplier": multiplier}
        return self._convolution(
            *("DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", x, weight, cout, kernel, stride, dilation),
            *(padding, activation, bias, fields),
        )

    def fully_connected(
        self, x: int, *, cout: int, activation: str = "NONE", keep_num_dims: bool = False, bias: bool = True
    ) -> int:
        shape = self.shape(x)
        weight = self._weights(x, (cout, shape[-1]), scale_axis=0)
        leading = shape[:-1] if keep_num_dims else (math.prod(shape[:-1]),)
        y = self._accumulated((*leading, cout), activation)
        inputs = [x, weight, self._bias(x, weight, cout)] if bias else [x, weight]
        return self.op(
            *("FULLY_CONNECTED", inputs, [y], "FullyConnectedOptions"),
            FusedActivationFunction=ACTIVATION[activation],
            KeepNumDims=keep_num_dims,
        )

    def pool_2d(
        self, op: str, x: int, *, kernel: Pair, stride: Pair, padding: str = "VALID", activation: str = "NONE"
    ) -> int:
        batch, height, width, channels = self.shape(x)
        size = _output_size((height, width), kernel, stride, (1, 1), padding)
        y = self.like(x, (batch, *size, channels))
        return self.op(
            *(op, [x], [y], "Pool2DOptions"),
            Padding=PADDING[padding],
            StrideH=stride[0],
            StrideW=stride[1],
            FilterHeight=kernel[0],
            FilterWidth=kernel[1],
            FusedActivationFunction=ACTIVATION[activation],
        )

    def add(self, x: int, y: int, *, op: str = "ADD", activation: str = "NONE") -> int:
        shape = max(self.shape(x), self.shape(y), key=math.prod)
        scale = max(self.scale(x), self.scale(y)) * float(self.rng.uniform(0.5, 2))
        z = self._centred(shape, [x, y], scale)
        kind = {"ADD": "AddOptions", "SUB": "SubOptions", "MUL": "MulOptions"}[op]
        return self.op(op, [x, y], [z], kind, FusedActivationFunction=ACTIVATION[activation])

    def mean(self, x: int, *, axes: Sequence[int] = (1, 2), keep_dims: bool = False, same: bool = False) -> int:
        shape = self.shape(x)
        kept = [1 if axis in axes else size for axis, size in enumerate(shape)]
        out = kept if keep_dims else [size for axis, size in enumerate(shape) if axis not in axes]
        y = self.like(x, out) if same else self._centred(out, [x], self.scale(x) * float(self.rng.uniform(0.2, 2)))
        return self.op("MEAN", [x, self.integers(list(axes))], [y], "ReducerOptions", KeepDims=keep_dims)

    def reshape(self, x: int, shape: Sequence[int]) -> int:
        return self.op("RESHAPE", [x, self.integers(list(shape))], [self.like(x, shape)])

    def concatenation(self, xs: Sequence[int], *, axis: int) -> int:
        shape = list(self.shape(xs[0]))
        shape[axis] = sum(self.shape(x)[axis] for x in xs)
        return self.op("CONCATENATION", list(xs), [self.like(xs[0], shape)], "ConcatenationOptions", Axis=axis)

    def pad(self, x: int, amounts: Sequence[Pair], *, value: int | None = None) -> int:
        shape = [size + sum(amount) for size, amount in zip(self.shape(x), amounts, strict=True)]
        inputs = [x, self.integers(amounts)]
        if value is not None:
            inputs.append(self.scalar_like(x, value))
        return self.op("PAD" if value is None else "PADV2", inputs, [self.like(x, shape)])

    def softmax(self, x: int, *, beta: float = 1.0) -> int:
        y = self.activation(self.shape(x), scale=1 / 256, zero_point=-128)
        return self.op("SOFTMAX", [x], [y], "SoftmaxOptions", Beta=beta)

    def unary(self, op: str, x: int, y: int | None = None, kind: str = "", **options: Any) -> int:
        """Add an operator of one input; where ``y`` is not given, an int8 output is drawn."""
        return self.op(op, [x], [self.activation(self.shape(x)) if y is None else y], kind, **options)

    def _convolution(
        self, op: str, kind: str, x: int, weight: int, cout: int, kernel: Pair, stride: Pair, dilation: Pair,
        padding: str, activation: str, bias: bool, fields: dict[str, int],
    ) -> int:  # fmt: skip
        batch, height, width, _ = self.shape(x)
        size = _output_size((height, width), kernel, stride, dilation, padding)
        y = self._accumulated((batch, *size, cout), activation)
        inputs = [x, weight, self._bias(x, weight, cout)] if bias else [x, weight]
        return self.op(
            *(op, inputs, [y], kind),
            Padding=PADDING[padding],
            StrideH=stride[0],
            StrideW=stride[1],
            FusedActivationFunction=ACTIVATION[activation],
            **fields,
        )

    def _weights(self, x: int, shape: tuple[int, ...], *, scale_axis: int) -> int:
        """Add weights whose sums of products with ``x`` are, in real numbers, somewhat larger than RELU6 is wide."""
        count = shape[scale_axis] if self.per_channel else 1
        length = math.prod(shape) // shape[scale_axis]
        largest = 12 / (self.scale(x) * 128 * 73 * math.sqrt(length))
        scales = (largest * np.exp(self.rng.uniform(-1.5, 0, count))).astype(np.float32)
        values = self.rng.integers(-127, 128, shape).astype(np.int8)
        return self.tensor(shape, scales=scales.tolist(), zero_points=[0] * count, axis=scale_axis, data=values)

    def _bias(self, x: int, weight: int, cout: int) -> int:
        scales = [self.scale(x) * scale for scale in self._tensors[weight].scales]
        values = (self.rng.normal(0, 1, cout) / np.array(scales)).astype(np.int32)
        return self.tensor((cout,), "int32", scales=scales, zero_points=[0] * len(scales), data=values)

    def _accumulated(self, shape: tuple[int, ...], activation: str) -> int:
        """Add an output for what :meth:`_weights` leads to: a good part of it not clipped."""
        scale = float(np.exp(self.rng.uniform(-4, -2)))
        low, high = (-60, 60) if activation in ("NONE", "RELU_N1_TO_1") else (-128, -30)
        return self.activation(shape, scale=scale, zero_point=int(self.rng.integers(low, high)))

    def _centred(self, shape: Sequence[int], terms: Sequence[int], scale: float) -> int:
        """Add an output for a sum of ``terms``, whose middle values give a middle value."""
        middle = sum(self.scale(term) * self._tensors[term].zero_points[0] for term in terms) / scale
        return self.activation(shape, scale=scale, zero_point=int(np.clip(middle + self.rng.normal(0, 20), -128, 127)))

    # The file

    def finish(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """Serialize the network with these inputs and outputs."""
        return serialize(self._tensors, self._operators, inputs, outputs)


def _output_size(size: Pair, kernel: Pair, stride: Pair, dilation: Pair, padding: str) -> Pair:
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    if padding == "VALID":
        size = (size[0] - reach[0] + 1, size[1] - reach[1] + 1)
    return -(-size[0] // stride[0]), -(-size[1] // stride[1])


def sample_network(seed: int = 0) -> bytes:
    """Write a small network with most kinds of layers: convolutions, a residual, a concatenation, pools and tables."""
    b = TFLiteBuilder(seed)
    x = b.activation((1, 12, 10, 3))
    stem = b.conv_2d(x, cout=8, kernel=(3, 3), stride=(2, 2), activation="RELU")
    inner = b.depthwise_conv_2d(stem, kernel=(3, 3), activation="RELU6")
    inner = b.conv_2d(inner, cout=8, kernel=(1, 1))
    total = b.add(stem, inner, activation="RELU")
    padded = b.pad(total, [(0, 0), (1, 1), (1, 1), (0, 0)])
    branch = b.conv_2d(padded, cout=5, kernel=(3, 3), padding="VALID")
    gate = b.unary("HARD_SWISH", branch, b.like(total, b.shape(branch)))
    joined = b.concatenation([total, gate], axis=3)
    pooled = b.pool_2d("MAX_POOL_2D", joined, kernel=(2, 2), stride=(2, 2))
    flat = b.reshape(pooled, (1, math.prod(b.shape(pooled))))
    logits = b.fully_connected(flat, cout=7)
    probabilities = b.softmax(logits)
    mean = b.mean(joined)
    return b.finish([x], [probabilities, mean])
