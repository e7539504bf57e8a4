"""Icepi Zero (Icy Electronics): LFE5U-25F in CABGA256, 50 MHz oscillator, FT231X USB serial.

Pins: :mod:`amaranth_boards.icepi_zero`, of revision 1.3.
"""

from collections.abc import Iterable
from dataclasses import replace

from amaranth_boards.icepi_zero import IcepiZero1_3Platform

from heddle.boards.board import ArrayShape, Board, Programmer
from heddle.boards.device import ecp5
from heddle.boards.platforms import Role, platform_clock_hz, platform_pins

ROLES = {
    "clk": Role("clk50"),
    # Buttons pull low.
    "rst": Role("button"),
    "serial_in": Role("uart", 0, "rx"),
    "serial_out": Role("uart", 0, "tx"),
}
"""Port of the harness: where the platform has it."""


def boards(arrays: dict[str, ArrayShape]) -> Iterable[Board]:
    """Make the board, with the array of its part in ``arrays`` (keyed by :attr:`Device.part`)."""
    device = replace(ecp5("LFE5U-25F"), package="CABGA256")
    return [
        Board(
            name="icepi-zero",
            title="Icepi Zero 1.3 with LFE5U-25F",
            device=device,
            array=arrays[device.part],
            oscillator_hz=platform_clock_hz(IcepiZero1_3Platform),
            pins=platform_pins(IcepiZero1_3Platform, ROLES),
            reset="button 0",
            link="USB serial of the FT231X",
            # Merged in May 2025 (openFPGALoader pull request 553), after 0.13.1.
            programmer=Programmer(board="icepi-zero", version=(1, 0, 0)),
        )
    ]
