"""Networks on a work-list core are exact, in the predicted cycles, or refused by name."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digits import digit_samples, only
from hypothesis import given, settings
from hypothesis import strategies as st
from pruned_files import DIGITS, by_magnitude
from random_networks import Builder, random_inputs, random_network
from reference_data import network_path

from heddle.errors import CapacityError, InputError, UnsupportedError
from heddle.gen import worklist_slices
from heddle.gen.importers import load
from heddle.gen.ir import Linear, Network
from heddle.gen.kinds import Elementwise
from heddle.gen.operations import lower
from heddle.gen.worklist import WorklistDesign, compile_worklist
from heddle.gen.worklist_adds import HIGH_SHIFT, LARGEST, Weight, as_weighted, weights_of
from heddle.hdl.worklist_config import PIXELS, TURNS, WorklistShape
from heddle.sim.network import SimulationResult, simulate

SMALL = WorklistShape(lanes=2, pixels=4)


def pruned(path: Path, sparsity: float, seed: int = 0) -> Network:
    """Prune each layer to ``sparsity``, and clear one channel of it altogether, which no pass then removes."""
    rng, network = np.random.default_rng(seed), by_magnitude(path, sparsity)

    def clear(node: Linear) -> Linear:
        weight = node.weight.copy()
        if len(weight) > 4:
            weight[rng.integers(len(weight))] = 0
        return replace(node, weight=weight)

    nodes = tuple(clear(node) if isinstance(node, Linear) else node for node in network.nodes)
    return replace(network, nodes=nodes)


def assert_emulated(design: WorklistDesign, x: object) -> None:
    """Assert that the program gives the golden model's integers."""
    got, want = design.predict(x), design.network.predict(x)  # type: ignore[arg-type]
    if isinstance(want, dict):
        assert isinstance(got, dict)
        assert all(np.array_equal(got[name], want[name]) for name in want)
    else:
        assert np.array_equal(only(got), want)


def assert_exact(design: WorklistDesign, result: SimulationResult) -> None:
    """Assert the results of an unstalled simulation, and the cycles of every slice and inference."""
    assert result.mismatches == 0, str(result.first_difference)
    assert list(result.slice_cycles) == design.slice_cycles
    assert set(result.cycles) == {design.cycles}


def digits(shape: WorklistShape, sparsity: float = 0.0) -> WorklistDesign:
    return compile_worklist(pruned(DIGITS, sparsity) if sparsity else load(DIGITS), shape)


# The program, in NumPy


@pytest.mark.parametrize(
    ("shape", "sparsity"),
    [
        (SMALL, 0.75),
        (WorklistShape(lanes=4, pixels=32, stream_bytes=8), 0),
        (WorklistShape(lanes=3, pixels=16, turns=8, stream_bytes=5), 0.5),
        (WorklistShape(lanes=4, pixels=16, turns=1), 0.5),
    ],
    ids=str,
)
def test_digits_are_exact_on_cores_of_any_shape(shape, sparsity) -> None:
    assert_emulated(digits(shape, sparsity), digit_samples(4))


def test_cycles_fall_with_the_non_zeros() -> None:
    shape = WorklistShape(lanes=2, pixels=8)
    layers = [{layer.name: layer.cycles for layer in digits(shape, s).layers} for s in (0, 0.5)]
    dense, half = (sum(c for name, c in each.items() if "conv" in name) for each in layers)
    assert dense > 1.5 * half


def test_random_networks_are_exact_or_refused_by_layer(tmp_path: Path) -> None:
    exact, refusals = 0, []
    for seed in range(10):
        network = random_network(seed, tmp_path)
        pixels, turns = (2, 4, 8, 16, 32)[seed % 5], (1, 2, 4)[seed % 3]
        shape = WorklistShape(lanes=1 + seed % 5, pixels=pixels, turns=min(turns, pixels), stream_bytes=1 + seed % 16)
        try:
            design = compile_worklist(pruned(tmp_path / f"random_{seed}.tflite", (seed % 4) / 4, seed), shape)
        except UnsupportedError as error:
            refusals.append(str(error))
            continue
        assert_emulated(design, random_inputs(network, 3, seed))
        exact += 1
    assert exact >= 4
    assert all("use the array core" in refusal for refusal in refusals)


@pytest.mark.parametrize(("name", "sparsity"), [("ic", 0.9), ("kws", 0.75), ("vww", 0)])
@pytest.mark.slow
def test_reference_networks_are_exact(name, sparsity) -> None:
    path = network_path(name)
    network = pruned(path, sparsity) if sparsity else load(path)
    design = compile_worklist(network, WorklistShape(lanes=4, pixels=32, stream_bytes=8))
    assert_emulated(design, random_inputs(network, 2))


@pytest.mark.parametrize("kept", [0, 1], ids=["no weight at all", "a single weight"])
def test_layers_with_almost_nothing_are_exact(b: Builder, kept, tmp_path) -> None:
    x = b.activation((1, 7, 6, 3))
    y = b.conv_2d(x, cout=9)
    b.last_weight()[...] = 0
    b.last_weight().reshape(-1)[:kept] = 5
    network = _built(b, x, y, tmp_path)
    assert_emulated(compile_worklist(network, WorklistShape(lanes=4, pixels=8)), random_inputs(network, 4))


def test_one_dense_channel_among_empty_ones_is_divided(b: Builder, tmp_path) -> None:
    x = b.activation((1, 8, 8, 16))
    y = b.conv_2d(x, cout=8)
    b.last_weight()[1:] = 0
    network = _built(b, x, y, tmp_path)
    design = compile_worklist(network, WorklistShape(lanes=4, pixels=8))
    used, room = design.items[-2]
    assert used == np.count_nonzero(b.last_weight())
    assert used / room > 0.9
    assert_emulated(design, random_inputs(network, 4))


def _built(b: Builder, x: int, y: int | list[int], folder: Path) -> Network:
    path = folder / "built.tflite"
    path.write_bytes(b.finish([x], [y] if isinstance(y, int) else y))
    return load(path)


def test_zeros_and_dead_channels_are_not_stored() -> None:
    shape = WorklistShape(lanes=2, pixels=8)
    design = digits(shape, 0.5)
    stored = np.count_nonzero(design.program.weights)
    sums = [op for op in design.plan.operations if not isinstance(op, Elementwise) and hasattr(op, "weight")]
    adds = [op for op in design.plan.operations if isinstance(op, Elementwise)]
    items = sum(np.count_nonzero(op.weight) for op in sums)  # type: ignore[union-attr]
    per_add = [sum(bool(p) for w in weights_of(op) for p in Weight.of(w)) * 16 for op in adds]
    assert stored == items + sum(per_add)


# What windows meet beyond the map's edge


@given(st.data())
@settings(max_examples=80)
def test_windows_of_any_geometry_are_exact(draw: st.DataObject) -> None:
    def number(low: int, high: int) -> int:
        return draw.draw(st.integers(low, high))

    def window(x: int) -> dict[str, Any]:
        stride = number(1, 4), number(1, 4)
        dilation = (number(1, 3), number(1, 3)) if stride == (1, 1) else (1, 1)
        kernel = number(1, 4), number(1, 4)
        inside = all((k - 1) * d < size for k, d, size in zip(kernel, dilation, b.shape(x)[1:3], strict=True))
        padding = ["SAME", "VALID"][number(0, 1)] if inside else "SAME"
        return {"kernel": kernel, "stride": stride, "dilation": dilation, "padding": padding}

    b = Builder(number(0, 99))
    x = b.activation((1, number(1, 11), number(1, 11), number(1, 4)))
    # The first one writes what suits the second one's stride.
    y = b.conv_2d(x, cout=2 * number(1, 3), **window(x))
    if number(0, 1):
        y = b.pad(y, [(0, 0), (number(0, 2), number(0, 2)), (number(0, 2), number(0, 2)), (0, 0)])
    z = b.depthwise_conv_2d(y, **window(y)) if number(0, 1) else b.conv_2d(y, cout=4, groups=2, **window(y))
    pixels = draw.draw(st.sampled_from(PIXELS))
    turns = draw.draw(st.sampled_from([turns for turns in TURNS if turns <= pixels]))
    shape = WorklistShape(lanes=number(1, 5), pixels=pixels, turns=turns)
    with tempfile.TemporaryDirectory() as folder:
        network = _built(b, x, z, Path(folder))
    assert_emulated(compile_worklist(network, shape), random_inputs(network, 2))


@pytest.mark.parametrize(("lanes", "sizes"), [(2, [8, 6, 5]), (8, [16, 12, 4, 5])])
def test_a_group_of_several_rows_is_written_as_several_words(b: Builder, lanes, sizes, tmp_path) -> None:
    first, *inner, last = sizes
    x = y = b.activation((1, 7, 6, first))
    for size in inner:
        y = b.conv_2d(y, cout=size)
    # Read with stride 2, and so written in planes.
    network = _built(b, x, b.conv_2d(y, cout=last, stride=(2, 2)), tmp_path)
    design = compile_worklist(network, WorklistShape(lanes=lanes, pixels=16, turns=1))
    *_, before, end = (record for record in design.program.records if not (record.load or record.store))
    # 42 pixels in 3 groups, of up to 4 rows and every second pixel of each.
    assert before.group_last + 1 == 3
    assert before.writes > 4
    assert (end.group_last + 1, end.writes) == (1, 1)
    # With many lanes the drains of one slice are later than the flush of the one before.
    skew = lanes * design.array.turns
    assert design.program.config.skews == (skew, skew * before.writes)
    inputs = random_inputs(network, 2)
    assert_emulated(design, inputs)
    assert_exact(design, simulate(design, inputs, simulator="icarus", build_dir=tmp_path))


def test_what_belongs_in_planes_of_every_second_column_is_written_at_once(b: Builder, tmp_path) -> None:
    x = b.activation((1, 8, 8, 2))
    y = b.conv_2d(b.conv_2d(x, cout=4), cout=4, stride=(2, 2))
    network = _built(b, x, y, tmp_path)
    # A row of eight pixels is a group; its halves belong in two planes of 16 places, which are spaced to 20.
    design = compile_worklist(network, WorklistShape(lanes=2, pixels=8))
    first = next(record for record in design.program.records if not (record.load or record.store))
    assert (first.writes, first.apart) == (1, 2)
    assert_emulated(design, random_inputs(network, 2))


def test_masks_beyond_any_board_are_refused_by_layer(b: Builder, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(worklist_slices, "MAX_MASKS", 20)
    x = b.activation((1, 8, 8, 2))
    network = _built(b, x, b.conv_2d(x, cout=2), tmp_path)
    with pytest.raises(CapacityError, match=r"conv_2d_0.*masks at edges of maps.*use the array core"):
        compile_worklist(network, SMALL)


def test_readers_may_want_different_padding_of_one_map(b: Builder, tmp_path) -> None:
    x = b.activation((1, 6, 7, 4))
    y = b.conv_2d(x, cout=4)
    padded = b.pad(y, [(0, 0), (1, 2), (0, 1), (0, 0)], value=-90)
    z = b.conv_2d(padded, cout=3, padding="VALID")
    network = _built(b, x, [z, b.conv_2d(y, cout=5)], tmp_path)
    design = compile_worklist(network, SMALL)
    assert len({record.pad for record in design.program.records}) > 1
    assert_emulated(design, random_inputs(network, 3))


def test_a_planted_fault_in_a_mask_is_found(b: Builder, tmp_path) -> None:
    x = b.activation((1, 6, 7, 4))
    network = _built(b, x, b.conv_2d(x, cout=4), tmp_path)
    design = compile_worklist(network, SMALL)
    inputs = random_inputs(network, 20)
    masks = design.program.masks
    for place, mask in enumerate(masks):
        if mask:
            changed = (*masks[:place], mask & mask - 1, *masks[place + 1 :])
            wrong = replace(design, program=replace(design.program, masks=changed))
            assert not np.array_equal(only(wrong.predict(inputs)), only(network.predict(inputs))), place


# Sums of two


@pytest.mark.parametrize("value", [0, 1, -1, 127, -127, 128, -128, 8191, -8192, LARGEST, -LARGEST])
def test_a_weight_of_two_items_is_its_value_and_never_minus_128(value) -> None:
    low, high = Weight.of(value)
    assert low + (high << HIGH_SHIFT) == value
    assert max(abs(low), abs(high)) <= 127


def test_a_weighted_sum_is_the_references_for_every_pair(tmp_path: Path) -> None:
    found = 0
    for seed in range(20):
        for op in lower(random_network(seed, tmp_path)).operations:
            if isinstance(op, Elementwise) and op.second is not None:
                same = as_weighted(op, weights_of(op))
                assert same.second is not None
                pairs = same.first[:, None] + same.second
                assert np.array_equal(same.output(pairs), op.output(op.first[:, None] + op.second))
                found += 1
    assert found >= 2


# Refusals


def test_what_it_cannot_do_is_refused_with_layer_fact_and_remedy(b: Builder, tmp_path: Path) -> None:
    x = b.activation((1, 8, 8, 4))
    y = b.pool_2d("MAX_POOL_2D", x, kernel=(2, 2), stride=(2, 2))
    with pytest.raises(UnsupportedError, match=r"max_pool.*neither maximum nor tables; use the array core"):
        compile_worklist(_built(b, x, y, tmp_path), SMALL)


@pytest.mark.parametrize("wrong", [{"lanes": 0}, {"lanes": 17}, {"pixels": 3}, {"pixels": 1}, {"stream_bytes": 17},
                                   {"turns": 3}, {"turns": 0}, {"turns": 4, "pixels": 2},
                                   {"primitive": "lut"}, {"primitive": "sb_mac16"}], ids=str)  # fmt: skip
def test_shapes_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(CapacityError, match=next(iter(wrong))):
        WorklistShape(**wrong)


def test_feature_maps_cannot_be_watched() -> None:
    with pytest.raises(InputError, match="compare the outputs only"):
        simulate(digits(SMALL), digit_samples(1), layers=True)


# The hardware


@pytest.mark.parametrize("turns", [1, 2, 4])
def test_digits_in_rtl_are_exact_in_the_predicted_cycles(turns, tmp_path: Path) -> None:
    design = digits(WorklistShape(lanes=2, pixels=4, turns=turns, stream_bytes=4), 0.8)
    assert_exact(design, simulate(design, digit_samples(2), simulator="icarus", build_dir=tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize(("lanes", "pixels", "turns", "stream_bytes"), [(3, 8, 4, 1), (1, 2, 1, 16)])
def test_random_stalls_of_both_streams_change_only_the_cycles(lanes, pixels, turns, stream_bytes, tmp_path) -> None:
    design = digits(WorklistShape(lanes=lanes, pixels=pixels, turns=turns, stream_bytes=stream_bytes), 0.9)
    result = simulate(design, digit_samples(2), simulator="icarus", build_dir=tmp_path, stall=0.5, seed=3)
    assert result.mismatches == 0
    assert min(result.cycles) >= design.cycles


def test_a_planted_fault_in_an_item_is_found(tmp_path: Path) -> None:
    design = digits(WorklistShape(lanes=2, pixels=4, stream_bytes=4), 0.8)
    program = design.program
    weights = program.weights.copy()
    lane, at = np.argwhere(weights == np.abs(weights).max())[0]
    weights[lane, at] = -weights[lane, at]
    wrong = replace(design, program=replace(program, weights=weights))
    x = digit_samples(40)
    assert not np.array_equal(only(wrong.predict(x)), only(design.network.predict(x)))
