"""Colorlight i5 (v7.0, LFE5U-25F) and i9 (v7.2, LFE5U-45F) on their extension board: 25 MHz oscillator, CMSIS-DAP.

amaranth-boards has neither. Pins: litex-boards, ``platforms/colorlight_i5.py``, which serves both and names its source:
https://github.com/wuxx/Colorlight-FPGA-Projects.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import ClassVar

from amaranth.build import Attrs, Clock, Pins, PinsN, Resource
from amaranth.vendor import LatticeECP5Platform
from amaranth_boards.resources import LEDResources, UARTResource

from heddle.boards.board import ArrayShape, Board, Programmer
from heddle.boards.device import ecp5
from heddle.boards.platforms import Role, platform_clock_hz, platform_pins

_IO = Attrs(IO_TYPE="LVCMOS33")


def _resources(led: str) -> list[Resource]:
    return [
        Resource("clk25", 0, Pins("P3", dir="i"), Clock(25e6), _IO),
        *LEDResources(pins=led, invert=True, attrs=_IO),
        # The button of the extension board.
        Resource("rst", 0, PinsN("K18", dir="i"), Attrs(IO_TYPE="LVCMOS33", PULLMODE="UP")),
        UARTResource(0, rx="H18", tx="J17", attrs=_IO),
    ]


class ColorlightI5Platform(LatticeECP5Platform):
    """Colorlight i5 v7.0, as amaranth builds for it."""

    device, package, speed = "LFE5U-25F", "BG381", "6"
    default_clk = "clk25"
    resources: ClassVar = _resources(led="U16")
    connectors: ClassVar = []


class ColorlightI9Platform(LatticeECP5Platform):
    """Colorlight i9 v7.2, as amaranth builds for it."""

    device, package, speed = "LFE5U-45F", "BG381", "6"
    default_clk = "clk25"
    resources: ClassVar = _resources(led="L2")
    connectors: ClassVar = []


ROLES = {
    "clk": Role("clk25"),
    "rst": Role("rst"),
    "serial_in": Role("uart", 0, "rx"),
    "serial_out": Role("uart", 0, "tx"),
}
"""Port of the harness: where the platforms have it."""


def boards(arrays: dict[str, ArrayShape]) -> Iterable[Board]:
    """Make both boards, each with the array of its part in ``arrays`` (keyed by :attr:`Device.part`)."""
    return [
        _board("i5", "v7.0", ColorlightI5Platform, arrays),
        _board("i9", "v7.2", ColorlightI9Platform, arrays),
    ]


def _board(model: str, revision: str, platform: type[LatticeECP5Platform], arrays: dict[str, ArrayShape]) -> Board:
    device = replace(ecp5(str(platform.device)), package="CABGA381", speed=int(str(platform.speed)))
    return Board(
        name=f"colorlight-{model}",
        title=f"Colorlight {model} {revision} on its extension board, with {device.part}",
        device=device,
        array=arrays[device.part],
        oscillator_hz=platform_clock_hz(platform),
        pins=platform_pins(platform, ROLES),
        reset="button of the extension board",
        link="USB serial of the extension board's CMSIS-DAP",
        # Both in Debian 12's.
        programmer=Programmer(board=f"colorlight-{model}", version=(0, 10, 0)),
    )
