"""A network on a work-list core: what :mod:`heddle.gen.design` is to the array."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from heddle.boards.family import ECP5, Family
from heddle.errors import CapacityError, UnsupportedError
from heddle.gen.arithmetic import INT8_MAX, INT8_MIN
from heddle.gen.design import CoreDesign
from heddle.gen.ir import Network, Window
from heddle.gen.kinds import Accumulate, Core, Elementwise, Move, Operation
from heddle.gen.limits import MAX_ITEMS, MAX_PLACES, MAX_RESULTS, check_limit
from heddle.gen.operations import lower
from heddle.gen.resources import Resources
from heddle.gen.scaling import Requantizers, fit_requantizers
from heddle.gen.verilog import to_verilog
from heddle.gen.worklist_adds import VALUES, as_weighted, weights_of
from heddle.gen.worklist_emulator import WorklistEmulator
from heddle.gen.worklist_layout import Planes, allocate, choose_layouts, least_places
from heddle.gen.worklist_program import WorklistProgram, program
from heddle.gen.worklist_resources import worklist_resources
from heddle.gen.worklist_slices import Assembler, Slice
from heddle.hdl.accelerator import Accelerator
from heddle.hdl.multiplier import Primitive
from heddle.hdl.worklist import WorklistCore, WorklistTiming
from heddle.hdl.worklist_config import WorklistShape


@dataclass(frozen=True, kw_only=True, eq=False)
class WorklistDesign(CoreDesign):
    """A network on a work-list core.

    Parameters
    ----------
    program
        What the core runs; ``program.config`` is the core.
    layouts
        Where each feature map lies.
    items
        For each slice, the items of all lanes in one loop, and how many there is room for.
    """

    program: WorklistProgram
    layouts: dict[str, Planes]
    items: tuple[tuple[int, int], ...]

    @property
    def array(self) -> WorklistShape:
        """The core's shape."""
        return self.program.config.array

    @property
    def cycles(self) -> int:
        """From the first input beat accepted to the last output beat offered, streams never stalled from outside."""
        timing, last = WorklistTiming(self.program.config), self.program.records[-1]
        first = next(i for i, record in enumerate(self.program.records) if record.load)
        return sum(self.slice_cycles[first:-1]) + timing.run_cycles(last) - timing.first_beat() + 1

    def verilog(self) -> str:
        """Verilog of the accelerator; the same network and shape give the same text."""
        core = WorklistCore(self.program.config, self.program.images())
        return to_verilog(Accelerator(core), self.name)

    def emulate(self, packets: list[np.ndarray]) -> list[np.ndarray]:
        """Run the program in NumPy (:class:`WorklistEmulator`): uint8 ``(samples, bytes)`` in, and out."""
        return WorklistEmulator(self.program).run(packets)

    def resources(self, family: Family) -> Resources:
        """Return what the core takes on a part of ``family``, which is ECP5: it is made of those multipliers."""
        assert family is ECP5
        assert self.array.primitive == ECP5.primitive
        return worklist_resources(self.program.config, self.program.images())

    @property
    def regions(self) -> dict[str, tuple[int, int]]:
        """Where each feature map lies in each lane's copy: its first byte, and how many it takes."""
        return {name: (planes.base, planes.size) for name, planes in self.layouts.items()}

    def _slice_cycles(self) -> list[int]:
        timing = WorklistTiming(self.program.config)
        return [
            timing.slice_cycles(record, units=self.program.units(record) if record.load else ())
            for record in self.program.records
        ]

    def _kind(self, slices: Sequence[int]) -> str:
        op = self.plan.operations[self.slice_operation[slices[0]]]
        return "move" if isinstance(op, Move) else "worklist"


@dataclass(frozen=True, kw_only=True, eq=False)
class Prepared:
    """What all work-list cores for a network have in common: finding it takes longest.

    Parameters
    ----------
    network
        As imported.
    core
        Its operations.
    adds
        Of each addition, by index, the integer weights of its sources.
    layouts, places
        Each feature map before it has its place, and how many places they take at least.
    requantizers
        The unit that scales every operation's sums.
    """

    network: Network
    core: Core
    adds: dict[int, tuple[int, int]]
    layouts: dict[str, Planes]
    places: int
    requantizers: Requantizers


def prepare(network: Network, primitive: Primitive) -> tuple[Prepared, ...]:
    """Find what does not depend on the shape of a core, of each form that the network has.

    Rectangles save an array more than they cost; here they may cost more: weights of zero are skipped anyway, and each
    row of a border column takes a group of its own. So such a core has the choice.

    Raises
    ------
    UnsupportedError
        A layer that such a core cannot run, by name.
    CapacityError
        A layer beyond what any board holds, by name.
    """
    forms, refusals = [], []
    for form in (network, network.undivided):
        if form is not None:
            try:
                forms.append(_prepare(form, primitive))
            except (UnsupportedError, CapacityError) as error:
                refusals.append(error)
    if not forms:
        raise refusals[0]
    return tuple(forms)


def _prepare(network: Network, primitive: Primitive) -> Prepared:
    core = lower(network)
    items = results = 0
    for op in core.operations:
        if isinstance(op, Move) and op.source and op.dest:
            raise UnsupportedError("a work-list core cannot reshape a map", where=op.layer, remedy="use the array core")
        maps = sum(network.tensors[name].size for name in {*op.sources, op.dest} if name)
        check_limit(maps, MAX_PLACES, "bytes of feature maps", layer=op.layer, remedy="use smaller maps, or the array")
        if isinstance(op, Accumulate):
            items, results = items + int(np.count_nonzero(op.weight)), results + len(op.bias)
            check_limit(items, MAX_ITEMS, "weights that are not zero", layer=op.layer, remedy="prune, or use the array")
        check_limit(results, MAX_RESULTS, "scaled channels", layer=op.layer, remedy="use fewer channels")
    adds = {i: weights_of(op) for i, op in enumerate(core.operations) if isinstance(op, Elementwise)}
    layouts = choose_layouts(network, core)
    requantizers = fit_requantizers(
        [_scaled(op, adds.get(i)) for i, op in enumerate(core.operations)], primitive=primitive
    )
    return Prepared(
        network=network, core=core, adds=adds, layouts=layouts, places=least_places(layouts, core),
        requantizers=requantizers,
    )  # fmt: skip


def compile_worklist(network: Network, shape: WorklistShape) -> WorklistDesign:
    """Map ``network`` onto a work-list core; raises as :func:`prepare`."""
    return assemble_worklist(prepare(network, shape.primitive), shape)


def assemble_worklist(prepared: Sequence[Prepared], shape: WorklistShape) -> WorklistDesign:
    """Map a network that was prepared with the core's primitive: the form of the fewest cycles."""
    return min((_assemble(form, shape) for form in prepared), key=lambda design: design.cycles)


def _assemble(prepared: Prepared, shape: WorklistShape) -> WorklistDesign:
    network, core, requantizers = prepared.network, prepared.core, prepared.requantizers
    spaced = {name: planes.spaced(shape.pixels) for name, planes in prepared.layouts.items()}
    layouts, places = allocate(spaced, core)
    assembler = Assembler(network, core, layouts, shape, starts=requantizers.starts, adds=prepared.adds)
    slices = assembler.slices()
    made = program(
        assembler, slices, places=places, requantize=requantizers.config, params=requantizers.params
    )  # fmt: skip
    return WorklistDesign(
        network=network,
        plan=core,
        program=made,
        slice_operation=tuple(part.operation for part in slices),
        layouts=layouts,
        items=tuple(_filling(part) for part in slices),
    )


def _filling(part: Slice) -> tuple[int, int]:
    room = part.loop.cycles * len(part.loop.slots)
    return room - part.loop.idle, room


def _scaled(op: Operation, weights: tuple[int, int] | None) -> Operation:
    """Return what the requantizers do for ``op``: sums as its own, and bytes of a load as they are."""
    if isinstance(op, Elementwise):
        assert weights is not None
        return as_weighted(op, weights)
    if isinstance(op, Move) and op.dest:
        return Elementwise(
            layer=op.layer, op=op.op, sources=(op.dest,), dest=op.dest, window=Window(kernel=(1, 1)), first=VALUES,
            second=None, output=lambda acc: acc.astype(np.int8), zero_point=0, low=INT8_MIN, high=INT8_MAX,
        )  # fmt: skip
    return op
