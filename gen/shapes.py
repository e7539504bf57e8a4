"""Which arrays there are to choose from."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from heddle.hdl.config import LIMITS, ArrayConfig


@dataclass(frozen=True, kw_only=True)
class Space:
    """Arrays to choose from: every combination of these that is an array.

    Parameters
    ----------
    base
        What is not chosen: the primitive.
    rows, pixels, blocks, requantizers, stream_bytes
        R, V, M, q and the width of the streams.
    tiles
        C, in blocks of M.
    """

    base: ArrayConfig
    rows: tuple[int, ...]
    tiles: tuple[int, ...]
    pixels: tuple[int, ...]
    blocks: tuple[int, ...]
    requantizers: tuple[int, ...]
    stream_bytes: tuple[int, ...]

    @staticmethod
    def halves(array: ArrayConfig) -> "Space":
        """``array``, and those made of it by halving columns, rows and requantizers."""
        return Space(
            base=array,
            rows=_halves(array.rows),
            tiles=_halves(array.cols // array.block),
            pixels=(array.pixels,),
            blocks=(array.block,),
            requantizers=_halves(array.requantizers),
            stream_bytes=(array.stream_bytes,),
        )

    @staticmethod
    def full(array: ArrayConfig) -> "Space":
        """Every array worth a thought on a device whose streams are as wide as those of ``array``."""
        return Space(
            base=array,
            rows=(*range(1, 17), 18, 20, 24, 27, 32),
            tiles=(1, 2, 3, 4, 5, 6, 8, 10, 12, 16),
            pixels=(1, 2, 3, 4),
            blocks=(4, 8, 16),
            requantizers=_halves(16),
            stream_bytes=(array.stream_bytes,),
        )

    def with_fixed(self, **values: int) -> "Space":
        """Return the space in which ``requantizers``, ``stream_bytes`` or ``block`` have one value.

        Raises
        ------
        CapacityError
            No array has that value.
        """
        # An array of the largest blocks, which only these values can make illegal.
        replace(self.base, rows=1, cols=16, **{"block": 16, "requantizers": 1, **values})
        names = {"requantizers": "requantizers", "stream_bytes": "stream_bytes", "block": "blocks"}
        return replace(self, **{names[name]: (value,) for name, value in values.items()})

    def __iter__(self) -> Iterator[ArrayConfig]:
        for block, rows, tiles, pixels in product(self.blocks, self.rows, self.tiles, self.pixels):
            if tiles * block > LIMITS["cols"]:
                continue
            for requantizers, stream_bytes in product(self.requantizers, self.stream_bytes):
                if block % requantizers == 0:
                    yield replace(
                        self.base,
                        rows=rows,
                        cols=tiles * block,
                        pixels=pixels,
                        block=block,
                        requantizers=requantizers,
                        stream_bytes=stream_bytes,
                    )


def _halves(value: int) -> tuple[int, ...]:
    halves = []
    while value:
        halves.append(value)
        value //= 2
    return tuple(halves)
