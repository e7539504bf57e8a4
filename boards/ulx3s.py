"""ULX3S (Radiona): 25 MHz oscillator, FTDI USB serial; one board for four sizes of LFE5U in CABGA381.

Pins: :mod:`amaranth_boards.ulx3s`.
"""

from collections.abc import Iterable

from amaranth_boards import ulx3s

from heddle.boards.board import ArrayShape, Board, Programmer
from heddle.boards.device import DEVICES, Device
from heddle.boards.platforms import Role, platform_clock_hz, platform_pins

ROLES = {
    "clk": Role("clk25"),
    # The button "fire 1": pressed is high.
    "rst": Role("button_fire"),
    "serial_in": Role("uart", 0, "rx"),
    "serial_out": Role("uart", 0, "tx"),
}
"""Port of the harness: where the platform has it."""


def boards(arrays: dict[str, ArrayShape]) -> Iterable[Board]:
    """Make the four ULX3S, each with the array of its part in ``arrays`` (keyed by :attr:`Device.part`)."""
    return [_board(device, arrays[device.part]) for device in DEVICES]


def _board(device: Device, array: ArrayShape) -> Board:
    size = device.part.removeprefix("LFE5U-")
    platform = getattr(ulx3s, f"ULX3S_{size}_Platform")
    return Board(
        name=f"ulx3s-{size.lower()}",
        title=f"ULX3S with {device.part}",
        device=device,
        array=array,
        oscillator_hz=platform_clock_hz(platform),
        pins=platform_pins(platform, ROLES),
        reset="button FIRE 1",
        link="USB serial of the FT231X, connector US1",
        programmer=Programmer(board="ulx3s", version=(0, 10, 0)),
    )
