"""Functions of one int8 value become tables of 256 entries, each equal to TFLite Micro's integer kernel."""

from collections.abc import Callable, Mapping

import numpy as np

from heddle.gen import arithmetic
from heddle.gen.importers.operation import Operation
from heddle.gen.ir import Node, Table

_VALUES = np.arange(arithmetic.INT8_MIN, arithmetic.INT8_MAX + 1, dtype=np.int64)


def requantize(operation: Operation) -> list[Node]:
    """QUANTIZE from int8 to int8: a change of scale and zero point."""
    source, target = operation.input(), operation.output()
    multiplier, shift = arithmetic.quantize_multiplier(source.scale / target.scale)
    scaled = arithmetic.multiply(_VALUES - source.zero_point, multiplier, shift, "double")
    return table(operation, arithmetic.clip_output(scaled, target.zero_point))


def table(operation: Operation, entries: np.ndarray, position: int = 0) -> list[Node]:
    """A table from the activation at ``position`` to the output."""
    source, target = operation.input(position), operation.output()
    operation.expect(target, source.hwc)
    return [
        Table(
            name=operation.name,
            op=operation.operator.op,
            inputs=(source.name,),
            output=target.name,
            table=entries.astype(np.int8),
        )
    ]


LOWERINGS: Mapping[str, Callable[[Operation], list[Node]]] = {}
