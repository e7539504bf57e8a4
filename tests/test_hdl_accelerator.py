"""The whole digits design and packets of the wrong length."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from digits import SMALL, digit_samples, digits

from heddle.gen import golden
from heddle.gen.design import Design
from heddle.sim.runner import BenchResult, run

WIDTH = 4


def beats(elements: np.ndarray) -> list[int]:
    padded = elements.tobytes() + bytes(-elements.size % WIDTH)
    return np.frombuffer(padded, "<u4").tolist()


def answers(design: Design, x: np.ndarray, verilog: str, sent: Sequence[Sequence[int]], path: Path) -> BenchResult:
    """Send packets to the design, and expect the outputs of ``x``."""
    output = golden.run(design.network, x)[design.plan.outputs[0]].reshape(len(x), -1)
    return run(
        top=design.name,
        verilog=verilog,
        bench="heddle.sim.bench_packets",
        build_dir=path,
        simulator="icarus",
        parameters={
            "sent": sent,
            "expected": [beats(packet) for packet in output],
            "patience_cycles": design.cycles * 5 // 4,
        },
    )


@pytest.mark.slow
def test_short_packets_are_dropped_and_long_ones_cut(tmp_path: Path) -> None:
    design = digits(replace(SMALL, stream_bytes=WIDTH))
    x = digit_samples(3)
    first, second, third = (beats(sample) for sample in x)
    junk = [0xDEADBEEF] * 5
    sent = [first[:-1], first, second + junk, junk[:1], third[:3], third]
    result = answers(design, x, design.verilog(), sent, tmp_path)
    assert result.passed, result.text


def test_planted_dropped_beat_is_caught_and_named(tmp_path: Path) -> None:
    design = digits(replace(SMALL, stream_bytes=WIDTH))
    x = digit_samples(2)
    first, second = (beats(sample) for sample in x)
    result = answers(design, x, design.verilog(), [first[:4] + first[5:], second], tmp_path)
    assert "output packet 0 is" in result.text
