"""Work lists: every item is issued once, no sum is lost, and lanes are as even as they can be."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.gen.worklists import Loop, arrange, balance

COUNTS = st.lists(st.one_of(st.just(0), st.integers(1, 5), st.integers(1, 60)), min_size=1, max_size=24)


def replay(loop: Loop, turns: int = 1, loops: int = 3) -> list[list[tuple[int, int, frozenset[tuple[int, int]]]]]:
    """Run a loop as the hardware does; return for each time round what is written: channel, write, items summed."""
    lanes = len(loop.slots)
    sums: list[set[tuple[int, int]]] = [set() for _ in range(lanes)]
    shadows: list[frozenset[tuple[int, int]]] = [frozenset()] * lanes
    held: frozenset[tuple[int, int]] = frozenset()
    written: list[list[tuple[int, int, frozenset[tuple[int, int]]]]] = [[] for _ in range(loops)]
    at = {drain.at: drain for drain in loop.drains}
    drain = loop.drains[0] if loop.drains else None
    read: frozenset[tuple[int, int]] = frozenset()
    left = 0
    for cycle in range(loops * loop.cycles + loop.skew):
        round_, now = divmod(cycle - loop.skew, loop.cycles)
        if round_ >= 0 and now in at:
            assert not left, "a drain begins before the last one ends"
            drain, left = at[now], turns
            read = frozenset() if drain.lane is None else shadows[drain.lane]
        if left and drain:
            # All pixels of the same sum, those of the last turn, too.
            assert drain.lane is None or read == shadows[drain.lane]
            left -= 1
            if not left:
                held |= read
                if not drain.more:
                    written[round_].append((drain.channel, drain.write, held))
                    held = frozenset()
        if cycle < loops * loop.cycles:
            for lane in range(lanes):
                slot = loop.slots[lane][cycle % loop.cycles]
                if slot is not None:
                    assert slot not in sums[lane]
                    sums[lane].add(slot)
                if cycle % loop.cycles in loop.ends[lane]:
                    shadows[lane], sums[lane] = frozenset(sums[lane]), set()
    return written


def assert_sound(counts: list[int], loop: Loop, writes: int, turns: int = 1) -> None:
    """Each channel is written ``writes`` times each time round, and what is written is the sum of all its items."""
    want = sorted(
        (channel, write, frozenset((channel, item) for item in range(count)))
        for channel, count in enumerate(counts)
        for write in range(writes)
    )
    for got in replay(loop, turns):
        assert sorted(got, key=lambda entry: entry[:2]) == sorted(want, key=lambda entry: entry[:2])


@given(counts=COUNTS, lanes=st.integers(1, 9), writes=st.integers(1, 2), turns=st.sampled_from([1, 2, 4]))
@settings(max_examples=300)
def test_every_channel_is_the_sum_of_its_items_whatever_their_numbers(counts, lanes, writes, turns) -> None:
    assert_sound(counts, arrange(counts, lanes, writes=writes, turns=turns), writes, turns)


@given(counts=COUNTS, lanes=st.integers(1, 9), divided=st.integers(0, 9))
@settings(max_examples=200)
def test_every_item_lies_on_one_lane_and_the_fullest_exceeds_the_level_by_a_channel_at_most(
    counts, lanes, divided
) -> None:
    assigned = balance(counts, lanes, divided=divided)
    items = [(p.channel, i) for parts in assigned for p in parts for i in range(p.start, p.stop)]
    assert sorted(items) == [(c, i) for c, count in enumerate(counts) for i in range(count)]
    assert all(len({p.channel for p in parts}) == len(parts) for parts in assigned)
    fullest = max(sum(p.stop - p.start for p in parts) for parts in assigned)
    assert fullest <= -(-sum(counts) // lanes) + max(counts)


@given(counts=COUNTS, lanes=st.integers(1, 9))
def test_all_channels_divided_leave_no_lane_more_than_the_level(counts, lanes) -> None:
    assigned = balance(counts, lanes, divided=len(counts))
    assert max(sum(p.stop - p.start for p in parts) for parts in assigned) == -(-sum(counts) // lanes)


@pytest.mark.parametrize("counts", [[0] * 7, [1], [300] + [0] * 15, [576] * 64, [1] * 40], ids=str)
@pytest.mark.parametrize("lanes", [1, 4, 8])
def test_corners_are_sound(counts, lanes) -> None:
    assert_sound(counts, arrange(counts, lanes), 1)


def test_one_dense_channel_among_empty_ones_is_divided_over_all_lanes() -> None:
    loop = arrange([400] + [0] * 15, 4)
    assert loop.cycles == 100
    assert loop.idle == 0


def test_a_loop_is_never_shorter_than_its_drains() -> None:
    assert arrange([1] * 64, 4).cycles == 64
    assert arrange([0] * 64, 4, writes=2).cycles == 128
    assert arrange([1] * 64, 4, turns=2).cycles == 128


@pytest.mark.parametrize("turns", [1, 2, 4])
def test_channels_that_end_with_the_loop_are_drained_in_the_next_one_and_cost_nothing(turns) -> None:
    loop = arrange([100] * 8, 4, turns=turns)
    assert (loop.cycles, loop.idle) == (200, 0)
    assert_sound([100] * 8, loop, 1, turns)


@pytest.mark.parametrize("density", [0.5, 0.25, 0.1])
def test_random_layers_of_many_products_lose_less_than_three_percent(density) -> None:
    rng = np.random.default_rng(3)
    counts = rng.binomial(576, density, 64).tolist()
    loop = arrange(counts, 4)
    assert sum(counts) / (4 * loop.cycles) > 0.97


def test_a_lost_drain_and_a_late_end_are_noticed() -> None:
    counts = [7, 9, 5, 6]
    loop = arrange(counts, 2)
    with pytest.raises(AssertionError):
        assert_sound(counts, Loop(**{**vars(loop), "drains": loop.drains[1:]}), 1)
    moved = [frozenset(end - 1 for end in ends) for ends in loop.ends]
    with pytest.raises(AssertionError):
        assert_sound(counts, Loop(**{**vars(loop), "ends": tuple(moved)}), 1)
    # Made for drains of a cycle.
    with pytest.raises(AssertionError):
        assert_sound([1] * 12, arrange([1] * 12, 2), 1, turns=2)
