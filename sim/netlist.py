"""The synthesized netlist as one Verilog file, to be simulated against the RTL it came from.

Logic cells (look-up tables, carry chains, flip-flops, small RAMs) are expanded by yosys from its own models, which
Icarus cannot read as they are; block RAMs, multipliers and PLLs stay instances of Heddle's models in ``sim/models``.
"""

import json
import shutil
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

from heddle.boards import tools
from heddle.boards.artifacts import write_atomically
from heddle.boards.board import Board
from heddle.boards.build import DEFAULT_TARGET_HZ
from heddle.boards.cache import open_cache
from heddle.boards.family import ECP5, ICE40, Family
from heddle.boards.process import Job, run_all
from heddle.boards.synthesis import NETLIST, check_log, synthesize
from heddle.boards.top import Link, Top
from heddle.boards.wrapping import read_verilog, wrap
from heddle.errors import InputError

MODELS = {ECP5: ("DP16KD", "MULT18X18D", "EHXPLLL"), ICE40: ("SB_RAM40_4K", "SB_MAC16")}
"""Cells of a family that have a model of ours; of the others yosys' own is taken."""

_CELLS = {
    # Else the Diamond primitives, which yosys does not emit, are defined twice.
    ECP5: "-D NO_INCLUDES +/ecp5/cells_sim.v",
    ICE40: "+/ice40/cells_sim.v",
}
"""Where yosys has its models."""

_LUTS = """
module LUT2 #(parameter [3:0] INIT = 0) (input A, B, output Z);
  \\$lut #(.WIDTH(2), .LUT(INIT)) _TECHMAP_REPLACE_ (.A({B, A}), .Y(Z));
endmodule
module LUT4 #(parameter [15:0] INIT = 0) (input A, B, C, D, output Z);
  \\$lut #(.WIDTH(4), .LUT(INIT)) _TECHMAP_REPLACE_ (.A({D, C, B, A}), .Y(Z));
endmodule
module SB_LUT4 #(parameter [15:0] LUT_INIT = 0) (input I0, I1, I2, I3, output O);
  \\$lut #(.WIDTH(4), .LUT(LUT_INIT)) _TECHMAP_REPLACE_ (.A({I3, I2, I1, I0}), .Y(O));
endmodule
"""
"""Look-up tables as yosys' own cell, which is written as one shift; in its models they are four multiplexers each."""

_SHIFTS = ("techmap -map luts.v", "read_verilog -icells luts.v")
"""First those of the netlist, before parameters make a module of each; those inside other cells are read as models."""

_HEADER_END = "\n);\n"
"""Of a model: behind its ports."""

LINT_OFF = ("WIDTH", "PINMISSING", "UNOPTFLAT")
"""What Verilator must not stop at: yosys writes expressions wider than their targets, and leaves unused pins out."""


def netlist_verilog(verilog: Path, top: str, out: Path, *, module: str | None = None) -> Path:
    """Synthesize module ``top`` for ECP5, as a build does but without harness, and write the netlist to ``out``.

    The file needs no other; Icarus and Verilator read it. Its ports are those of ``top``.

    Parameters
    ----------
    module
        Name of the netlist's module, so that it can stand beside the RTL; default ``top``.

    Raises
    ------
    InputError
        If ``verilog`` cannot be read.
    ToolError
        If yosys is missing or fails.
    """
    write_atomically(out, netlist_of({"design.v": read_verilog(verilog)}, top, ECP5, module=module, unknowns=True))
    return out


def board_netlist(verilog: str, top: str, board: Board, link: Link) -> str:
    """Return the netlist that a build without a wish for a frequency places: :data:`heddle.boards.top.TOP`.

    Its ports are the board's pins, PLL and host link included.

    Parameters
    ----------
    verilog
        The accelerator's, of which ``top`` is the module.

    Raises
    ------
    InputError
        If a bitstream for ``board`` has no host link, or its cells have no models.
    ToolError
        If yosys is missing or fails.
    """
    wrapper, sources = wrap(verilog, top, board, DEFAULT_TARGET_HZ, link)
    if not isinstance(wrapper, Top):
        raise InputError(
            "its bitstream has no host link, so that nothing can be asked of its netlist",
            where=board.name,
            remedy="choose a board with a serial line",
        )
    return netlist_of(sources, wrapper.module, board.device.family)


def netlist_of(
    sources: Mapping[str, str], top: str, family: Family, *, module: str | None = None, unknowns: bool = False
) -> str:
    """Return the netlist of module ``top`` of ``sources``, Verilog by file name, as one Verilog text.

    Parameters
    ----------
    module
        As of :func:`netlist_verilog`.
    unknowns
        For simulators that know unknown values: one at an input that does not matter leaves a look-up table's output
        known. Else a look-up table is one shift, which is less to compile.

    Raises
    ------
    InputError
        If the cells of ``family`` have no models.
    ToolError
        If yosys is missing or fails.
    """
    if family not in MODELS:
        raise InputError(
            f"there are no models of the cells of {family.name}",
            where="netlist",
            remedy=f"choose a board of {' or '.join(known.name for known in MODELS)}",
        )
    yosys, models = tools.find("yosys"), {cell: model_verilog(cell) for cell in MODELS[family]}
    with open_cache() as cache:
        synthesis = synthesize(sources, top, yosys=yosys, cache=cache, family=family)
        work = cache.workspace()
        try:
            (work / NETLIST).write_text(_without_open_outputs(synthesis.netlist.read_text()))
            (work / "luts.v").write_text(_LUTS)
            # Ports and parameters alone: yosys would run the checks inside with parameters that nobody has given.
            (work / "models.v").write_text(
                "".join(f"{model.partition(_HEADER_END)[0]}{_HEADER_END}endmodule\n" for model in models.values())
            )
            (work / "expand.ys").write_text(_script(top, module or top, family, unknowns=unknowns))
            (outcome,) = run_all([Job(tool=yosys, arguments=("-s", "expand.ys"), folder=work, log="expand.log")])
            check_log(outcome.text, outcome.status)
            netlist = (work / "expanded.v").read_text()
        finally:
            shutil.rmtree(work, ignore_errors=True)
    used = [model for cell, model in models.items() if cell in synthesis.cells]
    return "\n".join([*(f"/* verilator lint_off {name} */" for name in LINT_OFF), netlist, *used])


def model_verilog(cell: str) -> str:
    """Return the text of our model of ``cell``."""
    return (files("heddle.sim") / "models" / f"{cell}.v").read_text()


def _without_open_outputs(netlist: str) -> str:
    """Leave out outputs that are connected to ``x``: how nextpnr is told that a pin is open, and yosys must not be."""
    text = json.loads(netlist)
    for module in text["modules"].values():
        for cell in module["cells"].values():
            outputs = [pin for pin, direction in cell["port_directions"].items() if direction == "output"]
            for pin in outputs:
                if cell["connections"].get(pin) == ["x"]:
                    del cell["connections"][pin]
    return json.dumps(text)


def _script(top: str, module: str, family: Family, *, unknowns: bool) -> str:
    return "\n".join(
        [
            f"read_json {NETLIST}",
            *(() if unknowns else _SHIFTS),
            "read_verilog -lib models.v",
            # Only what is used: iCE40's large RAM alone takes minutes.
            f"read_verilog -defer {_CELLS[family]}",
            f"hierarchy -check -top {top}",
            "proc",
            "flatten",
            # Constants, such as how a flip-flop is set, then names of nets inside: most of the text.
            "opt_expr",
            "opt_clean -purge",
            "rename -hide w:*",
            f"rename {top} {module}",
            f"select {module}",
            "write_verilog -selected -noattr expanded.v",
            "",
        ]
    )
