"""Slices follow each other closely, and never too closely: blocks are written before they are read, or after."""

from dataclasses import replace
from pathlib import Path

import pytest
from hazards import first_hazard
from random_networks import random_array, random_network

from heddle.gen.design import Design, compile_network


def designed(seed: int, folder: Path) -> Design:
    return compile_network(random_network(seed, folder), random_array(seed))


@pytest.mark.parametrize("seed", range(30))
def test_no_block_of_a_random_network_is_read_or_written_at_a_wrong_time(tmp_path: Path, seed: int) -> None:
    assert first_hazard(designed(seed, tmp_path).program) is None


def test_gaps_a_few_cycles_shorter_are_found(tmp_path: Path) -> None:
    """Gaps are at most a few cycles above the least; some wait for the output stage, and not for a block."""
    found = missed = 0
    for seed in range(20):
        program = designed(seed, tmp_path).program
        for index, record in enumerate(program.records):
            if record.gap > 5:
                shorter = replace(record, gap=record.gap - 5)
                records = (*program.records[:index], shorter, *program.records[index + 1 :])
                if first_hazard(replace(program, records=records)) is None:
                    missed += 1
                else:
                    found += 1
    assert found > missed
    assert found > 20
