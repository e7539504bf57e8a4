"""The sites of multipliers and block RAMs: nextpnr has each of them, where it is said to be, and no others."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from heddle.boards import tools
from heddle.boards.device import DEVICES, Device
from heddle.boards.sites import SITES, Site

PINS = {"MULT18X18D": "CLK0", "DP16KD": "CLKA"}


def blocks_on(bels: dict[str, str]) -> dict[str, Any]:
    """Return yosys' JSON of a design with a cell on each of ``bels``, whose types are given."""
    cells = {
        f"block{number}": {
            "type": kind,
            "parameters": {},
            "attributes": {"BEL": bel},
            "port_directions": {PINS[kind]: "input"},
            "connections": {PINS[kind]: [2]},
        }
        for number, (bel, kind) in enumerate(bels.items())
    }
    top = {
        "attributes": {"top": "1"},
        "ports": {"clk": {"direction": "input", "bits": [2]}},
        "cells": cells,
        "netnames": {"clk": {"hide_name": 0, "bits": [2], "attributes": {}}},
    }
    return {"creator": "a test", "modules": {"top": top}}


def place(folder: Path, device: Device, bels: dict[str, str]) -> tuple[dict[str, Any], str]:
    """Return the placed cells of a design with a cell on each of ``bels``, and what nextpnr printed."""
    (folder / "netlist.json").write_text(json.dumps(blocks_on(bels)))
    command = [*tools.find("nextpnr-ecp5").command, *device.nextpnr_options, "--json", "netlist.json"]
    command += ["--no-route", "--write", "placed.json", "--lpf-allow-unconstrained"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    placed = folder / "placed.json"
    cells = json.loads(placed.read_text())["modules"]["top"]["cells"] if placed.exists() else {}
    return cells, done.stderr


def sites_of(device: Device) -> list[tuple[str, Site]]:
    return [(kind, site) for kind, grid in SITES[device.size].items() for row in grid for site in row]


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.part)
def test_a_die_has_as_many_sites_as_its_part_is_sold_with(device: Device) -> None:
    kinds = [kind for kind, _ in sites_of(device)]
    assert kinds.count("MULT18X18D") == device.multipliers
    assert kinds.count("DP16KD") == device.block_rams


@pytest.mark.parametrize("device", DEVICES, ids=lambda device: device.part)
def test_nextpnr_places_a_cell_on_every_site(device: Device, tmp_path: Path) -> None:
    bels = {site.bel: kind for kind, site in sites_of(device)}
    cells, said = place(tmp_path, device, bels)
    assert cells, said
    assert {cell["attributes"]["NEXTPNR_BEL"] for cell in cells.values() if cell["type"] in PINS} == set(bels)
    for _, site in sites_of(device):
        assert site.bel.startswith(f"X{site.x}/Y{site.y}/")


def test_nextpnr_refuses_a_site_that_is_not_there(tmp_path: Path) -> None:
    cells, said = place(tmp_path, DEVICES[-1], {"X5/Y22/EBR0": "DP16KD"})
    assert not cells
    assert "X5/Y22/EBR0" in said
