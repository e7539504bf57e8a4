"""Which work-list cores there are to choose from on a device, how few cycles each can take, and how few LUTs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from heddle.boards import Device
from heddle.boards.family import ECP5
from heddle.gen.ir import Network
from heddle.gen.kinds import Accumulate, Elementwise, Operation
from heddle.gen.worklist import Prepared
from heddle.gen.worklist_program import bank_words
from heddle.gen.worklist_resources import feature_maps, least_luts, worklist_multipliers
from heddle.hdl.products import BITS
from heddle.hdl.worklist_config import LIMITS, PIXELS, TURNS, WorklistShape, bits_for


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A core, and the cycles and LUTs that it takes at least."""

    shape: WorklistShape
    cycles: int
    luts: float


def worklist_bounds(prepared: Sequence[Prepared], device: Device, *, stream_bytes: int) -> list[Bound]:
    """Return the cores that ``device`` may hold, those of the fewest cycles first.

    Parameters
    ----------
    prepared
        The forms of the network, with ECP5's multipliers.
    stream_bytes
        Width of the streams.
    """
    bounds = [
        Bound(
            shape=shape,
            cycles=min(sum(_least_cycles(form.network, op, shape) for op in form.core.operations) for form in forms),
            luts=min(least_luts(shape, form.requantizers.config) for form in forms),
        )
        for shape in _every(stream_bytes)
        if (forms := [form for form in prepared if _may_fit(form, shape, device)])
    ]
    return sorted(bounds, key=lambda bound: (bound.cycles, bound.luts))


def _every(stream_bytes: int) -> Iterator[WorklistShape]:
    for pixels in PIXELS:
        for lanes in range(1, LIMITS["lanes"] + 1):
            for turns in TURNS:
                if turns <= pixels:
                    yield WorklistShape(
                        lanes=lanes, pixels=pixels, turns=turns, stream_bytes=stream_bytes, primitive=ECP5.primitive
                    )


def _may_fit(prepared: Prepared, shape: WorklistShape, device: Device) -> bool:
    """Whether there are multipliers, and block RAMs for the maps of each lane and for the lists."""
    multipliers = worklist_multipliers(shape, prepared.requantizers.config)
    maps = feature_maps(shape, bank_words(prepared.places, shape))
    sums = [op for op in prepared.core.operations if isinstance(op, Accumulate)]
    items = sum(int(np.count_nonzero(op.weight)) for op in sums)
    channels = max((op.weight.shape[3] * op.groups for op in sums), default=1)
    # What all items of a network have in common is no memory; two bits of a channel are enough for that.
    item_bits = BITS + max(0, bits_for(channels) - 2)
    lists = items * item_bits // device.family.block_ram_bits
    return multipliers <= device.multipliers and maps.block_rams + lists <= device.block_rams


def _least_cycles(network: Network, op: Operation, shape: WorklistShape) -> int:
    """Products that are not zero, of V positions at a time, at the peak; T cycles for V results; bytes at edges."""
    if isinstance(op, Accumulate):
        positions = (op.rows[1] - op.rows[0]) * (op.cols[1] - op.cols[0])
        items, results = int(np.count_nonzero(op.weight)), len(op.bias)
    elif isinstance(op, Elementwise):
        height, width, results = network.tensors[op.dest].hwc
        positions, items = height * width, results
    elif op.dest:
        return network.tensors[op.dest].size // shape.stream_bytes
    else:
        # A store takes a byte a cycle.
        return sum(network.tensors[name].size for name in op.sources)
    return -(-positions // shape.pixels) * max(-(-items // shape.lanes), results * shape.turns)
