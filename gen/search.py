"""The search for an array, or a work-list core: what is looked at, in which order, and when it ends."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from time import monotonic

from heddle.boards import Board
from heddle.boards.family import ECP5
from heddle.errors import CapacityError, UnsupportedError
from heddle.gen.area import Area, expected_area
from heddle.gen.bounds import Bounds
from heddle.gen.clock import estimated_hz
from heddle.gen.design import CoreDesign, assemble
from heddle.gen.fitting import Fitted, check_fit, default_array, describe, shortage
from heddle.gen.ir import Network
from heddle.gen.mapping import map_network
from heddle.gen.objective import Objective
from heddle.gen.operations import lower
from heddle.gen.resources import FLIPFLOPS, LUTS
from heddle.gen.scaling import fit_requantizers
from heddle.gen.shapes import Space
from heddle.gen.worklist import assemble_worklist, prepare
from heddle.gen.worklist_space import worklist_bounds
from heddle.hdl.config import ArrayConfig
from heddle.hdl.worklist_config import WorklistShape

log = logging.getLogger(__name__)

MOST_MAPPED = 40
"""Arrays mapped before the best so far is taken: some ten seconds. No time, so that equal input has equal results."""
MOST_LISTS, MOST_COMPILED = 6, 12
"""Work-list cores compiled, those that can be chosen and all of them, likewise."""
MOST_FILLED = 0.8
"""Of the device's LUTs and flip-flops, by the estimate: room for placement. A rule of thumb, not measured."""
BLOCK_RAM_MARGIN = 1.05
"""How far the block RAMs to expect may exceed what there is before an array is passed over unmapped."""
STRICTER = 0.1
"""How much less of the block RAMs an array may be expected to take, each time that so many were mapped in vain."""
PROGRESS_SECONDS = 2.0
"""Between two lines about what is going on."""
Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An array, or a work-list core, that was mapped.

    Parameters
    ----------
    array, least_cycles
        And the bound by which it was taken up.
    cycles, interval_cycles
        Of an inference, and from one to the next; exact.
    clock_hz, share
        Estimates: :func:`heddle.gen.clock.estimated_hz`; the fraction of the device.
    refusal
        Why it cannot be chosen; empty where it can.
    """

    array: ArrayConfig | WorklistShape
    least_cycles: int
    cycles: int
    interval_cycles: int
    clock_hz: float
    share: float
    refusal: str = ""

    @property
    def seconds(self) -> float:
        """Of an inference, estimated."""
        return self.cycles / self.clock_hz

    def cost(self, objective: Objective) -> float:
        """Return what the objective wants to be least."""
        costs = {
            Objective.LATENCY: self.seconds,
            Objective.THROUGHPUT: self.interval_cycles / self.clock_hz,
            Objective.AREA: self.share,
        }
        return costs[objective]


@dataclass(kw_only=True)
class _Bound:
    """An array, its least cycles, and with these and the expected area what the objective costs at least."""

    array: ArrayConfig
    cycles: int
    seconds: float
    cost: float
    share: float


class Search:
    """Branch and bound over the arrays of a space, and over work-list cores.

    Attributes
    ----------
    mapped
        What was looked at, in that order.
    passed
        How many were not, by reason.
    best
        The choice so far, and what is known of it.
    complete
        Nothing that was passed is expected to be better than the choice.
    """

    def __init__(
        self,
        network: Network,
        board: Board,
        objective: Objective,
        max_seconds: float | None,
        fill: float,
        progress: Progress,
    ) -> None:
        self.network, self.board, self.objective, self.max_seconds = network, board, objective, max_seconds
        self.fill = fill
        primitive = default_array(board).primitive
        self.requantizers = fit_requantizers(lower(network).operations, primitive=primitive)
        self.bounds = Bounds(network, self.requantizers)
        self.mapped: list[Candidate] = []
        self.passed: Counter[str] = Counter()
        self.best: tuple[Fitted, Candidate] | None = None
        self.complete = True
        self._progress, self._said = progress, monotonic()

    def begin_with(self, fitted: Fitted, chosen: Candidate) -> None:
        """Take the choice of another search until there is a better one."""
        self.best = fitted, chosen
        self.mapped.append(chosen)

    def run(self, space: Space) -> None:
        """Map arrays in order of their bounds until none can be better."""
        bounds = sorted(self._bounds(space), key=lambda bound: (bound.cost, bound.share))
        for index, bound in enumerate(bounds):
            rest = len(bounds) - index
            if self.best is not None and bound.cost >= self.best[1].cost(self.objective):
                self.passed["cannot be better than the choice"] += rest
                return
            # Without a choice the search goes on: some array may be small or fast enough.
            if len(self.mapped) >= MOST_MAPPED and self.best is not None:
                self.passed[f"not looked at, {MOST_MAPPED} having been mapped"] += rest
                self.complete = False
                return
            if reason := self._hopeless(bound):
                self.passed[reason] += 1
                continue
            self._say(f"{len(self.mapped)} arrays mapped, {rest} left")
            self._map(bound)

    def run_lists(self, stream_bytes: int, requantizers: int | None) -> None:
        """Compile work-list cores in order of their bounds until none can be better, or enough of them fit.

        With ``requantizers``, those that have so many only.
        """
        try:
            prepared = prepare(self.network, ECP5.primitive)
        except (UnsupportedError, CapacityError) as error:
            log.debug("no work-list core: %s", error)
            self.passed[f"work-list cores, since {error.where}: {error.fact}"] += 1
            return
        every = worklist_bounds(prepared, self.board.device, stream_bytes=stream_bytes)
        bounds = [bound for bound in every if requantizers in (None, bound.shape.requantizers)]
        if self.objective is Objective.AREA:
            bounds.sort(key=lambda bound: bound.luts)
        known = {candidate.array for candidate in self.mapped}
        compiled = chosen = 0
        for index, bound in enumerate(bounds):
            rest, seconds = len(bounds) - index, bound.cycles / estimated_hz(bound.luts)
            least = 0.0 if self.objective is Objective.AREA else seconds
            if self.best is not None and least >= self.best[1].cost(self.objective):
                self.passed["work-list cores that cannot be better than the choice"] += rest
                return
            if compiled >= MOST_COMPILED or chosen >= MOST_LISTS:
                self.passed[f"work-list cores, {compiled} having been compiled"] += rest
                self.complete = False
                return
            if self.max_seconds is not None and seconds > self.max_seconds:
                self.passed["work-list cores that are too slow"] += 1
            elif bound.shape not in known:
                self._say(f"{compiled} work-list cores compiled, {rest} left")
                candidate = self._consider(assemble_worklist(prepared, bound.shape), bound.cycles)
                compiled, chosen = compiled + 1, chosen + (not candidate.refusal)

    def _hopeless(self, bound: _Bound) -> str:
        """Say why an array is not worth mapping, if so: the stricter, the more were mapped in vain."""
        vain = 0 if self.best else len(self.mapped) // MOST_MAPPED
        slack = max(0.0, 1 - STRICTER * vain)
        if self.max_seconds is not None and bound.seconds > self.max_seconds:
            return "are too slow"
        block_rams, most = self.bounds.block_rams(bound.array), BLOCK_RAM_MARGIN * self.board.device.block_rams
        if block_rams > most:
            return "need more block RAMs"
        if block_rams > slack * most:
            self.complete = False
            return "need many block RAMs, as do those that were mapped in vain"
        return ""

    def refusal(self, space: Space) -> CapacityError:
        """Say why there is no choice."""
        device = self.board.device
        nearest = min(self.mapped, key=lambda candidate: candidate.share, default=None)
        which, why = "" if self.complete else "that was tried ", nearest.refusal if nearest else self._lacking(space)
        return CapacityError(
            f"no array {which}fits {device.part}: {why}",
            where=self.network.name,
            remedy="choose a larger board, or prune or shrink the network",
        )

    def _lacking(self, space: Space) -> str:
        """Say what is missing where no array was worth mapping."""
        least = min((self.bounds.block_rams(array) for array in space), default=0)
        if least > self.board.device.block_rams:
            return f"it needs about {least} {self.board.device.family.block_rams} of {self.board.device.block_rams}"
        return "; ".join(f"{count:,} {reason}" for reason, count in self.passed.items())

    def _bounds(self, space: Space) -> Iterator[_Bound]:
        """Yield the arrays that the device may hold, and that may be fast enough."""
        device, unit = self.board.device, self.requantizers.config
        for array in space:
            multipliers = array.requantizers * unit.dsps
            if multipliers > device.multipliers:
                self.passed["need more multipliers for their requantizers"] += 1
                continue
            in_luts = max(0, array.macs_per_cycle + multipliers - device.multipliers)
            here = replace(array, lut_products=in_luts)
            area = expected_area(here, unit, acc_bits=self.requantizers.acc_bits, alike=self.bounds.alike)
            full = area.luts > self.fill * device.luts or area.flipflops > self.fill * device.flipflops
            # Of another family's LUTs nothing is known.
            if full and device.family.estimated:
                self.passed[f"need more than {self.fill:.0%} of the LUTs or flip-flops"] += 1
                continue
            self._say("bounding arrays")
            yield self._bound(array, area, multipliers + array.macs_per_cycle - in_luts)

    def _bound(self, array: ArrayConfig, area: Area, multipliers: int) -> _Bound:
        device, cycles = self.board.device, self.bounds.cycles(array)
        shares = [area.luts / device.luts, area.flipflops / device.flipflops, multipliers / device.multipliers]
        cost = seconds = cycles / estimated_hz(area.luts)
        if self.objective is Objective.AREA:
            shares.append(self.bounds.block_rams(array) / device.block_rams)
            cost = sum(shares) / len(shares)
        return _Bound(array=array, cycles=cycles, seconds=seconds, cost=cost, share=sum(shares) / len(shares))

    def _map(self, bound: _Bound) -> None:
        """Compile for the array, and keep it if it is the best so far."""
        array = bound.array
        try:
            design = assemble(self.network, map_network(self.network, array), self.requantizers)
        except CapacityError as error:
            log.debug("%s: %s", array, error)
            self.passed["exceed what any board holds"] += 1
            return
        self._consider(design, bound.cycles)

    def _consider(self, design: CoreDesign, least_cycles: int) -> Candidate:
        """Keep a design if it fits and is the best so far; return what is known of it."""
        fitted, refusal = check_fit(design, self.board.device)
        shares = fitted.resources.share(self.board.device)
        candidate = Candidate(
            array=fitted.design.array,
            least_cycles=least_cycles,
            cycles=design.cycles,
            interval_cycles=design.interval_cycles,
            clock_hz=estimated_hz(fitted.resources.luts),
            share=sum(shares.values()) / len(shares),
            refusal=shortage(fitted.resources, self.board.device) if refusal else "",
        )
        if not refusal:
            candidate = replace(candidate, refusal=self._beyond(candidate, shares))
        self.mapped.append(candidate)
        log.debug("%s: %d cycles %s", describe(design.array), candidate.cycles, candidate.refusal)
        if not candidate.refusal and (
            self.best is None or candidate.cost(self.objective) < self.best[1].cost(self.objective)
        ):
            self.best = fitted, candidate
        return candidate

    def _beyond(self, candidate: Candidate, shares: Mapping[str, float]) -> str:
        """Say why an array that fits is still not to be chosen; empty where it is."""
        fullest = max((LUTS, FLIPFLOPS), key=lambda cell: shares.get(cell, 0))
        if shares.get(fullest, 0) > self.fill:
            return f"takes about {shares[fullest]:.0%} of the {fullest}, more than {self.fill:.0%}"
        if self.max_seconds is not None and candidate.seconds > self.max_seconds:
            return f"takes about {candidate.seconds * 1e3:.3g} ms"
        return ""

    def _say(self, line: str) -> None:
        if monotonic() - self._said >= PROGRESS_SECONDS:
            self._said = monotonic()
            self._progress(line)
