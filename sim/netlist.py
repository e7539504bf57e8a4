"""The synthesized netlist as one Verilog file, to be simulated against the RTL it came from.

Logic cells (look-up tables, carry chains, flip-flops, small RAMs) are expanded by yosys from its own models, which
Icarus cannot read as they are; block RAMs and multipliers stay instances of Heddle's models in ``sim/models``.
"""

import json
import shutil
from importlib.resources import files
from pathlib import Path

from heddle.boards import tools
from heddle.boards.artifacts import write_atomically
from heddle.boards.cache import open_cache
from heddle.boards.process import Job, run_all
from heddle.boards.synthesis import NETLIST, check_log, synthesize
from heddle.errors import InputError

MODELS = ("DP16KD", "MULT18X18D")
"""Cells that have a model of ours."""

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
    try:
        text = verilog.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error})", where=str(verilog), remedy="give a Verilog file") from error
    yosys = tools.find("yosys")
    with open_cache() as cache:
        synthesis = synthesize({"design.v": text}, top, yosys=yosys, cache=cache)
        work = cache.workspace()
        try:
            (work / NETLIST).write_text(_without_open_outputs(synthesis.netlist.read_text()))
            (work / "expand.ys").write_text(_script(top, module or top))
            (outcome,) = run_all([Job(tool=yosys, arguments=("-s", "expand.ys"), folder=work, log="expand.log")])
            check_log(outcome.text, outcome.status)
            netlist = (work / "expanded.v").read_text()
        finally:
            shutil.rmtree(work, ignore_errors=True)
    models = [model_verilog(cell) for cell in MODELS if cell in synthesis.cells]
    write_atomically(out, "\n".join([*(f"/* verilator lint_off {name} */" for name in LINT_OFF), netlist, *models]))
    return out


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


def _script(top: str, module: str) -> str:
    return "\n".join(
        [
            f"read_json {NETLIST}",
            # Else the Diamond primitives, which yosys does not emit, are defined twice.
            "read_verilog -D NO_INCLUDES +/ecp5/cells_sim.v",
            "read_verilog -lib -nooverwrite +/ecp5/cells_bb.v",
            f"hierarchy -top {top}",
            "proc",
            "flatten",
            "opt_clean",
            f"rename {top} {module}",
            f"select {module}",
            "write_verilog -selected -noattr expanded.v",
            "",
        ]
    )
