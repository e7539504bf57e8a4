"""The command: exit status, one red line for what a user got wrong, JSON for machines, nothing half-written."""

import hashlib
import io
import json
import os
import random
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from reference_data import network_path
from source_tree import ROOT
from tflite_builder import TFLiteBuilder

from heddle import cli
from heddle.errors import InputError
from heddle.gen.importers import load
from heddle.gen.ir import Network
from heddle.gen.samples import read_samples
from heddle.sim.network import Difference, SimulationResult

DIGITS = str(ROOT / "examples" / "digits" / "digits.tflite")
SAMPLES = str(ROOT / "examples" / "digits" / "samples.npz")
OUTPUT = "StatefulPartitionedCall_1:0"
"""Of digits, as its file names it."""
SMALL = ["--board", "ecp5-25f"]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Verilog in no time, for tests of what is around it."""
    monkeypatch.setattr("heddle.gen.design.Design.verilog", lambda design: f"module {design.name}; endmodule\n")


@pytest.fixture
def unsupported(tmp_path: Path) -> str:
    builder = TFLiteBuilder(seed=1)
    x = builder.activation((1, 4, 4, 8))
    y = builder.unary("CUMSUM", x)
    path = tmp_path / "unsupported.tflite"
    path.write_bytes(builder.finish([x], [y]))
    return str(path)


def simulated(**changes: Any) -> Any:
    """Return a stand-in for the simulator: the golden outputs, and what ``changes`` says."""

    def simulate(design: Any, x: Any, *, simulator: str = "verilator", **_: Any) -> SimulationResult:
        outputs = design.network.predict(x)
        count = len(next(iter(x.values())))
        facts: dict[str, Any] = {
            "outputs": outputs,
            "mismatches": 0,
            "first_difference": None,
            "cycles": (design.cycles,) * count,
            "slice_cycles": tuple(design.slice_cycles),
            "simulator": simulator,
        }
        return SimulationResult(**{**facts, **changes})

    return simulate


def run_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert cli.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command that is refused; return its one line."""
    assert cli.main(list(arguments)) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = [line for line in captured.err.splitlines() if line.startswith("heddle: ")]
    assert line.count("; ") >= 1
    return line


# Arguments


@pytest.mark.parametrize(
    "arguments",
    [
        ["tea"],
        ["inspect"],
        ["generate", DIGITS],
        ["simulate", DIGITS, *SMALL, "--simulator", "vcs"],
        ["simulate", DIGITS, *SMALL, "--samples", "-1"],
        ["build", DIGITS, *SMALL, "-o", "out", "--seeds", "0"],
        ["inspect", DIGITS, "--colour"],
        ["generate", DIGITS, *SMALL, "-o", "out", "--reference", "onnx"],
    ],
)
def test_bad_arguments_exit_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert "Usage: heddle" in capsys.readouterr().err


def test_help_and_version_exit_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--help"]) == 0
    assert "inspect" in capsys.readouterr().out
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("heddle ")


# Refusals


def test_a_file_that_is_not_there_or_no_network_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for command in (["inspect"], ["generate", *SMALL, "-o", str(tmp_path / "out")], ["simulate", *SMALL]):
        assert "cannot be read" in refused(capsys, *command, str(tmp_path / "absent.tflite"))
        assert "not a TFLite file" in refused(capsys, *command, SAMPLES)
        assert "cannot be read" in refused(capsys, *command, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_board_is_refused_with_the_nearest(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    line = refused(capsys, "generate", DIGITS, "--board", "ulx3s-84f", "-o", str(tmp_path / "out"))
    assert "ulx3s-85f" in line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--array", "9by8"], "is not a shape"),
        (["--array", "3x9x1"], "whole blocks"),
        (["--requantizers", "3"], "do not divide"),
        (["--stream-bytes", "17"], "1..16"),
        (["--array", "9x16x2"], "TRELLIS_COMB of 24288"),
    ],
)
def test_an_array_that_cannot_be_is_refused_before_anything_is_written(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert says in refused(capsys, "generate", DIGITS, *SMALL, "-o", str(tmp_path / "out"), *options)
    assert list(tmp_path.iterdir()) == []


def test_an_unsupported_operator_is_named(unsupported: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert "CUMSUM" in refused(capsys, "generate", unsupported, *SMALL, "-o", str(tmp_path / "out"))
    assert cli.main(["inspect", unsupported, "--json"]) == 1
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert not found["supported"]
    assert "CUMSUM" in found["layers"][0]["problem"]
    assert "CUMSUM" in captured.err


def broken_archives(folder: Path) -> dict[str, str]:
    """Write files that hold no usable samples; return what each refusal says."""
    x = np.zeros((3, 8, 8, 1), np.int8)
    np.save(folder / "array.npy", x)
    np.savez(folder / "other.npz", y=x)
    np.savez(folder / "shape.npz", x=x[:, :4])
    np.savez(folder / "float.npz", x=x.astype(np.float32) + 0.5)
    np.savez(folder / "range.npz", x=x.astype(np.int32) + 1000)
    np.savez(folder / "empty.npz", x=x[:0])
    np.savez(folder / "label.npz", x=x, label=np.zeros(2, np.int64))
    np.savez(folder / "expected.npz", **{"x": x, f"expected.{OUTPUT}": np.zeros((2, 10), np.int8)})
    np.savez(folder / "pickle.npz", x=np.array([{}], dtype=object))
    (folder / "text.npz").write_text("no archive")
    (folder / "nothing.npz").write_bytes(b"")
    whole = (folder / "other.npz").read_bytes()
    (folder / "half.npz").write_bytes(whole[: len(whole) // 2])
    return {
        "absent.npz": "does not exist",
        "array.npy": "not an .npz",
        "other.npz": "has y, but not",
        "shape.npz": "shape (3, 4, 8, 1)",
        "float.npz": "type float32",
        "range.npz": "values 1000..1000",
        "empty.npz": "holds no samples",
        "label.npz": "label is",
        "expected.npz": f"expected.{OUTPUT} is int8 (2, 10)",
        "pickle.npz": "cannot be read",
        "text.npz": "cannot be read",
        "nothing.npz": "cannot be read",
        "half.npz": "cannot be read",
    }


def test_unusable_samples_are_refused_before_a_simulator_starts(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heddle.sim.network.simulate", None)
    for name, says in broken_archives(tmp_path).items():
        assert says in refused(capsys, "simulate", DIGITS, *SMALL, "--inputs", str(tmp_path / name)), name
    assert "0 samples" in refused(capsys, "simulate", DIGITS, *SMALL, "--samples", "0")


def test_inspecting_the_largest_reference_network_takes_a_moment() -> None:
    path = network_path("vww")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "heddle", "inspect", path], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor; the goal is 2 s, which a loaded machine, or a slow one, may miss: a search is far beyond this.
    assert after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime < 10


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_flipped_bits_of_an_archive_are_refused_or_harmless(save: Callable[..., None], tmp_path: Path) -> None:
    network, rng = load(DIGITS), random.Random(1)
    array, path = io.BytesIO(), tmp_path / "flipped.npz"
    x = np.random.default_rng(1).integers(-128, 128, (3, 8, 8, 1), dtype=np.int8)
    np.save(array, x)
    save(path, x=x)
    whole, causes = path.read_bytes(), set()
    for _ in range(400):
        path.write_bytes(flipped(whole, rng.randrange(len(whole)), rng))
        causes.add(cause_of_refusal(path, network))
        # In an array whose checksum was made after the flip, NumPy is the first to see it: 128 bytes are its header.
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("x.npy", flipped(array.getvalue(), rng.randrange(128), rng))
        causes.add(cause_of_refusal(path, network))
    assert {None, zipfile.BadZipFile, ValueError} <= causes


def flipped(data: bytes, at: int, rng: random.Random) -> bytes:
    """Return ``data`` with another bit in the byte ``at``."""
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def cause_of_refusal(path: Path, network: Network) -> type[BaseException] | None:
    """Read samples; return the type of error behind the refusal, ``None`` if they were read or merely do not match."""
    try:
        read_samples(path, network)
    except InputError as refusal:
        return refusal.__cause__ and type(refusal.__cause__)
    return None


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "encrypted.npz"
    np.savez(path, x=np.zeros((3, 8, 8, 1), np.int8))
    whole = bytearray(path.read_bytes())
    # Bit 0 of the flags: 8 bytes into the central directory's entry, which tells.
    whole[whole.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match="encrypted"):
        read_samples(path, load(DIGITS))


def test_an_output_that_cannot_be_written_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    assert "not a folder" in refused(capsys, "generate", DIGITS, *SMALL, "-o", str(file))
    assert str(file) in refused(capsys, "generate", DIGITS, *SMALL, "-o", str(file / "below"))
    assert file.read_text() == "mine"


# What the commands do


def test_inspect_shows_layers_and_every_board(capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json(capsys, "inspect", DIGITS)
    assert found["supported"]
    assert found["macs"] == sum(layer["macs"] for layer in found["layers"]) > 0
    assert {"name", "op", "macs", "params", "zeros", "supported", "problem"} <= set(found["layers"][0])
    fits = {verdict["board"]: verdict["fits"] for verdict in found["boards"]}
    assert fits["ulx3s-85f"] is True
    assert cli.main(["inspect", DIGITS]) == 0
    text = capsys.readouterr().out
    assert "DEPTHWISE_CONV_2D" in text
    assert "ulx3s-85f" in text


@pytest.mark.usefixtures("quick")
def test_generate_writes_three_files_whose_hashes_the_manifest_holds(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    printed = run_json(capsys, "generate", DIGITS, *SMALL, "-o", str(out))
    assert {"cycles", "macs", "macs_per_cycle", "utilisation", "layers"} <= set(printed)
    assert {"name", "op", "macs", "cycles", "kind", "density"} <= set(printed["layers"][0])
    assert sorted(path.name for path in out.iterdir()) == ["heddle_digits.v", "manifest.json", "report.html"]
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["cycles"] == printed["cycles"]
    for file in manifest["files"].values():
        assert hashlib.sha256((out / file["name"]).read_bytes()).hexdigest() == file["sha256"]


@pytest.mark.slow
def test_the_same_file_and_options_give_the_same_bytes_whatever_the_hash_seed(tmp_path: Path) -> None:
    written = []
    for seed in ("1", "2"):
        out = tmp_path / seed / "out"
        command = [sys.executable, "-m", "heddle", "generate", DIGITS, *SMALL, "-o", str(out)]
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(command, env=environment, capture_output=True, check=True, cwd=tmp_path)
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert written[0] == written[1]
    assert b"module heddle_digits(" in written[0]["heddle_digits.v"]


@pytest.mark.usefixtures("quick")
def test_a_folder_is_replaced_only_if_heddle_made_it_or_if_asked(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    generate = ["generate", DIGITS, *SMALL, "-o", str(tmp_path)]
    (tmp_path / "mine.txt").write_text("mine")
    assert "Heddle did not make it" in refused(capsys, *generate)
    assert cli.main([*generate, "--overwrite"]) == 0
    assert not (tmp_path / "mine.txt").exists()
    assert cli.main(generate) == 0


@pytest.mark.usefixtures("quick")
def test_a_strange_file_name_becomes_a_verilog_name(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    strange = tmp_path / "1 strange; näme.v2.tflite"
    strange.write_bytes(Path(DIGITS).read_bytes())
    assert cli.main(["generate", str(strange), *SMALL, "-o", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "heddle_1_strange__n_me_v2.v").exists()


def test_simulate_reports_cycles_mismatches_and_accuracy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heddle.sim.network.simulate", simulated())
    printed = run_json(capsys, "simulate", DIGITS, *SMALL, "--inputs", SAMPLES, "--samples", "20")
    assert printed["samples"] == 20
    assert printed["mismatches"] == 0
    assert printed["cycles"] == printed["predicted_cycles"]
    assert printed["accuracy"] >= 0.9
    assert [layer["simulated_cycles"] for layer in printed["layers"]] == [
        layer["cycles"] for layer in printed["layers"]
    ]
    assert cli.main(["simulate", DIGITS, *SMALL, "--inputs", SAMPLES, "--samples", "20"]) == 0
    text = capsys.readouterr().out
    assert "accuracy" in text
    assert "as predicted" in text


def test_simulate_without_inputs_says_that_they_are_random(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("heddle.sim.network.simulate", simulated())
    assert cli.main(["simulate", DIGITS, *SMALL, "--seed", "7"]) == 0
    assert "random, seed 7" in capsys.readouterr().err


def test_a_difference_exits_with_1_and_names_the_tensor_and_index(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Difference(sample=1, layer="conv_0", tensor="t", index=(2, 3, 4), expected=5, got=6)
    monkeypatch.setattr("heddle.sim.network.simulate", simulated(mismatches=9, first_difference=place))
    assert cli.main(["simulate", DIGITS, *SMALL, "--json"]) == 1
    captured = capsys.readouterr()
    printed = json.loads(captured.out)
    assert printed["mismatches"] == 9
    assert printed["first_difference"]["index"] == [2, 3, 4]
    assert "conv_0: t[2, 3, 4] is 6, not 5" in captured.err


@pytest.mark.usefixtures("quick")
def test_a_build_that_differs_in_simulation_makes_no_bitstream(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    place = Difference(sample=0, layer="l", tensor="t", index=(0,), expected=1, got=0)
    monkeypatch.setattr("heddle.sim.network.simulate", simulated(mismatches=1, first_difference=place))
    assert cli.main(["build", DIGITS, *SMALL, "-o", str(tmp_path / "out")]) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("quick")
def test_an_interrupted_command_exits_with_130_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("heddle.gen.summary.manifest", interrupt)
    assert cli.main(["generate", DIGITS, *SMALL, "-o", str(tmp_path / "out")]) == 130
    assert list(tmp_path.iterdir()) == []


def test_boards_and_doctor_list_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    listed = run_json(capsys, "boards")["boards"]
    assert {"ulx3s-12f", "ulx3s-85f", "ecp5-45f"} <= {board["name"] for board in listed}
    assert listed[0]["MULT18X18D"] > 0
    checks = run_json(capsys, "doctor")["checks"]
    assert {"yosys", "nextpnr-ecp5", "verilator"} <= {check["name"] for check in checks}
    assert all(check["found"] or check["remedy"] for check in checks)


def test_a_pipe_gets_plain_text(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    cli.main(["inspect", DIGITS])
    cli.main(["inspect", "absent"])
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err
