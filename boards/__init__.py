"""Devices, boards, place and route, and the bitstream."""

from difflib import get_close_matches
from functools import cache

from heddle.boards import colorlight, icebreaker, icepi_zero, orangecrab, tang_nano, ulx3s
from heddle.boards.board import ArrayShape, Board
from heddle.boards.device import DEVICES, Device, parse_device
from heddle.errors import InputError

__all__ = ["DEFAULT_BOARD", "ArrayShape", "Board", "Device", "get", "names"]

DEFAULT_BOARD = "ulx3s-85f"
"""The target where nobody names one."""

_ARRAYS = {
    "LFE5U-12F": ArrayShape(rows=3, cols=8, pixels=1, block=8, requantizers=1),
    "LFE5U-25F": ArrayShape(rows=3, cols=8, pixels=1, block=8, requantizers=1),
    "LFE5U-45F": ArrayShape(rows=9, cols=16, pixels=1, block=8, requantizers=8, stream_bytes=8),
    "LFE5U-85F": ArrayShape(rows=9, cols=16, pixels=2, block=8, requantizers=8, stream_bytes=8),
    "iCE40UP5K": ArrayShape(rows=1, cols=2, pixels=1, block=2, requantizers=1),
    "GW2AR-18": ArrayShape(rows=3, cols=8, pixels=1, block=8, requantizers=1),
}
"""Nine lanes take a 3x3 kernel whole; three, one row of it. Columns come in blocks; requantizers fill what remains."""


_MODULES = (ulx3s, icepi_zero, orangecrab, colorlight, icebreaker, tang_nano)
"""Each has one or more boards, in the order in which they are listed."""


@cache
def _boards() -> dict[str, Board]:
    return {board.name: board for module in _MODULES for board in module.boards(_ARRAYS)}


def _bare(device: Device, name: str) -> Board:
    title = f"{device.part} alone, {device.package}, speed {device.speed}: figures, and a bitstream without pins"
    return Board(name=name, title=title, device=device, array=_ARRAYS[device.part])


def names() -> tuple[str, ...]:
    """Every target by its shortest name: boards, then bare parts."""
    return (*_boards(), *(device.base_name for device in DEVICES))


def get(name: str) -> Board:
    """Return the target called ``name``: a board, or ``ecp5-<size>[-<package>[-<speed>]]``. Case does not matter.

    Raises
    ------
    InputError
        If there is none; the nearest names are suggested.
    """
    name = name.lower()
    if board := _boards().get(name):
        return board
    if device := parse_device(name):
        return _bare(device, name)
    near = get_close_matches(name, names(), n=3, cutoff=0.4) or names()
    raise InputError(f"{name!r} is not a known board", where="board", remedy=f"choose one of {', '.join(near)}")
