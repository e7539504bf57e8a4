"""A compiled network: the core that runs it, its program, its exact cycles.

The Python API over simulation, boards and files is :mod:`heddle.gen.api`; here only the network and an array matter.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from heddle.boards.family import Family
from heddle.gen.emulator import Emulator
from heddle.gen.host_part import Accelerate, HostPart
from heddle.gen.images import Program
from heddle.gen.inputs import Inputs
from heddle.gen.ir import Network
from heddle.gen.mapping import Mapping as Mapped
from heddle.gen.mapping import map_network
from heddle.gen.operations import Accumulate, Operation
from heddle.gen.operations import Core as CorePlan
from heddle.gen.placement import Layout
from heddle.gen.resources import Resources, resources
from heddle.gen.scaling import Requantizers, fit_requantizers, is_uniform
from heddle.gen.verilog import to_verilog
from heddle.hdl.accelerator import Accelerator
from heddle.hdl.config import ArrayConfig
from heddle.hdl.core import Core
from heddle.hdl.program import Selection, Unit
from heddle.hdl.timing import Timing
from heddle.hdl.worklist_config import WorklistShape


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """One layer as the accelerator runs it.

    ``kind`` says how: ``dense``, ``diagonal`` (depthwise), ``indexed`` (N:M selection), ``vector``, ``worklist`` or
    ``move``; ``density`` is the fraction of the file's weights that are multiplied, being neither zero nor of a dead
    channel; ``macs`` are of the layer as the file has it, ``live_macs`` of the channels that are left; ``cycles`` are
    of its slices, overheads included; ``bubbles`` of them wait for requantizers.
    """

    name: str
    op: str
    kind: str
    macs: int
    live_macs: int
    cycles: int
    bubbles: int
    density: float | None
    slices: int
    output: str | None

    def utilisation(self, macs_per_cycle: int) -> float:
        """Fraction of the array's peak."""
        return self.macs / (self.cycles * macs_per_cycle)


@dataclass(frozen=True, kw_only=True, eq=False)
class CoreDesign(ABC):
    """A network on one core, of whatever kind.

    Parameters
    ----------
    network
        As imported.
    plan
        Its operations, and the tensors that cross the streams.
    slice_operation
        For each slice of the program, its operation's index.
    """

    network: Network
    plan: CorePlan
    slice_operation: tuple[int, ...]

    @property
    @abstractmethod
    def array(self) -> ArrayConfig | WorklistShape:
        """The core's shape."""

    @property
    @abstractmethod
    def cycles(self) -> int:
        """From the first input beat accepted to the last output beat offered, streams never stalled from outside."""

    @abstractmethod
    def verilog(self) -> str:
        """Verilog of the accelerator; the same network and shape give the same text."""

    @abstractmethod
    def emulate(self, packets: list[np.ndarray]) -> list[np.ndarray]:
        """Run the program in NumPy: uint8 ``(samples, bytes)`` in, and out."""

    @abstractmethod
    def resources(self, family: Family) -> Resources:
        """Return what the core takes on a part of ``family``."""

    @property
    @abstractmethod
    def regions(self) -> dict[str, tuple[int, int]]:
        """Where each feature map lies: its first byte, and how many it takes, padding included."""

    @abstractmethod
    def _slice_cycles(self) -> list[int]: ...

    @abstractmethod
    def _kind(self, slices: Sequence[int]) -> str:
        """Return the :attr:`LayerReport.kind` of a layer that is these slices."""

    def _bubbles(self, slices: Sequence[int]) -> int:
        """Return the cycles of these slices that wait for requantizers."""
        return 0

    @property
    def name(self) -> str:
        """The exported top: ``heddle_<network>``."""
        return f"heddle_{self.network.name}"

    @cached_property
    def slice_cycles(self) -> list[int]:
        """Cycles of each slice."""
        return self._slice_cycles()

    @property
    def interval_cycles(self) -> int:
        """From an inference's first input beat accepted to the next one's, streams never stalled from outside."""
        return sum(self.slice_cycles)

    @cached_property
    def layers(self) -> tuple[LayerReport, ...]:
        """One report per node, moves at the edges included."""
        members: dict[str, list[int]] = {}
        for index, operation in enumerate(self.slice_operation):
            members.setdefault(self.plan.operations[operation].layer, []).append(index)
        return tuple(self._layer(name, slices) for name, slices in members.items())

    def _layer(self, name: str, slices: Sequence[int]) -> LayerReport:
        ops = [self.plan.operations[i] for i in dict.fromkeys(self.slice_operation[s] for s in slices)]
        macs = sum(op.macs for op in ops)
        return LayerReport(
            name=name,
            op=ops[0].op,
            kind=self._kind(slices),
            macs=macs,
            live_macs=sum(op.live_macs for op in ops),
            cycles=sum(self.slice_cycles[s] for s in slices),
            bubbles=self._bubbles(slices),
            density=_products(ops) / macs if macs else None,
            slices=len(slices),
            output=ops[0].dest,
        )

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network's convolutions and fully-connected layers, as the file has them."""
        return sum(layer.macs for layer in self.layers)

    @property
    def live_macs(self) -> int:
        """As :attr:`macs`, of the channels that :func:`heddle.gen.passes.remove_dead_channels` left."""
        return sum(layer.live_macs for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """``macs / cycles / peak``: above 1 where enough zeros are left out."""
        return self.macs / (self.cycles * self.array.macs_per_cycle)

    @property
    def host_part(self) -> HostPart:
        """What is left for the host."""
        return HostPart(network=self.network, inputs=tuple(self.plan.inputs), outputs=tuple(self.plan.outputs))

    def predict(self, x: Inputs) -> np.ndarray | dict[str, np.ndarray]:
        """Run the design's program in NumPy; return the network's outputs."""
        return self.run_host(x, self.emulate)

    def run_host(self, x: Inputs, accelerator: Accelerate) -> np.ndarray | dict[str, np.ndarray]:
        """Do what the host does around ``accelerator``: :meth:`heddle.gen.host_part.HostPart.run`."""
        return self.host_part.run(x, accelerator)


def _products(ops: Sequence[Operation]) -> int:
    """Return the products of a layer whose weights are not zero: those of one weight are one for each position."""
    return sum(
        int(np.count_nonzero(op.weight)) * (op.live_macs // op.weight.size)
        for op in ops
        if isinstance(op, Accumulate) and op.macs
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Design(CoreDesign):
    """A network on an array.

    Parameters
    ----------
    operations
        Those of the plan as the slices compute them: columns of inputs may be folded.
    program
        What the core runs; ``program.config`` is the core.
    layouts
        Where each feature map lies.
    """

    operations: tuple[Operation, ...]
    program: Program
    layouts: dict[str, Layout]

    @property
    def array(self) -> ArrayConfig:
        """The array's shape."""
        return self.program.config.array

    @property
    def cycles(self) -> int:
        """From the first input beat accepted to the last output beat offered, streams never stalled from outside."""
        return Timing(self.program.config).inference_cycles(self.program.records)

    def with_lut_products(self, count: int) -> "Design":
        """Return the same design with ``count`` of the array's products made of LUTs; nothing else differs."""
        array = replace(self.array, lut_products=count)
        program = replace(self.program, config=replace(self.program.config, array=array))
        return replace(self, program=program)

    def verilog(self) -> str:
        """Verilog of the accelerator; the same network and array give the same text."""
        core = Core(self.program.config, self.program.images(), name=self.name)
        return to_verilog(Accelerator(core), self.name, library=core.library.modules)

    def emulate(self, packets: list[np.ndarray]) -> list[np.ndarray]:
        """Run the program in NumPy (:class:`heddle.gen.emulator.Emulator`): uint8 ``(samples, bytes)`` in, and out."""
        return Emulator(self.program).run(packets)

    def resources(self, family: Family) -> Resources:
        """Return what the core takes on a part of ``family``."""
        return resources(self.program.config, self.program.images(), family)

    @property
    def regions(self) -> dict[str, tuple[int, int]]:
        """Where each feature map lies: its first byte, and how many it takes, padding included."""
        block = self.array.block
        return {name: (layout.base * block, layout.size * block) for name, layout in self.layouts.items()}

    def _slice_cycles(self) -> list[int]:
        return Timing(self.program.config).program_cycles(self.program.records)

    def _kind(self, slices: Sequence[int]) -> str:
        records = [self.program.records[s] for s in slices]
        units = {record.unit for record in records}
        if Unit.ARRAY in units:
            return Selection(max(record.selection for record in records)).name.lower()
        return "vector" if Unit.VECTOR in units else "move"

    def _bubbles(self, slices: Sequence[int]) -> int:
        timing, records = Timing(self.program.config), (self.program.records[s] for s in slices)
        return sum(timing.bubble_cycles(record) for record in records if record.unit in (Unit.ARRAY, Unit.VECTOR))


def compile_network(network: Network, array: ArrayConfig, *, indexed: bool = True) -> Design:
    """Map ``network`` onto a core with ``array``; without ``indexed``, one without selection by indices.

    Raises
    ------
    UnsupportedError, CapacityError
        What no core of this kind can run, by layer.
    """
    mapped = map_network(network, array, indexed=indexed)
    return assemble(network, mapped, fit_requantizers(mapped.plan.operations, primitive=array.primitive))


def assemble(network: Network, mapped: Mapped, requantizers: Requantizers) -> Design:
    """Return the design of ``network`` as ``mapped``; ``requantizers`` are those of its operations."""
    operations, owner = mapped.plan.operations, mapped.owner
    # A column without a channel takes its layer's first parameters; nothing reads its result.
    entries = [
        requantizers.starts[owner[index]] + (0 if is_uniform(operations[owner[index]]) else max(channel, 0))
        for index, channel in mapped.tables.channel_params.tolist()
    ]
    config = mapped.config(requantizers.config, acc_bits=requantizers.acc_bits)
    program = mapped.program(config, requantizers.params.take(np.array(entries, np.int64)))
    return Design(
        network=network,
        plan=mapped.plan,
        operations=mapped.operations,
        program=program,
        slice_operation=owner,
        layouts=mapped.layouts,
    )
