"""Whole networks in RTL equal the golden model, layer by layer, in exactly the predicted cycles."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from digits import SMALL, digit_samples, digits, only
from equality import assert_equal
from random_networks import Builder, random_file, random_inputs
from reference_data import NETWORKS, network_path, samples

from heddle.gen.design import Design, compile_network
from heddle.gen.importers import load
from heddle.hdl.config import ArrayConfig
from heddle.hdl.output import OutputStage
from heddle.hdl.program import Selection, Unit
from heddle.sim.network import SimulationResult, simulate


def assert_exact(design: Design, result: SimulationResult) -> None:
    """Assert the results of an unstalled simulation, and the cycles of every slice and inference."""
    assert result.first_difference is None, str(result.first_difference)
    assert result.mismatches == 0
    predicted = dict(enumerate(design.slice_cycles))
    assert dict(enumerate(result.slice_cycles)) == predicted
    assert set(result.cycles) == {design.cycles}


# Digits


def test_digits_on_icarus_are_exact_in_every_layer_and_cycle() -> None:
    design, x = digits(), digit_samples(2)
    result = simulate(design, x, simulator="icarus", layers=True)
    assert_exact(design, result)
    assert np.array_equal(only(result.outputs), only(design.network.predict(x)))


@pytest.fixture(scope="module")
def build_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all tests of digits on Verilator build, the first of them for all."""
    return tmp_path_factory.mktemp("digits")


@pytest.mark.slow
@pytest.mark.xdist_group("digits-verilator")
class TestDigitsOnVerilator:
    def test_inferences_back_to_back_each_take_the_predicted_cycles(self, build_dir) -> None:
        design = digits()
        assert_exact(design, simulate(design, digit_samples(8), build_dir=build_dir, layers=True))

    @pytest.mark.parametrize("stall", [0.1, 0.7])
    def test_random_stalls_of_both_streams_change_only_the_cycles(self, build_dir, stall) -> None:
        design, x = digits(), digit_samples(3)
        result = simulate(design, x, build_dir=build_dir, layers=True, stall=stall, seed=5)
        assert result.first_difference is None
        assert result.mismatches == 0
        assert np.array_equal(only(result.outputs), only(design.network.predict(x)))
        assert min(result.cycles) > design.cycles

    @pytest.mark.parametrize("fraction", [0.01, 0.15, 0.5, 0.8])
    def test_after_a_reset_in_the_middle_all_is_as_from_power_on(self, build_dir, fraction) -> None:
        design = digits()
        after = int(fraction * design.cycles)
        assert_exact(design, simulate(design, digit_samples(2), build_dir=build_dir, layers=True, reset_after=after))


# Reference networks


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ad", "kws"])
def test_a_reference_network_on_verilator_gives_the_reference_results_in_the_predicted_cycles(name) -> None:
    # What a build takes is the array's logic and the images: a small array costs cycles, of which there are plenty.
    design, data = compile_network(load(network_path(name)), replace(SMALL, stream_bytes=4)), samples(name)
    result = simulate(design, data["x"][:1], layers=True)
    assert_exact(design, result)
    assert np.array_equal(only(result.outputs), data["y_tflm"][:1])


# Random networks

# Seeds chosen for what they are made of; small arrays, because Icarus interprets.
RANDOM = {
    8: ArrayConfig(rows=2, cols=8, pixels=3, block=4, requantizers=2, stream_bytes=4),
    32: ArrayConfig(rows=2, cols=8, pixels=3, block=4, requantizers=2, stream_bytes=4),
    35: ArrayConfig(rows=5, cols=4, pixels=1, block=4, requantizers=1, stream_bytes=3),
    182: ArrayConfig(rows=3, cols=4, pixels=2, block=4, requantizers=4, stream_bytes=8),
    393: ArrayConfig(rows=1, cols=8, pixels=2, block=8, requantizers=2, stream_bytes=16),
}


def random_design(seed: int, folder: Path) -> Design:
    return compile_network(random_file(seed, layers=5, host=False).load(folder), RANDOM[seed])


def test_the_simulated_random_networks_use_every_unit_in_every_way(tmp_path) -> None:
    programs = [random_design(seed, tmp_path).program for seed in RANDOM]
    records = [record for program in programs for record in program.records]
    assert {record.unit for record in records} == set(Unit)
    assert {record.operands for record in records if record.unit == Unit.VECTOR} == {0, 1}
    assert {record.selection for record in records if record.unit == Unit.ARRAY} == set(Selection)
    assert {program.config.byte_writes for program in programs} == {False, True}
    assert {record.wide for record in records} == {0, 1}
    assert {record.paired for record in records if record.operands} == {0, 1}
    assert {record.spread for record in records} >= {0, 1, 2}
    assert any(record.wide and record.selection == Selection.INDEXED for record in records)
    assert any(record.spare_pixels for record in records)


@pytest.mark.parametrize("seed", RANDOM)
def test_a_random_network_is_exact_in_every_layer_and_cycle(tmp_path, seed) -> None:
    design = random_design(seed, tmp_path)
    x = random_inputs(design.network, 2, seed)
    for name in x:
        # Zeros change no signal at first, and Icarus computes only what changes.
        x[name][0] = 0
    assert_exact(design, simulate(design, x, simulator="icarus", layers=True))


def drain_bound_design(folder: Path) -> Design:
    """Slices that read the same map, whose results leave a block a cycle and outlast the start of the next slice."""
    builder = Builder(5)
    x = builder.activation((1, 6, 6, 8))
    ofmaps = [builder.conv_2d(x, cout=8, kernel=(1, 1)) for _ in range(3)]
    network = assert_equal(folder, builder, [x], ofmaps, count=2)
    return compile_network(network, ArrayConfig(rows=9, cols=8, pixels=3, block=4, requantizers=4))


def test_results_of_slices_follow_each_other_without_a_cycle_between(tmp_path) -> None:
    design = drain_bound_design(tmp_path)
    assert_exact(design, simulate(design, random_inputs(design.network, 2), simulator="icarus", layers=True))


def test_planted_destination_that_comes_a_cycle_early_is_caught(tmp_path, monkeypatch) -> None:
    """The last block of a slice goes where the next one's first belongs."""
    monkeypatch.setattr(OutputStage, "REDIRECT_CYCLES", OutputStage.REDIRECT_CYCLES + 1)
    design = drain_bound_design(tmp_path)
    result = simulate(design, random_inputs(design.network, 2), simulator="icarus", layers=True)
    assert result.first_difference is not None


# Generation


def test_verilog_is_the_same_to_the_byte_in_every_process() -> None:
    generate = [sys.executable, "-c", "from digits import digits; print(digits().verilog())"]
    texts = {
        subprocess.run(
            generate,
            cwd=Path(__file__).parent,
            env=os.environ | {"PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(texts) == 1
    assert b"module heddle_digits(" in texts.pop()


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_reference_network_is_generated_without_much_time_or_memory(tmp_path, name) -> None:
    command = [sys.executable, "-m", "heddle", "generate", str(network_path(name)), "--board", "ulx3s-85f", "-o"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, str(tmp_path / "out")], stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (tmp_path / "log").read_text()
    assert list((tmp_path / "out").glob("*.v"))
    # Of the processor, and far beyond what bench/run.py measures: slow and loaded machines must not fail a test.
    assert usage.ru_utime + usage.ru_stime < 120
    assert usage.ru_maxrss < 2 * 2**20, "in KiB"
