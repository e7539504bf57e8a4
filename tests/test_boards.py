"""Targets by name, tools, PLL dividers, and output that is whole or absent."""

import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from digits import FOLDER
from hypothesis import given
from hypothesis import strategies as st
from source_tree import ROOT

from heddle import boards
from heddle.boards import pll, tools
from heddle.boards.artifacts import MARKER, output_folder, write_atomically
from heddle.boards.device import DEVICES
from heddle.boards.harness import Harness, read_ports
from heddle.errors import CapacityError, InputError, ToolError
from heddle.gen import fitting, planner
from heddle.gen.importers import load

NETWORK = load(FOLDER / "digits.tflite")
UP = boards.get("icebreaker")
BLOCK_8 = replace(UP, array=replace(UP.array, cols=8, block=8))


@pytest.mark.parametrize("name", boards.names())
def test_every_listed_name_is_a_target_whose_array_fits_its_device(name: str) -> None:
    board = boards.get(name)
    assert board.name == name
    assert planner.compile_for(NETWORK, board, None).notes == ()


def test_ulx3s_has_the_pins_of_its_schematic() -> None:
    board = boards.get("ULX3S-85F")
    sites = {port: pin.site for port, pin in board.pins.items()}
    assert sites == {"clk": "G2", "rst": "R1", "serial_in": "M1", "serial_out": "L4"}
    assert board.oscillator_hz == 25e6
    assert 'IOBUF PORT "rst" IO_TYPE=LVCMOS33 PULLMODE=DOWN;' in board.constraints


PINS = {
    # Sites of clk, rst, serial_in and serial_out, then the oscillator in MHz, and whether a pressed button is low.
    "icepi-zero": ("M1 C4 K16 K15", 50, True),
    "orangecrab-25f": ("A9 J17 N17 M18", 48, True),
    "orangecrab-85f": ("A9 J17 N17 M18", 48, True),
    "colorlight-i5": ("P3 K18 H18 J17", 25, True),
    "colorlight-i9": ("P3 K18 H18 J17", 25, True),
    "icebreaker": ("35 10 6 9", 12, True),
    "tang-nano-20k": ("4 88 70 69", 27, False),
}
PARTS = {
    "icepi-zero": "ecp5-25f-cabga256-6",
    "orangecrab-25f": "ecp5-25f-csfbga285-8",
    "orangecrab-85f": "ecp5-85f-csfbga285-8",
    "colorlight-i5": "ecp5-25f-cabga381-6",
    "colorlight-i9": "ecp5-45f-cabga381-6",
    "icebreaker": "ice40-up5k-sg48",
    "tang-nano-20k": "gowin-gw2ar-18-qn88",
}


@pytest.mark.parametrize("name", PINS)
def test_board_has_the_pins_and_the_part_of_its_schematic(name: str) -> None:
    board = boards.get(name)
    sites, megahertz, inverted = PINS[name]
    assert [board.pins[port].site for port in ("clk", "rst", "serial_in", "serial_out")] == sites.split()
    assert [pin.inverted for pin in board.pins.values()] == [port == "rst" and inverted for port in board.pins]
    assert board.oscillator_hz == megahertz * 1e6
    assert board.device.name == PARTS[name]


def test_pins_are_written_in_the_familys_format() -> None:
    assert "set_io clk 35\n" in boards.get("icebreaker").constraints
    assert "set_io -pullup yes serial_in 6\n" in boards.get("icebreaker").constraints
    assert (
        'IO_LOC "serial_out" 69;\nIO_PORT "serial_out" IO_TYPE=LVCMOS33;\n' in boards.get("tang-nano-20k").constraints
    )


def test_digits_on_an_icebreaker_takes_what_its_build_counts_and_no_larger_array_fits() -> None:
    fitted = planner.compile_for(NETWORK, boards.get("icebreaker"), None)
    # As nextpnr counts them in the placed design: bench/results/boards.json.
    assert fitted.resources.exact == {"ICESTORM_DSP": 6, "ICESTORM_RAM": 30}
    assert fitted.resources.estimated == {}
    with pytest.raises(CapacityError, match=r"12 ICESTORM_DSP of 8 \(4 too many\), 45 ICESTORM_RAM of 30"):
        planner.compile_on(NETWORK, boards.get("icebreaker"), fitting.parse_array("1x8x1", BLOCK_8))


def test_inspect_claims_no_fit_where_luts_are_not_estimated() -> None:
    (verdict,) = fitting.judge(NETWORK, [boards.get("tang-nano-20k")])
    assert (verdict.array, verdict.possible) == (None, True)
    assert "`heddle build` tells" in verdict.reason


def test_only_boards_without_a_pll_have_one_clock_and_a_bare_part_has_none() -> None:
    assert {name for name in boards.names() if boards.get(name).one_clock} == {"icebreaker", "tang-nano-20k"}


def test_every_board_says_how_to_reset_program_and_reach_it_and_a_bare_part_does_not() -> None:
    for board in map(boards.get, boards.names()):
        told = (bool(board.pins), bool(board.reset), bool(board.link), board.programmer is not None)
        assert set(told) == {board.oscillator_hz is not None}, board.name


def test_button_that_pulls_low_resets_when_it_is_low() -> None:
    text = "module m (input clk, input rst, input i, output o); assign o = i; endmodule"
    for inverted, expression in ((False, "{reset[0], rst}"), (True, "{reset[0], ~rst}")):
        harness = Harness(top="m", ports=read_ports(text, "m"), reset_inverted=inverted)
        assert f"reset <= {expression};" in harness.verilog


def test_bare_part_takes_package_and_speed_grade() -> None:
    board = boards.get("ecp5-45f-cabga554-8")
    assert board.device.nextpnr_options == ("--45k", "--package", "CABGA554", "--speed", "8")
    assert board.constraints == ""
    assert board.device.name == board.name


def test_12f_is_a_25f_die_with_another_idcode() -> None:
    small, large = DEVICES[:2]
    assert dict(small.capacity) == dict(large.capacity)
    assert (small.idcode, large.idcode) == (0x21111043, 0x41111043)


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("ulx3-85f", "ulx3s-85f"),
        ("ulx3-85", "ulx3s-85f"),
        ("", "ecp5-85f"),
        ("ecp5-85f-tqfp144", "cabga756"),
        ("ecp5-25f-cabga381-9", "6, 7, 8"),
        ("ecp5-25f-cabga381-6-x", "6, 7, 8"),
    ],
)
def test_unknown_target_is_refused_with_the_nearest_names(name: str, remedy: str) -> None:
    with pytest.raises(InputError) as refusal:
        boards.get(name)
    assert remedy in refusal.value.remedy


@given(
    source=st.sampled_from([12_000_000, 16_000_000, 25_000_000, 48_000_000, 100_000_000]),
    limit=st.floats(min_value=4e6, max_value=1e9),
)
def test_pll_is_legal_and_the_fastest_below_its_limit(source: int, limit: float) -> None:
    found = pll.fastest_pll(source, limit)
    assert pll.OUTPUT_HZ[0] <= found.output_hz <= min(Fraction(limit), pll.OUTPUT_HZ[1])
    assert pll.VCO_HZ[0] <= found.vco_hz <= pll.VCO_HZ[1]
    assert pll.PHASE_DETECTOR_HZ[0] <= Fraction(source, found.input_divider) <= pll.PHASE_DETECTOR_HZ[1]
    assert found.input_divider in pll.DIVIDERS
    assert found.output_divider in pll.DIVIDERS
    assert found.feedback_divider in pll.FEEDBACK_DIVIDERS
    # The first divider alone already gives every multiple of the source.
    multiple = min(int(limit), pll.OUTPUT_HZ[1]) // source
    assert found.output_hz >= source * multiple


@pytest.mark.parametrize(("source", "limit"), [(1e6, 100e6), (25e6, 3e6), (500e6, 100e6)])
def test_impossible_frequency_is_refused(source: float, limit: float) -> None:
    with pytest.raises(InputError, match="MHz"):
        pll.fastest_pll(source, limit)


def test_retuning_needs_exactly_one_pll() -> None:
    with pytest.raises(ValueError, match="one PLL"):
        pll.fastest_pll(25e6, 100e6).retune("word: CLKOP_DIV 0000001\n")


def test_tool_named_by_its_variable_comes_first(tmp_path: Path) -> None:
    program = tmp_path / "mine"
    program.write_text(f"#!{sys.executable}\nprint('Yosys 9.9')\n")
    program.chmod(0o755)
    found = tools.find("yosys", {"YOSYS": str(program)})
    assert (found.command, found.version, found.source) == ((str(program),), "Yosys 9.9", "$YOSYS")


@pytest.mark.parametrize("content", [None, "exit 3"])
def test_tool_that_does_not_start_is_refused_with_remedy(content: str | None, tmp_path: Path) -> None:
    program = tmp_path / "broken"
    if content is not None:
        program.write_text(f"#!/bin/sh\n{content}\n")
        program.chmod(0o755)
    with pytest.raises(ToolError) as refusal:
        tools.find("yosys", {"YOSYS": str(program)})
    assert refusal.value.where == "$YOSYS"
    assert "pip install" in refusal.value.remedy


def test_missing_tool_is_refused_and_listed_by_doctor() -> None:
    with pytest.raises(ToolError, match="needed to program a board"):
        tools.find("openFPGALoader", {"PATH": ""})
    checks = {check.name: check for check in tools.doctor({"PATH": ""})}
    assert not checks["openFPGALoader"].found
    assert "apt install" in checks["openFPGALoader"].remedy
    assert checks["numpy"].to_json()["found"] is True
    assert set(checks) == {tool.name for tool in tools.TOOLS} | set(tools.PACKAGES) | {"libpython"}


def test_missing_shared_library_of_python_is_refused_and_listed_by_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, returncode=1, stdout="", stderr="")

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "run", nothing)
        with pytest.raises(ToolError, match=rf"no shared library, .*; apt install libpython{tools.PYTHON_VERSION}"):
            tools.libpython({})
        (check,) = (check for check in tools.doctor({"PATH": ""}) if check.name == "libpython")
        assert not check.found
        assert "apt install" in check.remedy
        assert tools.libpython({"LIBPYTHON_LOC": "mine.so"}).source == "$LIBPYTHON_LOC"
    monkeypatch.setattr(tools.util, "find_spec", lambda name: None)
    with pytest.raises(ToolError, match="cocotb is not installed; pip install"):
        tools.libpython({})


def test_shared_library_of_python_is_a_file() -> None:
    assert Path(*tools.libpython({}).command).is_file()


PSEUDO_TOOLS = {"ensurepip": "python3-venv", "libpython": f"libpython{tools.PYTHON_VERSION}"}


@pytest.mark.parametrize("tool", PSEUDO_TOOLS)
def test_what_python_lacks_is_installed_under_its_packages_name(tool: str, tmp_path: Path) -> None:
    """Of an interpreter that has neither, and with an apt-get that says what it was asked for."""
    interpreter, asked = tmp_path / "python", tmp_path / "asked"
    # It runs questions on its version, and answers no to those on what it has.
    interpreter.write_text(f'#!/bin/sh\ncase "$2" in *version_info*) exec {sys.executable} "$@";; esac\nexit 1\n')
    (tmp_path / "apt-get").write_text(f'#!/bin/sh\necho "$@" >>{asked}\n')
    for name in ("id", "sudo"):  # whoever runs the tests is root here
        (tmp_path / name).write_text("#!/bin/sh\necho 0\n")
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    environ = {"PYTHON": str(interpreter), "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    subprocess.run(["sh", ROOT / ".ci" / "tools", tool], env=environ, capture_output=True, check=True)
    assert asked.read_text().splitlines()[-1].endswith(f" {PSEUDO_TOOLS[tool]}")


@pytest.mark.parametrize("tool", PSEUDO_TOOLS)
def test_what_python_has_is_not_installed(tool: str, tmp_path: Path) -> None:
    apt = tmp_path / "apt-get"
    apt.write_text("#!/bin/sh\nexit 1\n")
    apt.chmod(0o755)
    environ = {"PYTHON": sys.executable, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["sh", ROOT / ".ci" / "tools", tool], env=environ, capture_output=True, check=True)
    assert not done.stdout


def test_folder_appears_when_it_is_complete(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    with output_folder(out) as folder:
        (folder / MARKER).write_text("{}")
        assert not out.exists()
    assert [path.name for path in out.iterdir()] == [MARKER]
    assert list(out.parent.iterdir()) == [out]


def test_folder_that_heddle_made_is_replaced_as_a_whole(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("first", "second"):
        with output_folder(out) as folder:
            (folder / MARKER).write_text("{}")
            (folder / name).write_text("")
    assert sorted(path.name for path in out.iterdir()) == [MARKER, "second"]


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_interrupted_output_leaves_what_was_there(interruption: type[BaseException], tmp_path: Path) -> None:
    out = tmp_path / "out"
    with output_folder(out) as folder:
        (folder / MARKER).write_text("before")

    def write_half() -> None:
        with output_folder(out) as folder:
            (folder / MARKER).write_text("after")
            raise interruption

    with pytest.raises(interruption):
        write_half()
    assert (out / MARKER).read_text() == "before"
    assert list(tmp_path.iterdir()) == [out]


def test_killed_process_leaves_nothing_after_the_next_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom heddle.boards.artifacts import output_folder\n"
        "with output_folder(Path(sys.argv[1])) as folder:\n    (folder / 'half').write_text('')\n    os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(out)], check=False, timeout=60)
    assert not out.exists()
    with output_folder(out) as folder:
        (folder / MARKER).write_text("{}")
    assert list(tmp_path.iterdir()) == [out]


def test_folder_of_somebody_else_is_kept_unless_asked(tmp_path: Path) -> None:
    out = tmp_path / "thesis"
    out.mkdir()
    (out / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="Heddle did not make it"), output_folder(out):
        pass
    with pytest.raises(InputError, match="is a file"), output_folder(out / "thesis.tex", overwrite=True):
        pass
    assert (out / "thesis.tex").read_text() == "years of work"
    with output_folder(out, overwrite=True):
        pass
    assert list(out.iterdir()) == []


def test_file_is_replaced_whole_or_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result"
    write_atomically(path, "old")
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()

    def full(self: Path, data: bytes) -> int:
        self.touch()
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="no space"):
        write_atomically(path, b"new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
