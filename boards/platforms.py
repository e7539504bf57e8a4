"""What a platform class in the manner of amaranth-boards says of pins and clocks.

Their type stubs do not name their attributes, hence ``Any``.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from amaranth.build import Pins, Subsignal

from heddle.boards.board import Pin


class Role(NamedTuple):
    """Where a platform has what a port needs: resource, number, and subsignal if it has several."""

    resource: str
    number: int = 0
    subsignal: str | None = None


def platform_pins(platform: Any, roles: Mapping[str, Role]) -> dict[str, Pin]:
    """Return the pin of ``platform`` (a class or an object) for each port in ``roles``."""
    return {port: _pin(platform.resources, role) for port, role in roles.items()}


def platform_clock_hz(platform: Any) -> float:
    """Return the frequency at the default clock's pin."""
    return _resource(platform.resources, platform.default_clk, 0).clock.frequency


def _resource(resources: list[Any], name: str, number: int) -> Any:
    return next(r for r in resources if (r.name, r.number) == (name, number))


def _pin(resources: list[Any], role: Role) -> Pin:
    """Find one pin among a platform's resources; attributes of the resource hold for its subsignals."""
    node = _resource(resources, role.resource, role.number)
    attributes = dict(node.attrs)
    if role.subsignal is not None:
        node = next(part for part in _parts(node, Subsignal) if part.name == role.subsignal)
        attributes |= node.attrs
    (pins,) = _parts(node, Pins)
    (site,) = pins.names
    return Pin(site=site, attributes={key: str(value) for key, value in attributes.items()}, inverted=pins.invert)


def _parts(node: Any, kind: type) -> list[Any]:
    return [part for part in node.ios if isinstance(part, kind)]
