"""Move registers that follow a block RAM's read port into the block RAM.

yosys infers a ``DP16KD`` without its output register: nextpnr then counts 5.8 ns from clock to data, so that no design
with memories passes 145 MHz. With the register inside it is 1 ns. This pass works on yosys' JSON netlist: where every
read bit that is used goes to the data input of one flip-flop and nowhere else, and all those flip-flops have the port's
clock and enable, start at zero and have no reset, they become the port's output register (``REGMODE`` ``OUTREG``). The
circuit is the same, cycle by cycle.

In Amaranth such a register is ``Signal(..., reset_less=True)``, assigned from ``port.data`` under ``m.If(enable)`` when
``port.en`` is ``enable``, or always when ``port.en`` is 1.
"""

from collections.abc import Mapping
from typing import Any

from heddle.boards.netlists import Bit, Sink, sinks_of

_HALF = 18
"""Data outputs of each of the two ports."""


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


def outputs_of(cell: Mapping[str, Any], sides: str) -> dict[str, list[Bit]]:
    """Return the data outputs of the halves ``sides`` that are connected, and their nets."""
    outputs = [f"DO{side}{bit}" for side in sides for bit in range(_HALF)]
    return {output: cell["connections"][output] for output in outputs if output in cell["connections"]}


def has_free_register(cell: Mapping[str, Any], sides: str, clock_side: str) -> bool:
    """Whether the output register of a read port is unused, and can be used."""
    parameters, connections = cell["parameters"], cell["connections"]
    return (
        all(parameters[f"REGMODE_{side}"] == "NOREG" for side in sides)
        and parameters[f"CLK{clock_side}MUX"] == f"CLK{clock_side}"
        and connections[f"RST{clock_side}"] == ["0"]
    )


def _registers(
    cell: dict[str, Any], sides: str, clock_side: str, cells: dict[str, Any], sinks: dict[Bit, list[Sink]]
) -> dict[str, str]:
    """Return the flip-flop behind each used output of one read port, or nothing if they cannot be absorbed."""
    if not has_free_register(cell, sides, clock_side):
        return {}
    connections = cell["connections"]
    pairs: dict[str, str] = {}
    for output, bits in outputs_of(cell, sides).items():
        readers = [sink for bit in bits for sink in sinks.get(bit, ())]
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
