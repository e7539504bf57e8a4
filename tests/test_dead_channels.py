"""Dead channels are removed, and every value that stays is the file's."""

from dataclasses import replace

import numpy as np
import pytest
from dead_channels import ARRAYS, MODULE, assert_kept, assert_predicts, assert_same, cleared, differing, linear, unread
from digits import only
from random_networks import random_file, random_inputs
from reference_data import network_path, samples

from heddle.gen.design import compile_network
from heddle.gen.importers import load
from heddle.gen.ir import Add, Concat, Linear, Network, Pad, Tensor, Window
from heddle.gen.passes import remove_dead_channels, run_pipeline
from heddle.gen.passes.verify import verify


def test_a_constant_channel_goes_into_the_bias_of_what_reads_it(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    y = cleared(b, b.conv_2d(x, cout=6), 0, 4)
    network = assert_same(tmp_path, b, [x], [b.conv_2d(y, cout=5, kernel=(1, 1))])
    assert network.tensors[f"t{y}"].kept == (1, 2, 3, 5)
    assert linear(network, 0).weight.shape == (4, 3, 3, 3)
    assert linear(network, 1).weight.shape == (5, 1, 1, 4)


def test_a_channel_that_nothing_reads_goes_and_so_does_what_only_it_reads(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    y = b.conv_2d(x, cout=6)
    depthwise = b.depthwise_conv_2d(y, multiplier=2)
    z = unread(b, b.conv_2d(depthwise, cout=4), 2, 3, 5)
    network = assert_same(tmp_path, b, [x], [z])
    assert network.tensors[f"t{y}"].kept == (0, 2, 3, 4, 5)
    assert network.tensors[f"t{depthwise}"].kept == (0, 1, 4, 5, 6, 7, 8, 9, 10, 11)
    assert linear(network, 1).groups == 5


def test_a_group_stays_whole(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    y = b.conv_2d(x, cout=6)
    grouped = b.conv_2d(y, cout=6, groups=3)
    z = unread(b, b.conv_2d(grouped, cout=4), 1, 2, 3)
    network = assert_same(tmp_path, b, [x], [z])
    assert network.tensors[f"t{y}"].kept == network.tensors[f"t{grouped}"].kept == (0, 1, 4, 5)


def test_a_constant_passes_through_tables_pools_and_sums(tmp_path, b) -> None:
    x = b.activation((1, 6, 6, 3))
    y = cleared(b, b.conv_2d(x, cout=5), 1, 2)
    pooled = b.pool_2d("MAX_POOL_2D", y, kernel=(2, 2), stride=(2, 2))
    short = cleared(b, b.conv_2d(x, cout=5, stride=(2, 2)), 1, 3)
    total = b.unary("HARD_SWISH", b.add(pooled, short))
    average = b.pool_2d("AVERAGE_POOL_2D", total, kernel=(2, 2), stride=(1, 1), padding="SAME")
    mean = b.mean(average, keep_dims=True)
    network = assert_same(tmp_path, b, [x], [b.conv_2d(mean, cout=3, kernel=(1, 1))])
    # Only where both operands are constant is their sum.
    assert {network.tensors[f"t{name}"].kept for name in (y, short, pooled, total, mean)} == {(0, 2, 3, 4)}


def test_an_operand_of_a_sum_keeps_a_constant_that_the_sum_needs(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    y = cleared(b, b.conv_2d(x, cout=4), 1)
    network = assert_same(tmp_path, b, [x], [b.conv_2d(b.add(y, b.conv_2d(x, cout=4)), cout=2)])
    assert all(tensor.kept is None for tensor in network.tensors.values())
    assert Add in {type(node) for node in network.nodes}


def test_a_channel_stays_as_long_as_one_of_its_readers_needs_it(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    y = b.conv_2d(x, cout=6)
    first = unread(b, b.conv_2d(y, cout=2), 1, 2, 3)
    second = unread(b, b.depthwise_conv_2d(y), 2, 3, 4)
    third = unread(b, b.conv_2d(second, cout=2), 0, 2, 3)
    network = assert_same(tmp_path, b, [x], [first, third])
    # The depthwise layer reads channel by channel: what another reads of its input, it passes on.
    assert network.tensors[f"t{y}"].kept == network.tensors[f"t{second}"].kept == (0, 1, 4, 5)


def test_channels_of_a_concatenation_go_one_by_one(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    y = b.conv_2d(x, cout=4)
    other = b.unary("QUANTIZE", b.conv_2d(x, cout=3), b.like(y, (1, 5, 6, 3)))
    joined = b.concatenation([y, other, y], axis=3)
    network = assert_same(tmp_path, b, [x], [unread(b, b.conv_2d(joined, cout=4), 0, 2, 5, 7, 8)])
    assert network.tensors[f"t{y}"].kept == (1, 2, 3)
    assert network.tensors[f"t{other}"].kept == (0, 2)
    assert network.tensors[f"t{joined}"].kept == (1, 2, 3, 4, 6, 8, 9, 10)


def test_rows_of_a_concatenation_keep_the_same_channels(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    y = cleared(b, b.conv_2d(x, cout=4), 1, 2)
    other = cleared(b, b.conv_2d(x, cout=4), 2)
    other = b.unary("QUANTIZE", other, b.like(y, (1, 5, 6, 4)))
    joined = b.concatenation([y, other], axis=1)
    network = assert_same(tmp_path, b, [x], [unread(b, b.conv_2d(joined, cout=4), 3)])
    assert Concat in {type(node) for node in network.nodes}
    assert network.tensors[f"t{y}"].kept == network.tensors[f"t{other}"].kept == (0, 1, 2)


def test_channels_of_padding_are_known(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3), zero_point=3)
    padded = b.pad(b.conv_2d(x, cout=4), [(0, 0), (0, 0), (0, 0), (2, 1)], value=-7)
    network = assert_same(tmp_path, b, [x], [b.conv_2d(padded, cout=4, kernel=(1, 1))])
    (pad,) = [node for node in network.nodes if isinstance(node, Pad)]
    assert (pad.before[2], pad.after[2]) == (0, 0)


def test_a_function_that_always_saturates_is_known(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    y = b.conv_2d(x, cout=4, activation="RELU")
    bias = b.last_bias()
    bias[1] = -(2**24)
    network = assert_same(tmp_path, b, [x], [b.conv_2d(y, cout=4, kernel=(1, 1))])
    assert network.tensors[f"t{y}"].kept == (0, 2, 3)


def test_a_network_that_is_constant_keeps_one_channel_of_each_map(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    y = b.conv_2d(x, cout=4)
    z = cleared(b, b.conv_2d(y, cout=3), 0, 1, 2)
    network = assert_same(tmp_path, b, [x], [z])
    assert network.tensors[f"t{y}"].kept == (0,)


def test_inputs_and_outputs_keep_their_channels(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    y = cleared(b, unread(b, b.conv_2d(x, cout=4), 1), 0)
    network = assert_same(tmp_path, b, [x], [y])
    assert all(tensor.kept is None for tensor in network.tensors.values())


# What is reported, refused and checked


def test_figures_are_of_the_network_as_the_file_has_it(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    y = cleared(b, b.conv_2d(x, cout=6), 0, 4)
    network = assert_same(tmp_path, b, [x], [b.conv_2d(y, cout=5, kernel=(1, 1))])
    design = compile_network(network, ARRAYS[0])
    assert design.macs == 30 * (6 * 27 + 5 * 6)
    assert design.live_macs == 30 * (4 * 27 + 5 * 4)
    densities = [layer.density for layer in design.layers if layer.macs]
    nonzero = [np.count_nonzero(node.weight) for node in network.nodes if isinstance(node, Linear)]
    assert densities == [nonzero[0] / (6 * 27), nonzero[1] / (5 * 6)]


def test_a_bias_never_leaves_int32() -> None:
    tensors = {
        name: Tensor(name=name, shape=(1, 2, 2, channels), scale=1.0)
        for name, channels in (("x", 1), ("y", 2), ("z", 1))
    }
    common = {"op": "CONV_2D", "window": Window(kernel=(1, 1))}
    scale = {"multiplier": np.array([2**30] * 2), "shift": np.array([0] * 2)}
    first = Linear(name="a", inputs=("x",), output="y", weight=np.array([1, 0], np.int8).reshape(2, 1, 1, 1),
                   bias=np.array([0, 100], np.int32), **scale, **common)  # fmt: skip
    second = Linear(name="b", inputs=("y",), output="z", weight=np.array([1, 100], np.int8).reshape(1, 1, 1, 2),
                    bias=np.array([2**31 - 1], np.int32), multiplier=np.array([2**30]), shift=np.array([-20]),
                    **common)  # fmt: skip
    network = Network(name="n", tensors=tensors, nodes=(first, second), inputs=("x",), outputs=("z",))
    assert remove_dead_channels(network) is network
    nearby = replace(second, bias=np.array([2**31 - 1 - 50 * 100], np.int32))
    narrowed = remove_dead_channels(replace(network, nodes=(first, nearby)))
    assert linear(narrowed, 1).bias.tolist() == [2**31 - 1]
    assert narrowed.tensors["y"].kept == (0,)


def test_a_local_bias_of_another_shape_is_malformed(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    network = assert_same(tmp_path, b, [x], [b.conv_2d(x, cout=6)])
    wrong = replace(linear(network, 0), local_bias=np.zeros((5, 5, 6), np.int32))
    with pytest.raises(ValueError, match="local bias"):
        verify(replace(network, nodes=(wrong,)))


@pytest.mark.parametrize("place", ["bias", "local_bias"])
@pytest.mark.usefixtures("cheap_rectangles")
def test_a_bias_that_is_wrong_by_one_is_caught(tmp_path, b, monkeypatch, place) -> None:
    x = b.activation((1, 8, 8, 3))
    y = cleared(b, b.conv_2d(x, cout=5), 1, 3)
    z = b.conv_2d(y, cout=6, kernel=(1, 1) if place == "bias" else (3, 3))
    assert_same(tmp_path, b, [x], [z])
    fold = MODULE._fold

    def wrong(node: Linear, *rest: np.ndarray, divide: bool) -> Linear:
        folded = fold(node, *rest, divide=divide)
        return folded if folded is node else replace(folded, **{place: getattr(folded, place) + np.int32(1)})

    monkeypatch.setattr(MODULE, "_fold", wrong)
    before = load(tmp_path / "net.tflite", passes=False)
    assert differing(before, load(tmp_path / "net.tflite"), random_inputs(before, 200)) == [f"t{z}"]


# Whole networks


@pytest.mark.parametrize("rectangles", ["cheap", "dear"])
@pytest.mark.parametrize("seed", range(40))
def test_random_networks_with_dead_channels_keep_their_values(tmp_path, monkeypatch, seed, rectangles) -> None:
    monkeypatch.setattr(MODULE, "RECTANGLE_MACS", 0 if rectangles == "cheap" else 10**9)
    file = random_file(seed, layers=7, host=False, dead=True)
    file.load(tmp_path)
    _, after = assert_kept(tmp_path / "random.tflite", 4)
    assert_predicts(compile_network(after, ARRAYS[seed % 2]), random_inputs(after, 2))


def test_random_networks_have_dead_channels_of_every_kind(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(MODULE, "RECTANGLE_MACS", 0)
    networks = [random_file(seed, layers=7, host=False, dead=True).load(tmp_path) for seed in range(40)]
    narrowed = {type(node) for net in networks for node in net.nodes if net.tensors[node.output].kept}
    assert {"Linear", "Add", "Table", "MaxPool", "AveragePool", "Concat", "Pad"} <= {kind.__name__ for kind in narrowed}
    assert sum(any(tensor.kept for tensor in net.tensors.values()) for net in networks) >= 20
    local = [node for net in networks for node in net.nodes if isinstance(node, Linear) and node.local_bias is not None]
    assert len(local) >= 10


def test_visual_wake_words_needs_fewer_cycles_and_weights_for_the_same_values() -> None:
    path = network_path("vww")
    data = samples("vww")
    x = data["x"]
    before, after = assert_kept(path, 2)
    assert not differing(before, after, x[:3])
    assert np.array_equal(only(after.predict(x)), data["y_tflm"])
    old, new = (compile_network(each, ARRAYS[0]) for each in (before, after))
    assert np.array_equal(only(new.predict(x[:1])), data["y_tflm"][:1])
    # What takes no multiply-accumulates, as loading the image, takes as long as before.
    assert new.cycles < 0.82 * old.cycles
    assert new.program.weights.shape[1] < 0.5 * old.program.weights.shape[1]
    assert new.live_macs < 0.5 * old.live_macs
    assert new.macs == old.macs == old.live_macs > new.live_macs


def test_the_pipeline_changes_nothing_the_second_time(tmp_path) -> None:
    network = random_file(3, layers=7, host=False, dead=True).load(tmp_path)
    again = run_pipeline(network)
    assert dict(again.tensors) == dict(network.tensors)
