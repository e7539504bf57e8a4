"""A build whose yosys, nextpnr and packer are made up: for what becomes of a bitstream, not for how it is made."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from heddle.boards.board import Board
from heddle.boards.build import build
from heddle.boards.family import Family
from heddle.boards.pll import Pll
from heddle.boards.route import LOG, REPORT, Routed
from heddle.boards.synthesis import LOG as SYNTHESIS_LOG
from heddle.boards.synthesis import Synthesis
from heddle.boards.tools import Installed

FMAX_MHZ = 101.5
ASKS_FOR_IDCODE = b"\xe2\x00\x00\x00"


def fake_tools(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let all builds take the same netlist, routed design and bitstream, in ``folder``; all else is as it is."""
    module = build.__module__

    def synthesize(sources: Mapping[str, str], top: str, *, family: Family, **_: Any) -> Synthesis:
        (folder / SYNTHESIS_LOG).write_text("synthesized")
        return Synthesis(folder=folder, cells={}, seconds=0, family=family)

    def place_and_route(netlist: Path, board: Board, **_: Any) -> list[Routed]:
        report = {
            "fmax": {"clock": {"achieved": FMAX_MHZ}},
            "critical_paths": [],
            "utilization": {cell: {"used": 1} for cell in board.device.capacity},
        }
        (folder / REPORT).write_text(json.dumps(report))
        (folder / LOG).write_text("routed")
        (folder / board.device.family.routed_file).write_text("a routed design\n")
        return [Routed(seed=1, folder=folder, seconds=0)]

    monkeypatch.setattr(f"{module}.synthesize", synthesize)
    monkeypatch.setattr(f"{module}.place_and_route", place_and_route)

    def pack(config: str, board: Board, *_: Any) -> tuple[bytes, float]:
        return ASKS_FOR_IDCODE + board.device.idcode.to_bytes(4, "big") + config.encode(), 0.0

    monkeypatch.setattr(f"{module}._pack", pack)
    monkeypatch.setattr(f"{module}.used_sites", lambda used, board: dict.fromkeys(board.device.capacity, 1))
    monkeypatch.setattr(f"{module}.tools.find", lambda name, *_: Installed(command=(name,), version="0", source="test"))
    monkeypatch.setattr(Pll, "retune", lambda self, config: config)
