"""OrangeCrab r0.2 (Good Stuff Department): LFE5U-25F or -85F in CSFBGA285, speed 8; 48 MHz oscillator.

Pins: :mod:`amaranth_boards.orangecrab_r0_2`. Its USB goes to the FPGA itself, so the host link is on the header: pins 0
(in) and 1 (out), as LiteX has them (litex-boards, ``gsd_orangecrab.py``, ``feather_serial``). The bootloader takes
bitstreams over DFU, into flash memory.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from amaranth_boards import orangecrab_r0_2

from heddle.boards.board import ArrayShape, Board, Pin, Programmer
from heddle.boards.device import ecp5
from heddle.boards.platforms import Role, platform_clock_hz, platform_pins

ROLES = {
    "clk": Role("clk"),
    # The button pulls low; it lies in the bank of the DDR3 memory, hence its voltage.
    "rst": Role("button"),
}
"""Port of the harness: where the platform has it."""
HEADER = {"serial_in": "0", "serial_out": "1"}
"""The others: pin of the header."""


def boards(arrays: dict[str, ArrayShape]) -> Iterable[Board]:
    """Make both sizes, each with the array of its part in ``arrays`` (keyed by :attr:`Device.part`)."""
    return [
        _board("25f", orangecrab_r0_2.OrangeCrabR0_2_25FPlatform, arrays),
        _board("85f", orangecrab_r0_2.OrangeCrabR0_2_85FPlatform, arrays),
    ]


def _board(size: str, platform: Any, arrays: dict[str, ArrayShape]) -> Board:
    device = replace(ecp5(platform.device), package="CSFBGA285", speed=int(platform.speed))
    (header,) = platform.connectors
    serial = {port: Pin(site=header.mapping[pin], attributes={"IO_TYPE": "LVCMOS33"}) for port, pin in HEADER.items()}
    return Board(
        name=f"orangecrab-{size}",
        title=f"OrangeCrab r0.2 with {device.part}",
        device=device,
        array=arrays[device.part],
        oscillator_hz=platform_clock_hz(platform),
        pins={**platform_pins(platform, ROLES), **serial},
        reset="button",
        link="header pins 0 (in) and 1 (out), 3.3 V: a USB serial adapter",
        # amaranth-boards asks for the clock at which the configuration is read from flash memory, in MHz.
        pack_options=("--freq", "38.8"),
        programmer=Programmer(
            board="orangeCrab",
            version=(0, 10, 0),
            sram=False,
            flash_options=(),
            before="hold its button while plugging it in, so that the bootloader stays",
        ),
    )
