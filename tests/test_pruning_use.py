"""How pruning is asked for: the command, the documented uses, what is refused; and what compiler and RTL make of it."""

import json
import re
import shlex
import shutil
from dataclasses import replace

import numpy as np
import pytest
from digits import SMALL, digit_samples
from pruned_files import ARRAY, DIGITS, SAMPLES, channels_network, write
from random_networks import Builder
from reference import run_tflm
from source_tree import ROOT

import heddle
from heddle import boards, cli
from heddle.errors import CapacityError, HeddleError, InputError
from heddle.gen import fitting, mapping
from heddle.gen.design import Design, compile_network
from heddle.gen.importers import load
from heddle.sim.network import simulate

# Refusals, and the command


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"sparsity": 1.0}, "in [0, 1)"),
        ({"sparsity": -0.1}, "in [0, 1)"),
        ({"sparsity": float("nan")}, "in [0, 1)"),
        ({}, "none is given"),
        ({"pattern": "4:8", "sparsity": 0.5}, "leave it out"),
        ({"pattern": "2:4"}, "a block of the array has 8"),
        ({"pattern": "9:8"}, "N in 1..8"),
        ({"pattern": "0:8"}, "N in 1..8"),
        ({"pattern": "diagonal"}, "there is no pattern"),
        ({"sparsity": 0.5, "layers": {"conv_2d_99": 0.5}}, "there is no layer conv_2d_99"),
        ({"sparsity": 0.5, "layers": {"conv_2d_0": "many"}}, "is no number"),
        ({"pattern": "4:8", "layers": {"conv_2d_0": 0.5}}, "there is no pattern"),
        ({"sparsity": 0.5, "skip": ["conv_2d_0"], "layers": {"conv_2d_0": 0.5}}, "both named and skipped"),
        ({"sparsity": 0.5, "scope": "local"}, "choose of global, uniform"),
        ({"sparsity": 0.5, "criterion": "random"}, "choose of lamp"),
        ({"sparsity": 0.5, "inputs": np.zeros((0, 8, 8, 1), np.int8)}, "holds no samples"),
        ({"sparsity": 0.5, "inputs": np.zeros((3, 9, 8, 1), np.int8)}, "shape"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_written(out, options, says) -> None:
    with pytest.raises(InputError) as error:
        heddle.prune(DIGITS, out, array=SMALL, **options)
    assert says in str(error.value)
    assert list(out.parent.iterdir()) == []


def test_an_output_that_exists_stays_unless_told_otherwise(out) -> None:
    out.write_text("mine")
    with pytest.raises(InputError, match="exists"):
        heddle.prune(DIGITS, out, sparsity=0.5, array=SMALL)
    assert out.read_text() == "mine"
    heddle.prune(DIGITS, out, sparsity=0.5, array=SMALL, overwrite=True)
    assert load(out).nodes
    copy = out.with_name("copy.tflite")
    copy.write_bytes(out.read_bytes())
    with pytest.raises(InputError, match="is the network itself"):
        heddle.prune(copy, copy, sparsity=0.9, array=SMALL, overwrite=True)
    with pytest.raises(InputError, match="folder does not exist"):
        heddle.prune(DIGITS, out.parent / "none" / "out.tflite", sparsity=0.5, array=SMALL)


def test_a_float_network_is_refused_by_layer(tmp_path, out) -> None:
    b = Builder(1)
    x = b.tensor((1, 4, 4, 8), "float32")
    weight = b.tensor((8, 1, 1, 8), "float32", data=np.ones((8, 1, 1, 8), np.float32))
    y = b.tensor((1, 4, 4, 8), "float32")
    b.op("CONV_2D", [x, weight], [y], "Conv2DOptions", Padding=0, StrideH=1, StrideW=1, FusedActivationFunction=0)
    with pytest.raises(HeddleError, match="conv_2d_0"):
        heddle.prune(write(tmp_path, b.finish([x], [y])), out, sparsity=0.5)
    assert not out.exists()


def test_the_command_gives_tables_and_json(capsys, out) -> None:
    arguments = ["prune", str(DIGITS), "-o", str(out), "--sparsity", "0.5", "--inputs", str(SAMPLES), "--samples", "50"]
    assert cli.main([*arguments, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["sparsity_after"] == pytest.approx(0.5, abs=0.001)
    assert data["one_shot"] is True
    assert data["quality"]["samples"] == 50
    assert 0 <= data["quality"]["accuracy_after"] <= data["quality"]["accuracy_before"]
    assert cli.main([*arguments, "--overwrite", "--board", "ecp5-25f", "--array", "3x8x1"]) == 0
    text = capsys.readouterr().out
    assert "no retraining" in text
    assert "accuracy" in text
    assert "before, on 3x8x1" in text
    assert cli.main([*arguments]) == 1
    assert "exists" in capsys.readouterr().err
    assert cli.main([*arguments[:-2], "--overwrite", "--layer", "conv_2d_0"]) == 1
    assert "NAME=0.75" in capsys.readouterr().err


# What is documented

PAGE = (ROOT / "docs" / "sparsity.md").read_text()
COMMANDS = re.findall(r"^heddle (prune .*?)(?: +#.*)?$", PAGE, re.MULTILINE)
CALLS = re.findall(r"`(heddle\.prune\(.*?\))`", PAGE)


@pytest.fixture
def documented(tmp_path, monkeypatch):
    """Where the files are that the page names."""
    shutil.copy(DIGITS, tmp_path / "net.tflite")
    shutil.copy(SAMPLES, tmp_path / "x.npz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_has_commands_and_a_call() -> None:
    assert len(COMMANDS) >= 3
    assert len(CALLS) >= 1


@pytest.mark.parametrize("command", COMMANDS)
def test_a_documented_command_runs_as_it_stands(command, documented, capsys) -> None:
    words = shlex.split(command)
    assert cli.main(words) == 0, capsys.readouterr().err
    assert load(documented / words[words.index("-o") + 1]).nodes


@pytest.mark.parametrize("call", CALLS)
def test_a_documented_call_runs_as_it_stands(call, documented) -> None:
    assert eval(call, {"heddle": heddle}).path.exists()


def test_options_that_the_page_names_are_the_commands(capsys) -> None:
    assert cli.main(["prune", "--help"]) == 0
    known = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
    scripts, own = [], set()
    for text in re.findall(r"`([^`\n]+)`", PAGE):
        options = set(re.findall(r"--[a-z-]+", text))
        if script := re.match(r"python (bench/\w+\.py)", text):
            scripts.append((ROOT / script[1], options))
        else:
            own |= options
    assert "--calibration-samples" in own
    assert own <= known
    assert any(options for _, options in scripts)
    for script, options in scripts:
        assert all(f'"{option}"' in script.read_text() for option in options), script


@pytest.mark.parametrize("wrong", ["--patern", "--pattern 2:4", "--inputs y.npz"])
def test_a_wrong_option_in_a_documented_command_is_found(wrong, documented, capsys) -> None:
    assert cli.main([*shlex.split(COMMANDS[0]), *wrong.split()]) != 0
    assert capsys.readouterr().err


# What indices must save


def test_one_small_layer_that_indices_help_does_not_give_the_array_selectors(tmp_path, out, monkeypatch) -> None:
    b = Builder(3)
    x = b.activation((1, 12, 12, 16))
    y = b.conv_2d(b.conv_2d(x, cout=64, kernel=(3, 3)), cout=64, kernel=(3, 3))
    path = write(tmp_path, b.finish([x], [b.conv_2d(y, cout=8, kernel=(1, 1))]))
    heddle.prune(path, out, "8:8", layers={"conv_2d_2": "4:8"}, array=ARRAY)
    assert compile_network(load(out), ARRAY).program.config.index_words == 0
    monkeypatch.setattr(mapping, "INDICES_SAVE", 0)
    assert compile_network(load(out), ARRAY).program.config.index_words > 0


def index_words(fitted: fitting.Fitted) -> int:
    assert isinstance(fitted.design, Design)
    return fitted.design.program.config.index_words


def test_a_design_that_fits_only_without_indices_is_made_without_them(tmp_path, out, monkeypatch) -> None:
    heddle.prune(channels_network(tmp_path), out, "4:8", array=ARRAY)
    network, board, check = load(out), boards.get("ecp5-85f"), fitting.check_fit
    array = replace(ARRAY, primitive="mult18x18d")
    assert index_words(fitting.compile_on(network, board, array)) > 0

    def too_small_for_indices(design, device):
        fitted, refusal = check(design, device)
        beyond = CapacityError("too large", where="test", remedy="none")
        return fitted, beyond if design.program.config.index_words else refusal

    monkeypatch.setattr(fitting, "check_fit", too_small_for_indices)
    fitted = fitting.compile_on(network, board, array)
    assert index_words(fitted) == 0
    assert "zero weights save no cycles" in fitted.notes[0]


# The hardware


@pytest.mark.slow
def test_pruned_digits_in_rtl_equal_the_golden_model_in_the_predicted_cycles(out) -> None:
    heddle.prune(DIGITS, out, "2:8", array=SMALL)
    design, x = compile_network(load(out), SMALL), digit_samples(2)
    assert design.cycles < compile_network(load(DIGITS), SMALL).cycles
    result = simulate(design, x, simulator="icarus", layers=True)
    assert result.first_difference is None, str(result.first_difference)
    assert set(result.cycles) == {design.cycles}
    assert np.array_equal(np.asarray(result.outputs), run_tflm(out.read_bytes(), [x])[0].reshape(2, -1))
