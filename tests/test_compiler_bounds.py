"""The compiler takes seconds or refuses; what it stores it stores once; what a slice reads it needs."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from equality import draw
from random_networks import Builder

from heddle.errors import CapacityError
from heddle.gen.design import Design, compile_network
from heddle.gen.importers import load
from heddle.gen.ir import Add, Network, Tensor
from heddle.gen.kinds import Accumulate
from heddle.gen.mapping import map_network
from heddle.gen.operations import lower
from heddle.gen.passes.verify import verify
from heddle.gen.worklist import compile_worklist
from heddle.hdl.config import ArrayConfig
from heddle.hdl.worklist_config import WorklistShape

MAX_SECONDS = 30
"""Of the processor: an idle machine takes a third of it, a loaded one, or a slow one, must not fail a test."""
WIDE = ArrayConfig(rows=9, cols=8, pixels=2)

Drawn = Callable[[Builder], tuple[list[int], list[int]]]


def built(folder: Path, network: Drawn) -> tuple[Builder, list[int], Network]:
    b = Builder(1)
    inputs, outputs = network(b)
    path = folder / "net.tflite"
    path.write_bytes(b.finish(inputs, outputs))
    return b, inputs, load(path)


def average(kernel: int, size: int, channels: int) -> Drawn:
    def network(b: Builder) -> tuple[list[int], list[int]]:
        x = b.activation((1, size, size, channels))
        pool = {"kernel": (kernel, kernel), "stride": (1, 1), "padding": "SAME"}
        return [x], [b.pool_2d("AVERAGE_POOL_2D", x, **pool)]

    return network


def mean(size: int) -> Drawn:
    def network(b: Builder) -> tuple[list[int], list[int]]:
        x = b.activation((1, size, size, 1))
        return [x], [b.mean(x)]

    return network


def joined(*channels: int, size: int = 1) -> Drawn:
    def network(b: Builder) -> tuple[list[int], list[int]]:
        first = b.activation((1, size, size, channels[0]))
        xs = [first, *(b.like(first, (1, size, size, count)) for count in channels[1:])]
        return xs, [b.concatenation(xs, axis=3)]

    return network


def convolved(size: int, *, cin: int = 1, cout: int = 1) -> Drawn:
    def network(b: Builder) -> tuple[list[int], list[int]]:
        x = b.activation((1, size, size, cin))
        return [x], [b.conv_2d(x, cout=cout, kernel=(3, 3))]

    return network


def assert_design_predicts(design: Design, b: Builder, inputs: list[int]) -> None:
    x = dict(zip(design.network.inputs, draw(b, inputs, 2), strict=True))
    np.testing.assert_array_equal(design.predict(x), design.network.predict(x))


# Bounds


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (average(32, 64, 1), r"average_pool_2d_0: 1,0\d\d slices, more than the 1,024 .*; use fewer"),
        (average(33, 70, 1), r"average_pool_2d_0: 1,\d\d\d slices, .*; pad less, or use a smaller window"),
        (joined(60000, 60000), r"concatenation_0: 120,000 scaled channels, more than the 65,536 .*; use fewer"),
        (mean(2000), r"mean_0: 32,000,000 bytes of weights or more, more than the 4,194,304 .*; use a smaller window"),
    ],
)
def test_a_layer_beyond_any_board_is_refused_within_seconds_by_name(tmp_path, network, words) -> None:
    _, _, net = built(tmp_path, network)
    began = time.process_time()
    with pytest.raises(CapacityError, match=words):
        compile_network(net, ArrayConfig())
    assert time.process_time() - began < MAX_SECONDS


@pytest.mark.parametrize(
    ("network", "words"),
    [
        (joined(60000, 60000), r"concatenation_0: 120,000 scaled channels, more than the 65,536 .*; use fewer"),
        (convolved(2040), r"load:.*: 4,161,600 bytes of feature maps, more than the 524,288 .*; use smaller maps"),
        (
            convolved(8, cin=600, cout=600),
            r"conv_2d_0: 3,.* weights that are not zero, more than .*; prune",
        ),
    ],
)
def test_what_no_work_list_core_holds_is_refused_within_seconds_by_name(tmp_path, network, words) -> None:
    _, _, net = built(tmp_path, network)
    began = time.process_time()
    with pytest.raises(CapacityError, match=words):
        compile_worklist(net, WorklistShape(lanes=4, pixels=32))
    assert time.process_time() - began < MAX_SECONDS


@pytest.mark.parametrize("network", [joined(20000, 20000), joined(8000, 8000, size=2), convolved(500)])
def test_work_lists_of_much_work_are_made_within_seconds(tmp_path, network) -> None:
    _, _, net = built(tmp_path, network)
    began = time.process_time()
    compile_worklist(net, WorklistShape(lanes=4, pixels=32))
    assert time.process_time() - began < MAX_SECONDS


def test_weights_beyond_any_board_are_refused_before_they_are_laid_out(tmp_path) -> None:
    def network(b: Builder) -> tuple[list[int], list[int]]:
        x = b.activation((1, 1, 1, 1))
        for _ in range(8):
            x = b.conv_2d(x, cout=8000, kernel=(1, 1)) if b.shape(x)[3] == 1 else b.conv_2d(x, cout=1, kernel=(1, 1))
        return [0], [x]

    _, _, net = built(tmp_path, network)
    large = ArrayConfig(rows=32, cols=128, block=16, requantizers=16)
    with pytest.raises(CapacityError, match=r"conv_2d_\d: [\d,]+ weight words per lane, more than the 1,024"):
        map_network(net, large)


@pytest.mark.parametrize("network", [average(24, 48, 1), joined(20000, 20000)])
def test_small_files_that_are_much_work_compile_within_the_limits(tmp_path, network) -> None:
    _, _, net = built(tmp_path, network)
    began = time.process_time()
    compile_network(net, ArrayConfig())
    assert time.process_time() - began < MAX_SECONDS


def test_a_copy_has_one_weight_a_channel(tmp_path) -> None:
    _, _, net = built(tmp_path, joined(8000, 8000))
    weights = [op.weight for op in lower(net).operations if isinstance(op, Accumulate)]
    assert sum(weight.size for weight in weights) == 16000


# Words stored once


def test_the_rectangles_of_a_padded_pool_share_their_weights(tmp_path) -> None:
    b, inputs, net = built(tmp_path, average(5, 9, 11))
    design = compile_network(net, ArrayConfig())
    records = [record for record in design.program.records if record.height > 1]
    assert len(records) == 25
    assert len({record.weight_base for record in records}) == 1
    assert design.program.weights.shape[1] == sum(record.words_per_tile for record in records[:1]) * 2
    assert_design_predicts(design, b, inputs)


# Blocks read


def convolution(channels: int, *, groups: int, diagonal: bool) -> Drawn:
    """1x1, ``groups`` blocks of weights: as groups, or as the diagonal of a matrix."""

    def network(b: Builder) -> tuple[list[int], list[int]]:
        x = b.activation((1, 8, 8, channels))
        y = b.conv_2d(x, cout=channels, kernel=(1, 1), groups=1 if diagonal else groups)
        weight = b.last_weight()
        weight[weight == 0] = 1
        if diagonal:
            block = np.arange(channels) // (channels // groups)
            weight[:, 0, 0][block[:, None] != block] = 0
        return [x], [y]

    return network


@pytest.mark.parametrize("array", [ArrayConfig(rows=1), ArrayConfig(rows=3), WIDE])
def test_a_block_diagonal_convolution_takes_the_cycles_of_a_grouped_one(tmp_path, array) -> None:
    cycles = []
    for diagonal in (False, True):
        b, inputs, net = built(tmp_path, convolution(64, groups=8, diagonal=diagonal))
        design = compile_network(net, array)
        assert_design_predicts(design, b, inputs)
        cycles.append(design.cycles)
    assert cycles[0] == cycles[1]


def test_blocks_against_the_diagonal_are_read_backwards(tmp_path) -> None:
    def network(b: Builder) -> tuple[list[int], list[int]]:
        x = b.activation((1, 6, 5, 40))
        y = b.conv_2d(x, cout=40, kernel=(1, 1))
        block = np.arange(40) // 8
        b.last_weight()[:, 0, 0][block[:, None] != 4 - block] = 0
        return [x], [y]

    b, inputs, net = built(tmp_path, network)
    design = compile_network(net, ArrayConfig(rows=2))
    assert len(design.program.records) == 3
    assert_design_predicts(design, b, inputs)


def test_a_dense_convolution_is_one_slice(tmp_path) -> None:
    _, _, net = built(tmp_path, convolution(64, groups=1, diagonal=False))
    assert len(compile_network(net, ArrayConfig()).program.records) == 3


def test_copies_read_the_blocks_they_need(tmp_path) -> None:
    b, inputs, net = built(tmp_path, joined(256, 256, size=4))
    design = compile_network(net, WIDE)
    assert_design_predicts(design, b, inputs)
    (layer,) = (layer for layer in design.layers if layer.op == "CONCATENATION")
    # 512 channels of 16 pixels, 4 requantizers: the drain is the bound.
    assert 2048 <= layer.cycles < 2048 + 120


@pytest.mark.parametrize("before", [3, 8, 19])
def test_padding_in_front_of_channels_reads_one_or_two_blocks_a_tile(tmp_path, before) -> None:
    def network(b: Builder) -> tuple[list[int], list[int]]:
        x = b.activation((1, 3, 3, 40))
        return [x], [b.pad(x, [(0, 0), (1, 0), (0, 1), (before, 5)])]

    b, inputs, net = built(tmp_path, network)
    design = compile_network(net, ArrayConfig(rows=1))
    assert max(record.step_last for record in design.program.records) == (0 if before % 8 == 0 else 1)
    assert_design_predicts(design, b, inputs)


# Shapes


@pytest.mark.parametrize("swap", [False, True])
def test_a_sum_of_unequal_shapes_is_no_well_formed_network(swap) -> None:
    tensors = {name: Tensor(name=name, shape=(1, 2, 2, 1), scale=1.0) for name in ("x", "y", "z")}
    tensors["y"] = replace(tensors["y"], shape=(1, 2, 1, 1))
    inputs = ("y", "x") if swap else ("x", "y")
    node = Add(
        name="a", op="ADD", inputs=inputs, output="z", left_shift=20, multipliers=(2**30, 2**30), shifts=(0, 0),
        output_multiplier=2**30, output_shift=-19, act_min=-128, act_max=127,
    )  # fmt: skip
    network = Network(name="n", tensors=tensors, nodes=(node,), inputs=("x", "y"), outputs=("z",))
    with pytest.raises(ValueError, match=r"a adds \("):
        verify(network)
