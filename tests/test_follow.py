"""A slice that follows a load: exact in results and cycles, whatever the stream does."""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Const, Module
from random_networks import random_inputs
from tflite_builder import TFLiteBuilder

from heddle.gen import golden
from heddle.gen.design import Design, compile_network
from heddle.gen.importers import load
from heddle.hdl.config import ArrayConfig
from heddle.hdl.follow import FollowedLoad
from heddle.hdl.program import Unit
from heddle.sim.network import simulate
from heddle.sim.runner import BenchResult, run


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network of a few layers: what its first one is, and the array."""

    shape: tuple[int, int, int]
    first: Callable[[TFLiteBuilder, int], int]
    array: ArrayConfig
    inputs: int = 1

    def design(self, folder: Path) -> Design:
        b = TFLiteBuilder(1)
        xs = [b.activation((1, *self.shape)) for _ in range(self.inputs)]
        x = xs[0] if self.inputs == 1 else b.add(*xs)
        # Reads what the first layer has written, soon after.
        y = b.conv_2d(self.first(b, x), cout=4, kernel=(1, 1))
        path = folder / "follow.tflite"
        path.write_bytes(b.finish(xs, [y]))
        return compile_network(load(path), self.array)


def conv(cout: int, **options) -> Callable[[TFLiteBuilder, int], int]:
    return lambda b, x: b.conv_2d(x, cout=cout, **options)


def array(rows: int, pixels: int = 1, *, stream: int = 8, cols: int = 4, block: int = 4, q: int = 4) -> ArrayConfig:
    return ArrayConfig(rows=rows, cols=cols, pixels=pixels, block=block, requantizers=q, stream_bytes=stream)


STRIDED = Case(shape=(14, 20, 3), first=conv(4, stride=(2, 2)), array=array(5, 2))
UNREAD = Case(shape=(12, 16, 2), first=conv(4, kernel=(2, 2), stride=(3, 1), padding="VALID"), array=array(4, 1))
CASES = {
    "strides": STRIDED,
    "rows that nothing reads": UNREAD,
    "beats slower than blocks": replace(STRIDED, array=array(5, 2, stream=1)),
    "beats of odd width": replace(STRIDED, array=array(5, 2, stream=5)),
    "computing slower than loading": Case(shape=(9, 8, 3), first=conv(12), array=array(3, 1, q=1)),
    "three planes": Case(shape=(9, 11, 1), first=conv(8), array=array(5, 3, q=2)),
    "wide": Case(shape=(10, 6, 1), first=conv(8, stride=(1, 2)), array=array(9, 2, cols=4)),
    "pixels of several blocks": Case(shape=(8, 8, 9), first=conv(4, kernel=(3, 1)), array=array(3, 1)),
    "one bank": Case(shape=(8, 8, 3), first=conv(8, kernel=(1, 1)), array=array(1, 1)),
    "dilation": Case(shape=(9, 9, 3), first=conv(4, dilation=(3, 2)), array=array(4, 1)),
    "rows of one pixel": Case(shape=(40, 1, 3), first=conv(4, kernel=(1, 1)), array=array(2, 1)),
    "maximum": Case(
        shape=(10, 10, 3),
        first=lambda b, x: b.pool_2d("MAX_POOL_2D", x, kernel=(2, 2), stride=(2, 2)),
        array=array(3),
    ),
    "table": Case(shape=(8, 9, 3), first=lambda b, x: b.unary("HARD_SWISH", x), array=array(3)),
    "sum of two inputs": Case(shape=(6, 9, 3), first=conv(4), array=array(4, 1), inputs=2),
}


def assert_followed(design: Design) -> None:
    records = design.program.records
    index = next(i for i, record in enumerate(records) if record.followed)
    assert records[index].unit == Unit.LOAD
    assert records[index + 1].unit in (Unit.ARRAY, Unit.VECTOR)
    assert records[index + 1].lead


@pytest.mark.parametrize("name", CASES)
def test_following_is_exact_in_results_and_cycles_and_with_any_stalls(tmp_path: Path, name: str) -> None:
    design = CASES[name].design(tmp_path)
    assert_followed(design)
    x = random_inputs(design.network, 2, seed=1)
    for stall in (0.0, 0.6):
        result = simulate(design, x, simulator="icarus", build_dir=tmp_path, layers=True, stall=stall, seed=3)
        assert result.first_difference is None, f"stall {stall}: {result.first_difference}"
        assert result.mismatches == 0
        if not stall:
            assert list(result.slice_cycles) == design.slice_cycles
            assert set(result.cycles) == {design.cycles}


def with_lead(design: Design, more: int) -> Design:
    """Return ``design`` with an interlock that asks for ``more`` rows."""
    records = tuple(replace(r, lead=r.lead + more) if r.lead else r for r in design.program.records)
    return replace(design, program=replace(design.program, records=records))


def test_planted_interlock_of_a_row_too_few_is_caught_and_named(tmp_path: Path) -> None:
    design = CASES["beats slower than blocks"].design(tmp_path)
    x = random_inputs(design.network, 1, seed=1)
    result = simulate(with_lead(design, -1), x, simulator="icarus", layers=True)
    first = result.first_difference
    assert first is not None
    assert first.layer == design.layers[1].name


# --- packets of the wrong length ----------------------------------------------------------------------------------


def beats(elements: np.ndarray, width: int) -> list[int]:
    padded = elements.tobytes() + bytes(-elements.size % width)
    return [int.from_bytes(padded[i : i + width], "little") for i in range(0, len(padded), width)]


def answers(design: Design, path: Path, *, stall: float) -> BenchResult:
    """Send packets of all lengths between whole ones, other elements in each, and expect the whole ones' outputs."""
    width = design.array.stream_bytes
    x = random_inputs(design.network, 40, seed=2)
    (samples,) = x.values()
    rng = np.random.default_rng(1)
    sent: list[list[int]] = []
    whole: list[int] = []
    while len(whole) < 8:
        index = len(sent)
        packet = beats(samples[index], width)
        match index % 5:
            case 0 | 3:
                sent.append(packet[:-1] if index % 2 else packet[: int(rng.integers(1, len(packet)))])
            case 1:
                sent.append(packet[: int(rng.integers(len(packet) // 2, len(packet)))])
            case 2:
                whole.append(index)
                sent.append(packet)
            case _:
                whole.append(index)
                sent.append(packet + packet[: int(rng.integers(1, 9))])
    output = golden.run(design.network, x)[design.plan.outputs[0]].reshape(len(samples), -1)
    return run(
        top=design.name,
        verilog=design.verilog(),
        bench="heddle.sim.bench_packets",
        build_dir=path,
        simulator="icarus",
        parameters={
            "sent": sent,
            "expected": [beats(output[index], width) for index in whole],
            "patience_cycles": int(8 * design.cycles / (1 - stall)),
            "stall": stall,
        },
    )


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("name", ["strides", "rows that nothing reads", "computing slower than loading"])
def test_what_was_computed_of_a_packet_that_ends_early_is_void(tmp_path: Path, name: str, stall: float) -> None:
    design = CASES[name].design(tmp_path)
    result = answers(design, tmp_path, stall=stall)
    assert result.passed, result.text


def test_planted_end_before_the_packet_is_caught(tmp_path: Path) -> None:
    """The last row of windows does not wait for the end of the load."""
    design = UNREAD.design(tmp_path)
    result = answers(with_lead(design, -2), tmp_path, stall=0.0)
    assert re.search("output packet|tlast is", result.text), result.text


def test_planted_deafness_to_restarts_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interlock = FollowedLoad._interlock

    def deaf(self: FollowedLoad, m: Module) -> None:
        restart = self.restart
        self.restart = Const(0)  # pyright: ignore[reportAttributeAccessIssue]
        interlock(self, m)
        self.restart = restart

    monkeypatch.setattr(FollowedLoad, "_interlock", deaf)
    result = answers(STRIDED.design(tmp_path), tmp_path, stall=0.0)
    assert re.search("output packet|tlast is", result.text), result.text
