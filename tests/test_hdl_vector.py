"""The vector unit: maxima, pairs of operands and sums of table entries, against NumPy."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
from hdl_trace import Trace, follow

from heddle.hdl.vector import BlockUnit, TableSum

M = 4
BITS = 8 * M


def join(values: np.ndarray, bits: int = 8) -> int:
    return sum((int(value) & ((1 << bits) - 1)) << bits * i for i, value in enumerate(values))


def random_block(rng: random.Random) -> np.ndarray:
    return np.array([rng.choice([-128, 127, 0, -1, rng.randrange(-128, 128)]) for _ in range(M)])


def noise(rng: random.Random) -> dict[str, int]:
    bits = {"operands": 1, "paired": 1, "block": BITS, "second": BITS}
    return {name: rng.getrandbits(width) for name, width in bits.items()}


def block_trace(*, maximum: bool, second_operand: bool, seed: int, pixels: int = 60) -> Trace:
    rng = random.Random(seed)
    trace = Trace("enable", "first", "last", "opens", "operands", "paired", "block", "second")
    for pixel in range(pixels):
        operands = second_operand and rng.random() < 0.5
        blocks = [random_block(rng) for _ in range(2 if operands else rng.choice([1, 2, 9]) if maximum else 1)]
        place = f"pixel {pixel} of {len(blocks)} blocks"
        both = operands and rng.random() < 0.5
        came = blocks[:1] if both else blocks
        opens = rng.randrange(2)
        for i, block in enumerate(came):
            while rng.random() < 0.2:
                # Nothing counts without `enable`.
                trace.expect(trace.now + 1, "done", 0, place, width=1)
                trace.cycle(first=1, last=1, opens=1)
                trace.hold(**noise(rng))
            last = i == len(came) - 1
            trace.expect(trace.now + 1, "done", int(last), place, width=1)
            trace.expect(trace.now + 1, "begins", int(last and opens), place, width=1)
            trace.cycle(enable=1, first=int(i == 0), last=int(last), opens=opens)
            # The block, its operands with the last, come a cycle behind.
            trace.hold(**noise(rng) | {"block": join(block)})
            if last:
                trace.hold(operands=int(operands), paired=int(both), second=join(blocks[-1]))
        a = blocks[0] if operands else np.max(blocks, axis=0)
        trace.expect(trace.now + 1, "a", join(a), place, width=BITS)
        if operands:
            trace.expect(trace.now + 1, "b", join(blocks[1]), place, width=BITS)
    trace.idle(2)
    return trace


@pytest.mark.parametrize(("maximum", "second_operand"), [(True, True), (True, False), (False, True), (False, False)])
def test_block_unit_gives_maximum_or_operands(tmp_path: Path, maximum: bool, second_operand: bool) -> None:
    unit = BlockUnit(block=M, maximum=maximum, second_operand=second_operand)
    trace = block_trace(maximum=maximum, second_operand=second_operand, seed=1)
    result = follow(unit, trace, tmp_path)
    assert result.passed, result.text


def test_planted_forgotten_maximum_is_caught_and_named(tmp_path: Path) -> None:
    unit = BlockUnit(block=M, maximum=False, second_operand=True)
    result = follow(unit, block_trace(maximum=True, second_operand=True, seed=1), tmp_path)
    assert re.search(r"pixel \d+ of [29] blocks: a is", result.text)


LANES, TABLE_BITS, TABLES = 2, 20, 3


def random_tables(seed: int) -> np.ndarray:
    """Two operands' tables, ``(2, words)``, with the extremes."""
    limit = 1 << (TABLE_BITS - 1)
    tables = np.random.default_rng(seed).integers(-limit, limit, (2, 256 * TABLES))
    tables[:, 0], tables[:, 255] = -limit, limit - 1
    return tables


def table_trace(tables: np.ndarray, *, operands: int, seed: int, items: int = 200) -> Trace:
    rng = random.Random(seed)
    trace = Trace("base", "two", "a", "b")
    for item in range(items):
        # Base and operand are the slice's: they change while nothing is under way.
        if item % 50 == 0:
            trace.idle(TableSum.LATENCY)
            table, two = (0, 1) if item == 0 else (rng.randrange(TABLES), rng.randrange(2))
            trace.hold(base=256 * table, two=two)
        a, b = (np.array([rng.randrange(-128, 128) for _ in range(LANES)]) for _ in range(2))
        if item < 2:
            a[:] = b[:] = (-128, 127)[item]
        base = trace.held["base"] + 128
        total = tables[0, base + a] + (tables[1, base + b] if trace.held["two"] and operands == 2 else 0)
        for lane, value in enumerate(total):
            place = f"item {item}, lane {lane}, table {base // 256}"
            width = TABLE_BITS + 1
            trace.expect(trace.now + TableSum.LATENCY, "total", int(value), place, low=lane * width, width=width)
        trace.cycle(a=join(a), b=join(b))
    trace.idle(TableSum.LATENCY + 1)
    return trace


def table_sum(tables: np.ndarray, *, operands: int) -> TableSum:
    second = tables[1].tolist() if operands == 2 else None
    return TableSum(lanes=LANES, bits=TABLE_BITS, words=256 * TABLES, first=tables[0].tolist(), second=second)


@pytest.mark.parametrize("operands", [1, 2])
def test_table_sum_adds_entries(tmp_path: Path, operands: int) -> None:
    tables = random_tables(2)
    result = follow(table_sum(tables, operands=operands), table_trace(tables, operands=operands, seed=3), tmp_path)
    assert result.passed, result.text


def test_planted_entry_off_by_one_is_caught_in_its_table(tmp_path: Path) -> None:
    tables = random_tables(2)
    shifted = tables.copy()
    shifted[0, 256:512] = np.roll(tables[0, 256:512], 1)
    result = follow(table_sum(shifted, operands=2), table_trace(tables, operands=2, seed=3), tmp_path)
    assert "table 1: total is" in result.text
