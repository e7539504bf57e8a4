"""What the report says of each layer's selection: what was chosen is best, and its figures are those of the program."""

import json
from pathlib import Path

import numpy as np
import pytest
from digits import digits
from random_networks import Builder

import heddle
from heddle.gen import choice
from heddle.gen.api import CompiledDesign
from heddle.gen.choice import LayerChoice, layer_choices
from heddle.gen.design import Design, compile_network
from heddle.gen.importers import load
from heddle.hdl.config import ArrayConfig
from heddle.hdl.program import Unit
from heddle.hdl.timing import SLICE_CYCLES, Timing

ARRAY = ArrayConfig(rows=9, cols=8, pixels=2, block=8, requantizers=8)


def with_n_of_8(folder: Path, n: int) -> Path:
    """Write a file of one convolution of 16 channels, of which each block has ``n`` weights that are not zero."""
    b = Builder(seed=1)
    x = b.activation((1, 12, 12, 16))
    y = b.conv_2d(x, cout=16)
    blocks = b.last_weight().reshape(16, 3, 3, 2, 8)
    place = np.random.default_rng(2).permuted(np.broadcast_to(np.arange(8), blocks.shape), axis=-1)
    blocks[...] = np.where(place < n, np.where(blocks == 0, 1, blocks), 0)
    path = folder / "net.tflite"
    path.write_bytes(b.finish([x], [y]))
    return path


def choices(folder: Path, n: int) -> tuple[Design, tuple[LayerChoice, ...]]:
    design = compile_network(load(with_n_of_8(folder, n)), ARRAY)
    return design, layer_choices(design)


def test_text_page_and_manifest_of_one_design_share_its_choices(tmp_path: Path, monkeypatch) -> None:
    design = heddle.compile(load(with_n_of_8(tmp_path, 3)), "ulx3s-85f", array="9x8x1")
    made, choose = [], choice._choice
    monkeypatch.setattr(choice, "_choice", lambda *args: made.append(args[1]) or choose(*args))
    assert str(design.report())
    design.write(tmp_path / "out")
    assert made == ["conv_2d_0"]


@pytest.mark.parametrize("n", [2, 3, 4, 6])
def test_n_of_m_takes_n_of_m_of_the_cycles_and_stores_its_indices(tmp_path: Path, n: int) -> None:
    design, (chosen,) = choices(tmp_path, n)
    assert (chosen.kind, chosen.pattern) == ("indexed", f"{n}:8")
    assert set(chosen.cycles) == {"dense", "indexed"}
    assert chosen.density == n / 8
    assert chosen.of_ideal is not None
    assert 0.95 < chosen.of_ideal < 1.01
    assert chosen.bits_per_weight == 8 + 3
    assert chosen.speedup == chosen.cycles["dense"] / chosen.cycles["indexed"]
    (record,) = (record for record in design.program.records if record.unit == Unit.ARRAY)
    assert chosen.cycles["indexed"] == Timing(design.program.config).issue_cycles(record) + SLICE_CYCLES


def test_a_layer_without_zeros_is_dense_and_of_no_index(tmp_path: Path) -> None:
    _, (chosen,) = choices(tmp_path, 8)
    assert (chosen.kind, chosen.pattern, chosen.bits_per_weight) == ("dense", "8:8", 8)
    assert list(chosen.cycles) == ["dense"]
    assert chosen.of_ideal == chosen.density == 1


def test_what_was_chosen_takes_the_fewest_cycles_and_all_that_is_stored_is_counted() -> None:
    design = digits()
    for chosen in (found := layer_choices(design)):
        assert chosen.cycles[chosen.kind] == min(chosen.cycles.values())
    config, array = design.program.config, design.array
    # Pools have weights of their own beside these.
    rest = array.rows * array.cols * (config.weight_words * 8 + config.index_words * 3)
    assert 0 < sum(chosen.stored_bits for chosen in found) <= rest
    assert [c.name for c in found] == [layer.name for layer in design.layers if layer.macs]


def test_a_depthwise_layer_is_diagonal_and_has_no_ideal(tmp_path: Path) -> None:
    b = Builder(seed=2)
    x = b.activation((1, 12, 12, 16))
    y = b.depthwise_conv_2d(x)
    path = tmp_path / "net.tflite"
    path.write_bytes(b.finish([x], [y]))
    (chosen,) = layer_choices(compile_network(load(path), ARRAY))
    assert chosen.kind == "diagonal"
    assert chosen.cycles["diagonal"] < chosen.cycles["dense"] / 3
    assert chosen.of_ideal is None


def test_a_layer_whose_weights_are_all_zero_has_nothing_to_choose(tmp_path: Path) -> None:
    design, found = choices(tmp_path, 0)
    (record,) = (record for record in design.program.records if record.unit == Unit.ARRAY)
    # A word of zeros for each lane is left: something has to start a sum, for the bias.
    assert found == (
        LayerChoice(
            name="conv_2d_0",
            kind="dense",
            pattern="8:8",
            cycles={"dense": Timing(design.program.config).issue_cycles(record) + SLICE_CYCLES},
            density=0,
            stored_bits=ARRAY.rows * ARRAY.cols * ARRAY.pixels * 8,
            non_zeros=0,
            grouped=False,
        ),
    )
    assert found[0].to_json()["bits_per_weight"] is None


def test_text_page_and_data_show_the_choice_where_there_are_zeros(tmp_path: Path) -> None:
    dense, sparse = (heddle.compile(load(with_n_of_8(tmp_path, n)), "ulx3s-85f", array="9x8x1") for n in (8, 3))
    assert not dense.report().shows_selection
    text, page = str(sparse.report()), sparse.report().to_html()
    assert "of a block" in text
    assert all("3:8" in shown for shown in (text, page))
    layer = selection(sparse)
    assert layer["pattern"] == "3:8"
    assert json.dumps(layer)


def selection(design: CompiledDesign) -> dict[str, object]:
    (layer,) = (layer for layer in design.report().to_json()["layers"] if "selection" in layer)
    return layer["selection"]
