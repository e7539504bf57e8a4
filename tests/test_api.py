"""`import heddle` is light; compiling gives a design that fits its board, or says what is missing."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reference_data import network_path
from source_tree import ROOT

import heddle
from heddle import boards
from heddle.errors import CapacityError, InputError
from heddle.gen import fitting, planner
from heddle.gen.api import CompiledDesign, DifferenceError, identifier
from heddle.gen.design import Design
from heddle.gen.images import Program
from heddle.gen.ir import Linear, Network
from heddle.gen.memories import least_block_rams
from heddle.gen.samples import random_samples
from heddle.gen.shapes import Space
from heddle.hdl.config import ArrayConfig
from heddle.sim.network import Difference, SimulationResult

DIGITS = ROOT / "examples" / "digits" / "digits.tflite"
SMALL = "ecp5-25f"


@pytest.fixture(scope="module")
def network() -> Network:
    return heddle.load(DIGITS)


@pytest.fixture(scope="module")
def design(network: Network) -> CompiledDesign:
    return heddle.compile(network, board=SMALL)


def array_of(design: CompiledDesign) -> ArrayConfig:
    assert isinstance(design.array, ArrayConfig)
    return design.array


def program_of(design: CompiledDesign) -> Program:
    assert isinstance(design.design, Design)
    return design.design.program


def inputs(network: Network, count: int = 2) -> np.ndarray:
    return random_samples(network, count, seed=1).inputs[network.inputs[0]]


def heavier(network: Network, times: int) -> Network:
    """Return ``network`` with a first layer of ``times`` as many output channels, none of whose weights are zero."""
    first = next(node for node in network.nodes if isinstance(node, Linear))
    weight = np.ones((times * len(first.bias), *first.weight.shape[1:]), np.int8)
    return replace(network, nodes=tuple(replace(n, weight=weight) if n is first else n for n in network.nodes))


def test_importing_heddle_imports_nothing_heavy() -> None:
    code = "import sys, heddle; heddle.__version__; print({'numpy', 'amaranth', 'rich', 'tflite'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_everything_heddle_promises_is_there() -> None:
    assert all(getattr(heddle, name) is not None for name in heddle.__all__)
    assert {"compile", "load", "hdl", "sim"} <= set(dir(heddle))
    with pytest.raises(AttributeError, match="no attribute 'tea'"):
        heddle.tea  # noqa: B018


def test_a_design_predicts_what_its_network_predicts(network: Network, design: CompiledDesign) -> None:
    x = inputs(network, 5)
    assert np.array_equal(np.asarray(design.predict(x)), np.asarray(network.predict(x)))


def test_a_design_knows_its_figures(design: CompiledDesign) -> None:
    assert design.cycles > 0
    assert design.macs == sum(layer.macs for layer in design.layers)
    assert 0 < design.utilisation == design.macs / (design.cycles * design.array.macs_per_cycle)
    assert f"{design.cycles:,} per inference" in str(design.report())


def test_the_default_array_of_the_85f_is_kept_busy_by_resnet8() -> None:
    network = heddle.load(network_path("ic"))
    design = heddle.compile(network, board="ulx3s-85f")
    assert str(design.array) == "9x16x2"
    assert design.utilisation >= 0.85
    assert design.utilisation == pytest.approx(design.macs / design.cycles / (9 * 16 * 2))


def test_products_beyond_the_multipliers_are_made_of_luts(network: Network, design: CompiledDesign) -> None:
    device = boards.get(SMALL).device
    wide = heddle.compile(network, SMALL, "9x8x1", requantizers=2)
    assert array_of(design).lut_products == 0
    assert array_of(wide).lut_products == wide.resources.lut_products > 0
    assert wide.resources.multipliers == device.multipliers
    assert wide.resources.products + wide.resources.lut_products == 9 * 8


def test_where_the_own_array_does_not_fit_a_smaller_one_is_taken_and_a_note_says_why(network: Network) -> None:
    board = boards.get("ecp5-85f")
    wanted = fitting.default_array(board)
    assert planner.compile_for(network, board, None).notes == ()
    many_words = replace(board.device, block_rams=40)
    fitted = planner.compile_for(network, replace(board, device=many_words), None)
    assert fitted.design.array.macs_per_cycle < wanted.macs_per_cycle
    assert fitted.resources.shortfall(many_words) == {}
    assert re.search(r"DP16KD of 40 \(\d+ too many\)", fitted.notes[0])


def test_halves_begin_with_what_was_wanted_and_are_all_smaller() -> None:
    wanted = fitting.default_array(boards.get("ecp5-85f"))
    shapes = list(Space.halves(wanted))
    assert shapes[0] == wanted
    assert len(set(shapes)) == len(shapes) == 4 * 2 * 4
    assert all(shape.macs_per_cycle <= wanted.macs_per_cycle for shape in shapes)
    assert shapes[-1].rows == shapes[-1].requantizers == 1


def test_an_array_that_was_asked_for_is_taken_or_refused_but_not_changed(network: Network) -> None:
    assert array_of(heddle.compile(network, SMALL, "2x8x1", requantizers=1)).rows == 2
    with pytest.raises(CapacityError, match=r"9x16x2 .* about \d+ TRELLIS_COMB of 24288 \(\d+ too many\)") as refusal:
        heddle.compile(network, SMALL, "9x16x2", requantizers=1)
    assert "choose a board with LFE5U-" in refusal.value.remedy
    assert "smaller array" in refusal.value.remedy


def test_the_board_that_a_refusal_names_is_the_smallest_that_takes_the_array(network: Network) -> None:
    with pytest.raises(CapacityError) as refusal:
        heddle.compile(network, SMALL, "9x8x2", requantizers=4)
    assert "choose a board with LFE5U-45F or larger" in refusal.value.remedy
    assert array_of(heddle.compile(network, "ecp5-45f", "9x8x2", requantizers=4)).lut_products > 0


def test_the_name_of_a_file_is_no_network() -> None:
    with pytest.raises(InputError, match=r"'net\.tflite' is no network; give what heddle\.load returns"):
        heddle.compile("net.tflite", SMALL)  # type: ignore[arg-type]


def test_an_array_config_is_taken_as_it_is(network: Network) -> None:
    array = ArrayConfig(rows=2, cols=8, requantizers=1, stream_bytes=4, primitive="mult18x18d")
    assert heddle.compile(network, SMALL, array).array == array
    assert heddle.compile(network, SMALL, array, stream_bytes=2).array == replace(array, stream_bytes=2)


@pytest.mark.parametrize("text", ["9", "9x8x", "x8", "9x8x1x1", "-1x8", "9*8", "", "99999x8"])
def test_a_shape_that_is_none_is_refused(text: str, network: Network) -> None:
    with pytest.raises(InputError, match="is not a shape"):
        heddle.compile(network, SMALL, text)


@pytest.mark.parametrize("changes", [{"array": "3x9x1"}, {"requantizers": 3}, {"stream_bytes": 17}, {"array": "0x8x1"}])
def test_a_shape_that_no_array_has_is_refused(changes: dict, network: Network) -> None:
    with pytest.raises(CapacityError, match=r"^array: "):
        heddle.compile(network, SMALL, **changes)


def test_weights_beyond_the_block_ram_are_refused_before_anything_is_mapped(network: Network) -> None:
    with pytest.raises(CapacityError, match=r"non-zero weights exceed its block RAM by [\d,]+ bytes.*LFE5U-45F"):
        heddle.compile(heavier(network, 1000), SMALL)
    (verdict,) = fitting.judge(heavier(network, 1000), [boards.get(SMALL)])
    assert not verdict.array
    assert not verdict.possible
    assert "block RAM" in verdict.reason


def test_what_inspect_says_fits_compiles(network: Network) -> None:
    board = boards.get(SMALL)
    (verdict,) = fitting.judge(network, [board])
    assert verdict.array is not None
    fitted = planner.compile_for(network, board, verdict.array)
    chosen = planner.compile_for(network, board, None).design.array
    assert fitted.design.array.macs_per_cycle <= chosen.macs_per_cycle


def test_the_mapping_that_inspect_judges_by_is_the_design_s(network: Network, design: CompiledDesign) -> None:
    mapping = fitting.map_network(network, array_of(design))
    config = program_of(design).config
    mapped = mapping.config(config.requantize, acc_bits=config.acc_bits)
    assert replace(mapped, program_words=config.program_words) == config


def test_the_memories_that_inspect_counts_quickly_are_the_design_s(design: CompiledDesign) -> None:
    program = program_of(design)
    quick = least_block_rams(program.config, program.weights, program.indices)
    exact = {memory.name: memory.block_rams for memory in design.resources.memories}
    parts = ("feature maps", "weights", "wide weights", "indices", "wide indices")
    assert quick == sum(exact.get(part, 0) for part in parts)


def test_names_become_identifiers_and_stay_files() -> None:
    assert identifier("my net-2.quant/é") == "my_net_2_quant__"
    assert len(identifier("x" * 1000)) < 200


def test_a_simulation_that_differs_raises_and_names_the_place(
    design: CompiledDesign, network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Difference(sample=1, layer="conv_0", tensor="t", index=(2, 3, 4), expected=5, got=6)
    result = SimulationResult(
        outputs=np.zeros(1), mismatches=1, first_difference=place, cycles=(1,), slice_cycles=(), simulator="verilator"
    )
    monkeypatch.setattr("heddle.sim.network.simulate", lambda *_, **__: result)
    with pytest.raises(DifferenceError, match=r"conv_0: t\[2, 3, 4\] is 6, not 5"):
        design.simulate(inputs(network))


def test_writing_leaves_nothing_behind_when_it_fails(
    design: CompiledDesign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heddle.gen.summary.manifest", lambda *_, **__: 1 / 0)
    monkeypatch.setattr("heddle.gen.design.Design.verilog", lambda _: "module x; endmodule\n")
    with pytest.raises(ZeroDivisionError):
        design.write(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_heddle_did_not_make_is_kept(design: CompiledDesign, tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(InputError, match="Heddle did not make it"):
        design.write(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.slow
def test_block_rams_and_multipliers_are_those_of_a_synthesis(design: CompiledDesign) -> None:
    from heddle.boards import tools
    from heddle.boards.cache import open_cache
    from heddle.boards.synthesis import synthesize

    with open_cache() as cache:
        files = {"design.v": design.design.verilog()}
        synthesis = synthesize(files, design.name, yosys=tools.find("yosys"), cache=cache)
    assert {cell: synthesis.needs[cell] for cell in design.resources.exact} == design.resources.exact
