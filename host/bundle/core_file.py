"""FuseSoC's description of a bundle's Verilog (CAPI2): as a core for other designs, to lint, and to synthesize again.

It uses Edalize's flows, not its tool API, which Edalize calls deprecated. Text is written here, not by a YAML library:
what goes into it are names that Heddle made itself, and options, which are quoted.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from heddle.boards.board import Board
from heddle.boards.device import GOWIN_CHIP
from heddle.boards.family import ECP5, GOWIN, ICE40

_FLOWS = {ECP5.name: "trellis", ICE40.name: "icestorm", GOWIN.name: "apicula"}
_PACKER_OPTIONS = {ECP5.name: "ecppack_options", ICE40.name: "icepack_options", GOWIN.name: "gowin_pack_options"}
_PINS = {".lpf": "LPF", ".pcf": "PCF", ".cst": "CST"}
_LINT = ("-Wno-fatal", "-Wno-lint", "-Wno-style")
"""What a linter says of style is said of code that nobody writes: errors count."""


def core_file(
    name: str, version: str, board: Board, files: Mapping[str, str], models: Sequence[str], clock_hz: float | None
) -> str:
    """Return the text of a ``.core`` file.

    Parameters
    ----------
    name
        Of the design's module, and of the core.
    version
        Of the core.
    files
        Paths by role: ``verilog``, ``top``, and where there are such ``shell`` and ``constraints``.
    models
        Of the family's primitives, which the Verilog instantiates.
    clock_hz
        What place and route is to reach; ``None`` if any clock will do.
    """
    top = Path(files["top"]).stem
    around = [files[role] for role in ("shell", "top") if role in files]
    sets = {"rtl": [files["verilog"]], "shell": around[:-1], "top": around[-1:], "models": list(models)}
    lines = [
        "CAPI=2:",
        f"name: ::{name}:{version}",
        f"description: {_text(f'A neural network as an accelerator, made by Heddle for {board.name}')}",
        "filesets:",
    ]
    for role, paths in sets.items():
        lines += _fileset(role, "verilogSource-2005", paths) if paths else []
    if "constraints" in files:
        lines += _fileset("pins", _PINS[Path(files["constraints"]).suffix], [files["constraints"]])
    linted = "shell" if sets["shell"] else "rtl"
    lines += ["targets:"]
    lines += _target("default", top=name, filesets=["rtl"])
    lines += _target(
        "lint",
        top=Path(sets[linted][0]).stem,
        filesets=[role for role in ("rtl", "shell", "models") if sets[role]],
        flow="lint",
        options={"tool": "verilator", "verilator_options": _LINT},
    )
    lines += _target(
        "synth",
        top=top,
        filesets=[role for role in ("rtl", "shell", "top") if sets[role]] + ["pins"] * ("constraints" in files),
        flow=_FLOWS[board.device.family.name],
        options=_synthesis(board, clock_hz),
    )
    return "\n".join(lines) + "\n"


def _fileset(name: str, file_type: str, paths: Sequence[str]) -> list[str]:
    return [f"  {name}:", "    files:", *(f"      - {_text(path)}" for path in paths), f"    file_type: {file_type}"]


def _target(
    name: str, *, top: str, filesets: Sequence[str], flow: str = "", options: Mapping[str, object] | None = None
) -> list[str]:
    lines = [f"  {name}:", f"    toplevel: {_text(top)}", f"    filesets: [{', '.join(filesets)}]"]
    if flow:
        lines += [f"    flow: {flow}", "    flow_options:"]
        # A value of JSON is one of YAML.
        lines += [f"      {key}: {json.dumps(value)}" for key, value in (options or {}).items()]
    return lines


def _synthesis(board: Board, clock_hz: float | None) -> dict[str, object]:
    """Return the flow's options: the part, and what Heddle tells nextpnr and the packer."""
    device = board.device
    place = [] if clock_hz is None else ["--freq", f"{clock_hz / 1e6:g}"]
    if device.family is ECP5:
        place += ["--router", "router1", *([] if board.pins else ["--lpf-allow-unconstrained"])]
    # Edalize makes the die's name of the part's and of the letter behind it.
    chosen = {"device": device.size, "device_family": GOWIN_CHIP[-1]} if device.family is GOWIN else {}
    place = [*([] if chosen else device.nextpnr_options), *place]
    pack = [*(["--compress"] if device.family is ECP5 else []), *board.pack_options]
    return {
        **chosen,
        "nextpnr_options": place,
        **({_PACKER_OPTIONS[device.family.name]: pack} if pack else {}),
    }


def _text(text: str) -> str:
    return json.dumps(text)
