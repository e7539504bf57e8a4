"""Move registers that follow a block RAM's read port into the block RAM.

yosys infers a ``DP16KD`` without its output register: nextpnr then counts 5.8 ns from clock to data, so that no design
with memories passes 145 MHz. With the register inside it is 1 ns. This pass works on yosys' JSON netlist: where every
read bit that is used goes to the data input of one flip-flop and nowhere else, and all those flip-flops have the port's
clock and enable, start at zero and have no reset, they become the port's output register (``REGMODE`` ``OUTREG``). The
circuit is the same, cycle by cycle.

In Amaranth such a register is ``Signal(..., reset_less=True)``, assigned from ``port.data`` under ``m.If(enable)`` when
``port.en`` is ``enable``, or always when ``port.en`` is 1.
"""

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

_HALF = 18
"""Data outputs of each of the two ports."""

Bit = int | str
"""A net, or a constant ``"0"``, ``"1"`` or ``"x"``, as in yosys' JSON."""


@dataclass(frozen=True, kw_only=True)
class Sink:
    """What reads a net; ``cell`` is empty where it is the module's own output ``port``."""

    cell: str
    port: str


def absorb_output_registers(module: dict[str, Any]) -> int:
    """Rewrite ``module`` (one entry of ``modules`` in yosys' JSON) and return the number of flip-flops absorbed."""
    cells = module["cells"]
    sinks = sinks_of(module)
    absorbed = 0
    for cell in [cell for cell in cells.values() if cell["type"] == "DP16KD"]:
        for sides, clock_side in read_ports(cell):
            pairs = _registers(cell, sides, clock_side, cells, sinks)
            for output, name in pairs.items():
                cell["connections"][output] = cells.pop(name)["connections"]["Q"]
            if pairs:
                for side in sides:
                    cell["parameters"][f"REGMODE_{side}"] = "OUTREG"
                    cell["connections"][f"OCE{side}"] = cell["connections"][f"CE{clock_side}"]
            absorbed += len(pairs)
    return absorbed


def read_ports(cell: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the halves whose outputs belong together, and the half whose clock and enable they follow.

    Port A of a wide memory that is only read has no clock from yosys; here it gets port B's, as where it writes.
    """
    width = {side: int(cell["parameters"][f"DATA_WIDTH_{side}"], 2) for side in "AB"}
    if width["B"] > _HALF:
        # The low half of a wide word comes out at port A, but is read by port B.
        connections = cell["connections"]
        if connections["CLKA"] == ["0"] and connections["CEA"] == ["0"]:
            connections["CLKA"] = connections["CLKB"]
        same_clock = connections["CLKA"] == connections["CLKB"]
        return [("AB", "B")] if same_clock and cell["parameters"]["CLKAMUX"] == "CLKA" else []
    if width["A"] > _HALF:
        return [("B", "B")]
    return [("A", "A"), ("B", "B")]


def _registers(
    cell: dict[str, Any], sides: str, clock_side: str, cells: dict[str, Any], sinks: dict[Bit, list[Sink]]
) -> dict[str, str]:
    """Return the flip-flop behind each used output of one read port, or nothing if they cannot be absorbed."""
    parameters, connections = cell["parameters"], cell["connections"]
    if any(parameters[f"REGMODE_{side}"] != "NOREG" for side in sides):
        return {}
    if parameters[f"CLK{clock_side}MUX"] != f"CLK{clock_side}" or connections[f"RST{clock_side}"] != ["0"]:
        return {}
    pairs: dict[str, str] = {}
    for output in [f"DO{side}{bit}" for side in sides for bit in range(_HALF)]:
        readers = [sink for bit in connections.get(output, ()) for sink in sinks.get(bit, ())]
        if not readers:
            continue
        name = readers[0].cell
        if len(readers) > 1 or readers[0].port != "DI" or not is_plain(cells.get(name), connections, clock_side):
            return {}
        pairs[output] = name
    return pairs


def is_plain(flipflop: dict[str, Any] | None, ram: dict[str, list[Bit]], side: str) -> bool:
    """Whether a cell is a flip-flop with the clock and enable of port ``side``, zero at start, and no reset."""
    if flipflop is None or flipflop["type"] != "TRELLIS_FF":
        return False
    parameters = {name: value.strip() for name, value in flipflop["parameters"].items()}
    connections = flipflop["connections"]
    enable = {"1": ["1"], "CE": connections.get("CE")}.get(parameters.get("CEMUX", "1"))
    return (
        parameters.get("CLKMUX", "CLK") == "CLK"
        and parameters.get("REGSET", "RESET") == "RESET"
        and parameters.get("LSRMUX", "LSR") == "LSR"
        and connections.get("LSR", ["0"]) == ["0"]
        and connections["CLK"] == ram[f"CLK{side}"]
        and enable == ram[f"CE{side}"]
    )


def sinks_of(module: dict[str, Any]) -> dict[Bit, list[Sink]]:
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
