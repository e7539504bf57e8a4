"""ULX3S (Radiona): 25 MHz oscillator, FTDI USB serial; one board for four sizes of LFE5U in CABGA381.

The pins come from the platform classes of amaranth-boards, whose type stubs do not name their attributes.
"""

from collections.abc import Iterable
from typing import Any

from amaranth.build import Pins, Subsignal
from amaranth_boards import ulx3s

from heddle.boards.board import ArrayShape, Board, Pin
from heddle.boards.device import DEVICES, Device

ROLES = {
    "clk": ("clk25", 0, None),
    # The button "fire 1": pressed is high.
    "rst": ("button_fire", 0, None),
    "serial_in": ("uart", 0, "rx"),
    "serial_out": ("uart", 0, "tx"),
}
"""Port of the harness: resource, number and subsignal of the platform."""


def boards(arrays: dict[str, ArrayShape]) -> Iterable[Board]:
    """Make the four ULX3S, each with the array of its part in ``arrays`` (keyed by :attr:`Device.part`)."""
    return [_board(device, arrays[device.part]) for device in DEVICES]


def _board(device: Device, array: ArrayShape) -> Board:
    size = device.part.removeprefix("LFE5U-")
    platform = getattr(ulx3s, f"ULX3S_{size}_Platform")
    clock = _resource(platform.resources, *ROLES["clk"][:2]).clock
    return Board(
        name=f"ulx3s-{size.lower()}",
        title=f"ULX3S with {device.part}",
        device=device,
        array=array,
        oscillator_hz=clock.frequency,
        pins={port: _pin(platform.resources, *role) for port, role in ROLES.items()},
    )


def _resource(resources: list[Any], name: str, number: int) -> Any:
    return next(r for r in resources if (r.name, r.number) == (name, number))


def _pin(resources: list[Any], name: str, number: int, subsignal: str | None) -> Pin:
    """Find one pin among a platform's resources; attributes of the resource hold for its subsignals."""
    node = _resource(resources, name, number)
    attributes = dict(node.attrs)
    if subsignal is not None:
        node = next(part for part in _parts(node, Subsignal) if part.name == subsignal)
        attributes |= node.attrs
    ((site,),) = (pins.names for pins in _parts(node, Pins))
    return Pin(site=site, attributes=attributes)


def _parts(node: Any, kind: type) -> list[Any]:
    return [part for part in node.ios if isinstance(part, kind)]
