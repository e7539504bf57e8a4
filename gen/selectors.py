"""How many selectors of activations an array has, and what of their selections yosys finds to be the same."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from heddle.hdl.config import ArrayConfig


@dataclass(frozen=True, kw_only=True)
class Selections:
    """How much of the selection of activations differs between columns.

    Parameters
    ----------
    bits
        Registers that hold selections, over all lanes and planes: yosys shares equal ones.
    distinct
        Selectors: a column's own, or one for a plane that has no indices.
    """

    bits: int
    distinct: int

    @staticmethod
    def least(array: ArrayConfig) -> "Selections":
        """Return those of an array without indices: what every program needs."""
        planes = array.rows * array.pixels
        return Selections(bits=planes * select_bits(array), distinct=planes)

    @staticmethod
    def largest(array: ArrayConfig) -> "Selections":
        """Return those of an array whose every column selects for itself."""
        return Selections(bits=array.macs_per_cycle * select_bits(array), distinct=array.macs_per_cycle)


def selections(array: ArrayConfig, indices: Sequence[Sequence[Sequence[int]]], *, diagonal: bool = False) -> Selections:
    """Return those of an array with index memories ``[lane][plane][word]``, words of ``C`` packed indices.

    ``diagonal``: a column can also select its own channel.

    >>> selections(ArrayConfig(rows=1, cols=8, pixels=1), [[[]]]) == Selections.least(ArrayConfig(rows=1, cols=8))
    True
    """
    width = select_bits(array)
    bits = distinct = 0
    for lane in indices:
        # Of each bit of each column what it can be: planes without an index memory follow the plane before.
        columns: list[tuple[tuple[object, ...], ...]] = [
            tuple((c >> bit & 1,) if diagonal and any(lane) else () for bit in range(width)) for c in range(array.cols)
        ]
        indexed = False
        for words in lane:
            if words:
                own = _columns(words, width, array.cols)
                columns = [
                    tuple((*earlier, bit) for earlier, bit in zip(*column, strict=True))
                    for column in zip(columns, own, strict=True)
                ]
            indexed = indexed or bool(words)
            distinct += array.cols if indexed else 1
            bits += sum(len({column[bit] for column in columns}) for bit in range(width))
    return Selections(bits=bits, distinct=distinct)


def _columns(words: Sequence[int], width: int, cols: int) -> Iterable[tuple[object, ...]]:
    """Return for each bit of each column its value where that is the same in all words, and else a name of its own."""
    ones, zeros = 0, 0
    for word in words:
        ones |= word
        zeros |= ~word
    for column in range(cols):
        places = range(column * width, (column + 1) * width)
        yield tuple(f"bit {place}" if ones >> place & zeros >> place & 1 else ones >> place & 1 for place in places)


def select_bits(array: ArrayConfig) -> int:
    """Return the bits that name a channel of a block."""
    return (array.block - 1).bit_length()
