"""A constant beside padding becomes a bias by rectangle of the output: as many as it takes, where they pay."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dead_channels import ARRAYS, MODULE, assert_same, cleared, linear
from digits import only
from random_networks import Builder, random_inputs

import heddle
from heddle.gen.design import compile_network
from heddle.gen.importers import load
from heddle.gen.ir import Linear, Network, Node
from heddle.gen.worklist import compile_worklist
from heddle.hdl.config import ArrayConfig
from heddle.hdl.worklist_config import WorklistShape
from heddle.sim.network import simulate


@pytest.mark.parametrize(
    ("window", "rectangles"),
    [
        ({"kernel": (3, 3)}, 9),
        ({"kernel": (3, 3), "stride": (2, 2)}, 4),
        ({"kernel": (3, 3), "dilation": (2, 2)}, 9),
        ({"kernel": (1, 3)}, 3),
        ({"kernel": (4, 1), "stride": (1, 2)}, 4),
        ({"kernel": (3, 3), "padding": "VALID"}, 1),
    ],
)
@pytest.mark.usefixtures("cheap_rectangles")
def test_a_constant_beside_padding_becomes_a_bias_by_rectangle(tmp_path, b, window, rectangles) -> None:
    x = b.activation((1, 8, 8, 3))
    y = cleared(b, b.conv_2d(x, cout=5), 1, 3)
    network = assert_same(tmp_path, b, [x], [b.conv_2d(y, cout=6, **window)])
    assert network.tensors[f"t{y}"].kept == (0, 2, 4)
    reader = linear(network, 1)
    assert len(reader.rectangles(*network.tensors[reader.output].hwc[:2])) == rectangles


@pytest.mark.usefixtures("cheap_rectangles")
def test_a_constant_through_a_depthwise_layer_becomes_a_bias_by_rectangle(tmp_path, b) -> None:
    x = b.activation((1, 7, 7, 3))
    y = cleared(b, b.conv_2d(x, cout=5), 1, 3)
    depthwise = b.depthwise_conv_2d(y)
    network = assert_same(tmp_path, b, [x], [b.conv_2d(depthwise, cout=6, kernel=(1, 1))])
    assert network.tensors[f"t{y}"].kept == network.tensors[f"t{depthwise}"].kept == (0, 2, 4)
    # The depthwise layer itself needs none: its constant outputs are gone.
    assert [len(node.rectangles(7, 7)) for node in network.nodes if isinstance(node, Linear)] == [1, 1, 9]


def test_a_constant_equal_to_the_padding_needs_no_rectangle(tmp_path, b) -> None:
    x = b.activation((1, 7, 7, 3))
    y = cleared(b, b.conv_2d(x, cout=5), 1, 3)
    b.last_bias()[[1, 3]] = 0
    network = assert_same(tmp_path, b, [x], [b.conv_2d(y, cout=6)])
    assert network.tensors[f"t{y}"].kept == (0, 2, 4)
    assert linear(network, 1).local_bias is None


def test_rectangles_that_cost_more_than_they_save_are_not_made(tmp_path, b) -> None:
    x = b.activation((1, 7, 7, 3))
    y = cleared(b, b.conv_2d(x, cout=5), 1)
    network = assert_same(tmp_path, b, [x], [b.conv_2d(y, cout=2)])
    assert network.tensors[f"t{y}"].kept is None
    assert linear(network, 1).local_bias is None


def test_rectangles_that_pay_save_cycles(tmp_path, b, monkeypatch) -> None:
    x = b.activation((1, 24, 24, 3))
    y = cleared(b, b.conv_2d(x, cout=32), *range(16))
    z = b.conv_2d(y, cout=16)
    network = assert_same(tmp_path, b, [x], [z])
    assert linear(network, 1).local_bias is not None
    monkeypatch.setattr(MODULE, "RECTANGLE_MACS", 10**9)
    without = load(tmp_path / "net.tflite")
    cycles, more = (compile_network(each, ARRAYS[0]).cycles for each in (network, without))
    assert cycles < 0.8 * more


@pytest.mark.parametrize(("dead", "zeros", "divided"), [(16, 0, True), (2, 0.9, False)])
def test_a_work_list_core_takes_the_form_of_the_fewest_cycles(tmp_path, b, monkeypatch, dead, zeros, divided) -> None:
    monkeypatch.setattr(MODULE, "RECTANGLE_MACS", 0)
    x = b.activation((1, 24, 24, 3))
    y = cleared(b, b.conv_2d(x, cout=32), *range(dead))
    z = b.conv_2d(y, cout=16)
    weight = b.last_weight()
    weight[np.random.default_rng(1).random(weight.shape) < zeros] = 0
    network = assert_same(tmp_path, b, [x], [z])
    undivided = network.undivided
    assert undivided is not None
    assert linear(undivided, 1).local_bias is None
    # What is changed later is not what was divided.
    assert replace(network).undivided is None
    shape = WorklistShape(lanes=2, pixels=8)
    cycles = {form: compile_worklist(replace(form), shape).cycles for form in (network, undivided)}
    design = compile_worklist(network, shape)
    assert design.network is (network if divided else undivided)
    assert design.cycles == min(cycles.values()) < max(cycles.values())
    # A design has a board, and a name, and the same choice.
    assert heddle.compile(network, "ecp5-85f", "worklist-2x8", stream_bytes=1).cycles == design.cycles
    inputs = random_inputs(network, 4)
    assert np.array_equal(only(design.predict(inputs)), only(network.predict(inputs)))


def nine_rectangles(folder: Path, b: Builder) -> Network:
    """Return a network whose second convolution is divided into nine, where rectangles are cheap."""
    x = b.activation((1, 8, 8, 3))
    y = cleared(b, b.conv_2d(x, cout=9), 1, 3)
    return assert_same(folder, b, [x], [b.conv_2d(y, cout=8)])


@pytest.mark.usefixtures("cheap_rectangles")
def test_rectangles_share_their_lists(tmp_path, b) -> None:
    network = nine_rectangles(tmp_path, b)
    design = compile_worklist(replace(network), WorklistShape(lanes=2, pixels=8))
    assert design.layers[2].slices == 9
    assert len({record.item_base for record in design.program.records}) == len(design.program.records) - 8
    inputs = random_inputs(network, 2)
    assert np.array_equal(only(design.predict(inputs)), only(network.predict(inputs)))


@pytest.mark.usefixtures("cheap_rectangles")
def test_rectangles_share_their_weights(tmp_path, b) -> None:
    network = nine_rectangles(tmp_path, b)
    design = compile_network(network, ARRAYS[0])
    single = replace(network, nodes=tuple(map(without_local_bias, network.nodes)))
    assert design.layers[2].slices == 9
    assert np.array_equal(design.program.weights, compile_network(single, ARRAYS[0]).program.weights)


def without_local_bias(node: Node) -> Node:
    return replace(node, local_bias=None) if isinstance(node, Linear) else node


@pytest.mark.usefixtures("cheap_rectangles")
def test_rectangles_in_rtl_are_exact_in_every_layer_and_cycle(tmp_path, b) -> None:
    x = b.activation((1, 5, 5, 2))
    y = cleared(b, b.conv_2d(x, cout=6), 1, 3)
    depthwise = b.depthwise_conv_2d(y, stride=(2, 2))
    network = assert_same(tmp_path, b, [x], [b.conv_2d(y, cout=5), b.conv_2d(depthwise, cout=3, kernel=(1, 1))])
    design = compile_network(network, ArrayConfig(rows=2, cols=4, pixels=2, block=4, requantizers=2))
    result = simulate(design, random_inputs(network, 2), simulator="icarus", layers=True)
    assert result.first_difference is None, str(result.first_difference)
    assert list(result.slice_cycles) == design.slice_cycles
    assert set(result.cycles) == {design.cycles}
