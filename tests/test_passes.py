"""Passes leave every output as it was, and bring the network into the form that mapping expects."""

from dataclasses import replace

import numpy as np
import pytest
from equality import assert_equal
from tflite_builder import TFLiteBuilder, sample_network

from heddle.errors import UnsupportedError
from heddle.gen import golden
from heddle.gen.importers import load
from heddle.gen.ir import (
    Add,
    Concat,
    Linear,
    MaxPool,
    Network,
    Pad,
    Padding,
    Reshape,
    Softmax,
    Table,
    Tensor,
    Window,
)
from heddle.gen.passes import PIPELINE, run_pipeline
from heddle.gen.passes.verify import verify


@pytest.fixture
def b() -> TFLiteBuilder:
    return TFLiteBuilder(11)


def kinds(network: Network) -> list[type]:
    return [type(node) for node in network.nodes]


@pytest.mark.parametrize("seed", range(4))
def test_each_pass_keeps_every_output(tmp_path, seed) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(sample_network(seed))
    network = load(path, passes=False)
    x = np.random.default_rng(seed).integers(-128, 128, (3, 12, 10, 3)).astype(np.int8)
    expected = golden.predict(network, x)
    for rewrite in PIPELINE:
        network = rewrite(network)
        verify(network)
        actual = golden.predict(network, x)
        assert list(actual) == list(expected)
        assert all(np.array_equal(actual[name], expected[name]) for name in expected), rewrite.__name__


def test_pipeline_changes_nothing_the_second_time(tmp_path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(sample_network(0))
    once = load(path)
    twice = run_pipeline(once)
    assert [node.name for node in once.nodes] == [node.name for node in twice.nodes]
    assert dict(once.tensors) == dict(twice.tensors)


def test_flatten_before_a_fully_connected_layer_becomes_its_kernel(tmp_path, b) -> None:
    x = b.activation((1, 3, 4, 5))
    conv = b.conv_2d(x, cout=2)
    network = assert_equal(tmp_path, b, [x], [b.fully_connected(b.reshape(conv, (1, 24)), cout=7)])
    assert kinds(network) == [Linear, Linear]
    dense = network.nodes[1]
    assert isinstance(dense, Linear)
    assert dense.window == Window(kernel=(3, 4))
    assert dense.weight.shape == (7, 3, 4, 2)
    assert network.tensors[network.outputs[0]].hwc == (1, 1, 7)


def test_flatten_with_another_reader_stays_for_that_one(tmp_path, b) -> None:
    x = b.activation((1, 3, 4, 5))
    flat = b.reshape(b.conv_2d(x, cout=2), (1, 24))
    other = b.add(flat, flat)
    network = assert_equal(tmp_path, b, [x], [b.fully_connected(flat, cout=7), b.fully_connected(other, cout=2)])
    assert kinds(network) == [Linear, Reshape, Add, Linear, Linear]


def test_reshape_at_the_input_keeps_name_and_shape(tmp_path, b) -> None:
    x = b.activation((1, 60))
    network = assert_equal(tmp_path, b, [x], [b.conv_2d(b.reshape(x, (1, 4, 5, 3)), cout=2)])
    assert kinds(network) == [Linear]
    tensor = network.tensors[network.inputs[0]]
    assert (tensor.name, tensor.shape, tensor.hwc) == ("t0", (1, 60), (4, 5, 3))


def test_reshape_at_the_output_keeps_name_and_shape(tmp_path, b) -> None:
    x = b.activation((1, 4, 5, 3))
    y = b.reshape(b.conv_2d(x, cout=2), (1, 2, 20))
    network = assert_equal(tmp_path, b, [x], [y])
    assert kinds(network) == [Linear]
    tensor = network.tensors[network.outputs[0]]
    assert (tensor.name, tensor.shape, tensor.hwc) == (f"t{y}", (1, 2, 20), (4, 5, 2))


def test_reshape_of_an_input_that_others_read_stays(tmp_path, b) -> None:
    x = b.activation((1, 4, 5, 2))
    flat = b.reshape(x, (1, 5, 8))
    network = assert_equal(
        tmp_path, b, [x], [b.conv_2d(x, cout=2), b.fully_connected(flat, cout=3, keep_num_dims=True)]
    )
    assert Reshape in kinds(network)


def test_reshape_between_two_outputs_stays(tmp_path, b) -> None:
    x = b.activation((1, 4, 5, 2))
    conv = b.conv_2d(x, cout=2)
    network = assert_equal(tmp_path, b, [x], [conv, b.reshape(conv, (1, 40))])
    assert kinds(network) == [Linear, Reshape]


def test_reshape_in_the_middle_that_moves_pixels_stays(tmp_path, b) -> None:
    x = b.activation((1, 4, 6, 2))
    conv = b.conv_2d(x, cout=4)
    network = assert_equal(tmp_path, b, [x], [b.conv_2d(b.reshape(conv, (1, 6, 4, 4)), cout=2)])
    assert kinds(network) == [Linear, Reshape, Linear]


@pytest.mark.parametrize("op", ["SQUEEZE", "RESHAPE"])
def test_a_dimension_of_one_goes_without_a_trace(tmp_path, b, op) -> None:
    x = b.activation((1, 1, 6, 4))
    conv = b.conv_2d(x, cout=4, kernel=(1, 3))
    if op == "SQUEEZE":
        y = b.unary(op, conv, b.like(conv, (1, 6, 4)), "SqueezeOptions", SqueezeDims=[1])
    else:
        y = b.reshape(conv, (1, 6, 4))
    network = assert_equal(tmp_path, b, [x], [b.fully_connected(y, cout=3, keep_num_dims=True)])
    assert kinds(network) == [Linear, Linear]


def test_a_dimension_of_one_comes_without_a_trace(tmp_path, b) -> None:
    x = b.activation((1, 6, 4))
    dense = b.fully_connected(x, cout=4, keep_num_dims=True)
    y = b.op("EXPAND_DIMS", [dense, b.integers([1])], [b.like(dense, (1, 1, 6, 4))], "ExpandDimsOptions")
    network = assert_equal(tmp_path, b, [x], [b.conv_2d(y, cout=3, kernel=(1, 3))])
    assert kinds(network) == [Linear, Linear]


def test_chain_of_reshapes_vanishes(tmp_path, b) -> None:
    x = b.activation((1, 24))
    y = b.reshape(b.reshape(b.reshape(x, (1, 4, 6)), (1, 2, 3, 4)), (1, 24))
    network = assert_equal(tmp_path, b, [x], [b.reshape(b.fully_connected(y, cout=6), (1, 2, 3))])
    assert kinds(network) == [Linear]


def test_reshape_after_softmax_vanishes(tmp_path, b) -> None:
    x = b.activation((1, 8))
    y = b.reshape(b.softmax(b.fully_connected(x, cout=6)), (1, 2, 3))
    network = assert_equal(tmp_path, b, [x], [y])
    assert kinds(network) == [Linear, Softmax]


def test_padding_with_the_zero_point_is_folded_into_a_convolution(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    padded = b.pad(x, [(0, 0), (1, 2), (3, 0), (0, 0)])
    network = assert_equal(tmp_path, b, [x], [b.conv_2d(padded, cout=4, stride=(2, 2), padding="SAME")])
    (conv,) = network.nodes
    assert isinstance(conv, Linear)
    assert conv.window.padding == Padding(top=1, bottom=3, left=4, right=1)


def test_padding_with_another_value_or_of_channels_stays(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3), zero_point=4)
    one = b.conv_2d(b.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)], value=7), cout=2)
    two = b.conv_2d(b.pad(x, [(0, 0), (0, 0), (0, 0), (0, 2)]), cout=2)
    network = assert_equal(tmp_path, b, [x], [one, two])
    assert kinds(network).count(Pad) == 2


@pytest.mark.parametrize(("value", "amount", "folded"), [(-128, 1, True), (-100, 1, False), (-128, 3, False)])
def test_padding_is_folded_into_a_maximum_only_where_it_never_wins(tmp_path, b, value, amount, folded) -> None:
    x = b.activation((1, 5, 6, 3))
    padded = b.pad(x, [(0, 0), (amount, 0), (0, 0), (0, 0)], value=value)
    y = b.pool_2d("MAX_POOL_2D", padded, kernel=(3, 3), stride=(2, 1))
    samples = b.rng.integers(-128, 128, (9, 5, 6, 3)).astype(np.int8)
    network = assert_equal(tmp_path, b, [x], [y], samples=[samples])
    assert kinds(network) == ([MaxPool] if folded else [Pad, MaxPool])


def test_padding_before_an_average_stays_because_it_counts(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    padded = b.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    network = assert_equal(tmp_path, b, [x], [b.pool_2d("AVERAGE_POOL_2D", padded, kernel=(3, 3), stride=(1, 1))])
    assert Pad in kinds(network)


def test_padding_read_twice_is_folded_where_it_can_be(tmp_path, b) -> None:
    x = b.activation((1, 5, 6, 3))
    padded = b.pad(x, [(0, 0), (1, 1), (1, 1), (0, 0)])
    pooled = b.pool_2d("AVERAGE_POOL_2D", padded, kernel=(3, 3), stride=(1, 1))
    network = assert_equal(tmp_path, b, [x], [b.conv_2d(padded, cout=2, padding="VALID"), pooled])
    conv = next(node for node in network.nodes if isinstance(node, Linear))
    assert conv.inputs == network.inputs
    assert Pad in kinds(network)


def test_tables_in_a_row_become_one(tmp_path, b) -> None:
    x = b.activation((1, 64))
    y = b.unary("HARD_SWISH", b.unary("QUANTIZE", b.unary("ABS", x)))
    network = assert_equal(tmp_path, b, [x], [y])
    assert kinds(network) == [Table]
    assert network.nodes[0].inputs == network.inputs


def test_table_with_a_second_reader_is_not_composed(tmp_path, b) -> None:
    x = b.activation((1, 64))
    y = b.unary("ABS", x)
    network = assert_equal(tmp_path, b, [x], [b.unary("HARD_SWISH", y), b.add(y, y)])
    assert kinds(network) == [Table, Table, Add]


def test_table_that_is_an_output_is_not_composed(tmp_path, b) -> None:
    x = b.activation((1, 64))
    y = b.unary("ABS", x)
    assert kinds(assert_equal(tmp_path, b, [x], [y, b.unary("HARD_SWISH", y)])) == [Table, Table]


def test_nodes_that_nothing_reads_are_removed(tmp_path, b) -> None:
    x = b.activation((1, 64))
    b.fully_connected(b.unary("ABS", x), cout=3)
    network = assert_equal(tmp_path, b, [x], [b.fully_connected(x, cout=2)])
    assert len(network.nodes) == 1
    assert set(network.tensors) == {*network.inputs, *network.outputs}


def small_network() -> Network:
    tensors = {name: Tensor(name=name, shape=(1, 2, 2, 1), scale=1.0) for name in ("x", "y", "z")}
    identity = Table(name="a", op="RELU", inputs=("x",), output="y", table=np.arange(-128, 128).astype(np.int8))
    joined = Concat(name="b", op="CONCATENATION", inputs=("x", "y"), output="z", axis=2)
    tensors["z"] = replace(tensors["z"], shape=(1, 2, 2, 2))
    return Network(name="n", tensors=tensors, nodes=(identity, joined), inputs=("x",), outputs=("z",))


def test_well_formed_network_is_accepted() -> None:
    verify(small_network())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda n: replace(n, nodes=n.nodes[::-1]), "b reads ['y'] before they are written"),
        (lambda n: replace(n, nodes=(*n.nodes, replace(n.nodes[0], name="c"))), "writes y, which has a value already"),
        (lambda n: replace(n, nodes=(n.nodes[0], replace(n.nodes[1], name="a"))), "two nodes are called a"),
        (lambda n: replace(n, nodes=(n.nodes[0], replace(n.nodes[1], axis=0))), "b gives (4, 2, 1)"),
        (lambda n: replace(n, outputs=("w",)), "nothing writes the output w"),
        (lambda n: replace(n, nodes=(replace(n.nodes[0], output="w"), n.nodes[1])), "unknown tensors ['w']"),
        (lambda n: replace(n, tensors={**n.tensors, "y": replace(n.tensors["y"], dtype="float32")}), "float32"),
        (lambda n: replace(n, tensors={**n.tensors, "y": replace(n.tensors["y"], layout=(1, 1, 2))}), "layout"),
    ],
)
def test_malformed_network_is_named(change, words) -> None:
    with pytest.raises(ValueError, match="must be a well-formed network") as found:
        verify(change(small_network()))
    assert words in str(found.value)


def test_host_node_inside_a_network_is_refused(tmp_path, b) -> None:
    x = b.activation((1, 8))
    path = tmp_path / "net.tflite"
    path.write_bytes(b.finish([x], [b.fully_connected(b.softmax(x), cout=2)]))
    with pytest.raises(UnsupportedError, match="SOFTMAX lies inside"):
        load(path)
    assert load(path, passes=False).nodes
