"""Which slice follows a load row by row, rather than to wait for its end.

The first to compute may, where it reads what is loaded last: no slice before it has left anything under way, and the
allocator keeps what it writes apart from what it reads.
"""

from collections.abc import Sequence
from dataclasses import replace

from heddle.gen.kinds import Operation
from heddle.gen.schedule import PlannedSlice
from heddle.hdl.program import Unit


def with_followed_load(
    slices: Sequence[PlannedSlice], owner: Sequence[int], operations: Sequence[Operation]
) -> tuple[PlannedSlice, ...]:
    """Return ``slices``, the last of the loads they begin with followed by the next one where that is of use.

    ``owner`` is the index in ``operations`` of each slice's operation.
    """
    behind = next((i for i, planned in enumerate(slices) if planned.record.unit != Unit.LOAD), 0)
    if not behind or slices[behind].record.unit not in (Unit.ARRAY, Unit.VECTOR):
        return tuple(slices)
    load, follower = slices[behind - 1], slices[behind]
    if operations[owner[behind - 1]].dest not in operations[owner[behind]].sources:
        return tuple(slices)
    record, height = follower.record, load.record.dst_lasts[2] + 1
    below = max((lane.dy for step in follower.steps for lane in step.lanes if lane), default=0)
    # More than there are before the last row: it waits for the load's end, until which a packet may be dropped.
    lead = max(record.row_start + below + 1, height + 1 - record.src_lasts[1] * record.row_step)
    if lead >= height:
        return tuple(slices)
    pair = (
        replace(load, record=replace(load.record, followed=1)),
        replace(follower, record=replace(record, lead=lead)),
    )
    return (*slices[: behind - 1], *pair, *slices[behind + 1 :])
