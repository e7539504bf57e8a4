"""A compiled network: the core that runs it, its program, its exact cycles.

The Python API over simulation, boards and files is :mod:`heddle.gen.api`; here only the network and an array matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from heddle.errors import UnsupportedError
from heddle.gen import arithmetic, requantization
from heddle.gen.emulator import Emulator
from heddle.gen.host_part import Accelerate, HostPart
from heddle.gen.images import Program
from heddle.gen.inputs import Inputs
from heddle.gen.ir import Network
from heddle.gen.kinds import StepFunction
from heddle.gen.mapping import Mapping as Mapped
from heddle.gen.mapping import map_network, signed_bits
from heddle.gen.operations import Accumulate, Elementwise, Move, Operation
from heddle.gen.operations import Core as CorePlan
from heddle.gen.placement import Layout
from heddle.gen.schedule import PlannedSlice
from heddle.gen.verilog import to_verilog
from heddle.hdl.accelerator import Accelerator
from heddle.hdl.config import ArrayConfig
from heddle.hdl.core import Core
from heddle.hdl.multiplier import Primitive
from heddle.hdl.program import Selection, SliceRecord, Unit
from heddle.hdl.requantize import RequantizeConfig, RequantizeParams
from heddle.hdl.timing import Timing

MAX_ACC_BITS = 32
"""The reference accumulates in int32."""


@dataclass(frozen=True, kw_only=True)
class LayerReport:
    """One layer as the accelerator runs it.

    ``kind`` says how: ``dense``, ``diagonal`` (depthwise), ``indexed`` (N:M selection), ``vector`` or ``move``;
    ``density`` is the fraction of the file's weights that are multiplied, being neither zero nor of a dead channel;
    ``macs`` are of the layer as the file has it, ``live_macs`` of the channels that are left; ``cycles`` are of its
    slices, overheads included; ``bubbles`` of them wait for requantizers.
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
class Design:
    """A network on one core.

    Parameters
    ----------
    network
        As imported.
    plan
        Its operations, and the tensors that cross the streams.
    operations
        Those as the slices compute them: columns of inputs may be folded.
    program
        What the core runs; ``program.config`` is the core.
    slice_operation
        For each slice of the program, its operation's index.
    layouts
        Where each feature map lies.
    layers
        One report per node, moves at the edges included.
    """

    network: Network
    plan: CorePlan
    operations: tuple[Operation, ...]
    program: Program
    slice_operation: tuple[int, ...]
    layouts: dict[str, Layout]
    layers: tuple[LayerReport, ...]

    @property
    def array(self) -> ArrayConfig:
        """The array's shape."""
        return self.program.config.array

    @property
    def name(self) -> str:
        """The exported top: ``heddle_<network>``."""
        return f"heddle_{self.network.name}"

    @cached_property
    def slice_cycles(self) -> list[int]:
        """Cycles of each slice."""
        return Timing(self.program.config).program_cycles(self.program.records)

    @property
    def cycles(self) -> int:
        """From the first input beat accepted to the last output beat offered, streams never stalled from outside."""
        return Timing(self.program.config).inference_cycles(self.program.records)

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
        """As :attr:`macs`, of the channels that :func:`heddle.gen.passes.remove_dead_channels` left."""
        return sum(layer.live_macs for layer in self.layers)

    @property
    def utilisation(self) -> float:
        """``macs / cycles / peak``."""
        return self.macs / (self.cycles * self.array.macs_per_cycle)

    def with_lut_products(self, count: int) -> "Design":
        """Return the same design with ``count`` of the array's products made of LUTs; nothing else differs."""
        array = replace(self.array, lut_products=count)
        program = replace(self.program, config=replace(self.program.config, array=array))
        return replace(self, program=program)

    def verilog(self) -> str:
        """Verilog of the accelerator; the same network and array give the same text."""
        core = Core(self.program.config, self.program.images(), name=self.name)
        return to_verilog(Accelerator(core), self.name, library=core.library.modules)

    @property
    def host_part(self) -> HostPart:
        """What is left for the host."""
        return HostPart(network=self.network, inputs=tuple(self.plan.inputs), outputs=tuple(self.plan.outputs))

    def predict(self, x: Inputs) -> np.ndarray | dict[str, np.ndarray]:
        """Run the design's program in NumPy (:class:`heddle.gen.emulator.Emulator`); return the network's outputs."""
        return self.run_host(x, lambda packets: Emulator(self.program).run(packets))

    def run_host(self, x: Inputs, accelerator: Accelerate) -> np.ndarray | dict[str, np.ndarray]:
        """Do what the host does around ``accelerator``: :meth:`heddle.gen.host_part.HostPart.run`."""
        return self.host_part.run(x, accelerator)


def compile_network(network: Network, array: ArrayConfig, *, indexed: bool = True) -> Design:
    """Map ``network`` onto a core with ``array``; without ``indexed``, one without selection by indices.

    Raises
    ------
    UnsupportedError, CapacityError
        What no core of this kind can run, by layer.
    """
    mapped = map_network(network, array, indexed=indexed)
    return assemble(network, mapped, fit_requantizers(mapped.plan.operations, primitive=array.primitive))


@dataclass(frozen=True, kw_only=True, eq=False)
class Requantizers:
    """One unit that scales every operation's sums exactly, whatever the array: fitting it takes longest.

    Parameters
    ----------
    acc_bits
        Of the array's accumulators.
    config, params
        The unit, and the parameters of every channel of every operation.
    starts
        Where in ``params`` each operation's channels begin.
    """

    acc_bits: int
    config: RequantizeConfig
    params: RequantizeParams
    starts: Mapping[int, int]


def fit_requantizers(operations: Sequence[Operation], *, primitive: Primitive) -> Requantizers:
    """Choose the unit and its parameters for ``operations``.

    Raises
    ------
    UnsupportedError
        A layer that it cannot scale exactly.
    """
    acc_bits = bits = _acc_bits(operations)
    fits: list[requantization.LayerFit] = []
    starts: dict[int, int] = {}
    end = 0
    for members in _alike(operations):
        ops = [operations[index] for index in members]
        fits.append(_fit(ops))
        starts |= {index: end + column for column, index in enumerate(members)}
        end += len(fits[-1].bias)
        bits = max([bits, *(signed_bits(np.concatenate(op.range())) for op in ops if isinstance(op, Elementwise))])
    if not fits:
        none = RequantizeParams(**{f.name: np.zeros(0, np.int64) for f in fields(RequantizeParams)})
        return Requantizers(acc_bits=acc_bits, config=UNUSED, params=none, starts=starts)
    chosen = requantization.plan(fits, acc_bits=bits, primitive=primitive)
    params = RequantizeParams.join(list(chosen.params))
    return Requantizers(acc_bits=acc_bits, config=chosen.config, params=params, starts=starts)


def assemble(network: Network, mapped: Mapped, requantizers: Requantizers) -> Design:
    """Return the design of ``network`` as ``mapped``; ``requantizers`` are those of its operations."""
    operations, owner = mapped.plan.operations, mapped.owner
    # A column without a channel takes its layer's first parameters; nothing reads its result.
    entries = [
        requantizers.starts[owner[index]] + (0 if _uniform(operations[owner[index]]) else max(channel, 0))
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
        layers=_layers(operations, mapped.slices, owner, program),
    )


def _uniform(op: Operation) -> bool:
    return isinstance(op, Accumulate) and op.uniform


def _alike(operations: Sequence[Operation]) -> list[list[int]]:
    """Group the indices of the operations that scale: those of one layer whose channels are all alike together."""
    groups: dict[int | str, list[int]] = {}
    for index, op in enumerate(operations):
        if not isinstance(op, Move):
            groups.setdefault(op.layer if _uniform(op) else index, []).append(index)
    return list(groups.values())


def _fit(ops: Sequence[Operation]) -> requantization.LayerFit:
    """Fit the channels of one operation, or the one function of each of several operations of a layer.

    Raises
    ------
    UnsupportedError
        A sum exceeds int32.
    """
    op = ops[0]
    assert not isinstance(op, Move)
    first, last = op.range()
    bias, step, points = None, op.output, None
    if isinstance(op, Elementwise):
        points = op.sums()
    elif op.uniform:
        steps = [each.output for each in ops if isinstance(each, Accumulate)]
        # They differ in their functions only: the weights and the bias are the layer's.
        first, last, bias = (np.repeat(values[:1], len(ops)) for values in (first, last, op.bias))
        step = _side_by_side(steps)
    else:
        bias = op.bias
    if max(int(last.max()).bit_length(), int((~first).max()).bit_length()) >= MAX_ACC_BITS:
        raise UnsupportedError("sums exceed int32", where=op.layer, remedy="the reference would wrap: shorten the sum")
    return requantization.fit(
        step, first, last, name=op.layer, zero_point=op.zero_point, low=op.low, high=op.high, bias=bias,
        points=points, fallback=op.fallback,
    )  # fmt: skip


def _side_by_side(steps: Sequence[StepFunction]) -> StepFunction:
    """Return the function that applies each of ``steps`` to a channel of its own."""
    return lambda acc: np.stack([step(acc[..., i]) for i, step in enumerate(steps)], axis=-1)


UNUSED = RequantizeConfig(
    acc_bits=2, bias_bits=2, x_bits=2, multiplier_bits=1, offset_bits=2, shift_min=0, shift_max=0, split_sign=False
)
"""For a network that computes nothing: it only moves bytes."""


def _acc_bits(operations: Sequence[Operation]) -> int:
    """Bits of the widest partial sum: every product at its extreme, in the worst order.

    Raises
    ------
    UnsupportedError
        A layer whose sum exceeds int32: the reference would wrap.
    """
    widest = 2
    for op in operations:
        if isinstance(op, Accumulate):
            magnitude = np.abs(op.weight.reshape(len(op.bias), -1).astype(np.int64)).sum(axis=1) * -arithmetic.INT8_MIN
            bits = int(magnitude.max()).bit_length() + 1
            if bits > MAX_ACC_BITS:
                raise UnsupportedError(
                    f"sums of {bits} bits", where=op.layer, remedy=f"keep the reduction within {MAX_ACC_BITS} bits"
                )
            widest = max(widest, bits)
    return widest


def _layers(
    operations: Sequence[Operation], slices: Sequence[PlannedSlice], owner: Sequence[int], program: Program
) -> tuple[LayerReport, ...]:
    """Report by layer: the slices of the operations that came from one node."""
    timing = Timing(program.config)
    cycles = timing.program_cycles(program.records)
    layers: dict[str, list[int]] = {}
    for index, operation in enumerate(owner):
        layers.setdefault(operations[operation].layer, []).append(index)
    reports = []
    for name, members in layers.items():
        ops = [operations[i] for i in dict.fromkeys(owner[i] for i in members)]
        records = [program.records[i] for i in members]
        # Operations of one layer have the same weights: positions times weights, non-zero over all.
        products = [
            np.count_nonzero(op.weight) * (op.live_macs // op.weight.size)
            for op in ops
            if isinstance(op, Accumulate) and op.macs
        ]
        macs = sum(op.macs for op in ops)
        reports.append(
            LayerReport(
                name=name,
                op=ops[0].op,
                kind=_kind(records),
                macs=macs,
                live_macs=sum(op.live_macs for op in ops),
                cycles=sum(cycles[i] for i in members),
                bubbles=sum(timing.bubble_cycles(r) for r in records if r.unit in (Unit.ARRAY, Unit.VECTOR)),
                density=sum(products) / macs if macs else None,
                slices=len(members),
                output=ops[0].dest,
            )
        )
    return tuple(reports)


def _kind(records: Sequence[SliceRecord]) -> str:
    units = {record.unit for record in records}
    if Unit.ARRAY in units:
        return Selection(max(record.selection for record in records)).name.lower()
    return "vector" if Unit.VECTOR in units else "move"
