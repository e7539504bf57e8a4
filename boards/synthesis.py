"""Verilog to a netlist of a family's cells, with yosys."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heddle.boards.cache import Cache, key_of
from heddle.boards.carry_chains import shorten_carry_chains
from heddle.boards.deep_memories import retime_deep_memories
from heddle.boards.device import ALL_DEVICES, Device
from heddle.boards.family import ECP5, GOWIN, ICE40, Family
from heddle.boards.output_registers import absorb_output_registers
from heddle.boards.process import Job, run_all
from heddle.boards.tools import Installed
from heddle.errors import CapacityError, ToolError

LOG = "synthesis.log"
NETLIST = "netlist.json"
_SUMMARY = "summary.json"
_PRINTED = "printed.log"
_REVISION = 5
"""To be raised when what Heddle does to a netlist changes: results in the cache are then made anew."""

_FATAL_WARNINGS = re.compile(
    r"^Warning: .*(?:[Dd]river-driver conflict|multiple conflicting drivers|found logic loop).*$", re.MULTILINE
)
"""Warnings after which yosys goes on with a circuit that is not the one in the Verilog."""

_INTERNAL = re.compile(r"^ERROR: (?:Assert |ABC)", re.MULTILINE)
"""Errors of yosys' own, met with circuits that are right: ``abc9`` of yosys 0.70 fails so on some large designs."""

_MEMORY_IMAGE = re.compile(
    r"^[ ]*(?P<name>\\\S+ |[\w$]+)\[0\] = (?P<bits>\d+)'h[0-9a-f]+;\n"
    r"(?:[ ]*(?P=name)\[\d+\] = (?P=bits)'h[0-9a-f]+;\n)+",
    re.MULTILINE,
)

FEW_WORDS = 16
"""A memory of so many words takes flip-flops on iCE40, where block RAMs are few, unless it asks for one."""

FEW_ENABLED = 8
"""Fewer flip-flops than a tile of iCE40 has get no enable of their own, and so may share one with others."""

COMBS = {"LUT4": 1, "CCU2C": 2, "TRELLIS_DPR16X4": 6}
"""LUT sites (``TRELLIS_COMB``) that one cell of yosys takes; a distributed RAM takes four, and two more to write."""


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """A netlist and what it is made of.

    Parameters
    ----------
    folder
        Holds :data:`NETLIST` and :data:`LOG`; it belongs to the cache.
    cells
        Number of cells by type, as yosys counts them.
    seconds
        Wall time of yosys, when it ran.
    """

    folder: Path
    cells: Mapping[str, int]
    seconds: float
    family: Family = ECP5

    @property
    def netlist(self) -> Path:
        """The netlist as yosys' JSON, for nextpnr."""
        return self.folder / NETLIST

    @property
    def needs(self) -> Mapping[str, int]:
        """Sites needed at least, by the names of :attr:`Device.capacity`; nextpnr adds a few LUTs."""
        if self.family is ICE40:
            flipflops = sum(count for cell, count in self.cells.items() if cell.startswith("SB_DFF"))
            named = {"ICESTORM_DSP": "SB_MAC16", "ICESTORM_RAM": "SB_RAM40_4K"}
            # A cell takes a LUT and a flip-flop, those that belong together.
            cells = {"ICESTORM_LC": max(flipflops, self.cells.get("SB_LUT4", 0))}
            return cells | {site: self.cells.get(cell, 0) for site, cell in named.items()}
        if self.family is GOWIN:
            return gowin_sites(self.cells)
        return {
            "TRELLIS_COMB": sum(count * self.cells.get(cell, 0) for cell, count in COMBS.items()),
            **{cell: self.cells.get(cell, 0) for cell in ("TRELLIS_FF", "MULT18X18D", "DP16KD")},
        }


GOWIN_PLACES = {"MULT9X9": 1, "MULT18X18": 2, "MULT36X36": 8}
"""Places of a MULT9X9 that Gowin's multipliers take."""


def gowin_sites(cells: Mapping[str, int]) -> dict[str, int]:
    """Return the sites of Gowin's cells, which yosys and nextpnr call alike but for block RAMs."""
    luts = sum(count for cell, count in cells.items() if re.fullmatch(r"LUT[1-4]|ALU", cell))
    # A distributed RAM takes the place of its four LUTs, and two more to write.
    luts += 6 * cells.get("RAM16SDP4", 0)
    return {
        "LUT4": luts,
        "DFF": sum(count for cell, count in cells.items() if cell.startswith("DFF")),
        "MULT9X9": sum(places * cells.get(cell, 0) for cell, places in GOWIN_PLACES.items()),
        "BSRAM": sum(count for cell, count in cells.items() if re.fullmatch(r"BSRAM|(SDP|SP|DP|pROM)X?9?B?", cell)),
    }


def synthesize(
    sources: Mapping[str, str], top: str, *, yosys: Installed, cache: Cache, family: Family = ECP5
) -> Synthesis:
    """Synthesize ``sources`` (Verilog text by file name) for ``family``.

    Logic is mapped by yosys' ``abc9`` and, where that fails by an error of its own, by ``abc``.

    Raises
    ------
    ToolError
        If yosys fails, or warns of a conflict that it resolved by guessing.
    """
    files: dict[str, str] = {}
    for name, text in sources.items():
        files |= lift_memory_images(name, text)
    scripts = ["".join(f"read_verilog {name}\n" for name in sources) + script for script in _scripts(top, family)]
    # The first script alone: it decides what comes of the others.
    key = key_of("synthesis", files, scripts[0], yosys.version, _REVISION)
    folder = cache.find(key)
    if folder is None:
        work = cache.workspace()
        try:
            for name, text in files.items():
                (work / name).write_text(text)
            summary = {"seconds": _run(scripts, work, yosys), "cells": _finish(work / NETLIST, top, family)}
            (work / _SUMMARY).write_text(json.dumps(summary))
            folder = cache.store(key, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return Synthesis(folder=folder, family=family, **json.loads((folder / _SUMMARY).read_text()))


def _scripts(top: str, family: Family) -> list[str]:
    """Return what maps the design in the best way, and what is left if that fails."""
    if family is GOWIN:
        return [f"synth_gowin -family gw2a -top {top} -json {NETLIST}\n"]
    if family is ICE40:
        # Multipliers are instantiated. Block RAMs are few: a memory of some words becomes flip-flops.
        commands = [
            f"synth_ice40 -device u -top {top} -run begin:map_ram",
            f'setattr -set ram_style "logic" t:$mem_v2 r:SIZE<={FEW_WORDS} %i a:ram_style %d',
            f"synth_ice40 -device u -top {top} -run map_ram: -dffe_min_ce_use {FEW_ENABLED} -json {NETLIST}",
        ]
        return ["".join(f"{command}\n" for command in commands)]
    by_abc = [
        f"synth_ecp5 -top {top} -run begin:map_luts",
        "techmap -map +/lattice/latches_map.v",
        "abc -lut 4:7 -dress",
        "clean",
        f"synth_ecp5 -top {top} -run map_cells: -json {NETLIST}",
    ]
    return [f"synth_ecp5 -top {top} -json {NETLIST}\n", "".join(f"{command}\n" for command in by_abc)]


def _run(scripts: Sequence[str], work: Path, yosys: Installed) -> float:
    """Run the first of ``scripts`` that yosys does not stumble over, in ``work``; return its seconds."""
    outcome, text = None, ""
    for script in scripts:
        (work / "synthesis.ys").write_text(script)
        # What yosys prints after it has called ABC does not arrive: its own log does, and with it the reason.
        job = Job(tool=yosys, arguments=("-l", LOG, "-s", "synthesis.ys"), folder=work, log=_PRINTED)
        (outcome,) = run_all([job])
        log = work / LOG
        text = log.read_text(errors="replace") if log.exists() else outcome.text
        if not outcome.status or not _INTERNAL.search(text):
            break
    assert outcome is not None
    check_log(text, outcome.status)
    (work / _PRINTED).unlink()
    return outcome.seconds


def _finish(path: Path, top: str, family: Family) -> dict[str, int]:
    """Improve the netlist in ``path`` and return its number of cells by type."""
    netlist = json.loads(path.read_text())
    # The models of cells that yosys writes beside the design are of no use to nextpnr.
    netlist["modules"] = {top: netlist["modules"][top]}
    if family is ECP5:
        retime_deep_memories(netlist["modules"][top])
        absorb_output_registers(netlist["modules"][top])
        shorten_carry_chains(netlist["modules"][top])
    path.write_text(json.dumps(netlist))
    return dict(Counter(cell["type"] for cell in netlist["modules"][top]["cells"].values()))


def lift_memory_images(name: str, verilog: str) -> dict[str, str]:
    r"""Move initial contents of memories, one assignment a word, into files read by ``$readmemh``.

    The circuit is the same; yosys reads 160 KiB of weights in a third of the time. The result is text by file name,
    the Verilog under ``name``.

    >>> files = lift_memory_images("a.v", "    m[0] = 8'hff;\n    m[1] = 8'h01;\n")
    >>> files["a.v"], files["a.v.0.hex"]
    ('    $readmemh("a.v.0.hex", m);\n', 'ff\n01\n')
    """
    images: dict[str, str] = {}

    def lift(match: re.Match[str]) -> str:
        image = f"{name}.{len(images)}.hex"
        words = re.findall(r"\[(\d+)\] = \d+'h([0-9a-f]+);", match[0])
        if [int(index) for index, _ in words] != list(range(len(words))):
            return match[0]
        images[image] = "".join(f"{word}\n" for _, word in words)
        return f'    $readmemh("{image}", {match["name"]});\n'

    return {name: _MEMORY_IMAGE.sub(lift, verilog), **images}


def check_log(text: str, status: int) -> None:
    """Raise :class:`ToolError` with yosys' own words if it failed or guessed."""
    if status:
        errors = [line for line in text.splitlines() if "ERROR" in line] or text.splitlines()[-1:]
        fact = errors[0].removeprefix("ERROR: ") if errors else f"it ended with status {status}"
        raise ToolError(fact, where="yosys", remedy="check the Verilog; if Heddle made it, please report this")
    if conflict := _FATAL_WARNINGS.search(text):
        raise ToolError(
            conflict[0].removeprefix("Warning: "),
            where="yosys",
            remedy="the circuit would differ from its Verilog: give every net one driver, and no loops",
        )


def check_capacity(synthesis: Synthesis, device: Device, *, design: str) -> None:
    """Raise :class:`CapacityError` if ``device`` has too few sites of a kind: by how much, of what."""
    needs = synthesis.needs
    short = {cell: needs[cell] - sites for cell, sites in device.capacity.items() if needs[cell] > sites}
    if not short:
        return
    facts = [f"{needs[cell]} {cell} of {device.capacity[cell]} ({excess} too many)" for cell, excess in short.items()]
    fits = [
        d
        for d in ALL_DEVICES
        if d.family is device.family and all(needs[cell] <= sites for cell, sites in d.capacity.items())
    ]
    larger = f"choose a board with {fits[0].part} or larger, or " if fits else ""
    raise CapacityError(
        f"does not fit {device.part}: it needs {', '.join(facts)}",
        where=design,
        remedy=f"{larger}use a smaller array or network",
    )
