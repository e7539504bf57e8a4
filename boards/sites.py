"""Where a die has its multipliers and block RAMs, and what nextpnr calls each of them.

ECP5 dies have them in rows across the whole width, nine columns of tiles to a group of four: block RAMs two tiles
apart, multipliers in two pairs (Project Trellis' ``tilegrid.json``, which nextpnr's coordinates follow; checked against
nextpnr for every site in ``tests/test_sites.py``).
"""

from collections.abc import Mapping
from typing import NamedTuple


class Site(NamedTuple):
    """A place for one cell: tile coordinates, and nextpnr's name for it (a *BEL*)."""

    x: int
    y: int
    bel: str


Grid = tuple[tuple[Site, ...], ...]
"""Sites of one kind: rows from the top, each from the left. All rows of a grid are equally long."""

_RAMS = ((0, "EBR0"), (2, "EBR1"), (4, "EBR2"), (6, "EBR3"))
_MULTIPLIERS = ((0, "MULT18_0"), (1, "MULT18_1"), (4, "MULT18_4"), (5, "MULT18_5"))


def _grid(columns: tuple[int, ...], rows: tuple[int, ...], group: tuple[tuple[int, str], ...]) -> Grid:
    return tuple(tuple(Site(x + dx, y, f"X{x + dx}/Y{y}/{name}") for x in columns for dx, name in group) for y in rows)


def _die(columns: tuple[int, ...], *, multipliers: tuple[int, ...], block_rams: tuple[int, ...]) -> Mapping[str, Grid]:
    return {
        "MULT18X18D": _grid(columns, multipliers, _MULTIPLIERS),
        "DP16KD": _grid(columns, block_rams, _RAMS),
    }


_25K = _die((4, 13, 22, 33, 42, 51, 60), multipliers=(13,), block_rams=(25, 37))

SITES: Mapping[str, Mapping[str, Grid]] = {
    "12k": _25K,
    "25k": _25K,
    "45k": _die((4, 13, 22, 31, 42, 51, 60, 69, 78), multipliers=(22, 46), block_rams=(10, 34, 58)),
    "85k": _die(
        (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114),
        multipliers=(10, 34, 58),
        block_rams=(22, 46, 70, 82),
    ),
}
"""Grids by die (:attr:`heddle.boards.device.Device.size`) and type of cell."""
