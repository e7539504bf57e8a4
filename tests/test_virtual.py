"""The driver through pyserial to the board's own gateware, UART included, in Verilator: end to end, faults and all."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digits import FOLDER, SMALL, digit_samples, digits, only
from link_device import Line
from served_board import served

import heddle
from heddle.cli import main
from heddle.errors import LinkError
from heddle.host import api
from heddle.host.accelerator import Accelerator
from heddle.host.expected import Expected
from heddle.host.session import Flow
from heddle.host.stream import SerialStream
from heddle.host.virtual import start_virtual_board
from heddle.link.protocol import ESCAPE, FLAG, Frame, Kind
from heddle.sim.virtual import BAUD, CLOCK_HZ, LINK_CLOCK_HZ, VirtualBoard

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("virtual board")]

SECONDS = 60.0
ARRAY = ("--board", "ulx3s-12f", "--array", f"{SMALL.rows}x{SMALL.cols}x1", "--requantizers", str(SMALL.requantizers))


@pytest.fixture(scope="module")
def expected() -> Expected:
    # As the command line has it below, so that all tests share one simulation.
    design = heddle.compile(heddle.load(FOLDER / "digits.tflite"), *ARRAY[1::2][:2], requantizers=SMALL.requantizers)
    return replace(api.expected_of(design), clock_hz=CLOCK_HZ, baud=BAUD)


@pytest.fixture(scope="module")
def golden() -> np.ndarray:
    return only(digits().network.predict(digit_samples(60)))


@pytest.fixture(scope="module", autouse=True)
def one_build(simulations: Path) -> Iterator[None]:
    """All tests share what is built once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDDLE_CACHE", str(simulations))
        yield


@pytest.fixture
def board(expected: Expected) -> Iterator[VirtualBoard]:
    board, _ = start_virtual_board(expected)
    with board:
        yield board


def connect(port: str, expected: Expected | None, seconds: float = SECONDS, depth: int = 16) -> Accelerator:
    return api.connect(port, expected, baud=BAUD, timeout=seconds, depth=depth)


def test_real_samples_are_predicted_bit_for_bit_one_by_one_or_together(
    board: VirtualBoard, expected: Expected, golden: np.ndarray
) -> None:
    with connect(board.port, expected, depth=1) as accelerator:
        assert (only(accelerator.predict(digit_samples(10))) == golden[:10]).all()
        counters = accelerator.counters()
        assert counters.inferences == 10
        # From the last input beat to the first output beat: the accelerator's own, but for the load.
        assert counters.busy_cycles < expected.cycles < counters.cycles
    with connect(board.port, expected) as accelerator:
        accelerator.reset()
        assert accelerator.depth > 1
        assert (only(accelerator.predict(digit_samples(60))) == golden).all()
        counters = accelerator.counters()
        # None came too early.
        assert (counters.inferences, counters.abandoned, counters.damaged) == (60, 0, 0)
        assert accelerator.statistics.counts.repeated == 0


def test_a_board_that_is_not_asked_uses_no_processor(board: VirtualBoard, expected: Expected) -> None:
    with connect(board.port, expected) as accelerator:
        accelerator.predict(digit_samples(1))

        def ticks() -> int:
            fields = Path(f"/proc/{board.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        # Until an answer that is due would have come.
        for _ in range(100):
            before = ticks()
            time.sleep(0.3)
            if ticks() == before:
                break
        else:
            pytest.fail("the simulation does not rest")
        assert accelerator.counters().inferences == 1


def test_a_board_that_goes_in_the_middle_is_an_error_at_once(board: VirtualBoard, expected: Expected) -> None:
    with connect(board.port, expected) as accelerator:

        def pull(done: int) -> None:
            if done == 3:
                os.kill(board.pid, signal.SIGKILL)

        start = time.monotonic()
        with pytest.raises(LinkError, match=r"the connection broke|took none of what was sent"):
            accelerator.predict(digit_samples(60), progress=pull)
        assert time.monotonic() - start < SECONDS
        assert accelerator.statistics.samples >= 3


def test_a_second_client_is_refused_and_the_next_one_is_not(
    board: VirtualBoard, expected: Expected, golden: np.ndarray
) -> None:
    with connect(board.port, expected) as first:
        with pytest.raises(LinkError, match="another program uses it"):
            connect(board.port, expected)
        assert (only(first.predict(digit_samples(3))) == golden[:3]).all()
        # It leaves with a request under way, whose reply nobody wants.
        first._stream.write(Frame(kind=Kind.INFER, sequence=1, payload=digit_samples(1).tobytes()).encode())
    with connect(board.port, expected) as second:
        assert (only(second.predict(digit_samples(3))) == golden[:3]).all()


def test_garbage_before_and_between_requests_changes_nothing(
    board: VirtualBoard, expected: Expected, golden: np.ndarray
) -> None:
    rng = random.Random(1)
    stream = SerialStream(board.port, baud=BAUD, write_seconds=SECONDS)
    stream.write(rng.randbytes(300))
    with Accelerator(stream, expected, baud=BAUD, seconds=SECONDS) as accelerator:
        for index in range(5):
            stream.write(bytes(rng.choice((FLAG, ESCAPE, 2, 0, 255)) for _ in range(rng.randrange(30))))
            assert (only(accelerator.predict(digit_samples(index + 1)[index:])) == golden[index]).all()


class FaultyStream(SerialStream):
    """A port whose line loses, doubles, changes and makes up bytes, in both directions, seeded."""

    def __init__(self, port: str, seed: int, rate: float) -> None:
        super().__init__(port, baud=BAUD, write_seconds=SECONDS)
        self._faults = Line.__new__(Line)
        self._faults.rate, self._faults.faults, self._faults._rng = rate, 0, random.Random(seed)

    @property
    def faults(self) -> int:
        return self._faults.faults

    def read(self, seconds: float) -> bytes:
        return self._faults._through(super().read(seconds))

    def write(self, data: bytes) -> None:
        super().write(self._faults._through(data))


def test_no_fault_on_the_line_goes_undetected(board: VirtualBoard, expected: Expected, golden: np.ndarray) -> None:
    stream = FaultyStream(board.port, seed=1, rate=0.003)
    # Repetitions come soon enough for a test; no loaded machine makes a call end early.
    with Accelerator(stream, expected, baud=BAUD, seconds=SECONDS, depth=1) as accelerator:
        accelerator._session.patience = 1.5
        for depth in (1, 8):
            accelerator._flow = Flow(depth=depth, flags=400)
            assert (only(accelerator.predict(digit_samples(30))) == golden[:30]).all()
        assert accelerator.statistics.counts.repeated
    assert stream.faults > 20


def test_a_board_with_another_network_is_refused(board: VirtualBoard, expected: Expected) -> None:
    network = replace(expected.host_part.network, sha256="ab" * 32)
    other = replace(expected, host_part=replace(expected.host_part, network=network))
    with pytest.raises(LinkError, match="the device holds another network"):
        connect(board.port, other)
    with connect(board.port, None) as accelerator:
        assert accelerator.identity.network == expected.network


def test_a_folder_and_a_network_run_on_a_virtual_board(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], golden: np.ndarray
) -> None:
    folder, samples = tmp_path / "out", FOLDER / "samples.npz"
    assert main(["generate", str(FOLDER / "digits.tflite"), *ARRAY, "-o", str(folder)]) == 0
    capfd.readouterr()
    assert main(["run", str(folder), "--virtual", "--inputs", str(samples), "--samples", "20", "--json"]) == 0
    data = json.loads(capfd.readouterr().out)
    assert data["outputs"] == golden[:20].tolist()
    assert data["samples"] == 20
    assert data["accuracy"] == 1
    assert data["latency_ms"]["median"] > 0
    assert data["line"] == {"repeated": 0, "damaged_requests": 0, "damaged_replies": 0}
    # What is known of outputs is compared: right, and with one value that is not.
    (name,) = digits().network.outputs
    for wrong in (0, 1):
        y = golden[:2].copy()
        y[1, 3] ^= wrong
        known: dict[str, Any] = {"x": digit_samples(2), f"expected.{name}": y}
        np.savez(tmp_path / "known.npz", **known)
        assert main(["run", str(folder), "--virtual", "--inputs", str(tmp_path / "known.npz")]) == wrong
        assert ("first in sample 1: [3] is" in capfd.readouterr().err) == bool(wrong)
    network = str(FOLDER / "digits.tflite")
    assert main(["run", network, *ARRAY, "--virtual", "--inputs", str(samples), "--samples", "2"]) == 0
    assert "accuracy     100.00%" in capfd.readouterr().out


def test_a_board_whose_line_has_the_accelerators_clock_predicts_the_same(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], golden: np.ndarray
) -> None:
    folder, board = tmp_path / "out", ("--board", "icebreaker")
    assert main(["generate", str(FOLDER / "digits.tflite"), *board, "-o", str(folder)]) == 0
    expected = api.expected_of(folder)
    assert expected.one_clock
    started, known = start_virtual_board(expected)
    with started:
        assert known.clock_hz == LINK_CLOCK_HZ
        with connect(started.port, known) as accelerator:
            assert (only(accelerator.predict(digit_samples(20))) == golden[:20]).all()
            counters = accelerator.counters()
            assert (counters.inferences, counters.abandoned, counters.damaged) == (20, 0, 0)
            assert counters.busy_cycles < expected.cycles < counters.cycles
    capfd.readouterr()
    # The same simulation from the command line, of a network.
    samples = ("--inputs", str(FOLDER / "samples.npz"), "--samples", "3")
    assert main(["run", str(FOLDER / "digits.tflite"), *board, "--virtual", *samples, "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["outputs"] == golden[:3].tolist()


def test_a_served_board_answers_until_it_is_told_to_end(tmp_path: Path, expected: Expected, golden: np.ndarray) -> None:
    with served(str(FOLDER / "digits.tflite"), *ARRAY) as port, connect(port, expected) as accelerator:
        assert (only(accelerator.predict(digit_samples(2))) == golden[:2]).all()
    # The simulation went with it.
    with pytest.raises(LinkError):
        connect(port, expected, seconds=1)
