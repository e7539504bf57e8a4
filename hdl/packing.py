"""Constants of a layout as integers: what Amaranth's ``Layout.const`` does, a hundred times faster.

Programs and images hold tens of thousands of fields; Amaranth builds a tree of objects for each of their words.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from amaranth.hdl import Shape, ShapeLike
from amaranth.lib import data


def packer(layout: ShapeLike) -> Callable[[Any], int]:
    """Return a function that packs a value of ``layout`` into its bits.

    A structure is given as a mapping with every member, an array as a sequence of its length, a number as an integer.
    The function raises :class:`ValueError` where a number does not fit its field, naming the field.

    >>> pack = packer(data.StructLayout({"a": 4, "b": data.ArrayLayout(2, 2)}))
    >>> bin(pack({"a": 5, "b": [1, 2]}))
    '0b10010101'
    """
    return _packer(layout, "value")


def _packer(layout: ShapeLike, name: str) -> Callable[[Any], int]:
    if isinstance(layout, data.StructLayout):
        parts = [(key, field.offset, _packer(field.shape, str(key))) for key, field in layout]

        def structure(value: Mapping[Any, Any]) -> int:
            bits = 0
            for key, offset, pack in parts:
                bits |= pack(value[key]) << offset
            return bits

        return structure
    if isinstance(layout, data.ArrayLayout):
        element, step, length = _packer(layout.elem_shape, name), Shape.cast(layout.elem_shape).width, layout.length

        def array(value: Sequence[Any]) -> int:
            if len(value) != length:
                raise ValueError(f"{name} must have {length} elements, not {len(value)}")
            bits = 0
            for index, item in enumerate(value):
                bits |= element(item) << (index * step)
            return bits

        return array
    shape = Shape.cast(layout)
    low, high = (-(1 << shape.width - 1), 1 << shape.width - 1) if shape.signed else (0, 1 << shape.width)
    mask = (1 << shape.width) - 1

    def number(value: int) -> int:
        if not low <= value < high:
            raise ValueError(
                f"{name} must fit {shape.width} {'signed' if shape.signed else 'unsigned'} bits, not {value}"
            )
        return value & mask

    return number
