"""From Verilog to a bitstream and the figures that describe it: yosys, a floorplan, nextpnr, a packer.

:func:`build` does it all, :func:`count` only what tells the area.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from heddle.boards import tools
from heddle.boards.artifacts import write_atomically
from heddle.boards.board import Board
from heddle.boards.cache import Cache, key_of, open_cache
from heddle.boards.device import GOWIN_CHIP
from heddle.boards.family import GOWIN
from heddle.boards.floorplan import make_floorplan, pays, scipy_version
from heddle.boards.pll import fastest_pll
from heddle.boards.process import Job, run_all
from heddle.boards.route import LOG, Routed, describe_critical_path, pack, place_and_route
from heddle.boards.sites import SITES
from heddle.boards.synthesis import LOG as SYNTHESIS_LOG
from heddle.boards.synthesis import Synthesis, check_capacity, gowin_sites, synthesize
from heddle.boards.tools import Installed
from heddle.boards.top import Link, Top
from heddle.boards.wrapping import around, read_verilog, wrap
from heddle.errors import CapacityError, InputError, ToolError

DEFAULT_TARGET_HZ = 200e6
"""What nextpnr is asked for where nobody asks: more than it reaches, so that it tries."""

_RESULT = "build.json"


@dataclass(frozen=True, kw_only=True)
class Usage:
    """Sites of one kind: how many the design takes, harness included, of how many the device has."""

    cell: str
    used: int
    available: int

    @property
    def percent(self) -> float:
        """Share of the device, in percent."""
        return round(100 * self.used / self.available, 1)


@dataclass(frozen=True, kw_only=True)
class BuildResult:
    """What became of a design.

    Parameters
    ----------
    target, part
        The board's name and the device with package and speed grade.
    resources
        Sites used by the best seed, in nextpnr's count.
    harness_flipflops
        How many of the flip-flops are the harness's.
    link
        What drives the design by its pins; ``None`` where that is the harness.
    fmax_hz
        Post-route frequency by seed; seeds that failed to route are absent.
    clock_hz
        Frequency at which the bitstream clocks the design; ``None`` for a bare part, whose pin carries the clock.
    target_hz
        What nextpnr was asked for.
    critical_path
        The best seed's slowest path in words.
    caveat
        What is known to be wrong with the tools' timing; empty if nothing.
    tool_versions
        Versions by tool.
    seconds
        Wall time of each step by name, from when it ran: a step taken from the cache shows its first time.
    files
        Paths by role: ``bitstream``, ``config``, ``result`` and the logs; and what to synthesize it from again beside
        the design itself: ``top``, and with a host link ``shell``, with pins ``constraints``.
    """

    design: str
    target: str
    part: str
    resources: tuple[Usage, ...]
    harness_flipflops: int
    link: Mapping[str, object] | None
    fmax_hz: Mapping[int, float]
    clock_hz: float | None
    target_hz: float
    critical_path: str
    caveat: str
    tool_versions: Mapping[str, str]
    seconds: Mapping[str, float]
    files: Mapping[str, Path]

    @property
    def best_seed(self) -> int:
        """The fastest seed, the first of equals: the bitstream's."""
        return max(self.fmax_hz, key=lambda seed: (self.fmax_hz[seed], -seed))

    @property
    def median_hz(self) -> float:
        """Median of the seeds."""
        return median(self.fmax_hz.values())

    def to_json(self) -> dict[str, object]:
        """Return plain data; equal builds give equal data, wherever their files lie."""
        fastest, slowest = max(self.fmax_hz.values()), min(self.fmax_hz.values())
        return {
            "design": self.design,
            "target": self.target,
            "part": self.part,
            "resources": {
                usage.cell: {"used": usage.used, "available": usage.available, "percent": usage.percent}
                for usage in self.resources
            },
            "harness_flipflops": self.harness_flipflops,
            "link": None if self.link is None else dict(self.link),
            "fmax_mhz": {
                "median": _mhz(self.median_hz),
                "best": _mhz(fastest),
                "min": _mhz(slowest),
                "spread_percent": round(100 * (fastest - slowest) / slowest, 1) if slowest else 0.0,
                "best_seed": self.best_seed,
                "seeds": [_mhz(hertz) for hertz in self.fmax_hz.values()],
                "seed_numbers": list(self.fmax_hz),
            },
            "clock_mhz": None if self.clock_hz is None else _mhz(self.clock_hz),
            "target_mhz": _mhz(self.target_hz),
            "critical_path": self.critical_path,
            **({"caveat": self.caveat} if self.caveat else {}),
            "tools": dict(self.tool_versions),
            "seconds": dict(self.seconds),
            "files": {role: path.name for role, path in self.files.items()},
        }


def build(
    verilog: Path,
    top: str,
    board: Board,
    out_dir: Path,
    *,
    seeds: int = 1,
    frequency_hz: float | None = None,
    link: Link | None = None,
    floorplan: bool | None = None,
    jobs: int | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> BuildResult:
    """Synthesize, place, route and pack module ``top``, and write the results into ``out_dir``.

    The best of ``seeds`` seeds (1, 2, ...) becomes the bitstream. On a board its PLL runs at the highest frequency that
    neither the seed's Fmax nor ``frequency_hz`` forbids: a bitstream is never clocked faster than it was timed. Nothing
    is written to ``out_dir`` before every tool has succeeded, and each file appears there whole.

    Parameters
    ----------
    frequency_hz
        The clock wished for; what nextpnr aims at. Default :data:`DEFAULT_TARGET_HZ`.
    link
        The host link that goes with the design onto a board with pins; a bare part, and a design without one, gets a
        harness.
    floorplan
        Whether multipliers and block RAMs get their sites before nextpnr runs (:mod:`heddle.boards.floorplan`);
        default: in designs of many (:func:`heddle.boards.floorplan.pays`).
    jobs
        Seeds placed at the same time; default one per processor.
    progress
        Called with a line of text as work goes on.

    Raises
    ------
    CapacityError
        If the design is too large; where yosys' counts tell, before nextpnr starts.
    ToolError
        If a tool is missing or fails.
    InputError
        If ``verilog`` cannot be read, the frequency or number of seeds makes no sense, the link is too fast for it, or
        a floorplan is asked for on a die whose sites are not known.
    """
    if seeds < 1:
        raise InputError(f"{seeds} seeds were asked for", where="seeds", remedy="ask for 1 or more")
    if frequency_hz is not None and not frequency_hz > 0:
        raise InputError(f"{frequency_hz:g} Hz was asked for", where="frequency", remedy="ask for more than 0")
    if link is not None and frequency_hz is not None and board.oscillator_hz is not None:
        link.check_clock(frequency_hz)
    if floorplan and board.device.size not in SITES:
        raise InputError(
            f"there is no table of the sites of {board.device.part}",
            where="floorplan",
            remedy="leave the floorplan out: nextpnr chooses the sites",
        )
    target_hz = frequency_hz or DEFAULT_TARGET_HZ
    family = board.device.family
    used = {name: tools.find(name) for name in ("yosys", family.nextpnr, family.packer)}
    versions = {name: tool.version for name, tool in used.items()}
    scipy = ""
    if floorplan is not False and board.device.size in SITES:
        # Whether it is needed is only known after synthesis: too late to say that it is missing.
        scipy = scipy_version()
    wrapper, sources = wrap(read_verilog(verilog), top, board, target_hz, link)
    with open_cache() as cache:
        progress("synthesis (the first run on a machine compiles yosys for a minute or two)")
        synthesis = synthesize(sources, wrapper.module, yosys=used["yosys"], cache=cache, family=family)
        check_capacity(synthesis, board.device, design=top)
        needs = ", ".join(f"{count} {cell}" for cell, count in synthesis.needs.items())
        progress(f"synthesis: {needs} in {synthesis.seconds:.0f} s")
        plan = None
        if pays(synthesis.needs, board.device) if floorplan is None else floorplan:
            plan = make_floorplan(synthesis.netlist, board.device, cache=cache, progress=progress)
        if plan is not None:
            versions["scipy"] = scipy
        routed = place_and_route(
            synthesis.netlist if plan is None else plan.netlist,
            board,
            seeds=range(1, seeds + 1),
            target_hz=target_hz,
            nextpnr=used[family.nextpnr],
            cache=cache,
            parallel=jobs or os.cpu_count() or 1,
            progress=progress,
        )
        best = max(routed, key=lambda r: (r.fmax_hz, -r.seed))
        config, clock_hz = (best.folder / family.routed_file).read_text(), None
        if board.one_clock:
            clock_hz = check_oscillator(best.fmax_hz, board)
        elif wrapper.pll is not None:
            pll = fastest_pll(wrapper.pll.input_hz, min(best.fmax_hz, frequency_hz or best.fmax_hz))
            config, clock_hz, wrapper = pll.retune(config), float(pll.output_hz), replace(wrapper, pll=pll)
        if link is not None and clock_hz is not None:
            link.check_clock(clock_hz)
        progress("bitstream")
        bitstream, pack_seconds = _pack(config, board, used[family.packer], cache)
        files = _write(
            out_dir, top, board, synthesis, best, config, bitstream, around(wrapper, sources, board)
        )  # fmt: skip
    sites = used_sites(best.report["utilization"], board)
    result = BuildResult(
        design=top,
        target=board.name,
        part="-".join(str(part) for part in (board.device.part, board.device.speed, board.device.package) if part),
        resources=tuple(
            Usage(cell=cell, used=sites[cell], available=available) for cell, available in board.device.capacity.items()
        ),
        harness_flipflops=wrapper.flipflops,
        link=link.facts if link is not None and isinstance(wrapper, Top) else None,
        fmax_hz={r.seed: r.fmax_hz for r in routed},
        clock_hz=clock_hz,
        target_hz=target_hz,
        critical_path=describe_critical_path(best.report),
        caveat=family.caveat,
        tool_versions=versions,
        seconds={
            "synthesis": synthesis.seconds,
            **({} if plan is None else {"floorplan": plan.seconds}),
            **{f"place and route, seed {r.seed}": r.seconds for r in routed},
            "bitstream": pack_seconds,
        },
        files={**files, "result": out_dir / _RESULT},
    )
    write_atomically(out_dir / _RESULT, json.dumps(result.to_json(), indent=2) + "\n")
    return result


def check_oscillator(fmax_hz: float, board: Board) -> float:
    """Return the oscillator's frequency, which clocks a design without PLL.

    Raises
    ------
    CapacityError
        If the design is not that fast.
    """
    assert board.oscillator_hz is not None
    if fmax_hz < board.oscillator_hz:
        raise CapacityError(
            f"the design reaches {fmax_hz / 1e6:.1f} MHz, and the oscillator has {board.oscillator_hz / 1e6:g} MHz",
            where=board.name,
            remedy="try more seeds or a smaller array",
        )
    return board.oscillator_hz


def used_sites(utilization: Mapping[str, Mapping[str, int]], board: Board) -> Mapping[str, int]:
    """Return the sites that a routed design takes, by the names of :attr:`Device.capacity`."""
    used = {cell: entry["used"] for cell, entry in utilization.items()}
    return gowin_sites(used) if board.device.family is GOWIN else used


def count(verilog: Path, top: str, board: Board) -> Mapping[str, int]:
    """Return the sites that module ``top`` takes, by cell: those of its build, harness and host link left out.

    The netlist is that of a :func:`build` with a harness which asks for no frequency, so that either finds the other's
    in the cache.

    Raises
    ------
    ToolError, InputError
        As :func:`build`.
    """
    harness, sources = wrap(read_verilog(verilog), top, board, DEFAULT_TARGET_HZ, None)
    with open_cache() as cache:
        synthesis = synthesize(sources, harness.module, yosys=tools.find("yosys"), cache=cache)
        sites = pack(synthesis.netlist, board, nextpnr=tools.find(board.device.family.nextpnr), cache=cache)
    own = {"TRELLIS_COMB": harness.luts, "TRELLIS_FF": harness.flipflops}
    return {cell: sites.get(cell, 0) - own.get(cell, 0) for cell in board.device.capacity}


def _pack(config: str, board: Board, packer: Installed, cache: Cache) -> tuple[bytes, float]:
    """Return the bitstream and the seconds it took to pack."""
    family = board.device.family
    options = board.pack_options
    routed, bitstream = family.routed_file, family.bitstream_file
    arguments = {
        "ecppack": ("--compress", *options, routed, bitstream),
        "icepack": (*options, routed, bitstream),
        "gowin_pack": ("-d", GOWIN_CHIP, *options, "-o", bitstream, routed),
    }[family.packer]
    key = key_of("pack", config, arguments, packer.version)
    folder = cache.find(key)
    if folder is None:
        work = cache.workspace()
        try:
            (work / routed).write_text(config)
            job = Job(tool=packer, arguments=arguments, folder=work, log="pack.log")
            (outcome,) = run_all([job])
            if outcome.status:
                fact = (outcome.text.strip().splitlines() or ["it said nothing"])[0]
                raise ToolError(fact, where=family.packer, remedy="please report this, with the routed design")
            (work / "seconds.json").write_text(json.dumps(outcome.seconds))
            folder = cache.store(key, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return (folder / bitstream).read_bytes(), json.loads((folder / "seconds.json").read_text())


def _write(
    out_dir: Path,
    top: str,
    board: Board,
    synthesis: Synthesis,
    best: Routed,
    config: str,
    bitstream: bytes,
    around: Mapping[str, tuple[str, str]],
) -> dict[str, Path]:
    """Write the files of the best seed; the name of a bitstream whose pins nextpnr chose says so."""
    family = board.device.family
    content = {
        "bitstream": (f"{top}{'' if board.pins else '.unpinned'}{Path(family.bitstream_file).suffix}", bitstream),
        "config": (f"{top}{Path(family.routed_file).suffix}", config),
        "synthesis_log": (SYNTHESIS_LOG, (synthesis.folder / SYNTHESIS_LOG).read_bytes()),
        "place_and_route_log": (LOG, (best.folder / LOG).read_bytes()),
        **around,
    }
    out_dir.mkdir(parents=True, exist_ok=True)
    for name, data in content.values():
        write_atomically(out_dir / name, data)
    return {role: out_dir / name for role, (name, _) in content.items()}


def _mhz(hertz: float) -> float:
    return round(hertz / 1e6, 2)
