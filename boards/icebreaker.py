"""iCEBreaker (1BitSquared): iCE40UP5K in SG48, 12 MHz oscillator, FT2232H for programming and USB serial.

Pins: :mod:`amaranth_boards.icebreaker`.
"""

from collections.abc import Iterable

from amaranth_boards.icebreaker import ICEBreakerPlatform

from heddle.boards.board import ArrayShape, Board, Programmer
from heddle.boards.device import UP5K
from heddle.boards.platforms import Role, platform_clock_hz, platform_pins

ROLES = {
    "clk": Role("clk12"),
    # Buttons pull low.
    "rst": Role("button"),
    "serial_in": Role("uart", 0, "rx"),
    "serial_out": Role("uart", 0, "tx"),
}
"""Port of the harness: where the platform has it."""


def boards(arrays: dict[str, ArrayShape]) -> Iterable[Board]:
    """Make the board, with the array of its part in ``arrays`` (keyed by :attr:`Device.part`)."""
    return [
        Board(
            name="icebreaker",
            title="iCEBreaker with iCE40UP5K",
            device=UP5K,
            array=arrays[UP5K.part],
            oscillator_hz=platform_clock_hz(ICEBreakerPlatform),
            pins=platform_pins(ICEBreakerPlatform, ROLES),
            reset="button uBTN",
            link="USB serial of the FT2232H, its second port",
            # Loading the SRAM takes other jumpers; flash memory needs none.
            programmer=Programmer(board="ice40_generic", version=(0, 10, 0), sram=False),
        )
    ]
