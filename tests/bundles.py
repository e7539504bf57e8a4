"""Digits built with made-up tools, and its deploy bundle: fixtures for the tests of what is in it and of who drives it.

As a program it builds the same in a process of its own: ``python tests/bundles.py FOLDER``.
"""

import sys
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
from digits import FOLDER, SMALL
from fake_tools import fake_tools

import heddle
from heddle.gen.api import CompiledDesign
from heddle.gen.design import Design

DIGITS = FOLDER / "digits.tflite"
BOARD = "ulx3s-12f"
ZIP = "heddle_digits.zip"


def compiled() -> CompiledDesign:
    """Compile digits for the array of the tests of the virtual board, which so share its simulation."""
    shape = f"{SMALL.rows}x{SMALL.cols}x1"
    return heddle.compile(heddle.load(DIGITS), BOARD, shape, requantizers=SMALL.requantizers)


def unpack(archive: Path, to: Path) -> Path:
    """Unpack a zip into a folder, and return that."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(to)
    return to


@pytest.fixture(scope="module")
def bundled() -> CompiledDesign:
    """Digits, as :func:`compiled` gives it."""
    return compiled()


@pytest.fixture(scope="module")
def fakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let the tools be made up."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDDLE_CACHE", "off")
        # Verilog takes most of a build here, and is not what is tested.
        patch.setattr(Design, "verilog", cache(Design.verilog))
        fake_tools(patch, tmp_path_factory.mktemp("tools"))
        yield


@pytest.fixture(scope="module")
def built(bundled: CompiledDesign, fakes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a build."""
    folder = tmp_path_factory.mktemp("built") / "out"
    assert bundled.build(folder).files["bundle"] == folder / ZIP
    return folder


@pytest.fixture(scope="module")
def built_for(built: Path, fakes: None, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return what builds digits for a board, once."""

    def build(board: str) -> Path:
        folder = tmp_path_factory.mktemp("built") / "out"
        heddle.compile(heddle.load(DIGITS), board).build(folder)
        return folder

    once = cache(build)
    return lambda board: built if board == BOARD else once(board)


@pytest.fixture
def bundle(built: Path, tmp_path: Path) -> Path:
    """Return an unpacked bundle of the test's own."""
    return unpack(built / ZIP, tmp_path / "bundle")


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as alone:
        alone.setenv("HEDDLE_CACHE", "off")
        target = Path(sys.argv[1])
        target.mkdir(parents=True)
        fake_tools(alone, target)
        compiled().build(target / "out")
