"""A board's top after synthesis, its serial line included, is what a driver expects: digits, on ECP5 and iCE40."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from digits import FOLDER, digit_samples, only

import heddle
from heddle import boards
from heddle.cli import main
from heddle.errors import InputError
from heddle.host import api
from heddle.host.accelerator import Accelerator
from heddle.host.expected import Expected
from heddle.host.virtual import shell_of
from heddle.link.protocol import DEFAULT_BAUD
from heddle.sim.virtual import Gateware, VirtualBoard

pytestmark = pytest.mark.xdist_group("board netlist")

SAMPLES = 4
SECONDS = 600.0


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Synthesize anew: the user's cache may hold what an older Heddle made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDDLE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def expected_on(board: str) -> Expected:
    """Return digits on the board's own array."""
    return api.expected_of(heddle.compile(heddle.load(FOLDER / "digits.tflite"), board))


def netlist_on(board: str, expected: Expected) -> Gateware:
    """Return what :func:`heddle.host.virtual.start_virtual_board` runs."""
    return Gateware.netlist(shell_of(expected), expected.read_verilog(), boards.get(board))


def golden() -> np.ndarray:
    return only(heddle.load(FOLDER / "digits.tflite").predict(digit_samples(SAMPLES)))


def connect(board: VirtualBoard, gateware: Gateware, expected: Expected) -> Accelerator:
    known = replace(expected, clock_hz=gateware.clock_hz, baud=gateware.baud)
    return api.connect(board.port, known, baud=None, depth=None, timeout=SECONDS)


def check(gateware: Gateware, expected: Expected) -> None:
    """Identify the board, predict, read counters, reset, predict again."""
    with VirtualBoard(gateware, cycles=expected.cycles) as board, connect(board, gateware, expected) as accelerator:
        assert accelerator.identity == expected.identity
        for _ in range(2):
            accelerator.reset()
            assert accelerator.counters().inferences == 0
            assert (only(accelerator.predict(digit_samples(SAMPLES))) == golden()).all()
            counters = accelerator.counters()
            assert (counters.inferences, counters.abandoned, counters.damaged) == (SAMPLES, 0, 0)
            assert counters.busy_cycles < expected.cycles < counters.cycles
        assert accelerator.statistics.counts.repeated == 0


@pytest.mark.slow
def test_the_netlist_of_an_ecp5_boards_top_answers_as_the_golden_model(capfd: pytest.CaptureFixture[str]) -> None:
    board = "ulx3s-25f"
    expected = expected_on(board)
    gateware = netlist_on(board, expected)
    netlist = gateware.sources["netlist.v"]
    # What of the board is in it: the PLL, block RAMs with their registers inside, multipliers.
    assert len(re.findall(r"^ *EHXPLLL #\(", netlist, re.MULTILINE)) == 1
    assert netlist.count('.REGMODE_B("OUTREG")') > 1
    assert "MULT18X18D #(" in netlist
    assert gateware.baud == DEFAULT_BAUD
    check(gateware, expected)
    # The same simulation from the command line.
    samples = ("--inputs", str(FOLDER / "samples.npz"), "--samples", str(SAMPLES))
    command = ["run", str(FOLDER / "digits.tflite"), "--board", board, "--virtual", "--netlist", *samples, "--json"]
    capfd.readouterr()
    assert main(command) == 0
    assert json.loads(capfd.readouterr().out)["outputs"] == golden().tolist()


@pytest.mark.slow
def test_the_netlist_of_an_ice40_boards_top_answers_as_the_golden_model_and_a_flipped_bit_is_seen() -> None:
    expected = expected_on("icebreaker")
    gateware = netlist_on("icebreaker", expected)
    assert "SB_RAM40_4K #(" in gateware.sources["netlist.v"]
    assert "SB_MAC16 #(" in gateware.sources["netlist.v"]
    check(gateware, expected)
    faulty = {**gateware.sources, "netlist.v": with_flipped_weight(gateware.sources["netlist.v"])}
    damaged = replace(gateware, sources=faulty)
    with VirtualBoard(damaged, cycles=expected.cycles) as board, connect(board, damaged, expected) as accelerator:
        assert (only(accelerator.predict(digit_samples(SAMPLES))) != golden()).any()


def with_flipped_weight(netlist: str) -> str:
    """Return the netlist with one bit of one weight changed, in the first row of the first memory of weights."""
    memory = re.search(r"\.array\.lane0\.weights0\.0\.0\s+\(", netlist)
    assert memory is not None
    start = netlist.rindex("SB_RAM40_4K #(", 0, memory.start())
    row = re.compile(r"\.INIT_0\(256'h([0-9a-f])").search(netlist, start, memory.start())
    assert row is not None
    return f"{netlist[: row.start(1)]}{int(row[1], 16) ^ 8:x}{netlist[row.end(1) :]}"


def test_a_port_has_no_netlist(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "anything", "--port", "anywhere", "--netlist"]) == 1
    assert "netlist: a real board runs its bitstream; add --virtual" in capsys.readouterr().err


def test_a_board_without_a_model_of_its_cells_or_without_a_link_is_refused() -> None:
    expected = expected_on("ulx3s-25f")
    for board, fact in (("ecp5-25f", "has no host link"), ("tang-nano-20k", "no models")):
        with pytest.raises(InputError, match=fact):
            netlist_on(board, expected)
