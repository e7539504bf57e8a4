"""Writes tensors and operators as a TFLite file, exactly as told: the lower half of ``tflite_builder``."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
import tflite


@dataclass
class FileTensor:
    """A tensor; ``data`` where it is constant, ``signature`` where some dimension is dynamic."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    data: np.ndarray | None
    signature: tuple[int, ...] | None


@dataclass
class FileOperator:
    """An operator: tensor indices, and the kind and fields of its options."""

    op: str
    inputs: Sequence[int]
    outputs: Sequence[int]
    options: tuple[str, dict[str, Any]] | None


def serialize(
    tensors: Sequence[FileTensor], operators: Sequence[FileOperator], inputs: Sequence[int], outputs: Sequence[int]
) -> bytes:
    """Return the file of a network with these inputs and outputs."""
    b = flatbuffers.Builder(4096)

    def offsets(items: Sequence[int]) -> int:
        b.StartVector(4, len(items), 4)
        for item in reversed(items):
            b.PrependUOffsetTRelative(item)
        return b.EndVector()

    def table(kind: str, **fields: Any) -> int:
        module = getattr(tflite, kind)  # fails on an unknown kind before anything is written
        assert module is not None
        getattr(tflite, f"{kind}Start")(b)
        for field, value in fields.items():
            getattr(tflite, f"{kind}Add{field}")(b, value)
        return getattr(tflite, f"{kind}End")(b)

    def vector(values: Any, dtype: Any) -> int:
        return b.CreateNumpyVector(np.asarray(values, dtype))

    def buffer(data: np.ndarray | None) -> int:
        if data is None:
            return table("Buffer")
        raw = data.tobytes()
        # TFLite wants weights aligned to 16 bytes.
        b.StartVector(1, len(raw), 16)
        b.head -= len(raw)
        b.Bytes[b.head : b.head + len(raw)] = raw
        return table("Buffer", Data=b.EndVector())

    def tensor(index: int, t: FileTensor) -> int:
        name, shape = b.CreateString(t.name), vector(t.shape, np.int32)
        fields = {"Name": name, "Shape": shape, "Type": getattr(tflite.TensorType, t.dtype.upper())}
        if t.signature is not None:
            fields["ShapeSignature"] = vector(t.signature, np.int32)
        if t.scales:
            scale, zero = vector(t.scales, np.float32), vector(t.zero_points, np.int64)
            fields["Quantization"] = table(
                "QuantizationParameters", Scale=scale, ZeroPoint=zero, QuantizedDimension=t.axis
            )
        return table("Tensor", **fields, Buffer=index + 1)

    def operator(o: FileOperator) -> int:
        fields: dict[str, Any] = {"Inputs": vector(o.inputs, np.int32), "Outputs": vector(o.outputs, np.int32)}
        if o.options:
            kind, options = o.options
            values = {
                key: vector(value, np.int32) if isinstance(value, list) else value for key, value in options.items()
            }
            fields["BuiltinOptions"] = table(kind, **values)
            fields["BuiltinOptionsType"] = getattr(tflite.BuiltinOptions, kind)
        return table("Operator", **fields, OpcodeIndex=kinds.index(o.op))

    def code(op: str) -> int:
        if op.startswith("CUSTOM:"):
            return table("OperatorCode", CustomCode=b.CreateString(op[7:]), DeprecatedBuiltinCode=32, BuiltinCode=32)
        number = getattr(tflite.BuiltinOperator, op)
        return table("OperatorCode", DeprecatedBuiltinCode=min(number, 127), BuiltinCode=number, Version=1)

    kinds = list(dict.fromkeys(o.op for o in operators))
    buffers = offsets([buffer(None), *(buffer(t.data) for t in tensors)])
    subgraph = table(
        "SubGraph",
        **{
            "Tensors": offsets([tensor(index, t) for index, t in enumerate(tensors)]),
            "Operators": offsets([operator(o) for o in operators]),
            "Inputs": vector(list(inputs), np.int32),
            "Outputs": vector(list(outputs), np.int32),
        },
    )
    subgraphs, codes = offsets([subgraph]), offsets([code(op) for op in kinds])
    model = table("Model", Version=3, Subgraphs=subgraphs, Buffers=buffers, OperatorCodes=codes)
    b.Finish(model, file_identifier=b"TFL3")
    return bytes(b.Output())
