"""The deploy bundle: whole, and the same for the same build."""

import hashlib
import io
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import bundles
import numpy as np
import pytest
from bundles import BOARD, DIGITS, ZIP, unpack
from digits import SMALL, digit_samples
from source_tree import ROOT
from tflite_builder import TFLiteBuilder

import heddle
from heddle.boards.flash import LOADER, command_line, read_bitstream
from heddle.cli import main
from heddle.errors import InputError, ToolError
from heddle.gen.api import CompiledDesign
from heddle.gen.design import Design
from heddle.gen.ir import Network
from heddle.gen.samples import read_samples
from heddle.host.bundle.archive import npz_bytes
from heddle.host.bundle.driver import PACKAGE
from heddle.host.bundle.vectors import GIVEN_SAMPLES, RANDOM_SAMPLES, Vectors
from heddle.host.expected import expected_of_folder


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# What is in it


def test_the_manifest_names_every_file_of_the_bundle_by_its_hash(built: Path, bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    named = {file["name"]: file["sha256"] for file in manifest["files"].values()} | manifest["bundle"]["files"]
    found = {name: hashlib.sha256(content).hexdigest() for name, content in files_of(bundle).items()}
    assert found.pop("manifest.json") == hashlib.sha256((built / "manifest.json").read_bytes()).hexdigest()
    assert found == named
    assert manifest["bundle"]["name"] == ZIP
    assert {"README.md", "LICENSE", "NOTICE", "report.html", "heddle_digits.bit", "heddle_digits.core"} <= set(found)
    assert {"heddle_digits.v", "heddle_digits_shell.v", "board_top.v", "board_top.lpf"} <= set(found)
    assert {"c/heddle_run.c", "c/heddle_protocol.h", "c/heddle_design.h", "vectors/vectors.npz"} <= set(found)
    assert (bundle / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_equal_builds_give_equal_bytes(bundled: CompiledDesign, built: Path, tmp_path: Path) -> None:
    # In a process whose sets have another order.
    command = [sys.executable, str(Path(bundles.__file__)), str(tmp_path / "again")]
    subprocess.run(command, env={**os.environ, "PYTHONHASHSEED": "12345"}, check=True)
    assert (tmp_path / "again" / "out" / ZIP).read_bytes() == (built / ZIP).read_bytes()
    bundled.build(tmp_path / "other", inputs=digit_samples(1))
    assert (tmp_path / "other" / ZIP).read_bytes() != (built / ZIP).read_bytes()


def test_an_unpacked_bundle_is_an_output_folder(built: Path, bundle: Path) -> None:
    ours, theirs = expected_of_folder(built), expected_of_folder(bundle)
    assert theirs.identity == ours.identity
    assert theirs.read_verilog() == ours.read_verilog()
    command = shlex.join(command_line(read_bitstream(bundle), (LOADER,)))
    assert command.replace(f"{bundle}/", "") in (bundle / "README.md").read_text()


def test_the_top_has_the_clock_of_the_bitstream(bundle: Path) -> None:
    manifest = json.loads((bundle / "manifest.json").read_text())
    # 25 MHz, as the PLL's dividers make of it.
    text = (bundle / "board_top.v").read_text()
    divider, feedback = (int(re.findall(rf"\.{name}\((\d+)\)", text)[0]) for name in ("CLKI_DIV", "CLKFB_DIV"))
    assert 25 * feedback / divider == pytest.approx(manifest["build"]["clock_mhz"], abs=0.01)
    assert f'"--freq", "{manifest["build"]["clock_mhz"]:g}"' in (bundle / "heddle_digits.core").read_text()


def test_the_vectors_are_random_samples_and_the_first_of_the_user_s(
    bundled: CompiledDesign, fakes: None, bundle: Path, tmp_path: Path
) -> None:
    network = bundled.network
    samples = read_samples(bundle / "vectors" / "vectors.npz", network)
    assert len(samples) == RANDOM_SAMPLES
    assert samples.difference(network.predict(samples.inputs)) is None
    # As packets: what the accelerator itself is given and gives, quantization and softmax left out.
    sent = np.fromfile(bundle / "vectors" / "inputs.bin", np.uint8).reshape(RANDOM_SAMPLES, -1)
    given = np.fromfile(bundle / "vectors" / "outputs.bin", np.uint8).reshape(RANDOM_SAMPLES, -1)
    seen: list[np.ndarray] = []

    def accelerator(packets: list[np.ndarray]) -> list[np.ndarray]:
        seen.extend(packets)
        return [given]

    assert samples.difference(bundled.design.host_part.run(samples.inputs, accelerator)) is None
    assert np.array_equal(seen[0], sent)

    own = digit_samples(GIVEN_SAMPLES + 1)
    bundled.build(tmp_path / "own", inputs=own)
    more = read_samples(unpack(tmp_path / "own" / ZIP, tmp_path / "more") / "vectors" / "vectors.npz", network)
    (taken,) = more.inputs.values()
    assert np.array_equal(taken[RANDOM_SAMPLES:], own[:GIVEN_SAMPLES])
    assert more.difference(network.predict(more.inputs)) is None


def test_samples_that_do_not_match_are_refused_before_anything_is_built(
    bundled: CompiledDesign, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("heddle.boards.build.build", None)
    with pytest.raises(InputError, match="pass an array of shape"):
        bundled.build(tmp_path / "out", inputs=np.zeros((1, 3, 3, 1), np.int8))
    assert list(tmp_path.iterdir()) == []


def test_arrays_may_have_any_name() -> None:
    arrays: dict[str, np.ndarray] = {
        "file": np.arange(3),
        "a/b:0": np.ones((2, 0), np.int8),
        "expected.x": np.full((1, 1), 0.5),
    }
    with np.load(io.BytesIO(npz_bytes(arrays))) as found:
        assert {name: found[name].tolist() for name in found} == {k: v.tolist() for k, v in arrays.items()}


@pytest.mark.parametrize("board", [BOARD, "ecp5-25f", "icebreaker", "tang-nano-20k"])
def test_what_has_no_host_link_has_no_drivers_and_says_so(
    board: str, built_for: Callable[[str], Path], tmp_path: Path
) -> None:
    bare = board == "ecp5-25f"
    folder = unpack(built_for(board) / ZIP, tmp_path / "bundle")
    assert (folder / PACKAGE).exists() == (folder / "c").exists() == (not bare)
    text = (folder / "README.md").read_text()
    assert ("no host link" in text) == ("do not load it" in text) == bare
    assert (LOADER in text) == (not bare)


@pytest.mark.usefixtures("fakes")
def test_the_command_names_the_bundle(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Design, "verilog", lambda _: "module heddle_digits (input clk); endmodule\n")
    build = ["build", str(DIGITS), "--board", BOARD, "--samples", "0", "-o", str(tmp_path / "out")]
    assert main([*build, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"]["bundle"] == ZIP
    assert main(build) == 0
    assert str(tmp_path / "out" / ZIP) in capsys.readouterr().out


@pytest.mark.usefixtures("fakes")
def test_the_bundle_has_the_first_of_the_user_s_samples_whatever_is_simulated(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Design, "verilog", lambda _: "module heddle_digits (input clk); endmodule\n")
    np.savez(tmp_path / "x.npz", x=digit_samples(GIVEN_SAMPLES + 1))
    build = ["build", str(DIGITS), "--board", BOARD, "--samples", "0", "-o", str(tmp_path / "out")]
    assert main([*build, "--inputs", str(tmp_path / "x.npz")]) == 0
    vectors = np.load(unpack(tmp_path / "out" / ZIP, tmp_path / "bundle") / "vectors" / "vectors.npz")
    (name,) = heddle.load(DIGITS).inputs
    assert vectors[name].shape[0] == RANDOM_SAMPLES + GIVEN_SAMPLES
    assert (vectors[name][RANDOM_SAMPLES:] == digit_samples(GIVEN_SAMPLES)).all()
    capsys.readouterr()
    assert main([*build, "--overwrite", "--inputs", str(tmp_path / "none.npz")]) == 1
    assert "none.npz: does not exist" in capsys.readouterr().err


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize("board", [BOARD, "ecp5-25f"])
@pytest.mark.parametrize("name", ["board", "board_top", "harness", "board_shell"])
def test_no_name_of_a_network_is_that_of_another_file_or_module(name: str, board: str, tmp_path: Path) -> None:
    network = replace(heddle.load(DIGITS), name=name)
    shape = f"{SMALL.rows}x{SMALL.cols}x1"
    design = heddle.compile(network, board, shape, requantizers=SMALL.requantizers)
    built = design.build(tmp_path / "out")
    texts = [path.read_text() for path in (tmp_path / "out").glob("*.v")]
    modules = [module for text in texts for module in re.findall(r"^module (\S+?)[ (]", text, re.MULTILINE)]
    assert len(set(modules)) == len(modules)
    assert expected_of_folder(tmp_path / "out").read_verilog() == design.design.verilog()
    assert len(set(built.files.values())) == len(built.files)


@pytest.mark.usefixtures("fakes")
def test_an_installation_without_a_licence_is_found_before_anything_is_built(
    bundled: CompiledDesign, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("heddle.boards.build.build", lambda *_, **__: pytest.fail("built"))
    monkeypatch.setattr("importlib.metadata.PathDistribution.read_text", lambda *_: None)
    with pytest.raises(ToolError, match="the installation lacks LICENSE and NOTICE; install heddle-fpga anew"):
        bundled.build(tmp_path / "out")


def test_an_input_may_have_the_name_of_anything_else(tmp_path: Path) -> None:
    b = TFLiteBuilder(seed=1)
    x = b.activation((1, 1, 1, 4))
    y = b.fully_connected(x, cout=2)
    path = tmp_path / "net.tflite"
    path.write_bytes(b.finish([x], [y]))
    network = heddle.load(path)
    (source,), (target,) = network.inputs, network.outputs

    def renamed(name: str) -> Network:
        tensors = {**network.tensors, name: replace(network.tensors[source], name=name)}
        nodes = tuple(
            replace(node, inputs=tuple(name if i == source else i for i in node.inputs)) for node in network.nodes
        )
        return replace(network, tensors=tensors, inputs=(name,), nodes=nodes)

    samples = np.zeros((2, *network.tensors[source].sample_shape), np.int8)
    np.savez(tmp_path / "label.npz", label=samples)
    assert read_samples(tmp_path / "label.npz", renamed("label"), None).label is None
    with pytest.raises(InputError, match="as the expected values of an output are; rename the tensor"):
        Vectors.of(heddle.compile(renamed(f"expected.{target}"), BOARD, "1x8x1").design)


# The core


@pytest.mark.parametrize("board", [BOARD, "ecp5-25f", "icebreaker", "tang-nano-20k"])
def test_fusesoc_sets_up_the_core_of_every_family(board: str, built_for: Callable[[str], Path], tmp_path: Path) -> None:
    folder = unpack(built_for(board) / ZIP, tmp_path / "bundle")
    for target in ("synth", "lint"):
        command = ["fusesoc.main", "--cores-root", ".", "run", "--setup", "--target", target, "heddle_digits"]
        done = subprocess.run([sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "ERROR" not in done.stdout + done.stderr
    (makefile,) = folder.glob("build/*/synth/Makefile")
    assert "nextpnr-" in makefile.read_text()
