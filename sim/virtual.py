"""A virtual board: a design's gateware, its UART included, in Verilator behind a pseudo-terminal.

What a driver meets there is what a board has, but for the PLL: the same gateware, the same bytes, the same port that
pyserial opens. The gateware is the RTL of the design's shell, whose UART is as fast as its divider allows, so that a
simulation spends little time on it; or the netlist of the board's top, which a build places.
"""

import os
import select
import shutil
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Self

from heddle.boards import tools
from heddle.boards.board import Board
from heddle.boards.cache import Cache, key_of, open_cache
from heddle.boards.process import Job, run_all
from heddle.boards.synthesis import lift_memory_images
from heddle.boards.top import TOP
from heddle.errors import ToolError
from heddle.gen.shell import ShellSource
from heddle.hdl.uart import LEAST_CLOCKS, SerialRate
from heddle.link.protocol import DEFAULT_BAUD
from heddle.sim.netlist import board_netlist
from heddle.sim.runner import LOG_TAIL_LINES, make_settings, models_beside

LINK_CLOCK_HZ = 25e6
"""What the serial line's clock counts as, in simulated time; the rates below are in proportion."""
CLOCK_RATIO = 4
"""Clocks of the line in one of the accelerator: a byte of the line takes ten, of which the link needs seven."""
BAUD = round(LINK_CLOCK_HZ / LEAST_CLOCKS)
CLOCK_HZ = LINK_CLOCK_HZ / CLOCK_RATIO
"""Of the accelerator, where its clock is not the line's."""
ANSWER_MARGIN_CLOCKS = 20_000
"""Of the accelerator, beyond an inference's, in which an answer that is due must have begun."""
START_SECONDS = 30
OPTIMISATION = ("OPT_SLOW=-O0", "OPT_GLOBAL=-O1")
"""For make: what runs once, and the simulator's library."""
NETLIST_OPTIMISATION = "-O1"
"""Of a netlist, which is much code: -O2 takes several times as long to compile."""
_EXECUTABLE = "virtual-board"
_PINS = "board_pins"
"""The module that has a shell's ports, and puts them on a board's pins."""


@dataclass(frozen=True, kw_only=True)
class Gateware:
    """What a virtual board runs.

    Parameters
    ----------
    sources
        Verilog, and files that it reads, by name; models of vendors' cells need not be among them.
    module
        The top, with the ports of :class:`heddle.hdl.shell.Shell`.
    link_clock_hz
        What the serial line's clock counts as, in simulated time.
    baud
        Bits a second on the serial line.
    clock_ratio
        Clocks of the line in one of the accelerator.
    optimisation
        For the compiler, of what runs in every clock.
    """

    sources: Mapping[str, str]
    module: str
    link_clock_hz: float = LINK_CLOCK_HZ
    baud: int = BAUD
    clock_ratio: int = CLOCK_RATIO
    optimisation: str = "-O2"

    @property
    def clock_hz(self) -> float:
        """What the accelerator's clock counts as."""
        return self.link_clock_hz / self.clock_ratio

    @classmethod
    def rtl(cls, source: ShellSource, verilog: str) -> Self:
        """Return the shell made from ``source``, and the accelerator's ``verilog``."""
        # Verilator compiles initial values word by word; files are read when the simulation starts.
        shell = source.verilog(SerialRate(clock_hz=LINK_CLOCK_HZ, baud=BAUD))
        sources = {**lift_memory_images("design.v", verilog), **lift_memory_images("shell.v", shell)}
        return cls(sources=sources, module=source.module, clock_ratio=1 if source.one_clock else CLOCK_RATIO)

    @classmethod
    def netlist(cls, source: ShellSource, verilog: str, board: Board, *, baud: int = DEFAULT_BAUD) -> Self:
        """Return the netlist of the top of ``board`` around the same, as a build places it.

        Its one clock is the oscillator; :mod:`heddle.sim.netlist` says what becomes of the PLL.

        Raises
        ------
        InputError, ToolError
            As :func:`heddle.sim.netlist.board_netlist`.
        """
        netlist = board_netlist(verilog, source.top, board, source.link(baud))
        pressed = "~rst" if board.pins["rst"].inverted else "rst"
        pins = "\n".join(
            [
                f"module {_PINS} (input clk, input link_clk, input rst, input rx, output tx);",
                f"  {TOP} board (.clk(link_clk), .rst({pressed}), .serial_in(rx), .serial_out(tx));",
                "endmodule",
                "",
            ]
        )
        assert board.oscillator_hz is not None
        return cls(
            sources={"netlist.v": netlist, "pins.v": pins},
            module=_PINS,
            link_clock_hz=board.oscillator_hz,
            baud=baud,
            clock_ratio=1,
            optimisation=NETLIST_OPTIMISATION,
        )


class VirtualBoard:
    """A board that runs until :meth:`close`, or as a context manager.

    Parameters
    ----------
    gateware
        What it runs.
    cycles
        Of an inference.

    Attributes
    ----------
    port
        The terminal to open, as a serial port.

    Raises
    ------
    ToolError
        A tool is missing or fails, or the simulation does not start.
    """

    def __init__(self, gateware: Gateware, *, cycles: int) -> None:
        self._stack = ExitStack()
        try:
            cache = self._stack.enter_context(open_cache())
            folder = _built(gateware, cache)
            bit_clocks = gateware.link_clock_hz / gateware.baud
            arguments = map(str, (bit_clocks, gateware.clock_ratio, cycles + ANSWER_MARGIN_CLOCKS))
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


def _built(gateware: Gateware, cache: Cache) -> Path:
    """Return the folder with the simulation, from the cache if it was built before."""
    verilator, make, compiler, _ = (tools.find(name) for name in ("verilator", "make", "g++", "perl"))
    program = (files("heddle.sim") / "virtual_board" / "main.cpp").read_text()
    models = models_beside("".join(gateware.sources.values()))
    sources = {**gateware.sources, **models, "main.cpp": program}
    arguments = _arguments(gateware.module, [name for name in sources if name.endswith(".v")])
    optimisation = (f"OPT_FAST={gateware.optimisation}", *OPTIMISATION)
    key = key_of("virtual board", sources, (*arguments, *optimisation), verilator.version, compiler.version)
    if (folder := cache.find(key)) is not None:
        return folder
    work = cache.workspace()
    try:
        for name, text in sources.items():
            (work / name).write_text(text)
        _run(Job(tool=verilator, arguments=arguments, folder=work, log="verilator.log"))
        options = ("-C", "build", "-f", "Vshell.mk", "-j", str(os.cpu_count() or 1), *make_settings(), *optimisation)
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
