"""Tang Nano 20K (Sipeed): GW2AR-18 in QN88, 27 MHz oscillator, BL616 for programming and USB serial.

amaranth-boards has only the 9K. Pins: litex-boards, ``platforms/sipeed_tang_nano_20k.py``. amaranth 0.5.10 builds for
Gowin with a nextpnr that is gone, so there is no platform class here.
"""

from collections.abc import Iterable

from heddle.boards.board import ArrayShape, Board, Pin, Programmer
from heddle.boards.device import GW2AR18

_IO = {"IO_TYPE": "LVCMOS33"}
PINS = {
    "clk": Pin(site="4", attributes=_IO),
    # Button S1: pressed is high.
    "rst": Pin(site="88", attributes=_IO),
    "serial_in": Pin(site="70", attributes=_IO),
    "serial_out": Pin(site="69", attributes=_IO),
}


def boards(arrays: dict[str, ArrayShape]) -> Iterable[Board]:
    """Make the board, with the array of its part in ``arrays`` (keyed by :attr:`Device.part`)."""
    return [
        Board(
            name="tang-nano-20k",
            title="Tang Nano 20K with GW2AR-18",
            device=GW2AR18,
            array=arrays[GW2AR18.part],
            oscillator_hz=27e6,
            pins=PINS,
            reset="button S1",
            link="USB serial of the BL616",
            # openFPGALoader pull request 346, of 2023: after Debian 12's 0.10.0.
            programmer=Programmer(board="tangnano20k", version=(0, 11, 0)),
        )
    ]
