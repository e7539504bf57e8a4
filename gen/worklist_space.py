"""Which work-list cores there are to choose from on a device, and how few cycles each can take."""

from collections.abc import Iterator

import numpy as np

from heddle.boards import Device
from heddle.gen.ir import Network
from heddle.gen.kinds import Accumulate, Elementwise, Operation
from heddle.gen.operations import lower
from heddle.hdl.worklist_config import LIMITS, PIXELS, WorklistShape

BANK_BYTES = 2048
"""Places of a bank that one block RAM holds."""


def worklist_shapes(
    network: Network, device: Device, *, dsps: int, stream_bytes: int
) -> list[tuple[int, WorklistShape]]:
    """Return the cores that ``device`` may hold, each with cycles that it takes at least, fewest first.

    Parameters
    ----------
    dsps
        Multipliers of a requantizer.
    stream_bytes
        Width of the streams.
    """
    operations = lower(network).operations
    maps = max(sum(network.tensors[name].size for name in {*op.sources, op.dest} if name) for op in operations)
    shapes = [shape for shape in _every(stream_bytes) if _may_fit(shape, device, maps, dsps)]
    bounds = [(sum(_least_cycles(network, op, shape) for op in operations), shape) for shape in shapes]
    return sorted(bounds, key=lambda bound: (bound[0], bound[1].macs_per_cycle))


def _every(stream_bytes: int) -> Iterator[WorklistShape]:
    for pixels in PIXELS:
        for lanes in range(1, LIMITS["lanes"] + 1):
            yield WorklistShape(lanes=lanes, pixels=pixels, stream_bytes=stream_bytes, primitive="mult18x18d")


def _may_fit(shape: WorklistShape, device: Device, maps: int, dsps: int) -> bool:
    """Whether there are multipliers, and block RAMs for a copy of the largest maps beside each lane."""
    multipliers = shape.macs_per_cycle // 2 + shape.requantizers * dsps
    rows = -(-maps // (shape.pixels * BANK_BYTES))
    return multipliers <= device.multipliers and shape.macs_per_cycle * rows < device.block_rams


def _least_cycles(network: Network, op: Operation, shape: WorklistShape) -> int:
    """Products that are not zero, of V positions at a time, at the peak; and a drain for each V results."""
    if isinstance(op, Accumulate):
        positions = (op.rows[1] - op.rows[0]) * (op.cols[1] - op.cols[0])
        items, results = int(np.count_nonzero(op.weight)), len(op.bias)
    elif isinstance(op, Elementwise):
        height, width, results = network.tensors[op.dest].hwc
        positions, items = height * width, results * len(op.sources)
    else:
        return 0
    return -(-positions // shape.pixels) * max(-(-items // shape.lanes), results)
