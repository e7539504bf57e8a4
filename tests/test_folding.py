"""Columns folded into channels: the same sums, chosen where they are faster, exact in the hardware."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from equality import draw
from hypothesis import given, settings
from hypothesis import strategies as st
from random_networks import Builder
from reference_data import network_path
from test_mapping import assert_predicts
from test_network_rtl import assert_exact

from heddle.gen.design import Design, compile_network
from heddle.gen.folding import folds
from heddle.gen.importers import load
from heddle.gen.ir import Padding, Tensor, Window
from heddle.gen.kinds import Accumulate
from heddle.hdl.config import ArrayConfig
from heddle.hdl.program import Unit
from heddle.sim.network import simulate

PAD_VALUE = 7


def sums(op: Accumulate, x: np.ndarray) -> np.ndarray:
    """All sums of ``op`` over ``x``, int64 ``(H, W, C)``, one window at a time."""
    p, (kh, kw), stride, dilation = op.window.padding, op.window.kernel, op.window.stride, op.window.dilation
    rows, cols = op.rows[1], op.cols[1]
    padded = np.full((x.shape[0] + p.top + 99, x.shape[1] + p.left + 99, x.shape[2]), op.pad_value, np.int64)
    padded[p.top : p.top + x.shape[0], p.left : p.left + x.shape[1]] = x
    result = np.zeros((rows, cols, len(op.bias)), np.int64)
    for r, c in np.ndindex(rows, cols):
        y, z = r * stride[0], c * stride[1]
        window = padded[y : y + kh * dilation[0] : dilation[0], z : z + kw * dilation[1] : dilation[1]]
        result[r, c] = op.bias + np.tensordot(op.weight.astype(np.int64), window, axes=3)
    return result


@st.composite
def layers(draw: st.DrawFn) -> tuple[Accumulate, Tensor, Tensor, np.ndarray]:
    """A layer that reads an input of few channels, and values of that."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    channels, cout = draw(st.integers(1, 4)), draw(st.sampled_from((3, 8, 16)))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 5)))
    stride = (draw(st.integers(1, 2)), draw(st.integers(1, 4)))
    left, right = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    height, width = draw(st.integers(kernel[0], 5)), draw(st.integers(kernel[1], 24))
    window = Window(
        kernel=kernel, stride=stride, dilation=(draw(st.integers(1, 2)), 1),
        padding=Padding(top=1, bottom=1, left=left, right=right),
    )  # fmt: skip
    rows, cols = window.output_size(height, width)
    source = Tensor(name="x", shape=(1, height, width, channels), scale=1.0)
    dest = Tensor(name="y", shape=(1, rows, cols, cout), scale=1.0)
    op = Accumulate(
        layer="conv", op="CONV_2D", source="x", dest="y", window=window, pad_value=PAD_VALUE,
        weight=rng.integers(-128, 128, (cout, *kernel, channels)).astype(np.int8),
        bias=rng.integers(-1000, 1000, cout), output=lambda acc: (acc >> 8) + np.arange(cout), zero_point=0,
        low=-128, high=127, rows=(0, rows), cols=(0, cols),
    )  # fmt: skip
    return op, source, dest, rng.integers(-128, 128, (height, width, channels))


@settings(max_examples=150, deadline=None)
@given(layers(), st.sampled_from((2, 4, 8, 16)))
def test_a_folded_layer_makes_the_same_sums_in_the_same_order(
    layer: tuple[Accumulate, Tensor, Tensor, np.ndarray], block: int
) -> None:
    op, source, dest, x = layer
    if op.rows[1] < 1 or op.cols[1] < 1:
        return
    wanted = sums(op, x)
    for tensor, folded in folds(op, source, dest, block=block):
        assert tensor.hwc[2] <= block
        got = sums(folded, x.reshape(tensor.hwc))
        assert (got.reshape(wanted.shape) == wanted).all()
        assert (folded.output(got).reshape(wanted.shape) == op.output(wanted)).all()


def test_there_are_folds_of_every_kind() -> None:
    source, dest = Tensor(name="x", shape=(1, 8, 24, 2), scale=1.0), Tensor(name="y", shape=(1, 8, 8, 8), scale=1.0)
    op = Accumulate(
        layer="conv", op="CONV_2D", source="x", dest="y", pad_value=0, weight=np.ones((8, 3, 3, 2), np.int8),
        window=Window(kernel=(3, 3), stride=(1, 3), padding=Padding(top=1, bottom=1)), bias=np.zeros(8, np.int64),
        output=lambda acc: acc, zero_point=0, low=-128, high=127, rows=(0, 8), cols=(0, 8),
    )  # fmt: skip
    found = {(tensor.hwc[2] // 2, folded.columns) for tensor, folded in folds(op, source, dest, block=8)}
    assert found == {(1, 2), (1, 4), (1, 8), (2, 2), (2, 4), (2, 8), (3, 1), (3, 2), (3, 4), (3, 8), (4, 4), (4, 8)}
    # What another operation shares, reads elsewhere or computes in part is left alone.
    for other in (replace(op, shares_blocks=True), replace(op, dest_at=(0, 0, 8)), replace(op, cols=(0, 4))):
        assert not list(folds(other, source, dest, block=8))
    # Results of 12 channels have a gap behind each column.
    wide = replace(dest, shape=(1, 8, 8, 12))
    assert {folded.columns for _, folded in folds(op, source, wide, block=8)} == {1}


LARGE = ArrayConfig(rows=9, cols=16, pixels=2, block=8, requantizers=8, stream_bytes=8)


def small_image(folder: Path, *, cout: int = 8, array: ArrayConfig = LARGE) -> tuple[Design, dict[str, np.ndarray]]:
    """A first layer as of networks for images: three channels, a stride of two, two readers of its result."""
    builder = Builder(3)
    x = builder.activation((1, 12, 12, 3))
    y = builder.conv_2d(x, cout=cout, kernel=(3, 3), stride=(2, 2), padding="SAME")
    z = builder.add(
        builder.conv_2d(y, cout=8, kernel=(3, 3), padding="SAME"), builder.conv_2d(y, cout=8, kernel=(1, 1))
    )
    path = folder / "image.tflite"
    path.write_bytes(builder.finish([x], [z]))
    network = load(path)
    samples = draw(builder, [x], 2)
    return compile_network(network, array), dict(zip(network.inputs, samples, strict=True))


def test_an_image_is_loaded_two_pixels_to_a_block(tmp_path: Path) -> None:
    design, x = small_image(tmp_path)
    layout = design.layouts[design.network.inputs[0]]
    assert (layout.height, layout.width, layout.channels) == (12, 6, 6)
    assert_predicts(design, x, design.network.predict(x))


def test_a_folded_layer_is_exact_in_every_layer_and_cycle(tmp_path: Path) -> None:
    # Fewer lanes and columns, which are less to simulate, fold it as well.
    design, x = small_image(tmp_path, array=replace(LARGE, rows=6, cols=8))
    assert design.layouts[design.network.inputs[0]].channels == 6
    assert_exact(design, simulate(design, x, simulator="icarus", layers=True))
    assert simulate(design, x, simulator="icarus", layers=True, stall=0.4).mismatches == 0


def test_a_layer_of_channels_that_are_no_whole_blocks_keeps_its_columns(tmp_path: Path) -> None:
    design, x = small_image(tmp_path, cout=12)
    assert_predicts(design, x, design.network.predict(x))
    layout = design.layouts[design.network.inputs[0]]
    assert layout.channels in (3, 6)


def test_the_first_layer_of_a_real_network_takes_half_the_cycles() -> None:
    network = load(network_path("vww"))
    design = compile_network(network, ArrayConfig(rows=9, cols=16, pixels=2, requantizers=8, stream_bytes=8))
    blocks = [record.dst_lasts[1] + 1 for record in design.program.records if record.unit == Unit.LOAD]
    assert blocks == [48]
    assert design.layers[1].cycles < 5_000
