"""What a folder says of its device, and what is no such folder."""

import json
from pathlib import Path
from typing import Any

import pytest
from digits import FOLDER, digit_samples, digits, only

import heddle
from heddle.errors import FileFormatError, InputError
from heddle.gen.emulator import Emulator
from heddle.host.expected import expected_of_folder
from heddle.link.protocol import Packet


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    design = heddle.compile(heddle.load(FOLDER / "digits.tflite"), "ulx3s-12f", "3x8x1")
    return design.write(tmp_path_factory.mktemp("design") / "out")


def test_a_folder_says_what_its_device_holds(folder: Path) -> None:
    expected, design = expected_of_folder(folder), digits()
    assert expected.identity.inputs == (Packet(height=8, width=8, channels=1),)
    assert expected.network.hex() == design.network.sha256
    assert (expected.clock_hz, expected.baud, expected.compute_seconds) == (None, None, 0)
    assert expected.read_verilog().startswith("/*")
    x = digit_samples(20)
    y = only(expected.host_part.run(x, lambda packets: Emulator(design.program).run(packets)))
    assert (y == only(design.network.predict(x))).all()


def altered(folder: Path, tmp_path: Path, change: Any) -> Path:
    data = json.loads((folder / "manifest.json").read_text())
    change(data)
    (tmp_path / "manifest.json").write_text(json.dumps(data))
    (tmp_path / "heddle_digits.v").write_text((folder / "heddle_digits.v").read_text() + "\n")
    return tmp_path


CHANGES: list[Any] = [
    lambda d: d.update(format=99),
    lambda d: d.pop("host"),
    lambda d: d.pop("files"),
    lambda d: d["host"]["nodes"].append({"kind": "Spell"}),
    lambda d: d["host"]["inputs"].append("nothing"),
    lambda d: d["host"].update(packets_in=[]),
    lambda d: d["host"].update(tensors=3),
    lambda d: d["network"].update(sha256="zz"),
    lambda d: d.update(cycles="many"),
    lambda d: d.update(streams=None),
    lambda d: d.update(cycles=float("inf")),
    lambda d: d.update(cycles=-1),
    lambda d: d.update(cycles=True),
    lambda d: d["streams"].update(bytes=0),
    lambda d: d["network"].update(sha256="00" * 40),
    lambda d: d["files"]["verilog"].update(sha256="00"),
    lambda d: d.update(build={"clock_mhz": float("nan")}),
    lambda d: d.update(build={"clock_mhz": 0}),
    lambda d: d.update(build={"link": {"baud": float("inf")}}),
    lambda d: d["board"].pop("one_clock"),
    lambda d: d["host"]["tensors"][0].update(shape="abc"),
    lambda d: d["host"]["tensors"][0].update(shape=[1, -2, 2, 1]),
    lambda d: d["host"]["tensors"][0].update(shape=[1, 2.5, 2, 1]),
    lambda d: d["host"]["tensors"][0].update(shape=[1, 2**20, 2**20, 1]),
    lambda d: d["host"]["tensors"][0].update(layout=[1, 1, 1]),
    lambda d: d["host"]["tensors"][0].update(dtype="bogus"),
    lambda d: d["host"]["tensors"][0].update(name=7),
]


@pytest.mark.parametrize("change", CHANGES)
def test_a_broken_manifest_is_refused(folder: Path, tmp_path: Path, change: Any) -> None:
    with pytest.raises(FileFormatError, match=r"manifest\.json"):
        expected_of_folder(altered(folder, tmp_path, change))


def test_folders_without_manifest_or_with_other_verilog_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        expected_of_folder(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(FileFormatError, match="cannot be read"):
        expected_of_folder(tmp_path)
    (tmp_path / "manifest.json").write_text("[" * 100_000)
    with pytest.raises(FileFormatError, match="cannot be read"):
        expected_of_folder(tmp_path)
    with pytest.raises(FileFormatError, match="not the file that the manifest names"):
        expected_of_folder(altered(folder, tmp_path, lambda d: None)).read_verilog()
    nowhere = altered(folder, tmp_path, lambda d: d["files"]["verilog"].update(name="a\0b"))
    with pytest.raises(FileFormatError, match="cannot be read"):
        expected_of_folder(nowhere).read_verilog()
