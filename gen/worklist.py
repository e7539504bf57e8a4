"""A network on a work-list core: what :mod:`heddle.gen.design` is to the array."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from heddle.errors import UnsupportedError
from heddle.gen.arithmetic import INT8_MAX, INT8_MIN
from heddle.gen.design import LayerReport, fit_requantizers
from heddle.gen.host_part import Accelerate, HostPart
from heddle.gen.inputs import Inputs
from heddle.gen.ir import Network, Window
from heddle.gen.kinds import Accumulate, Core, Elementwise, Move, Operation
from heddle.gen.operations import lower
from heddle.gen.verilog import to_verilog
from heddle.gen.worklist_adds import VALUES, as_weighted, weights_of
from heddle.gen.worklist_emulator import WorklistEmulator
from heddle.gen.worklist_layout import Planes, allocate, choose_layouts
from heddle.gen.worklist_program import WorklistProgram, program
from heddle.gen.worklist_slices import Assembler, Slice
from heddle.hdl.accelerator import Accelerator
from heddle.hdl.worklist import WorklistCore, WorklistTiming
from heddle.hdl.worklist_config import WorklistShape


@dataclass(frozen=True, kw_only=True, eq=False)
class WorklistDesign:
    """A network on one work-list core.

    Parameters
    ----------
    network
        As imported.
    plan
        Its operations, and the tensors that cross the streams.
    program
        What the core runs; ``program.config`` is the core.
    slice_operation
        For each slice of the program, its operation's index.
    layouts
        Where each feature map lies.
    items
        For each slice, the items of all lanes in one loop, and how many there is room for.
    """

    network: Network
    plan: Core
    program: WorklistProgram
    slice_operation: tuple[int, ...]
    layouts: dict[str, Planes]
    items: tuple[tuple[int, int], ...]

    @property
    def array(self) -> WorklistShape:
        """The core's shape."""
        return self.program.config.array

    @property
    def name(self) -> str:
        """The exported top: ``heddle_<network>``."""
        return f"heddle_{self.network.name}"

    @cached_property
    def slice_cycles(self) -> list[int]:
        """Cycles of each slice."""
        timing = WorklistTiming(self.program.config)
        return [
            timing.slice_cycles(record, units=self.program.units(record) if record.load else ())
            for record in self.program.records
        ]

    @property
    def cycles(self) -> int:
        """From the first input beat accepted to the last output beat offered, streams never stalled from outside."""
        timing, last = WorklistTiming(self.program.config), self.program.records[-1]
        first = next(i for i, record in enumerate(self.program.records) if record.load)
        return sum(self.slice_cycles[first:-1]) + timing.run_cycles(last) - timing.first_beat() + 1

    @property
    def interval_cycles(self) -> int:
        """From an inference's first input beat accepted to the next one's, streams never stalled from outside."""
        return sum(self.slice_cycles)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network's convolutions and fully-connected layers, as the file has them."""
        return sum(layer.macs for layer in self.layers)

    @property
    def live_macs(self) -> int:
        """As :attr:`macs`, of the channels that are left."""
        return sum(layer.live_macs for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """``macs / cycles / peak``: above 1 where zeros are left out."""
        return self.macs / (self.cycles * self.array.macs_per_cycle)

    @cached_property
    def layers(self) -> tuple[LayerReport, ...]:
        """One report per node, moves at the edges included."""
        members: dict[str, list[int]] = {}
        for index, operation in enumerate(self.slice_operation):
            members.setdefault(self.plan.operations[operation].layer, []).append(index)
        return tuple(self._layer(name, own) for name, own in members.items())

    def _layer(self, name: str, slices: Sequence[int]) -> LayerReport:
        ops = [self.plan.operations[i] for i in dict.fromkeys(self.slice_operation[s] for s in slices)]
        products = [
            np.count_nonzero(op.weight) * (op.live_macs // op.weight.size)
            for op in ops
            if isinstance(op, Accumulate) and op.macs
        ]
        macs = sum(op.macs for op in ops)
        return LayerReport(
            name=name,
            op=ops[0].op,
            kind="move" if isinstance(ops[0], Move) else "worklist",
            macs=macs,
            live_macs=sum(op.live_macs for op in ops),
            cycles=sum(self.slice_cycles[s] for s in slices),
            bubbles=0,
            density=sum(products) / macs if macs else None,
            slices=len(slices),
            output=ops[0].dest,
        )

    def verilog(self) -> str:
        """Verilog of the accelerator; the same network and shape give the same text."""
        core = WorklistCore(self.program.config, self.program.images())
        return to_verilog(Accelerator(core), self.name)

    def predict(self, x: Inputs) -> np.ndarray | dict[str, np.ndarray]:
        """Run the design's program in NumPy; return the network's outputs."""
        return self.run_host(x, lambda packets: WorklistEmulator(self.program).run(packets))

    @property
    def host_part(self) -> HostPart:
        """What is left for the host."""
        return HostPart(network=self.network, inputs=tuple(self.plan.inputs), outputs=tuple(self.plan.outputs))

    def run_host(self, x: Inputs, accelerator: Accelerate) -> np.ndarray | dict[str, np.ndarray]:
        """Do what the host does around ``accelerator``: :meth:`heddle.gen.host_part.HostPart.run`."""
        return self.host_part.run(x, accelerator)


def compile_worklist(network: Network, shape: WorklistShape) -> WorklistDesign:
    """Map ``network`` onto a work-list core.

    Raises
    ------
    UnsupportedError
        A layer that such a core cannot run, by name.
    """
    core = lower(network)
    adds = {i: weights_of(op) for i, op in enumerate(core.operations) if isinstance(op, Elementwise)}
    for op in core.operations:
        if isinstance(op, Move) and op.source and op.dest:
            raise UnsupportedError("a work-list core cannot reshape a map", where=op.layer, remedy="use the array core")
    layouts, places = allocate(choose_layouts(network, core), core)
    requantizers = fit_requantizers(
        [_scaled(op, adds.get(i)) for i, op in enumerate(core.operations)], primitive=shape.primitive
    )
    assembler = Assembler(network, core, layouts, shape, starts=requantizers.starts, adds=adds)
    slices = assembler.slices()
    made = program(assembler, slices, places=places, requantize=requantizers.config, params=requantizers.params)
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
