"""Positions and loop nests: the arithmetic against plain integers, and the hardware against nested loops."""

import random
import re
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator
from hdl_trace import Trace, follow
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.gen.schedule import jumps
from heddle.hdl.addressing import LoopNest, add, position_layout, split
from heddle.hdl.program import strides

LEVELS, COUNT_BITS, ADDRESS_BITS = 3, 3, 6
BANKS = [1, 2, 3, 4, 9]


def packed(offset: int, banks: int) -> int:
    position = split(offset, address_bits=ADDRESS_BITS, banks=banks)
    return position_layout(ADDRESS_BITS, banks).const({**position}).as_bits()


def iterations(lasts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Indices of every iteration, level 0 first and fastest."""
    return (index[::-1] for index in product(*(range(last + 1) for last in reversed(lasts))))


def nest_trace(banks: int, *, seed: int, nests: int = 30) -> Trace:
    rng = random.Random(seed)
    position = position_layout(ADDRESS_BITS, banks)
    jumps_layout = data.ArrayLayout(position, LEVELS)
    trace = Trace("start", "step", "base", "jumps", "lasts")
    left: list[int] = []
    for nest in range(nests):
        lasts = [rng.choice([0, 1, 2, rng.randrange(1 << COUNT_BITS)]) for _ in range(LEVELS)]
        stride = [rng.randrange(-40, 80) for _ in range(LEVELS)]
        base = rng.randrange(banks << ADDRESS_BITS)
        moves = [split(jump, address_bits=ADDRESS_BITS, banks=banks) for jump in jumps(stride, lasts)]
        trace.hold(
            base=packed(base, banks),
            jumps=jumps_layout.const(moves).as_bits(),
            lasts=data.ArrayLayout(COUNT_BITS, LEVELS).const(lasts).as_bits(),
        )
        # Until the first iteration is there, position and steps are those of the nest before.
        for cycle in range(LoopNest.LATENCY):
            step = rng.randrange(2)
            if left:
                place = f"nest {nest - 1} while the next one starts"
                trace.expect(trace.now, "position", packed(left[0], banks), place, width=position.size)
            left = left[step:]
            trace.cycle(start=int(cycle == 0), step=step)
        # Some nests are started again before their end.
        every = list(iterations(lasts))
        visited = every[: rng.randrange(1, 60) if rng.random() < 0.3 else None]
        left = [base + sum(i * s for i, s in zip(index, stride, strict=True)) for index in every[len(visited) :]]
        for index in visited:
            offset = base + sum(i * s for i, s in zip(index, stride, strict=True))
            wraps = sum(
                all(i == last for i, last in zip(index[: k + 1], lasts, strict=False)) << k for k in range(LEVELS)
            )
            for step in [0] * rng.choice([0, 0, 0, 2]) + [1]:
                place = f"nest {nest}, iteration {index}"
                trace.expect(trace.now, "position", packed(offset, banks), place, width=position.size)
                trace.expect(trace.now, "wraps", wraps, place, width=LEVELS)
                trace.cycle(step=step)
    return trace


def loop_nest(banks: int) -> LoopNest:
    return LoopNest(levels=LEVELS, count_bits=COUNT_BITS, address_bits=ADDRESS_BITS, banks=banks)


@pytest.mark.parametrize("banks", BANKS)
def test_loop_nest_visits_what_nested_loops_visit(tmp_path: Path, banks: int) -> None:
    result = follow(loop_nest(banks), nest_trace(banks, seed=banks), tmp_path)
    assert result.passed, result.text
    assert result.data > 400


class OffByOne(LoopNest):
    """Banks wrap one too late."""

    def elaborate(self, platform: object) -> Module:
        self.banks += 1
        return super().elaborate(platform)


def test_planted_late_wrap_is_caught_and_named(tmp_path: Path) -> None:
    faulty = OffByOne(levels=LEVELS, count_bits=COUNT_BITS, address_bits=ADDRESS_BITS, banks=3)
    result = follow(faulty, nest_trace(3, seed=3), tmp_path)
    assert re.search(r"nest \d+, iteration \(\d, \d, \d\): position is \d+, not \d+", result.text)


class Hasty(LoopNest):
    """The first position comes with ``start``, not when the nest before is done."""

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        with m.If(self.start):
            m.d.sync += self.position.eq(self.base)
        return m


def test_planted_early_start_is_caught(tmp_path: Path) -> None:
    faulty = Hasty(levels=LEVELS, count_bits=COUNT_BITS, address_bits=ADDRESS_BITS, banks=3)
    result = follow(faulty, nest_trace(3, seed=3), tmp_path)
    assert re.search(r"nest \d+ while the next one starts: position is", result.text)


class Adder(wiring.Component):
    """``add`` alone."""

    a: data.View
    b: data.View
    o: data.View

    def __init__(self, banks: int) -> None:
        self.banks, position = banks, position_layout(ADDRESS_BITS, banks)
        super().__init__({"a": In(position), "b": In(position), "o": Out(position)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += add(self.a, self.b, banks=self.banks).assign(self.o)
        return m


OFFSETS = st.integers(-(1 << 12), 1 << 12)


@given(banks=st.integers(1, 32), offset=OFFSETS)
def test_position_is_quotient_and_remainder(banks: int, offset: int) -> None:
    position = split(offset, address_bits=ADDRESS_BITS, banks=banks)
    assert 0 <= position["bank"] < banks
    assert 0 <= position["row"] < 1 << ADDRESS_BITS
    assert (position["row"] * banks + position["bank"] - offset) % (banks << ADDRESS_BITS) == 0


@given(banks=st.integers(1, 32), pairs=st.lists(st.tuples(OFFSETS, OFFSETS), min_size=1, max_size=20))
@settings(max_examples=30)
def test_sum_of_positions_is_the_position_of_the_sum(banks: int, pairs: list[tuple[int, int]]) -> None:
    adder = Adder(banks)

    async def check(context: Any) -> None:
        for a, b in pairs:
            position = [split(offset, address_bits=ADDRESS_BITS, banks=banks) for offset in (a, b, a + b)]
            context.set(adder.a, position[0])
            context.set(adder.b, position[1])
            await context.delay(1e-9)
            got = context.get(adder.o)
            assert {"row": got.row, "bank": got.bank} == position[2]

    simulator = Simulator(adder)
    simulator.add_testbench(check)
    simulator.run()


@given(levels=st.lists(st.tuples(st.integers(-(1 << 16), 1 << 16), st.integers(0, 300)), max_size=6))
def test_strides_undo_jumps(levels: list[tuple[int, int]]) -> None:
    stride, lasts = [s for s, _ in levels], [last for _, last in levels]
    assert strides(jumps(stride, lasts), lasts) == stride
