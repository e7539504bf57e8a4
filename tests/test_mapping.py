"""A compiled design gives the golden model's integers, and so the reference runtime's, for any network and any array.

The design runs in the emulator here: the same records, tables and memory as the hardware, no simulator.
"""

from collections.abc import Sequence
from math import prod
from pathlib import Path

import numpy as np
import pytest
from equality import assert_equal, draw
from random_networks import Builder, RandomFile, random_array, random_file, random_inputs
from reference import run_tflm

from heddle.errors import UnsupportedError
from heddle.gen.design import Design, compile_network
from heddle.gen.importers import load
from heddle.gen.ir import Network
from heddle.hdl.config import ArrayConfig

ARRAYS = (
    ArrayConfig(rows=9, cols=8, pixels=2, block=8, requantizers=4),
    ArrayConfig(rows=4, cols=12, pixels=3, block=4, requantizers=2),
    ArrayConfig(rows=1, cols=16, pixels=1, block=16, requantizers=1),
)
"""Banks that divide and do not divide a window; blocks smaller and larger than most channel counts."""


def assert_mapped(
    folder: Path, b: Builder, inputs: Sequence[int], outputs: Sequence[int], *, count: int = 3
) -> list[Design]:
    """Assert that the network equals the reference, and its designs the network; return these, one per array."""
    samples = draw(b, inputs, count)
    network = assert_equal(folder, b, inputs, outputs, samples=samples)
    x = dict(zip(network.inputs, samples, strict=True))
    designs = [compile_network(network, array) for array in ARRAYS]
    for design in designs:
        assert_predicts(design, x, network.predict(x))
    return designs


def assert_predicts(design: Design, x: dict[str, np.ndarray], expected: np.ndarray | dict[str, np.ndarray]) -> None:
    """Assert that the design's outputs are ``expected``, type and shape included."""
    actual = by_name(design.network, design.predict(x))
    for name, wanted in by_name(design.network, expected).items():
        got = actual[name]
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        different = np.argwhere(got != wanted)
        assert not len(different), f"{design.array}: {name}{different[0]} differs, {len(different)} in all"


def by_name(network: Network, outputs: np.ndarray | dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return outputs if isinstance(outputs, dict) else {network.outputs[0]: outputs}


# Random networks


def compiled(file: RandomFile, seed: int, folder: Path) -> tuple[Design, list[np.ndarray]]:
    return compile_network(file.load(folder), random_array(seed)), file.samples(3, seed)


@pytest.mark.parametrize("seed", range(72))
def test_random_network_on_a_random_array_predicts_what_the_golden_model_does(tmp_path, seed) -> None:
    file = random_file(seed)
    design, samples = compiled(file, seed, tmp_path)
    x = dict(zip(design.network.inputs, samples, strict=True))
    assert_predicts(design, x, design.network.predict(x))
    if seed % 3 == 0:
        reference = run_tflm(file.data, samples)
        shaped = [np.reshape(got, (3, *design.network.tensors[name].sample_shape))
                  for name, got in zip(design.network.outputs, reference, strict=True)]  # fmt: skip
        assert_predicts(design, x, dict(zip(design.network.outputs, shaped, strict=True)))


def test_random_networks_are_of_every_kind(tmp_path) -> None:
    networks = [random_file(seed).load(tmp_path) for seed in range(72)]
    ops = {node.op for network in networks for node in network.nodes}
    kinds = {type(node).__name__ for network in networks for node in network.nodes}
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "SUB", "TANH", "LOGISTIC", "LEAKY_RELU"} <= ops
    assert {"Linear", "AveragePool", "MaxPool", "Mean", "Add", "Table", "Concat", "Pad", "Reshape", "Quantize"} <= kinds
    assert {"Dequantize", "Softmax", "ArgMax"} <= kinds
    assert any(len(network.inputs) > 1 for network in networks)
    assert any(len(network.outputs) > 1 for network in networks)


# Inputs and outputs


def test_several_inputs_and_several_outputs_one_of_them_read_inside(tmp_path) -> None:
    b = Builder(1)
    x, y = b.activation((1, 5, 6, 3)), b.activation((1, 5, 6, 3))
    first = b.conv_2d(x, cout=7)
    second = b.conv_2d(y, cout=7, activation="RELU")
    total = b.add(first, second)
    (design, *_) = assert_mapped(tmp_path, b, [x, y], [total, first, b.mean(total)])
    assert len(design.plan.inputs) == 2
    assert len(design.plan.outputs) == 3


def test_an_input_that_nothing_reads_is_no_packet(tmp_path) -> None:
    b = Builder(2)
    x, unread = b.activation((1, 4, 4, 3)), b.activation((1, 2))
    (design, *_) = assert_mapped(tmp_path, b, [unread, x], [b.conv_2d(x, cout=2)])
    assert design.plan.inputs == (f"t{x}",)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_an_input_quantized_in_two_ways_becomes_two_packets(tmp_path, dtype) -> None:
    b = Builder(3)
    x = b.tensor((1, 4, 5, 3), "float32") if dtype == "float32" else b.activation((1, 4, 5, 3), dtype="uint8")
    first, second = (b.unary("QUANTIZE", x, b.activation((1, 4, 5, 3), scale=scale)) for scale in (0.3, 0.11))
    total = b.add(b.conv_2d(first, cout=4), b.conv_2d(second, cout=4))
    (design, *_) = assert_mapped(tmp_path, b, [x], [total])
    assert len(design.plan.inputs) == 2


def test_what_only_the_host_computes_passes_by_the_accelerator(tmp_path) -> None:
    b = Builder(4)
    x = b.tensor((1, 12), "float32")
    q = b.unary("QUANTIZE", x, b.activation((1, 12)))
    (design, *_) = assert_mapped(tmp_path, b, [x], [b.softmax(q), b.fully_connected(q, cout=3), q])
    assert len(design.plan.outputs) == 1


def test_a_network_for_the_host_alone_is_refused_with_remedy(tmp_path) -> None:
    b = Builder(5)
    x = b.activation((1, 12))
    path = tmp_path / "host.tflite"
    path.write_bytes(b.finish([x], [b.softmax(x)]))
    with pytest.raises(UnsupportedError, match=r"host: there is nothing .*; compute it in the host"):
        compile_network(load(path), ARRAYS[0])


def test_quantization_and_classification_at_the_edges(tmp_path) -> None:
    b = Builder(6)
    x = b.activation((1, 6, 6, 2), dtype="uint8")
    q = b.unary("QUANTIZE", x)
    logits = b.fully_connected(b.reshape(b.conv_2d(q, cout=3, stride=(2, 2)), (1, 27)), cout=10)
    index = b.tensor((1,), "int32")
    b.op("ARG_MAX", [logits, b.integers([-1])], [index], "ArgMaxOptions", OutputType=2)
    real = b.unary("DEQUANTIZE", logits, b.tensor((1, 10), "float32"))
    (design, *_) = assert_mapped(tmp_path, b, [x], [b.softmax(logits), index, real, logits])
    assert len(design.plan.outputs) == 1


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_an_output_of_another_type_is_made_by_the_host(tmp_path, dtype) -> None:
    b = Builder(7)
    x = b.activation((1, 5, 4, 3))
    y = b.conv_2d(x, cout=5)
    shape = b.shape(y)
    out = b.tensor(shape, "float32") if dtype == "float32" else b.activation(shape, scale=0.02, dtype="uint8")
    assert_mapped(tmp_path, b, [x], [b.unary("DEQUANTIZE" if dtype == "float32" else "QUANTIZE", y, out)])


# Moves


@pytest.mark.parametrize("axis", [1, 2, 3])
@pytest.mark.parametrize("channels", [3, 8, 13])
def test_concatenation_along_each_axis_also_of_one_map_twice(tmp_path, axis, channels) -> None:
    b = Builder(axis)
    x = b.activation((1, 3, 4, channels))
    other = b.unary("QUANTIZE", b.conv_2d(x, cout=channels), b.like(x, b.shape(x)))
    joined = b.concatenation([x, other, x, x], axis=axis)
    assert_mapped(tmp_path, b, [x], [joined, b.conv_2d(joined, cout=5)])


def test_concatenation_of_channel_counts_that_are_no_whole_blocks(tmp_path) -> None:
    b = Builder(8)
    x = b.activation((1, 4, 5, 6))
    parts = [b.conv_2d(x, cout=cout, kernel=(1, 1)) for cout in (1, 5, 17, 2, 8, 3)]
    like = b.activation((1, 1))
    same = [b.unary("QUANTIZE", part, b.like(like, b.shape(part))) for part in parts]
    assert_mapped(tmp_path, b, [x], [b.concatenation(same, axis=3)])


def test_dense_blocks_of_chained_concatenations(tmp_path) -> None:
    b = Builder(9)
    x = b.activation((1, 5, 5, 5))
    for growth in (3, 4, 3):
        new = b.conv_2d(x, cout=growth, activation="RELU")
        x_new = b.unary("QUANTIZE", new, b.like(x, b.shape(new)))
        x = b.concatenation([x, x_new], axis=3)
    assert_mapped(tmp_path, b, [0], [x, b.mean(x)])


@pytest.mark.parametrize("value", [None, -128, 127])
def test_padding_of_channels_rows_and_columns(tmp_path, value) -> None:
    b = Builder(10)
    x = b.activation((1, 3, 2, 5))
    padded = b.pad(x, [(0, 0), (2, 1), (0, 3), (9, 2)], value=value)
    assert_mapped(tmp_path, b, [x], [padded, b.pool_2d("AVERAGE_POOL_2D", padded, kernel=(2, 2), stride=(2, 1))])


def test_reshapes_in_the_middle(tmp_path) -> None:
    b = Builder(11)
    x = b.activation((1, 4, 6, 5))
    y = b.reshape(b.conv_2d(x, cout=7), (1, 7, 3, 8))
    z = b.reshape(b.conv_2d(y, cout=3), (1, 1, 9, 7))
    assert_mapped(tmp_path, b, [x], [b.conv_2d(z, cout=9, kernel=(1, 3)), b.add(z, z)])


@pytest.mark.parametrize("shape", [(1, 20), (1, 2, 10), (1, 5, 2, 2)])
def test_a_network_that_only_moves(tmp_path, shape) -> None:
    b = Builder(12)
    x = b.activation((1, 2, 2, 5))
    (design, *_) = assert_mapped(tmp_path, b, [x], [b.reshape(x, shape)])
    assert design.macs == 0


def test_a_network_that_only_joins(tmp_path) -> None:
    b = Builder(13)
    x = b.activation((1, 2, 3, 5))
    y = b.like(x, (1, 2, 3, 9))
    assert_mapped(tmp_path, b, [x, y], [b.concatenation([y, x], axis=3)])


# Windows


@pytest.mark.parametrize("op", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (3, 4)])
@pytest.mark.parametrize(
    ("height", "width", "kernel"), [(7, 5, (3, 3)), (3, 8, (3, 5)), (2, 2, (5, 4)), (6, 6, (1, 2))]
)
def test_pools_whose_windows_hang_over_the_edges(tmp_path, op, stride, height, width, kernel) -> None:
    b = Builder(14)
    x = b.activation((1, height, width, 9))
    assert_mapped(tmp_path, b, [x], [b.pool_2d(op, x, kernel=kernel, stride=stride, padding="SAME")])


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (6, 5)])
def test_mean_over_rows_and_columns(tmp_path, size) -> None:
    b = Builder(15)
    x = b.activation((1, *size, 11))
    assert_mapped(tmp_path, b, [x], [b.mean(x), b.mean(x, keep_dims=True, same=True)])


@pytest.mark.parametrize("multiplier", [2, 3])
@pytest.mark.parametrize("channels", [1, 3, 8, 11])
def test_depthwise_with_a_multiplier(tmp_path, multiplier, channels) -> None:
    b = Builder(16)
    x = b.activation((1, 5, 4, channels))
    y = b.depthwise_conv_2d(x, multiplier=multiplier, stride=(2, 1), activation="RELU6")
    assert_mapped(tmp_path, b, [x], [y, b.conv_2d(y, cout=4, kernel=(1, 1))])


@pytest.mark.parametrize(("channels", "groups", "cout"), [(6, 2, 4), (9, 3, 27), (24, 3, 12), (20, 5, 5), (16, 2, 40)])
def test_groups_that_lie_across_blocks(tmp_path, channels, groups, cout) -> None:
    b = Builder(17)
    x = b.activation((1, 4, 5, channels))
    assert_mapped(tmp_path, b, [x], [b.conv_2d(x, cout=cout, groups=groups, stride=(1, 2))])


@pytest.mark.parametrize("dilation", [(2, 2), (1, 3), (3, 1)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_dilated_convolutions(tmp_path, dilation, padding) -> None:
    b = Builder(18)
    x = b.activation((1, 8, 7, 5))
    deep = b.depthwise_conv_2d(x, dilation=dilation, padding=padding)
    assert_mapped(tmp_path, b, [x], [deep, b.conv_2d(x, cout=6, dilation=dilation, padding=padding)])


@pytest.mark.parametrize("kernel", [(1, 5), (6, 1), (4, 2), (6, 7)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_kernels_of_one_row_of_one_column_and_of_the_whole_map(tmp_path, kernel, padding) -> None:
    b = Builder(19)
    x = b.activation((1, 6, 7, 4))
    assert_mapped(tmp_path, b, [x], [b.conv_2d(x, cout=9, kernel=kernel, padding=padding)])


@pytest.mark.parametrize("stride", [(2, 3), (5, 5)])
def test_strides_longer_than_the_kernel(tmp_path, stride) -> None:
    b = Builder(20)
    x = b.activation((1, 9, 8, 3))
    y = b.conv_2d(x, cout=5, kernel=(1, 1), stride=stride)
    assert_mapped(tmp_path, b, [x], [y, b.pool_2d("MAX_POOL_2D", x, kernel=(1, 1), stride=stride)])


def test_a_chain_of_residual_blocks(tmp_path) -> None:
    b = Builder(21)
    x = y = b.activation((1, 6, 6, 4))
    for channels, stride in ((4, (1, 1)), (9, (2, 2)), (9, (1, 1))):
        inner = b.conv_2d(y, cout=channels, stride=stride, activation="RELU")
        inner = b.conv_2d(inner, cout=channels)
        short = b.conv_2d(y, cout=channels, kernel=(1, 1), stride=stride) if stride != (1, 1) else y
        y = b.add(short, inner, activation="RELU")
    assert_mapped(tmp_path, b, [x], [y])


# Numbers


@pytest.mark.parametrize("zero_point", [-128, 127])
def test_extreme_zero_points(tmp_path, zero_point) -> None:
    b = Builder(22)
    x = b.activation((1, 5, 5, 3), zero_point=zero_point)
    y = b.conv_2d(x, cout=6)
    pooled = b.pool_2d("AVERAGE_POOL_2D", x, kernel=(2, 2), stride=(1, 1), padding="SAME")
    assert_mapped(tmp_path, b, [x], [y, pooled, b.mean(x), b.add(x, pooled)])


@pytest.mark.parametrize("zero", ["layer", "channel", "tile", "tap", "input channel"])
def test_weights_of_zero(tmp_path, zero) -> None:
    b = Builder(23)
    x = b.activation((1, 5, 6, 20))
    y = b.conv_2d(x, cout=40)
    places = {"layer": np.s_[:], "channel": np.s_[3], "tile": np.s_[8:24], "tap": np.s_[:, 1, 2],
              "input channel": np.s_[..., 5]}  # fmt: skip
    b.last_weight()[places[zero]] = 0
    assert_mapped(tmp_path, b, [x], [y])


@pytest.mark.parametrize("kind", ["conv", "depthwise", "dense"])
def test_weights_of_minus_128(tmp_path, kind) -> None:
    b = Builder(24)
    x = b.activation((1, 4, 4, 9))
    match kind:
        case "conv":
            y = b.conv_2d(x, cout=9)
        case "depthwise":
            y = b.depthwise_conv_2d(x)
        case _:
            y = b.fully_connected(b.reshape(x, (1, 144)), cout=9)
    weight = b.last_weight()
    weight[b.rng.random(weight.shape) < 0.5] = -128
    assert_mapped(tmp_path, b, [x], [y])


@pytest.mark.parametrize("density", [0.02, 0.15, 0.4])
def test_pruned_weights_are_selected_by_index_and_cost_fewer_cycles(tmp_path, density) -> None:
    b = Builder(25)
    x = b.activation((1, 8, 8, 32))
    y = b.conv_2d(x, cout=16)
    dense = assert_mapped(tmp_path, b, [x], [y], count=1)
    weight = b.last_weight()
    weight[b.rng.random(weight.shape) >= density] = 0
    pruned = assert_mapped(tmp_path, b, [x], [y], count=2)
    for before, after in zip(dense, pruned, strict=True):
        assert [layer.kind for layer in before.layers] == ["move", "dense", "move"]
        assert after.cycles <= before.cycles
    assert "indexed" in {layer.kind for design in pruned for layer in design.layers}


def test_maps_of_a_single_element(tmp_path) -> None:
    b = Builder(26)
    x = b.activation((1, 1, 1, 1))
    y = b.conv_2d(x, cout=1, kernel=(1, 1))
    pooled = b.pool_2d("MAX_POOL_2D", y, kernel=(2, 2), stride=(2, 2), padding="SAME")
    z = b.fully_connected(b.reshape(pooled, (1, 1)), cout=1)
    assert_mapped(tmp_path, b, [x], [b.unary("LOGISTIC", z, b.activation((1, 1), scale=1 / 256, zero_point=-128))])


@pytest.mark.parametrize("samples", [0, 1])
def test_no_samples_and_a_single_one(tmp_path, samples) -> None:
    design, _ = compiled(random_file(1, host=False), 1, tmp_path)
    x = random_inputs(design.network, samples)
    assert_predicts(design, x, design.network.predict(x))


def test_utilisation_counts_every_multiplication_of_the_network(tmp_path) -> None:
    b = Builder(27)
    x = b.activation((1, 6, 5, 3))
    y = b.depthwise_conv_2d(b.conv_2d(x, cout=8))
    logits = b.fully_connected(b.reshape(y, (1, prod(b.shape(y)))), cout=10)
    (design, *_) = assert_mapped(tmp_path, b, [x], [logits])
    assert design.macs == 30 * 8 * 27 + 30 * 8 * 9 + 240 * 10
    assert design.utilisation == design.macs / (design.cycles * design.array.macs_per_cycle)
