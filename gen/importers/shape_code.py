"""Constant folding of the code with which converters compute shapes: batch 1 makes all of it known.

SHAPE, STRIDED_SLICE, PACK and what else appears between them run here, on small integer arrays.
"""

from collections.abc import Callable, Mapping

import numpy as np

from heddle.errors import FileFormatError
from heddle.gen.importers.tflite_file import OPTIONAL, FileModel, FileOperator

_MAX_ELEMENTS = 1024
"""Shapes are short: what is longer is data, and is not folded."""

_Folder = Callable[[FileOperator, list[np.ndarray]], np.ndarray]


def fold(model: FileModel, operator: FileOperator, values: Mapping[int, np.ndarray]) -> np.ndarray | None:
    """Compute the value of ``operator``'s output, or ``None`` where it is not shape code.

    Raises
    ------
    FileFormatError
        The operands do not suit the operator.
    """
    if len(operator.outputs) != 1 or not operator.inputs or OPTIONAL in operator.inputs:
        return None
    output = model.tensors[operator.outputs[0]]
    if output.dtype not in ("int32", "int64"):
        return None
    if operator.op == "SHAPE":
        return np.array(model.tensors[operator.inputs[0]].shape, output.dtype)
    if operator.op not in _FOLDERS or any(index not in values for index in operator.inputs):
        return None
    operands = [values[index] for index in operator.inputs]
    if any(operand.size > _MAX_ELEMENTS or operand.dtype.kind not in "iu" for operand in operands):
        return None
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(_FOLDERS[operator.op](operator, operands))
    except (ValueError, IndexError, TypeError) as error:
        # NumPy checks the operands: what it refuses, the file got wrong.
        raise FileFormatError(
            f"{operator.op} of constants cannot be computed ({error})",
            where=operator.name,
            remedy="convert the network again",
        ) from error
    return result.astype(output.dtype) if result.size <= _MAX_ELEMENTS else None


def _strided_slice(operator: FileOperator, operands: list[np.ndarray]) -> np.ndarray:
    data, begin, end, step = operands
    options = operator.options
    if options.get("EllipsisMask") or options.get("NewAxisMask") or options.get("Offset"):
        raise ValueError("ellipsis, new axes and offsets are not shape code")
    index: list[slice | int] = []
    for axis, (first, last, stride) in enumerate(zip(begin.tolist(), end.tolist(), step.tolist(), strict=True)):
        if int(options.get("ShrinkAxisMask", 0)) >> axis & 1:
            index.append(first)
        else:
            start = None if int(options.get("BeginMask", 0)) >> axis & 1 else first
            stop = None if int(options.get("EndMask", 0)) >> axis & 1 else last
            index.append(slice(start, stop, stride))
    return data[tuple(index)]


def _axis(operator: FileOperator) -> int:
    return int(operator.options.get("Axis", 0))


_FOLDERS: Mapping[str, _Folder] = {
    "STRIDED_SLICE": _strided_slice,
    "PACK": lambda operator, operands: np.stack(operands, axis=_axis(operator)),
    "CONCATENATION": lambda operator, operands: np.concatenate(operands, axis=_axis(operator)),
    "GATHER": lambda operator, operands: np.take(operands[0], operands[1], axis=_axis(operator)),
    "CAST": lambda operator, operands: operands[0],
    "ADD": lambda operator, operands: operands[0] + operands[1],
    "SUB": lambda operator, operands: operands[0] - operands[1],
    "MUL": lambda operator, operands: operands[0] * operands[1],
    "MAXIMUM": lambda operator, operands: np.maximum(operands[0], operands[1]),
    "MINIMUM": lambda operator, operands: np.minimum(operands[0], operands[1]),
    "REDUCE_PROD": lambda operator, operands: operands[0].prod(axis=tuple(operands[1].reshape(-1).tolist())),
    "RESHAPE": lambda operator, operands: operands[0].reshape(operands[1].tolist()),
    "SQUEEZE": lambda operator, operands: operands[0].squeeze(),
    "EXPAND_DIMS": lambda operator, operands: np.expand_dims(operands[0], int(operands[1].reshape(-1)[0])),
}
