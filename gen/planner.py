"""Which array suits a network, a board and an objective.

Of every array of a :class:`heddle.gen.shapes.Space` it is known at once how many cycles it takes at least
(:mod:`heddle.gen.bounds`), and about what area (:func:`heddle.gen.area.expected_area`). Arrays are mapped, exactly as
they would be compiled, in order of what the objective costs at these, until the next one cannot be better than the best
that fits. Of those mapped, cycles, multipliers and block RAMs are exact; LUTs, flip-flops and the clock are estimates.
"""

from dataclasses import dataclass, replace

from heddle.boards import Board
from heddle.boards.family import ECP5
from heddle.errors import CapacityError, InputError
from heddle.gen.fitting import Fitted, check_weights, compile_on, default_array, describe
from heddle.gen.ir import Network
from heddle.gen.objective import Objective
from heddle.gen.resources import TOLERANCE
from heddle.gen.search import MOST_FILLED, Candidate, Progress, Search
from heddle.gen.shapes import Space
from heddle.hdl.config import ArrayConfig
from heddle.hdl.worklist_config import WorklistShape


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan:
    """The choice, and what it was chosen from.

    Parameters
    ----------
    fitted, chosen
        The design on the chosen array.
    candidates
        Arrays that were mapped, best first, those that cannot be chosen last.
    passed
        How many arrays were not mapped, by reason.
    complete
        No array that was not mapped is expected to be better. Otherwise :data:`heddle.gen.search.MOST_MAPPED` were
        mapped, and others might be.
    """

    objective: Objective
    board: Board
    fitted: Fitted
    chosen: Candidate
    candidates: tuple[Candidate, ...]
    passed: dict[str, int]
    complete: bool

    @property
    def note(self) -> str:
        """What was chosen, and for what, in words."""
        return f"array {describe(self.chosen.array)}: chosen for {self.objective.value} of {self.considered:,}"

    @property
    def considered(self) -> int:
        """How many arrays there were."""
        return len(self.candidates) + sum(self.passed.values())


def plan(
    network: Network,
    board: Board,
    objective: Objective,
    *,
    space: Space | None = None,
    max_seconds: float | None = None,
    fill: float = MOST_FILLED,
    lists: bool = False,
    list_requantizers: int | None = None,
    progress: Progress = lambda line: None,
) -> Plan:
    """Choose the array of ``space`` that fits ``board`` and costs least.

    Where an inference may take only so long, the fastest array is found first: it is the choice until a better one is.

    Parameters
    ----------
    space
        Default: :meth:`Space.full`, with streams as wide as the board's.
    max_seconds
        An inference may take so long at the estimated clock.
    fill
        Share of the device's LUTs and flip-flops that an array may take.
    lists
        Work-list cores are to choose from too, where the board can have them.
    list_requantizers
        Those with so many requantizers only.
    progress
        Called with a line of text as work goes on.

    Raises
    ------
    CapacityError
        None fits, or none is fast enough.
    UnsupportedError
        A layer that no core of this kind can run.
    """
    check_weights(network, board.device)
    space = space or Space.full(default_array(board))
    if not list(space):
        remedy = "choose requantizers that divide the block"
        raise CapacityError("there is no array to choose from", where="array", remedy=remedy)
    search = Search(network, board, objective, max_seconds, fill, progress)
    if max_seconds is not None:
        fastest = plan(
            network, board, Objective.LATENCY, space=space, fill=fill, lists=lists,
            list_requantizers=list_requantizers, progress=progress,
        )  # fmt: skip
        if fastest.chosen.seconds > max_seconds:
            raise _too_slow(network, board, max_seconds, fastest.chosen)
        if objective is Objective.LATENCY:
            return fastest
        search.begin_with(fastest.fitted, fastest.chosen)
    search.run(space)
    if lists and board.device.family is ECP5:
        search.run_lists(space.base.stream_bytes, list_requantizers)
    if search.best is None:
        raise search.refusal(space)
    fitted, chosen = search.best
    return Plan(
        objective=objective,
        board=board,
        fitted=fitted,
        chosen=chosen,
        candidates=tuple(sorted(search.mapped, key=lambda c: (bool(c.refusal), c.cost(objective)))),
        passed=dict(search.passed),
        complete=search.complete,
    )


def _too_slow(network: Network, board: Board, max_seconds: float, fastest: Candidate) -> CapacityError:
    return CapacityError(
        f"no array that was found takes {max_seconds * 1e3:g} ms or less on {board.device.part}: "
        f"{describe(fastest.array)} takes about {fastest.seconds * 1e3:.3g} ms",
        where=network.name,
        remedy="allow more time, or choose a larger board",
    )


def compile_for(network: Network, board: Board, array: ArrayConfig | WorklistShape | None, **changes: int) -> Fitted:
    """Compile ``network`` with ``array``; or with the board's own, or the fastest of its halves that fits.

    Parameters
    ----------
    changes
        ``requantizers``, ``stream_bytes`` or ``block`` in place of the array's.

    Raises
    ------
    CapacityError
        It does not fit: how much of what is missing, and the remedy.
    UnsupportedError
        A layer that no core of this kind can run.
    InputError
        A work-list core has no such number to change.
    """
    check_weights(network, board.device)
    if isinstance(array, WorklistShape):
        for name in changes.keys() - {"stream_bytes", "requantizers"}:
            raise InputError(f"{array} has no {name} to choose", where=name, remedy=f"leave {name} out")
        if "requantizers" in changes:
            array = array.with_requantizers(changes.pop("requantizers"))
        return compile_on(network, board, replace(array, **changes))
    wanted = replace(array or default_array(board), **changes)
    try:
        return compile_on(network, board, wanted)
    except CapacityError as error:
        if array is not None:
            raise
        refusal = error
    try:
        space = Space.halves(wanted).with_fixed(**changes)
        # As full as the board's own array may be.
        found = plan(network, board, Objective.LATENCY, space=space, fill=TOLERANCE).fitted
    except CapacityError:
        raise refusal from None
    return replace(found, notes=(f"array {describe(found.design.array)}: {refusal.fact}",))
