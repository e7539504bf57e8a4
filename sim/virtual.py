"""A virtual board: a design's shell, its UART included, in Verilator behind a pseudo-terminal.

What a driver meets there is what a board has, but for the PLL: the same gateware, the same bytes, the same port that
pyserial opens. The UART is as fast as its divider allows, so that a simulation spends little time on it.
"""

import os
import select
import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Self

from heddle.boards import tools
from heddle.boards.cache import Cache, key_of, open_cache
from heddle.boards.process import Job, run_all
from heddle.boards.synthesis import lift_memory_images
from heddle.errors import ToolError
from heddle.gen.shell import ShellSource
from heddle.hdl.uart import LEAST_CLOCKS, SerialRate
from heddle.sim.runner import LOG_TAIL_LINES, make_settings

LINK_CLOCK_HZ = 25e6
"""What the serial line's clock counts as, in simulated time; the rates below are in proportion."""
CLOCK_RATIO = 4
"""Clocks of the line in one of the accelerator: a byte of the line takes ten, three of which the link needs."""
BAUD = round(LINK_CLOCK_HZ / LEAST_CLOCKS)
CLOCK_HZ = LINK_CLOCK_HZ / CLOCK_RATIO
"""Of the accelerator, where its clock is not the line's."""
ANSWER_MARGIN_CLOCKS = 20_000
"""Of the accelerator, beyond an inference's, in which an answer that is due must have begun."""
START_SECONDS = 30
OPTIMISATION = ("OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")
"""For make: what runs in every clock, what runs once, and the simulator's library."""
_EXECUTABLE = "virtual-board"


class VirtualBoard:
    """A board that runs until :meth:`close`, or as a context manager.

    Parameters
    ----------
    source
        What the shell is made from.
    verilog
        The accelerator's Verilog.
    cycles
        Of an inference.

    Attributes
    ----------
    port
        The terminal to open, as a serial port.
    clock_hz
        The accelerator's clock in simulated time.

    Raises
    ------
    ToolError
        A tool is missing or fails, or the simulation does not start.
    """

    def __init__(self, source: ShellSource, verilog: str, *, cycles: int) -> None:
        self._stack = ExitStack()
        try:
            cache = self._stack.enter_context(open_cache())
            folder = _built(source, verilog, cache)
            ratio = 1 if source.one_clock else CLOCK_RATIO
            self.clock_hz = LINK_CLOCK_HZ / ratio
            arguments = map(str, (LEAST_CLOCKS, ratio, cycles + ANSWER_MARGIN_CLOCKS))
            # A terminal's interrupt is for the parent, which ends the simulation in its own time.
            self._process = subprocess.Popen(
                [folder / _EXECUTABLE, *arguments], cwd=folder, start_new_session=True, text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            )  # fmt: skip
            self._stack.callback(self._end)
            self.port = self._first_line()
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The simulation's process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the simulation runs."""
        return self._process.poll() is None

    def close(self) -> None:
        """End the simulation."""
        self._stack.close()

    def _end(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _first_line(self) -> str:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_SECONDS)
        line = self._process.stdout.readline().strip() if ready else ""
        if not line:
            raise ToolError(
                f"the simulation does not start (status {self._process.poll()})",
                where="virtual board",
                remedy="please report this, with what it said",
            )
        return line


def _built(source: ShellSource, verilog: str, cache: Cache) -> Path:
    """Return the folder with the simulation, from the cache if it was built before."""
    verilator, make, compiler, _ = (tools.find(name) for name in ("verilator", "make", "g++", "perl"))
    rate = SerialRate(clock_hz=LINK_CLOCK_HZ, baud=BAUD)
    # Verilator compiles initial values word by word; files are read when the simulation starts.
    sources = {**lift_memory_images("design.v", verilog), **lift_memory_images("shell.v", source.verilog(rate))}
    package = files("heddle.sim")
    sources |= {path.name: path.read_text() for path in (package / "models").iterdir() if path.name.endswith(".v")}
    sources["main.cpp"] = (package / "virtual_board" / "main.cpp").read_text()
    arguments = _arguments(source.module, [name for name in sources if name.endswith(".v")])
    key = key_of("virtual board", sources, arguments, verilator.version, compiler.version)
    if (folder := cache.find(key)) is not None:
        return folder
    work = cache.workspace()
    try:
        for name, text in sources.items():
            (work / name).write_text(text)
        _run(Job(tool=verilator, arguments=arguments, folder=work, log="verilator.log"))
        options = ("-C", "build", "-f", "Vshell.mk", "-j", str(os.cpu_count() or 1), *make_settings(), *OPTIMISATION)
        compiles = replace(make, environment=verilator.environment)
        _run(Job(tool=compiles, arguments=options, folder=work, log="make.log"))
        (work / "build" / _EXECUTABLE).rename(work / _EXECUTABLE)
        shutil.rmtree(work / "build")
        return cache.store(key, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _arguments(top: str, sources: list[str]) -> tuple[str, ...]:
    flags = (
        "-O3",
        "--x-assign",
        "fast",
        "--x-initial",
        "fast",
        "-CFLAGS",
        "-O2",
        "-Wno-fatal",
        "-Wno-lint",
        "-Wno-style",
    )
    named = ("--cc", "--exe", "--prefix", "Vshell", "--top-module", top, "--Mdir", "build", "-o", _EXECUTABLE)
    return (*named, *flags, *sources, "main.cpp")


def _run(job: Job) -> None:
    (outcome,) = run_all([job])
    if outcome.status:
        last = "\n".join(outcome.text.splitlines()[-LOG_TAIL_LINES:])
        raise ToolError(
            f"cannot build the simulation:\n{last}\n", where=job.log.removesuffix(".log"), remedy="please report this"
        )
