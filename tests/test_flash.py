"""Flashing without a board: the real openFPGALoader before a model of the part, refusals, what is told of failures."""

import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import absent
import pytest
from ecp5_tap import BURST, VERIFY_ID, WRONG_IDCODE, Ecp5Tap, XvcServer, bits_of, value_of

from heddle import boards, cli
from heddle.boards import flash, tools
from heddle.boards.process import Job, run_all
from heddle.boards.tools import Installed
from heddle.errors import InputError, ToolError

BOARD = "ulx3s-25f"
IDCODE = boards.get(BOARD).device.idcode


@pytest.fixture(scope="module")
def real_bitstream(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A whole bitstream of an LFE5U-25F with nothing in it, compressed as a build's."""
    folder = tmp_path_factory.mktemp("pack")
    (folder / "empty.config").write_text(".device LFE5U-25F\n\n.comment empty\n")
    job = Job(
        tool=tools.find("ecppack"),
        arguments=("--compress", "empty.config", "empty.bit"),
        folder=folder,
        log="pack.log",
    )
    (outcome,) = run_all([job])
    assert outcome.status == 0, outcome.text
    return (folder / "empty.bit").read_bytes()


def bitstream_for(board: str, rest: bytes = b"") -> bytes:
    """Return what the checks of a bitstream look at."""
    return b"\xff\x00\xff" + VERIFY_ID + boards.get(board).device.idcode.to_bytes(4, "big") + rest


def built(folder: Path, board: str = BOARD, data: bytes | None = None, **changes: Any) -> Path:
    """Make a folder as `heddle build` leaves it."""
    folder.mkdir(exist_ok=True)
    data = bitstream_for(board) if data is None else data
    (folder / "heddle_net.bit").write_bytes(data)
    device = boards.get(board).device
    manifest: dict[str, Any] = {
        "format": 1,
        "board": {"name": board, "part": device.part, "device": device.name},
        "files": {"bitstream": {"name": "heddle_net.bit", "sha256": hashlib.sha256(data).hexdigest()}},
    }
    (folder / "manifest.json").write_text(json.dumps({**manifest, **changes}))
    return folder


# The real openFPGALoader


@pytest.fixture(scope="module")
def loader() -> Installed:
    try:
        return flash.find_loader()
    except ToolError as error:
        absent.skip(str(error), required=absent.TOOLS)


@pytest.fixture
def tap() -> Iterator[tuple[Ecp5Tap, str]]:
    """A part of the right kind behind an XVC server, and the cable that leads there."""
    part = Ecp5Tap(idcode=IDCODE)
    with XvcServer(part) as server:
        yield part, f"xvc-client:127.0.0.1:{server.port}"


@pytest.mark.usefixtures("loader")
def test_every_byte_of_the_bitstream_arrives_at_the_part(
    real_bitstream: bytes, tap: tuple[Ecp5Tap, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, cable = tap
    folder = built(tmp_path / "out", data=real_bitstream)
    assert cli.main(["flash", str(folder), "--cable", cable, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert part.done
    assert part.error == 0
    assert not part.enabled
    # The comment before the preamble is for people, and stays on the host.
    assert b"\xff\x00empty\x00" + part.received == real_bitstream
    assert told["programmed"]
    assert (told["board"], told["memory"]) == (BOARD, "sram")


@pytest.mark.usefixtures("loader")
def test_a_board_with_another_part_is_not_programmed(
    real_bitstream: bytes, tap: tuple[Ecp5Tap, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, cable = tap
    part.idcode = boards.get("ulx3s-85f").device.idcode
    folder = built(tmp_path / "out", data=real_bitstream)
    assert cli.main(["flash", str(folder), "--cable", cable]) == 1
    assert "the part on the cable is not the one that the bitstream is for" in capsys.readouterr().err
    assert part.received == b""


@pytest.mark.usefixtures("loader")
def test_a_bitstream_that_the_part_does_not_accept_is_a_failure(
    real_bitstream: bytes, tap: tuple[Ecp5Tap, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part, cable = tap

    class Deaf(type(part)):
        def _begin(self) -> None:
            super()._begin()
            # As where the configuration memory was not cleared.
            self.erased = False

    part.__class__ = Deaf
    assert cli.main(["flash", str(built(tmp_path / "out", data=real_bitstream)), "--cable", cable]) == 1
    assert "heddle: openFPGALoader: " in capsys.readouterr().err
    assert BURST in part.instructions
    assert part.error


@pytest.mark.usefixtures("loader")
def test_no_cable_is_told_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with XvcServer(Ecp5Tap(idcode=IDCODE)) as server:
        closed = server.port
    assert cli.main(["flash", str(built(tmp_path / "out")), "--cable", f"xvc-client:127.0.0.1:{closed}"]) == 1
    error = capsys.readouterr().err
    assert "there is no board at the cable" in error
    assert "plug it in" in error


# The model of the part


def test_the_part_answers_with_its_idcode_after_reset_and_takes_a_bitstream_only_when_ready() -> None:
    part, data = Ecp5Tap(idcode=IDCODE), bitstream_for(BOARD, rest=bytes(range(200)))
    walk(part, [1] * 5 + [0, 1, 0, 0])
    assert value_of(part.clock(bits_of(0, 32), bits_of(0, 32))) == IDCODE
    walk(part, [1] * 5 + [0])
    load(part, data)
    assert (part.done, part.error) == (False, 2)
    for code in (0xC6, 0x0E, 0x46):
        instruct(part, code)
        shift(part, "dr", bits_of(0, 8))
    load(part, data)
    assert (part.done, part.error) == (True, 0)
    assert part.received == data
    load(part, bitstream_for("ulx3s-85f"))
    assert part.error == WRONG_IDCODE


def load(part: Ecp5Tap, data: bytes) -> None:
    part.done = False
    part.error = 0
    instruct(part, BURST)
    shift(part, "dr", bits_of(int.from_bytes(bytes(int(f"{b:08b}"[::-1], 2) for b in data), "little"), 8 * len(data)))


def instruct(part: Ecp5Tap, code: int) -> None:
    shift(part, "ir", bits_of(code, 8))


def shift(part: Ecp5Tap, which: str, bits: Any) -> None:
    walk(part, [1, 0, 0] if which == "dr" else [1, 1, 0, 0])
    part.clock(bits_of(1 << (len(bits) - 1), len(bits)), bits)
    walk(part, [1, 0])


def walk(part: Ecp5Tap, tms: list[int]) -> None:
    part.clock(bits_of(sum(bit << k for k, bit in enumerate(tms)), len(tms)), bits_of(0, len(tms)))


# Refusals


def test_a_bitstream_that_is_not_the_manifests_is_refused(tmp_path: Path) -> None:
    folder = built(tmp_path / "out")
    data = (folder / "heddle_net.bit").read_bytes()
    (folder / "heddle_net.bit").write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    with pytest.raises(InputError, match="its hash differs; build again"):
        flash.read_bitstream(folder)


def test_a_bitstream_of_another_board_is_refused(tmp_path: Path) -> None:
    folder = built(tmp_path / "out", "ulx3s-85f")
    with pytest.raises(InputError, match="for ulx3s-85f, not for ulx3s-12f; build with --board ulx3s-12f"):
        flash.read_bitstream(folder, "ulx3s-12f")
    assert flash.read_bitstream(folder, "ULX3S-85F").board.name == "ulx3s-85f"
    # Its manifest says otherwise, but the part would not take it.
    other = built(tmp_path / "other", "ulx3s-12f", data=bitstream_for("ulx3s-25f"))
    with pytest.raises(InputError, match="IDCODE 0x41111043, LFE5U-12F has 0x21111043"):
        flash.read_bitstream(other)
    with pytest.raises(InputError, match=r"IDCODE 0x\?"):
        flash.read_bitstream(built(tmp_path / "none", data=b"text"))


def test_a_bare_parts_bitstream_and_verilog_alone_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="ecp5-25f is a part, not a board"):
        flash.read_bitstream(built(tmp_path / "part", "ecp5-25f"))
    with pytest.raises(InputError, match="no bitstream, only what `heddle generate` writes; run `heddle build`"):
        flash.read_bitstream(built(tmp_path / "verilog", files={"verilog": {"name": "a.v", "sha256": ""}}))


@pytest.mark.parametrize("manifest", ["", "[]", "{}", '{"files": []}', '{"files": {"bitstream": 1}}', "\x80"])
def test_a_folder_that_heddle_did_not_make_is_refused(manifest: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder that `heddle build` has written"):
        flash.read_bitstream(tmp_path)
    (tmp_path / "manifest.json").write_bytes(manifest.encode("latin-1"))
    with pytest.raises(InputError):
        flash.read_bitstream(tmp_path)


def test_a_manifest_cannot_name_a_file_elsewhere(tmp_path: Path) -> None:
    data = bitstream_for(BOARD)
    (tmp_path / "elsewhere.bit").write_bytes(data)
    entry = {"name": "../elsewhere.bit", "sha256": hashlib.sha256(data).hexdigest()}
    with pytest.raises(InputError, match=r"out/elsewhere\.bit: cannot be read"):
        flash.read_bitstream(built(tmp_path / "out", files={"bitstream": entry}))


@pytest.mark.parametrize("text", ["", "xvc client", "xvc-client:", "xvc-client:host", "xvc-client:host:port"])
def test_a_cable_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="is not a cable"):
        flash.parse_cable(text)


# The command, before a stand-in for openFPGALoader that writes down its arguments


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes the stand-in: it prints ``output``, ends with ``status``, and gives the file of arguments."""

    def make(output: str = "Done", status: int = 0, version: str = "1.1.1") -> Path:
        arguments, program = tmp_path / "arguments.json", tmp_path / "openFPGALoader"
        program.write_text(
            f"#!{sys.executable}\nimport json, pathlib, sys\n"
            f"if sys.argv[1:] == ['-V']:\n    print('openFPGALoader v{version}')\n    sys.exit()\n"
            f"pathlib.Path({str(arguments)!r}).write_text(json.dumps(sys.argv[1:]))\n"
            f"print({output!r})\nsys.exit({status})\n"
        )
        program.chmod(0o755)
        monkeypatch.setenv("OPENFPGALOADER", str(program))
        return arguments

    return make


@pytest.mark.parametrize(
    ("board", "options", "expected"),
    [
        (BOARD, [], ["-b", "ulx3s", "-m"]),
        (BOARD, ["--persist"], ["-b", "ulx3s", "-f"]),
        (BOARD, ["--persist", "--cable", "ft232"], ["-c", "ft232", "-f"]),
        ("icepi-zero", [], ["-b", "icepi-zero", "-m"]),
        ("orangecrab-85f", [], ["-b", "orangeCrab"]),
        ("colorlight-i9", ["--persist"], ["-b", "colorlight-i9", "-f"]),
    ],
)
def test_the_command_is_the_one_that_dry_run_prints(
    board: str, options: list[str], expected: list[str], stand_in: Any, tmp_path: Path, capsys: Any
) -> None:
    arguments, folder = stand_in(), built(tmp_path / "out", board)
    command = ["flash", str(folder), "--board", board, *options]
    assert cli.main([*command, "--dry-run"]) == 0
    line = capsys.readouterr().out.strip()
    assert not arguments.exists()
    assert line.split()[1:] == [*expected, str(folder / "heddle_net.bit")]
    assert cli.main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert json.loads(arguments.read_text()) == told["command"][1:] == line.split()[1:]
    assert told["memory"] == ("flash" if "-m" not in expected else "sram")


def test_a_version_that_does_not_know_the_board_is_refused(stand_in: Any, tmp_path: Path, capsys: Any) -> None:
    arguments, folder = stand_in(version="0.10.0"), built(tmp_path / "out", "icepi-zero")
    assert cli.main(["flash", str(folder)]) == 1
    assert "openFPGALoader v0.10.0 is too old for icepi-zero, which it knows from 1.0.0 on" in capsys.readouterr().err
    assert not arguments.exists()
    assert cli.main(["flash", str(folder), "--dry-run"]) == 0
    assert "is too old" in capsys.readouterr().err
    assert cli.main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["loader_too_old_for"]["icepi-zero"] == "1.0.0"


def test_without_openfpgaloader_a_dry_run_still_tells_the_command(
    tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    def missing(name: str, environ: Any) -> Installed:
        raise ToolError(f"{name} is not installed", where="tools", remedy=tools.LOADER_REMEDY)

    monkeypatch.setattr(tools, "find", missing)
    folder = built(tmp_path / "out")
    assert cli.main(["flash", str(folder), "--dry-run"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("openFPGALoader -b ulx3s -m ")
    assert "is not installed" in captured.err
    assert cli.main(["flash", str(folder)]) == 1
    assert "pip install 'heddle-fpga[flash]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("output", "status", "fact"),
    [
        (
            "unable to open ftdi device: -3 (device not found)\nJTAG init failed with: x",
            1,
            "there is no board at the cable",
        ),
        ("Open device 1209:5af0 Not found\nDFU init failed with: No DFU compatible device found", 1, "no board at the"),
        ("JTAG init failed with: No device found", 1, "there is no board at the cable"),
        ("unable to open ftdi device: -4 (usb_open() failed)", 1, "udev rules"),
        ("unable to open ftdi device: -5 (unable to claim)", 1, "the cable is in use"),
        ("Error: cannot find board 'ulx3s'", 1, "install version 0.10.0 or later"),
        ("Jtag: support for cmsisdap was not enabled at compile time", 1, "built without that board's cable"),
        # It ends with 0 after some failures.
        ("Parse file: \x1b[31mFAIL\x1b[0m", 0, "Parse file: FAIL"),
        ("", 3, "it ended with status 3"),
    ],
)
def test_a_failure_is_told_with_what_it_means(
    output: str, status: int, fact: str, stand_in: Any, tmp_path: Path, capsys: Any
) -> None:
    stand_in(output, status)
    assert cli.main(["flash", str(built(tmp_path / "out"))]) == 1
    captured = capsys.readouterr()
    assert fact in captured.err
    assert "heddle: openFPGALoader: " in captured.err
    assert captured.out == ""


def test_what_is_written_over_is_not_taken_for_the_outcome(stand_in: Any, tmp_path: Path, capsys: Any) -> None:
    stand_in("Loading: FAIL?\rLoading: 100.00%\nDone")
    assert cli.main(["flash", str(built(tmp_path / "out"))]) == 0
    assert "SRAM: until the power goes" in capsys.readouterr().out


def test_a_packaged_program_that_lacks_its_libraries_makes_room_for_another(tmp_path: Path, monkeypatch: Any) -> None:
    broken, working = tmp_path / "broken", tmp_path / "bin" / "openFPGALoader"
    working.parent.mkdir()
    broken.write_text("#!/bin/sh\necho 'error while loading shared libraries: libusb' >&2\nexit 127\n")
    working.write_text("#!/bin/sh\necho 'openFPGALoader v0.13.1'\n")
    for program in (broken, working):
        program.chmod(0o755)
    packaged = Installed(command=(str(broken),), version="1.1.1.0", source="Python package openfpgaloader")
    monkeypatch.setattr(tools, "_packaged", lambda tool: packaged)
    assert tools.find("openFPGALoader", {"PATH": str(working.parent)}).version == "openFPGALoader v0.13.1"
    with pytest.raises(ToolError, match=r"loading shared libraries: libusb\); pip install"):
        tools.find("openFPGALoader", {"PATH": ""})
    shutil.copyfile(working, broken)
    assert tools.find("openFPGALoader", {"PATH": ""}).source == "Python package openfpgaloader"
