"""Place and route a netlist with nextpnr, one seed at a time or several at once; or only count what it takes."""

import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heddle.boards.board import Board
from heddle.boards.cache import Cache, digest, key_of
from heddle.boards.family import ECP5, GOWIN, ICE40
from heddle.boards.process import Job, Outcome, run_all
from heddle.boards.tools import Installed
from heddle.errors import CapacityError, ToolError

LOG = "place-and-route.log"
REPORT = "report.json"
_SECONDS = "seconds.json"

_UTILISATION = re.compile(r"^Info:\s+(\w+):\s+(\d+)/\s*\d+\s+\d+%", re.MULTILINE)
_DESIGN_CLOCK = re.compile(r"(?:^|\$)clock(?:_|\$|$)")
"""What nextpnr calls the net ``clock``, which a PLL drives; the oscillator's, ``clk``, may drive a serial line."""

_NO_ROOM = re.compile(r"[Uu]nable to (?:find legal )?place|no (?:more )?[Bb]els|[Ff]ailed to (?:place|find)|ran out of")


@dataclass(frozen=True, kw_only=True)
class Routed:
    """A routed design; its files belong to the cache."""

    seed: int
    folder: Path
    seconds: float

    @property
    def report(self) -> dict[str, Any]:
        """Timing and utilisation as nextpnr reports them."""
        return json.loads((self.folder / REPORT).read_text())

    @property
    def fmax_hz(self) -> float:
        """Frequency of the design's clock: of the net ``clock``, else the slowest that has paths between registers.

        0 if there is none.
        """
        clocks = {net: clock["achieved"] * 1e6 for net, clock in self.report["fmax"].items()}
        own = [hertz for net, hertz in clocks.items() if _DESIGN_CLOCK.search(net)]
        return min(own or clocks.values(), default=0.0)


def place_and_route(
    netlist: Path,
    board: Board,
    *,
    seeds: Sequence[int],
    target_hz: float,
    nextpnr: Installed,
    cache: Cache,
    parallel: int,
    progress: Callable[[str], None],
) -> list[Routed]:
    """Route ``netlist`` once for each of ``seeds``; a seed that nextpnr gives up on is left out.

    Raises
    ------
    CapacityError
        If nextpnr finds no place for a cell.
    ToolError
        If every seed fails.
    """
    family = board.device.family
    options = [*board.device.nextpnr_options, "--json", "netlist.json", "--report", REPORT, *_output(board)]
    # router1 was better than router2 in every comparison; a missed target is a figure in the report, not a failure.
    options += ["--router", "router1"] if family is ECP5 else []
    options += ["--timing-allow-fail", "--freq", f"{target_hz / 1e6:g}"]
    inputs = digest(netlist)
    keys = [key_of("route", inputs, options, board.constraints, seed, nextpnr.version) for seed in seeds]
    missing = [index for index, key in enumerate(keys) if cache.find(key) is None]
    if len(missing) < len(seeds):
        progress(f"place and route: {len(seeds) - len(missing)} of {len(seeds)} seeds taken from the cache")
    workspaces = [cache.workspace() for _ in missing]
    jobs = []
    for index, work in zip(missing, workspaces, strict=True):
        shutil.copyfile(netlist, work / "netlist.json")
        (work / family.pins_file).write_text(board.constraints)
        jobs.append(
            Job(tool=nextpnr, arguments=(*options, "--seed", str(seeds[index])), folder=work, log=LOG),
        )

    def finished(number: int, outcome: Outcome) -> None:
        index, work = missing[number], workspaces[number]
        if outcome.status == 0:
            (work / _SECONDS).write_text(json.dumps(outcome.seconds))
            (work / "netlist.json").unlink()
            cache.store(keys[index], work)
        verdict = "done" if outcome.status == 0 else "failed"
        progress(f"place and route: seed {seeds[index]} {verdict} in {outcome.seconds:.0f} s")

    try:
        outcomes = run_all(jobs, parallel=parallel, finished=finished)
    finally:
        for work in workspaces:
            shutil.rmtree(work, ignore_errors=True)
    found = [(seed, folder) for seed, key in zip(seeds, keys, strict=True) if (folder := cache.find(key)) is not None]
    if not found:
        _refuse(outcomes[0], board)
    return [
        Routed(seed=seed, folder=folder, seconds=json.loads((folder / _SECONDS).read_text())) for seed, folder in found
    ]


def _output(board: Board) -> list[str]:
    """Return the options that name the pins and the routed design."""
    family = board.device.family
    if family is GOWIN:
        return ["--vopt", f"cst={family.pins_file}", "--write", family.routed_file]
    if family is ICE40:
        return ["--pcf", family.pins_file, "--asc", family.routed_file]
    pins = ["--lpf", family.pins_file] if board.pins else ["--lpf-allow-unconstrained"]
    return ["--textcfg", family.routed_file, *pins]


def pack(netlist: Path, board: Board, *, nextpnr: Installed, cache: Cache) -> Mapping[str, int]:
    """Return the sites that ``netlist`` takes, by cell, without placing it: what a routed design reports, in seconds.

    Raises
    ------
    ToolError
        If nextpnr fails.
    """
    options = [*board.device.nextpnr_options, "--json", "netlist.json", "--pack-only"]
    key = key_of("pack", digest(netlist), options, nextpnr.version)
    folder = cache.find(key)
    if folder is None:
        work = cache.workspace()
        try:
            shutil.copyfile(netlist, work / "netlist.json")
            (outcome,) = run_all([Job(tool=nextpnr, arguments=tuple(options), folder=work, log=LOG)])
            if outcome.status:
                _refuse(outcome, board)
            (work / "netlist.json").unlink()
            folder = cache.store(key, work)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return {cell: int(used) for cell, used in _UTILISATION.findall((folder / LOG).read_text())}


def _refuse(outcome: Outcome, board: Board) -> None:
    errors = [line.removeprefix("ERROR: ") for line in outcome.text.splitlines() if line.startswith("ERROR: ")]
    fact = errors[0] if errors else f"it ended with status {outcome.status}"
    if _NO_ROOM.search(fact):
        raise CapacityError(
            f"nextpnr finds no place on {board.device.part}: {fact}",
            where=board.name,
            remedy="use a smaller array or a larger board",
        )
    raise ToolError(
        fact,
        where=board.device.family.nextpnr,
        remedy="try other seeds; if Heddle made the netlist, please report this",
    )


def describe_critical_path(report: dict[str, Any]) -> str:
    """Say in words where the slowest path between registers begins, ends, and spends its time."""
    paths = [
        path["path"]
        for path in report["critical_paths"]
        if "<async>" not in (path["from"], path["to"]) and path["path"]
    ]
    if not paths:
        return "no path between registers"
    path = max(paths, key=lambda hops: sum(hop["delay"] for hop in hops))
    total = sum(hop["delay"] for hop in path)
    wires = [hop for hop in path if hop["type"] == "routing"]
    levels = sum(hop["type"] == "logic" for hop in path)
    routing = sum(hop["delay"] for hop in wires)
    first, last = path[0]["from"], path[-1]["to"]
    slowest = max(wires, key=lambda hop: hop["delay"], default=None)
    words = (
        f"{total:.2f} ns from {first['cell']}.{first['port']} to {last['cell']}.{last['port']} "
        f"through {levels} level{'' if levels == 1 else 's'} of logic: "
        f"{total - routing:.2f} ns in cells, {routing:.2f} ns in wires"
    )
    return words if slowest is None else f"{words}, the slowest being {slowest['net']} with {slowest['delay']:.2f} ns"
