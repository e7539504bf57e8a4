"""One operator of a file as the lowerings see it: checked tensors, constants, options, and how to refuse."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from heddle.errors import FileFormatError, UnsupportedError
from heddle.gen.arithmetic import INT8_MAX, INT8_MIN, quantize_value
from heddle.gen.importers.tflite_file import OPTIONAL, FileModel, FileOperator, FileTensor
from heddle.gen.ir import Tensor

MAX_TENSOR_BYTES = 4 * 2**20
"""More than any board's memory by far, and little enough that the golden model runs in a gigabyte."""

_LIMITS = {"int8": (-128, 127), "uint8": (0, 255)}
_UNQUANTIZED = ("float32", "int32", "int64")
_NUMPY = ("int8", "uint8", "int16", "int32", "int64", "float16", "float32", "float64", "bool")
_FULL_INT8 = "convert the network with full int8 quantization (activations and weights)"
_SAME_QUANTIZATION = "convert again, or insert a QUANTIZE between the two"
_ACTIVATIONS = {0: None, 1: (0.0, None), 2: (-1.0, 1.0), 3: (0.0, 6.0)}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operator of ``model`` to be lowered; ``values`` are the constants known so far, by tensor index."""

    model: FileModel
    operator: FileOperator
    values: Mapping[int, np.ndarray]
    reference: str

    @property
    def name(self) -> str:
        """The layer's name in every message and report."""
        return self.operator.name

    def refuse(self, fact: str, remedy: str) -> UnsupportedError:
        """Make the error that says why this operator cannot be executed exactly."""
        return UnsupportedError(fact, where=self.name, remedy=remedy)

    def option(self, field: str) -> int:
        """Return an integer option; 0, the schema's default, where the file has no options."""
        return int(self.operator.options.get(field, 0))

    def count(self, low: int, high: int) -> None:
        """Refuse unless the operator has ``low`` to ``high`` inputs and one output."""
        inputs, outputs = len(self.operator.inputs), len(self.operator.outputs)
        if not low <= inputs <= high or outputs != 1:
            raise FileFormatError(
                f"{self.operator.op} has {inputs} inputs and {outputs} outputs",
                where=self.name,
                remedy="convert the network again",
            )

    def has(self, position: int) -> bool:
        """Whether the input at ``position`` is given."""
        return position < len(self.operator.inputs) and self.operator.inputs[position] != OPTIONAL

    def is_constant(self, position: int) -> bool:
        """Whether the input at ``position`` is given and known at compile time."""
        return self.has(position) and self.operator.inputs[position] in self.values

    def file_tensor(self, position: int) -> FileTensor:
        """Return the input at ``position`` as the file declares it."""
        if not self.has(position):
            raise FileFormatError(
                f"input {position} of {self.operator.op} is missing", where=self.name, remedy="convert again"
            )
        return self.model.tensors[self.operator.inputs[position]]

    def constant(self, position: int, what: str) -> np.ndarray:
        """Return the value of the input at ``position``, which is ``what``."""
        name = self.file_tensor(position).name
        if not self.is_constant(position):
            raise self.refuse(
                f"its {what} ({name}) are computed at run time", "make them constants: Heddle compiles them in"
            )
        return self.values[self.operator.inputs[position]]

    def input(self, position: int = 0, *dtypes: str) -> Tensor:
        """Return the activation at ``position``, of one of ``dtypes`` (int8 where none is given)."""
        tensor = self.file_tensor(position)
        if self.is_constant(position):
            raise self.refuse(
                f"its input {tensor.name} is a constant", f"fold {self.operator.op} of a constant before converting"
            )
        return self._activation(self.operator.inputs[position], dtypes or ("int8",))

    def output(self, *dtypes: str) -> Tensor:
        """Return the output, of one of ``dtypes`` (int8 where none is given)."""
        return self._activation(self.operator.outputs[0], dtypes or ("int8",))

    def _activation(self, index: int, dtypes: tuple[str, ...]) -> Tensor:
        tensor = activation(self.model, index, self.name)
        if tensor.dtype not in dtypes:
            raise self.refuse(f"{tensor.name} is {tensor.dtype}, {' or '.join(dtypes)} is needed", _FULL_INT8)
        return tensor

    def spatial(self, tensor: Tensor) -> tuple[int, int, int]:
        """Height, width and channels of a tensor that must be NHWC with batch 1."""
        if len(tensor.shape) != 4 or tensor.shape[0] != 1:
            raise self.refuse(f"{tensor.name} has shape {tensor.shape}", "use batch 1 and four dimensions (NHWC)")
        return tensor.hwc

    def expect(self, output: Tensor, hwc: tuple[int, int, int]) -> None:
        """Refuse unless the file declares the shape that the operator gives."""
        if output.hwc != hwc:
            raise FileFormatError(
                f"{output.name} is declared {output.shape} where {self.operator.op} gives {hwc}",
                where=self.name,
                remedy="convert the network again, with batch 1 and fixed shapes",
            )

    def expect_same_quantization(self, a: Tensor, b: Tensor) -> None:
        """Refuse unless a value means the same in both: this operator only moves values."""
        if (a.scale, a.zero_point) != (b.scale, b.zero_point):
            raise self.refuse(f"{a.name} and {b.name} have different quantization", _SAME_QUANTIZATION)

    def activation_range(self, output: Tensor) -> tuple[int, int]:
        """``(act_min, act_max)`` of the fused activation, as TFLite computes them."""
        code = self.option("FusedActivationFunction")
        if code not in _ACTIVATIONS:
            raise self.refuse(f"fused activation {code} has no integer form", "use NONE, RELU, RELU6 or RELU_N1_TO_1")
        limits = _ACTIVATIONS[code]
        if limits is None:
            return INT8_MIN, INT8_MAX
        low, high = (None if real is None else quantize_value(real, output.scale, output.zero_point) for real in limits)
        act_min = INT8_MIN if low is None else max(INT8_MIN, low)
        act_max = INT8_MAX if high is None else min(INT8_MAX, high)
        if act_min > act_max:
            raise self.refuse(f"the fused activation leaves no value of {output.name}", "convert the network again")
        return act_min, act_max


def activation(model: FileModel, index: int, where: str) -> Tensor:
    """Return the activation tensor ``index`` of ``model``, checked.

    A leading dimension other than 1 inside the network counts as rows: ``(L, C)`` becomes ``(1, L, C)``.

    Raises
    ------
    UnsupportedError, FileFormatError
        Type, quantization, batch or size that Heddle cannot execute.
    """
    tensor = model.tensors[index]

    def refuse(fact: str, remedy: str) -> UnsupportedError:
        return UnsupportedError(f"{tensor.name} {fact}", where=where, remedy=remedy)

    shape = tensor.shape
    if 0 in shape:
        raise refuse(f"has shape {shape}, without elements", "remove the operator")
    if math.prod(shape) > MAX_TENSOR_BYTES:
        raise refuse(f"has {math.prod(shape)} elements", f"stay below {MAX_TENSOR_BYTES}: no board holds more")
    if any(size < 0 for size in tensor.signature[1:]) and index in model.inputs:
        raise refuse(f"has the dynamic shape {tensor.signature}", "convert with fixed shapes")
    if tensor.variable:
        raise refuse("is a variable that keeps state between inferences", "use a network without state")
    if len(shape) > 1 and shape[0] != 1:
        if len(shape) > 3 or index in (*model.inputs, *model.outputs):
            raise refuse(f"has shape {shape}: a batch of {shape[0]}", "convert with batch 1")
        shape = (1, *shape)
    if tensor.dtype in _UNQUANTIZED:
        return Tensor(name=tensor.name, shape=shape, dtype=tensor.dtype)
    if tensor.dtype not in _LIMITS:
        raise refuse(f"is {tensor.dtype}", _FULL_INT8)
    scale, zero_point = _per_tensor(tensor, where)
    return Tensor(name=tensor.name, shape=shape, dtype=tensor.dtype, scale=scale, zero_point=zero_point)


def _per_tensor(tensor: FileTensor, where: str) -> tuple[float, int]:
    """Scale and zero point of an activation or of a scalar constant."""
    if not tensor.scales:
        raise UnsupportedError(f"{tensor.name} has no quantization", where=where, remedy=_FULL_INT8)
    if len(tensor.scales) > 1 or len(tensor.zero_points) > 1:
        raise UnsupportedError(
            f"{tensor.name} is quantized per channel", where=where, remedy="quantize activations per tensor"
        )
    scale, zero_point = next(iter(tensor.scales)), next(iter(tensor.zero_points), 0)
    low, high = _LIMITS[tensor.dtype]
    if not (math.isfinite(scale) and scale > 0) or not low <= zero_point <= high:
        raise FileFormatError(
            f"{tensor.name} has scale {scale} and zero point {zero_point}",
            where=where,
            remedy="convert the network again",
        )
    return scale, zero_point


def scalar(operation: Operation, position: int) -> tuple[Tensor, int]:
    """Return the constant input at ``position`` that has one element: its quantization and its stored value."""
    value = operation.constant(position, "operand")
    tensor = operation.file_tensor(position)
    if value.size != 1:
        raise operation.refuse(
            f"{tensor.name} is a constant of shape {tensor.shape}", "use a scalar constant or an activation"
        )
    if tensor.dtype != "int8":
        raise operation.refuse(f"{tensor.name} is {tensor.dtype}, int8 is needed", _FULL_INT8)
    scale, zero_point = _per_tensor(tensor, operation.name)
    return Tensor(name=tensor.name, shape=(1,), scale=scale, zero_point=zero_point), int(value.reshape(()))


def constant_value(tensor: FileTensor, where: str) -> np.ndarray | None:
    """Return the content of a constant as an array, or ``None`` for a tensor that is computed.

    Raises
    ------
    FileFormatError
        The content does not fill the shape.
    UnsupportedError
        The type or encoding is one Heddle does not read.
    """
    size = math.prod(tensor.shape)
    if not tensor.data and size:
        return None
    if tensor.sparse:
        raise UnsupportedError(
            f"{tensor.name} is stored sparse", where=where, remedy="store it dense: Heddle finds the zeros itself"
        )
    if tensor.dtype not in _NUMPY:
        raise UnsupportedError(f"{tensor.name} is {tensor.dtype}", where=where, remedy=_FULL_INT8)
    dtype = np.dtype(tensor.dtype)
    if len(tensor.data) != size * dtype.itemsize:
        raise FileFormatError(
            f"{tensor.name} has {len(tensor.data)} bytes, {tensor.dtype} {tensor.shape} takes {size * dtype.itemsize}",
            where=where,
            remedy="convert or download the network again",
        )
    return np.frombuffer(tensor.data, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(tensor.shape)
