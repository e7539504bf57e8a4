"""What passes over yosys' JSON netlists have in common: who reads a net, and net numbers that are free."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

Bit = int | str
"""A net, or a constant ``"0"``, ``"1"`` or ``"x"``, as in yosys' JSON."""


@dataclass(frozen=True, kw_only=True)
class Sink:
    """What reads a net; ``cell`` is empty where it is the module's own output ``port``."""

    cell: str
    port: str


def sinks_of(module: Mapping[str, Any]) -> dict[Bit, list[Sink]]:
    """Return everything that reads each net: cell inputs, and the module's own outputs."""
    sinks: dict[Bit, list[Sink]] = defaultdict(list)
    for name, cell in module["cells"].items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] != "output":
                for bit in bits:
                    sinks[bit].append(Sink(cell=name, port=port))
    for name, port in module["ports"].items():
        if port["direction"] != "input":
            for bit in port["bits"]:
                sinks[bit].append(Sink(cell="", port=name))
    return sinks


def spare_nets(module: Mapping[str, Any]) -> Iterator[int]:
    """Yield numbers of nets that ``module`` does not have yet."""
    used = [bit for cell in module["cells"].values() for bits in cell["connections"].values() for bit in bits]
    used += [bit for port in (module["ports"] | module.get("netnames", {})).values() for bit in port["bits"]]
    return count(max((bit for bit in used if isinstance(bit, int)), default=1) + 1)
