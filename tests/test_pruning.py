"""Pruned files have exactly the pattern asked for, nothing else changed, and run as TensorFlow Lite Micro runs them."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import tflite
from digits import SMALL, digit_samples
from hypothesis import given, settings
from hypothesis import strategies as st
from pruned_files import ARRAY, DIGITS, SAMPLES, assert_only_zeros_are_new, channels_network, fullest_blocks, write
from random_networks import Builder, random_file
from reference import run_tflm

import heddle
from heddle.errors import InputError
from heddle.gen import golden
from heddle.gen.design import compile_network
from heddle.gen.importers import load
from heddle.gen.importers.tflite_file import read
from heddle.gen.ir import Network
from heddle.gen.pruning import criteria, oneshot, sensitivity
from heddle.gen.pruning.criteria import Criterion, scores
from heddle.gen.pruning.layers import read_layers
from heddle.hdl.config import ArrayConfig

# Whatever the network


@settings(max_examples=12)
@given(
    seed=st.integers(0, 10**6),
    pattern=st.sampled_from(["1:8", "3:8", "4:8", "unstructured", "channels", "blocks"]),
    sparsity=st.sampled_from([0.0, 0.3, 0.5, 0.8, 0.95]),
    dead=st.booleans(),
)
def test_any_pruned_network_is_exact_and_has_its_pattern(tmp_path_factory, seed, pattern, sparsity, dead) -> None:
    folder = tmp_path_factory.mktemp("random")
    drawn = random_file(seed, layers=4, dead=dead)
    path, pruned = write(folder, drawn.data), folder / "pruned.tflite"
    if not read_layers(path).layers:
        return
    asked = None if ":" in pattern else sparsity
    result = heddle.prune(path, pruned, pattern, asked, array=ARRAY)
    assert_only_zeros_are_new(path, pruned)
    network = load(pruned)
    left = {name for layer in result.layers if layer.left for name in layer.names}
    if asked is None:
        count = int(pattern.partition(":")[0])
        blocks = fullest_blocks(network, 8)
        assert all(most <= count for name, most in blocks.items() if name not in left)
    else:
        layers = [layer for layer in result.layers if not layer.left]
        size, before = sum(layer.weights for layer in layers), sum(layer.zeros_before for layer in layers)
        zeros = sum(layer.zeros_after for layer in layers)
        assert zeros <= max(before, round(sparsity * size))
        if pattern == "unstructured":
            # Exact, but for the one weight that each layer keeps.
            assert zeros >= min(round(sparsity * size), size - len(layers))
    inputs = drawn.samples(2, seed)
    reference = run_tflm(pruned.read_bytes(), inputs)
    outputs = golden.predict(network, dict(zip(network.inputs, inputs, strict=True)))
    values = list(outputs.values()) if isinstance(outputs, dict) else [outputs]
    for got, wanted in zip(values, reference, strict=True):
        assert np.array_equal(got.reshape(wanted.shape), wanted)


# Patterns


@pytest.mark.parametrize("block", [4, 8, 16])
def test_cycles_fall_with_n_of_m_exactly(tmp_path, out, block) -> None:
    array = ArrayConfig(rows=9, cols=16, pixels=1, block=block, requantizers=block, stream_bytes=16)
    path = channels_network(tmp_path, cin=32, cout=32)
    dense = {layer.name: layer.cycles for layer in compile_network(load(path), array).layers}
    for count in range(1, block):
        heddle.prune(path, out, f"{count}:{block}", array=array, overwrite=True)
        layers = {layer.name: layer for layer in compile_network(load(out), array).layers}
        # What does not depend on N: the pipeline's depth, and the gap to the next slice.
        assert abs(layers["conv_2d_1"].cycles - dense["conv_2d_1"] * count / block) < 80
        assert all("indexed" in layers[name].kind for name in ("conv_2d_0", "conv_2d_1"))


def test_n_of_m_keeps_the_largest_of_each_block(tmp_path, out) -> None:
    path = channels_network(tmp_path)
    heddle.prune(path, out, "3:8", array=ARRAY)
    for old, new in zip(read_layers(path).layers, read_layers(out).layers, strict=True):
        before, after = (layer.weight.reshape(-1, 8).astype(int) for layer in (old, new))
        for was, now in zip(np.abs(before), np.abs(after), strict=True):
            assert sorted(now[now > 0]) == sorted(was)[-len(now[now > 0]) :]
            assert np.count_nonzero(now) == min(3, np.count_nonzero(was))


def test_a_channel_removed_by_pruning_does_not_break_the_pattern_behind_it(tmp_path, out) -> None:
    b = Builder(4)
    x = b.activation((1, 6, 6, 24))
    y = b.conv_2d(x, cout=24, kernel=(1, 1))
    z = b.conv_2d(y, cout=8, kernel=(3, 3))
    # Channel 2 is so weak that no output keeps it: it goes, and what lies behind moves into other blocks.
    b.last_weight()[..., 2] = np.sign(b.last_weight()[..., 2])
    b.last_weight()[..., :2] = 100
    path = write(tmp_path, b.finish([x], [z]))
    heddle.prune(path, out, "2:8", array=ARRAY)
    network = load(out)
    assert any(tensor.kept and len(tensor.kept) < 24 for tensor in network.tensors.values())
    assert max(fullest_blocks(network, 8).values()) <= 2


def sums(network: Network) -> int:
    """Return the cycles of all layers with weights on the array."""
    return sum(layer.cycles for layer in compile_network(network, replace(ARRAY, stream_bytes=16)).layers if layer.macs)


def test_channels_that_are_added_go_together_and_cycles_fall(tmp_path, out) -> None:
    b = Builder(6)
    x = b.activation((1, 8, 8, 16))
    main, short = (b.conv_2d(x, cout=32, kernel=(3, 3)) for _ in range(2))
    total = b.add(main, short)
    inner = b.depthwise_conv_2d(total, kernel=(3, 3))
    path = write(tmp_path, b.finish([x], [b.conv_2d(inner, cout=8, kernel=(1, 1))]))
    result = heddle.prune(path, out, "channels", 0.55, array=ARRAY)
    by_name = {layer.names[0]: layer.weight for layer in read_layers(out).layers}
    gone = [~by_name[name].any(axis=(1, 2, 3)) for name in ("conv_2d_0", "conv_2d_1", "depthwise_conv_2d_3")]
    # The zeros there were before count, so that one may stay more.
    assert gone[0].sum() in (16, 17)
    assert all(np.array_equal(each, gone[0]) for each in gone)
    assert result.layers[-1].left
    network = load(out)
    assert network.tensors[network.nodes[2].output].hwc[2] == 32 - gone[0].sum()
    assert sums(network) < 0.65 * sums(load(path))


def test_zero_blocks_take_no_cycles(tmp_path, out) -> None:
    path = channels_network(tmp_path, cin=64, cout=16, kernel=1)
    result = heddle.prune(path, out, "blocks", 0.5, array=ARRAY, scope="uniform")
    weight = read_layers(out).layers[0].weight.reshape(16, 8, 8)
    live = np.count_nonzero(weight, axis=(0, 2)) > 0
    # The zeros there were before count: the block that would exceed the half stays.
    assert live.sum() in (4, 5)
    assert 0.375 <= result.layers[0].after <= 0.5
    cycles = [compile_network(load(each), replace(ARRAY, stream_bytes=16)).layers[1].cycles for each in (path, out)]
    assert cycles[1] < cycles[0]


def test_scores_compare_real_weights_not_integers(tmp_path, out) -> None:
    b = Builder(8)
    x = b.activation((1, 4, 4, 8))
    b.conv_2d(x, cout=2, kernel=(1, 1))
    tensor = b._tensors[b._operators[-1].inputs[1]]
    # The second channel's integers are larger, and mean less.
    tensor.data = np.repeat(np.array([10, 100], np.int8), 8).reshape(2, 1, 1, 8)
    tensor.scales = (1e-2, 1e-4)
    path = write(tmp_path, b.finish([x], [b._operators[-1].outputs[0]]))
    heddle.prune(path, out, "unstructured", 0.5, array=ARRAY)
    assert np.count_nonzero(read_layers(out).layers[0].weight, axis=(1, 2, 3)).tolist() == [8, 0]


def test_lamp_is_as_its_paper_has_it() -> None:
    values = np.random.default_rng(0).random(50)
    wanted = [value / values[values >= value].sum() for value in values]
    assert np.allclose(scores(values, Criterion.LAMP), wanted)


def test_magnitude_alone_empties_no_layer(tmp_path, out) -> None:
    path = channels_network(tmp_path)
    heddle.prune(path, out, "unstructured", 0.99, criterion="magnitude", array=ARRAY)
    assert all(layer.weight.any() for layer in read_layers(out).layers)


def test_single_layers_have_their_own_sparsity_and_others_are_left(tmp_path, out) -> None:
    result = heddle.prune(
        DIGITS, out, "unstructured", 0.5, layers={"conv_2d_2": 0.9}, skip=["first", "depthwise"], array=SMALL
    )
    by_name = {layer.name: layer for layer in result.layers}
    assert by_name["conv_2d_2"].zeros_after == round(0.9 * by_name["conv_2d_2"].weights)
    first = result.layers[0]
    assert first.left == "skipped"
    assert first.zeros_after == first.zeros_before
    assert all(layer.left == "skipped" for layer in result.layers if layer.op == "DEPTHWISE_CONV_2D")
    rest = [layer for layer in result.layers if not layer.left and layer.name != "conv_2d_2"]
    assert sum(layer.zeros_after for layer in rest) == round(0.5 * sum(layer.weights for layer in rest))


def test_layers_that_share_their_weights_are_pruned_as_one(tmp_path, out) -> None:
    b = Builder(9)
    x = b.activation((1, 6, 6, 16))
    y = b.conv_2d(x, cout=16, kernel=(1, 1))
    b.conv_2d(y, cout=16, kernel=(1, 1))
    first, second = b._operators
    second.inputs = [second.inputs[0], first.inputs[1], second.inputs[2]]
    path = write(tmp_path, b.finish([x], [second.outputs[0]]))
    result = heddle.prune(path, out, "2:8", array=ARRAY)
    assert [layer.names for layer in result.layers] == [("conv_2d_0", "conv_2d_1")]
    assert max(fullest_blocks(load(out), 8).values()) <= 2
    x = np.random.default_rng(0).integers(-128, 128, (2, 6, 6, 16)).astype(np.int8)
    assert np.array_equal(run_tflm(out.read_bytes(), [x])[0].reshape(x.shape), np.asarray(load(out).predict(x)))


def test_weights_that_layers_read_at_different_scales_are_left(tmp_path, out) -> None:
    b = Builder(9)
    x = b.activation((1, 6, 6, 16))
    y = b.conv_2d(x, cout=16, kernel=(1, 1))
    z = b.conv_2d(y, cout=16, kernel=(1, 1))
    b.conv_2d(z, cout=8, kernel=(1, 1))
    # The second layer's tensor gets the first one's buffer, and keeps its own scales.
    shared = bytearray(b.finish([x], [b._operators[2].outputs[0]]))
    graph: Any = tflite.Model.GetRootAs(shared, 0).Subgraphs(0)
    table = graph.Tensors(b._operators[1].inputs[1])._tab
    place = table.Pos + table.Offset(8)
    shared[place : place + 4] = int(b._operators[0].inputs[1] + 1).to_bytes(4, "little")
    path = write(tmp_path, bytes(shared))
    result = heddle.prune(path, out, "2:8", array=ARRAY)
    assert [layer.left for layer in result.layers] == ["conv_2d_1 reads the same weights as other ones", ""]
    assert_only_zeros_are_new(path, out)
    with pytest.raises(InputError, match="cannot be pruned"):
        heddle.prune(path, out, "2:8", layers={"conv_2d_0": "1:8"}, array=ARRAY, overwrite=True)


# Sensitivity


def test_dividing_by_sensitivity_disturbs_less_than_one_sparsity_for_all(tmp_path, out) -> None:
    with np.load(SAMPLES) as data:
        samples = {load(DIGITS).inputs[0]: data["x"], "label": data["label"]}
    options: dict[str, Any] = {"sparsity": 0.75, "scope": "uniform", "array": SMALL, "inputs": samples}
    uniform = heddle.prune(DIGITS, out, **options)
    guided = heddle.prune(DIGITS, out, **options, calibrate=samples, overwrite=True)
    assert uniform.quality is not None
    assert guided.quality is not None
    assert guided.quality.disturbance < uniform.quality.disturbance
    assert guided.sparsity_after == pytest.approx(0.75, abs=0.02)
    curves = {layer.name: layer.sensitivity for layer in guided.layers if layer.sensitivity}
    assert all(curve[0.0] == 0 for curve in curves.values())
    # A layer that disturbs more where it is pruned by three quarters alone is pruned less.
    after = {layer.name: layer.after for layer in guided.layers}
    worst, best = (pick(curves, key=lambda name: curves[name][0.75]) for pick in (max, min))
    assert after[worst] < after[best]


def test_n_divides_over_layers_at_no_more_multiplications(tmp_path, out) -> None:
    path = channels_network(tmp_path)
    x = np.random.default_rng(0).integers(-128, 128, (16, 8, 8, 16)).astype(np.int8)
    result = heddle.prune(path, out, "4:8", array=ARRAY, calibrate=x, inputs=x)
    counts = {layer.name: int(layer.pattern.partition(":")[0]) for layer in result.layers}
    macs = {layer.name: layer.macs for layer in read_layers(path).layers}
    assert sum(macs[name] * count for name, count in counts.items()) <= 4 * sum(macs.values())
    blocks = fullest_blocks(load(out), 8)
    assert all(blocks[name] <= count for name, count in counts.items())


def test_the_hull_takes_the_steepest_first() -> None:
    cheap = sensitivity.Curve(name="cheap", levels=(0, 0.5, 0.9), costs=(100, 50, 10), disturbances=(0, 1, 2))
    dear = sensitivity.Curve(name="dear", levels=(0, 0.5, 0.9), costs=(100, 50, 10), disturbances=(0, 50, 60))
    assert sensitivity.divide([cheap, dear], 110, whole=False) == {"cheap": 0.9, "dear": 0}
    divided = sensitivity.divide([cheap, dear], 65, whole=False)
    # Between its ends the dear one's curve is cut short: both of its steps are one.
    assert divided == {"cheap": 0.9, "dear": pytest.approx(0.45)}
    assert sensitivity.divide([cheap, dear], 65, whole=True) == {"cheap": 0.9, "dear": 0.5}
    assert sensitivity.divide([cheap, dear], 30, whole=True) == {"cheap": 0.9, "dear": 0.9}


def test_a_measured_layer_is_the_network_run_again(tmp_path) -> None:
    file = read_layers(DIGITS)
    x = {file.network.inputs[0]: digit_samples(6)}
    measure = sensitivity.Disturbance(file, x)
    layer = file.layers[1]
    weights = {layer.name: np.where(np.abs(layer.weight) < 30, 0, layer.weight).astype(np.int8)}
    values = golden.run(file.network, x)
    again = golden.run_again(file.network_with(weights), values, {layer.name})
    whole = golden.run(file.network_with(weights), x)
    assert all(np.array_equal(again[name], whole[name]) for name in whole)
    assert measure.of(weights) > measure.of({layer.name: layer.weight}) == 0


# Planted faults


def test_one_weight_too_many_in_a_block_is_seen(monkeypatch, tmp_path, out) -> None:
    path = channels_network(tmp_path)

    def careless(layer, weight, blocks, count):
        kept = criteria.keep_largest(layer, weight, blocks, count)
        kept[0, 0, 0, :] = weight[0, 0, 0, :]
        return kept

    monkeypatch.setattr(oneshot, "keep_largest", careless)
    heddle.prune(path, out, "2:8", array=ARRAY)
    assert max(fullest_blocks(load(out), 8).values()) > 2


def test_a_changed_bias_or_weight_is_seen(tmp_path, out) -> None:
    heddle.prune(DIGITS, out, sparsity=0.5, array=SMALL)
    assert_only_zeros_are_new(DIGITS, out)
    model, data = read(out), out.read_bytes()
    weight, bias = (model.tensors[model.operators[0].inputs[place]] for place in (1, 2))
    for start in (weight.start, bias.start):
        wrong = bytearray(data)
        wrong[start] ^= 0x55
        out.write_bytes(wrong)
        with pytest.raises(AssertionError):
            assert_only_zeros_are_new(DIGITS, out)
