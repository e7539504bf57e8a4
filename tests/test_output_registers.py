"""Registers behind block RAMs move into them, where they are the same."""

from typing import Any

import pytest

from heddle.boards.output_registers import absorb_output_registers


def block_ram(**changes: Any) -> dict[str, Any]:
    """Return a module with a block RAM whose bit DOA0 feeds one register, and that register a port."""
    ram = {f"{pin}{side}": ["0"] for pin in ("RST", "WE", "OCE") for side in "AB"}
    ram |= {"CLKA": [2], "CLKB": [2], "CEA": ["1"], "CEB": ["1"], "DOA0": [3]}
    parameters = {"DATA_WIDTH_A": "01001", "DATA_WIDTH_B": "01001", "REGMODE_A": "NOREG", "REGMODE_B": "NOREG"}
    parameters |= {"CLKAMUX": "CLKA", "CLKBMUX": "CLKB"}
    register = {"CLK": [2], "DI": [3], "LSR": ["0"], "Q": [4]}
    settings = {"CEMUX": "1 ", "REGSET": "RESET"}
    for name, value in changes.items():
        target = next(d for d in (ram, parameters, register, settings) if name in d)
        target[name] = value
    directions = {pin: "output" if pin in ("DOA0", "Q") else "input" for pin in (*ram, *register)}
    cells = {
        "ram": {"type": "DP16KD", "parameters": parameters, "connections": ram, "port_directions": directions},
        "ff": {"type": "TRELLIS_FF", "parameters": settings, "connections": register, "port_directions": directions},
    }
    return {"cells": cells, "ports": {"o": {"direction": "output", "bits": [4]}}}


def test_register_behind_a_block_ram_moves_into_it() -> None:
    module = block_ram()
    assert absorb_output_registers(module) == 1
    assert list(module["cells"]) == ["ram"]
    ram = module["cells"]["ram"]
    assert (ram["parameters"]["REGMODE_A"], ram["connections"]["OCEA"], ram["connections"]["DOA0"]) == (
        "OUTREG",
        ["1"],
        [4],
    )
    assert absorb_output_registers(module) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"LSR": [9]},
        {"REGSET": "SET"},
        {"CLK": [9]},
        {"CEMUX": "CE"},
        {"CEA": [9]},
        {"RSTA": [9]},
        {"CLKAMUX": "INV"},
        {"REGMODE_A": "OUTREG"},
        {"WEB": [3]},
    ],
)
def test_register_that_differs_from_the_one_inside_stays_outside(changes: dict[str, object]) -> None:
    module = block_ram(**changes)
    assert absorb_output_registers(module) == 0
    assert list(module["cells"]) == ["ram", "ff"]


def test_read_bit_that_leaves_the_design_keeps_its_register_outside() -> None:
    module = block_ram()
    module["ports"]["raw"] = {"direction": "output", "bits": [3]}
    assert absorb_output_registers(module) == 0
