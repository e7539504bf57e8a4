"""A TFLite file as plain, bounds-checked values: the only place that touches the FlatBuffer.

A FlatBuffer is a web of offsets that a hostile file may point anywhere. Here every vector's length is checked against
the file before it is read, every index against what it indexes, and whatever the accessors raise on a broken offset
becomes one :class:`FileFormatError`. What the fields *mean* is checked by those who interpret them.
"""

import hashlib
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import tflite

from heddle.errors import FileFormatError

MAX_FILE_BYTES = 256 * 2**20
MAX_RANK = 8
MAX_NAME_BYTES = 1024
MAX_OPERATORS = 1024
OPTIONAL = -1
"""The tensor index that stands for an input left out."""

_REMEDY = "convert or download the network again"
_IDENTIFIER = b"TFL3"


def _names_of(enumeration: type) -> Mapping[int, str]:
    return {value: name for name, value in vars(enumeration).items() if isinstance(value, int)}


_OPERATORS = _names_of(tflite.BuiltinOperator)
_TYPES = {value: name.lower() for value, name in _names_of(tflite.TensorType).items()}
_OPTIONS = _names_of(tflite.BuiltinOptions)

# The fields read from each kind of options; operators whose kind is not here carry none that matter.
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "Conv2DOptions": ("Padding", "StrideW", "StrideH", "FusedActivationFunction", "DilationWFactor", "DilationHFactor"),
    "DepthwiseConv2DOptions": (
        *("Padding", "StrideW", "StrideH", "FusedActivationFunction"),
        *("DilationWFactor", "DilationHFactor", "DepthMultiplier"),
    ),
    "FullyConnectedOptions": ("FusedActivationFunction", "WeightsFormat", "KeepNumDims"),
    "Pool2DOptions": ("Padding", "StrideW", "StrideH", "FilterWidth", "FilterHeight", "FusedActivationFunction"),
    "AddOptions": ("FusedActivationFunction",),
    "SubOptions": ("FusedActivationFunction",),
    "MulOptions": ("FusedActivationFunction",),
    "ConcatenationOptions": ("Axis", "FusedActivationFunction"),
    "SoftmaxOptions": ("Beta",),
    "ReducerOptions": ("KeepDims",),
    "LeakyReluOptions": ("Alpha",),
    "StridedSliceOptions": ("BeginMask", "EndMask", "EllipsisMask", "NewAxisMask", "ShrinkAxisMask", "Offset"),
    "PackOptions": ("Axis",),
    "GatherOptions": ("Axis", "BatchDims"),
}


@dataclass(frozen=True, kw_only=True)
class FileTensor:
    """A tensor as the file declares it. ``data`` is its constant content, empty where it has none.

    ``start`` is where in the file that content begins; several tensors may share it, or overlap. ``scales`` and
    ``zero_points`` lie along ``axis`` where there are several; ``signature`` is the shape with -1 where a dimension is
    dynamic.
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]
    axis: int
    data: memoryview
    start: int
    variable: bool
    sparse: bool


@dataclass(frozen=True, kw_only=True)
class FileOperator:
    """One operator: tensor indices (:data:`OPTIONAL` among the inputs where one is left out) and its options."""

    name: str
    op: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int | float]


@dataclass(frozen=True, kw_only=True)
class FileModel:
    """The main graph of a file."""

    name: str
    sha256: str
    size_bytes: int
    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read(path: Path) -> FileModel:
    """Read the main graph of the TFLite file at ``path``.

    Raises
    ------
    FileFormatError
        The file cannot be read, is not TFLite, or is truncated or inconsistent.
    """
    return read_with_bytes(path)[0]


def read_with_bytes(path: Path) -> tuple[FileModel, bytes]:
    """Read the main graph of a file, and the file itself: what :attr:`FileTensor.start` counts. As :func:`read`."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise FileFormatError(
                f"the file has {size} bytes, Heddle reads {MAX_FILE_BYTES} at most",
                where=str(path),
                remedy="use a smaller network",
            )
        data = path.read_bytes()
    except OSError as error:
        raise FileFormatError(
            f"cannot be read ({error.strerror})", where=str(path), remedy="check the path and its permissions"
        ) from error
    if data[4:8] != _IDENTIFIER:
        raise FileFormatError(
            "not a TFLite file (no TFL3 identifier)", where=str(path), remedy="pass a .tflite file, version 3"
        )
    try:
        return _parsed(data, path), data
    except (struct.error, IndexError, TypeError, ValueError, OverflowError, AttributeError) as error:
        # What the FlatBuffer accessors raise when an offset leads out of the file or into something else.
        raise FileFormatError(
            "truncated or corrupt: an offset leads to no value", where=str(path), remedy=_REMEDY
        ) from error


@lru_cache(maxsize=1)
def _parsed(data: bytes, path: Path) -> FileModel:
    """Read the latest file once: ``heddle inspect`` surveys it, and then imports it."""
    return _Reader(data, path).model()


class _Reader:
    """Walks one file; every method raises :class:`FileFormatError` or what the accessors raise."""

    def __init__(self, data: bytes, path: Path) -> None:
        self._data, self._path = data, path
        self._budget = 2 * len(data)

    def _error(self, fact: str) -> FileFormatError:
        return FileFormatError(fact, where=str(self._path), remedy=_REMEDY)

    def _claim(self, what: str, length: int) -> None:
        """Account for a vector about to be read.

        Vectors may share their elements, but an honest file hardly does: without a limit, a small file could describe
        a million views of itself.
        """
        self._budget -= length
        if self._budget < 0:
            raise self._error(f"its vectors ({what}: {length}) claim more elements than the file holds")

    def _list(self, what: str, length: int, get: Callable[[int], Any]) -> list[Any]:
        self._claim(what, length)
        elements = [get(index) for index in range(length)]
        if any(element is None for element in elements):
            raise self._error(f"the vector of {what} has a missing element")
        return elements

    def _integers(self, what: str, length: int, get: Callable[[], Any]) -> tuple[int, ...]:
        self._claim(what, length)
        return tuple(int(value) for value in np.asarray(get())) if length else ()

    def _text(self, content: bytes | None) -> str:
        self._claim("a name", len(content or b""))
        # Names appear in messages, on a terminal: one line, no control sequences, no novels.
        text = (content or b"")[:MAX_NAME_BYTES].decode("utf-8", "replace")
        return "".join(letter if letter.isprintable() else "?" for letter in text)

    def model(self) -> FileModel:
        model = tflite.Model.GetRootAs(self._data, 0)
        codes = self._list("operator codes", model.OperatorCodesLength(), model.OperatorCodes)
        buffers = self._list("buffers", model.BuffersLength(), model.Buffers)
        if not model.SubgraphsLength():
            raise self._error("the file holds no graph")
        graph = model.Subgraphs(0)
        if graph is None:
            raise self._error("the file holds no graph")
        if graph.OperatorsLength() > MAX_OPERATORS:
            raise FileFormatError(
                f"the graph has {graph.OperatorsLength()} operators, Heddle takes {MAX_OPERATORS} at most",
                where=str(self._path),
                remedy="split the network",
            )
        contents = [self._content(buffer) for buffer in buffers]
        tensors = [
            self._tensor(index, tensor, contents)
            for index, tensor in enumerate(self._list("tensors", graph.TensorsLength(), graph.Tensors))
        ]
        operators = [
            self._operator(index, operator, codes, len(tensors))
            for index, operator in enumerate(self._list("operators", graph.OperatorsLength(), graph.Operators))
        ]
        inputs = self._integers("inputs", graph.InputsLength(), graph.InputsAsNumpy)
        outputs = self._integers("outputs", graph.OutputsLength(), graph.OutputsAsNumpy)
        for index in (*inputs, *outputs):
            if not 0 <= index < len(tensors):
                raise self._error(f"the graph names tensor {index} of {len(tensors)}")
        return FileModel(
            name=self._path.stem,
            sha256=hashlib.sha256(self._data).hexdigest(),
            size_bytes=len(self._data),
            tensors=tuple(_uniquely_named(tensors)),
            operators=tuple(operators),
            inputs=inputs,
            outputs=outputs,
        )

    def _content(self, buffer: tflite.Buffer) -> tuple[int, memoryview]:
        """Where in the file the content of a buffer begins, and the content: a view of the file."""
        # Beyond 2 GB the content lies behind the FlatBuffer, at a plain offset; small files may do the same.
        if (start := buffer.Offset()) > 1:
            if start + buffer.Size() > len(self._data):
                raise self._error(f"a buffer lies at {start}, {buffer.Size()} long, behind the end of the file")
            return start, memoryview(self._data)[start : start + buffer.Size()]
        length = buffer.DataLength()
        if length > len(self._data):
            raise self._error(f"a buffer claims {length} bytes, more than the file holds")
        if not length:
            return 0, memoryview(b"")
        content = np.asarray(buffer.DataAsNumpy(), np.uint8)
        # Both are views of the same bytes: the distance of their addresses is the place of one in the other.
        start = content.ctypes.data - np.frombuffer(self._data, np.uint8).ctypes.data
        return start, content.data

    def _tensor(self, index: int, tensor: tflite.Tensor, contents: list[tuple[int, memoryview]]) -> FileTensor:
        where = f"tensor {index}"
        shape = self._integers("a shape", tensor.ShapeLength(), tensor.ShapeAsNumpy)
        signature = self._integers("a shape", tensor.ShapeSignatureLength(), tensor.ShapeSignatureAsNumpy)
        if len(shape) > MAX_RANK or any(size < 0 for size in shape):
            raise self._error(f"{where} has shape {_short(shape)}")
        if not 0 <= tensor.Buffer() < len(contents):
            raise self._error(f"{where} names buffer {tensor.Buffer()} of {len(contents)}")
        if tensor.Type() not in _TYPES:
            raise self._error(f"{where} is of the unknown type {tensor.Type()}")
        scales, zero_points, axis = (), (), 0
        if (quantization := tensor.Quantization()) is not None:
            count = quantization.ScaleLength()
            self._claim("scales", count)
            scales = tuple(float(scale) for scale in np.asarray(quantization.ScaleAsNumpy())) if count else ()
            zero_points = self._integers("zero points", quantization.ZeroPointLength(), quantization.ZeroPointAsNumpy)
            axis = quantization.QuantizedDimension()
        start, data = contents[tensor.Buffer()]
        return FileTensor(
            name=self._text(tensor.Name()),
            shape=shape,
            signature=signature,
            dtype=_TYPES[tensor.Type()],
            scales=scales,
            zero_points=zero_points,
            axis=axis,
            data=data,
            start=start,
            variable=bool(tensor.IsVariable()),
            sparse=tensor.Sparsity() is not None,
        )

    def _operator(
        self, index: int, operator: tflite.Operator, codes: list[tflite.OperatorCode], tensors: int
    ) -> FileOperator:
        if not 0 <= operator.OpcodeIndex() < len(codes):
            raise self._error(f"operator {index} names code {operator.OpcodeIndex()} of {len(codes)}")
        code = codes[operator.OpcodeIndex()]
        # Codes above 127 do not fit the older field, which then holds a placeholder.
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        op = _OPERATORS.get(number, f"OPERATOR_{number}")
        if op == "CUSTOM":
            op = f"CUSTOM:{self._text(code.CustomCode())}"
        inputs = self._integers("inputs", operator.InputsLength(), operator.InputsAsNumpy)
        outputs = self._integers("outputs", operator.OutputsLength(), operator.OutputsAsNumpy)
        if any(not OPTIONAL <= i < tensors for i in inputs) or any(not 0 <= i < tensors for i in outputs):
            raise self._error(f"operator {index} ({op}) names a tensor that does not exist")
        name = f"{op.lower().removeprefix('custom:')}_{index}"
        return FileOperator(name=name, op=op, inputs=inputs, outputs=outputs, options=self._options(operator))

    def _options(self, operator: tflite.Operator) -> Mapping[str, int | float]:
        kind = _OPTIONS.get(operator.BuiltinOptionsType(), "")
        table = operator.BuiltinOptions()
        if kind not in _FIELDS or table is None:
            return {}
        options = getattr(tflite, kind)()
        options.Init(table.Bytes, table.Pos)
        return {field: getattr(options, field)() for field in _FIELDS[kind]}


def _uniquely_named(tensors: list[FileTensor]) -> list[FileTensor]:
    """Return the same tensors, those without a name of their own renamed after their index."""
    seen: set[str] = set()
    named = []
    for index, tensor in enumerate(tensors):
        name = tensor.name
        while not name or name in seen:
            name = f"{name or 'tensor'}_{index}"
        seen.add(name)
        named.append(tensor if name == tensor.name else replace(tensor, name=name))
    return named


def _short(shape: tuple[int, ...]) -> str:
    return str(shape) if len(shape) <= MAX_RANK else f"of rank {len(shape)}"
