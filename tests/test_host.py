"""The driver, on a line in simulated time: right results or clear errors, whatever happens there."""

import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from digits import digit_samples, digits, only
from link_device import Device, Line

import heddle
from heddle import boards
from heddle.errors import HeddleError, InputError, LinkError
from heddle.gen.emulator import Emulator
from heddle.host.accelerator import Accelerator
from heddle.host.api import expected_of_design
from heddle.host.expected import Expected
from heddle.link import protocol
from heddle.link.protocol import CHECK_BYTES, HEADER_BYTES, VERSION, Decoder, Frame, Identity, Kind, Packet

BAUD = 1_000_000
BYTE_SECONDS = 10 / BAUD
COMPUTE_SECONDS = 2e-3
IDENTITY = Identity(
    network=bytes(range(32)),
    design=bytes(32),
    inputs=(Packet(height=2, width=3, channels=1), Packet(height=1, width=1, channels=2)),
    outputs=(Packet(height=1, width=1, channels=3), Packet(height=1, width=1, channels=4)),
)


def answer(payload: bytes) -> bytes:
    """Seven bytes that depend on every byte, and on where it is."""
    return bytes(sum((i + k + 1) * b for i, b in enumerate(payload)) & 255 for k in range(7))


def device_of(identity: Identity = IDENTITY, **options: Any) -> Device:
    return Device(identity, answer, **{"compute_seconds": COMPUTE_SECONDS, "byte_seconds": BYTE_SECONDS, **options})


def samples(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "input0": rng.integers(-128, 128, (count, 2, 3, 1), dtype=np.int8),
        "input1": rng.integers(-128, 128, (count, 1, 1, 2), dtype=np.int8),
    }


def right(x: dict[str, np.ndarray]) -> np.ndarray:
    """Outputs of the model for samples, one behind another."""
    packets = np.concatenate([v.reshape(len(v), -1) for v in x.values()], axis=1).view(np.uint8)
    return np.array([list(answer(p.tobytes())) for p in packets], np.uint8).view(np.int8).reshape(-1, 7)


def together(outputs: np.ndarray | dict[str, np.ndarray]) -> np.ndarray:
    assert isinstance(outputs, dict)
    return np.concatenate([v.reshape(len(v), -1) for v in outputs.values()], axis=1)


def expected_of(identity: Identity = IDENTITY) -> Expected:
    """What a driver knows of the model: all but a file."""
    accelerator = Accelerator(Line(device_of(identity)), baud=BAUD)
    return Expected(
        name="heddle_model", host_part=accelerator.host_part, design=identity.design, width_bytes=1,
        cycles=2000, clock_hz=2000 / COMPUTE_SECONDS, board="ulx3s-25f", one_clock=False, baud=BAUD, verilog="",
    )  # fmt: skip


def test_a_device_without_a_network_to_expect_takes_and_gives_its_packets() -> None:
    line = Line(device_of())
    with Accelerator(line, baud=BAUD) as accelerator:
        x = samples(5)
        assert (together(accelerator.predict(x)) == right(x)).all()
        assert accelerator.counters().inferences == 5
        accelerator.reset()
        assert accelerator.counters().inferences == 0
        assert accelerator.statistics.samples == 5
        with pytest.raises(InputError, match="has no scale"):
            accelerator.predict_real({name: value.astype(np.float32) for name, value in x.items()})
        with pytest.raises(InputError, match="shape"):
            accelerator.predict({**x, "input1": x["input0"]})
    assert line.closed


def test_requests_follow_each_other_and_the_way_back_costs_nothing() -> None:
    x, latency, took = samples(60), 0.016, {}
    for depth in (1, 16):
        device = device_of()
        line = Line(device, latency_seconds=latency)
        with Accelerator(line, expected_of(), baud=BAUD, depth=depth) as accelerator:
            assert (together(accelerator.predict(x)) == right(x)).all()
            took[depth] = accelerator.statistics.seconds
            # Not one of them replaced the one before.
            assert accelerator.statistics.counts.repeated == device.abandoned == 0
    assert took[1] > 60 * (latency + COMPUTE_SECONDS)
    assert took[16] < 60 * (COMPUTE_SECONDS + 60 * BYTE_SECONDS) * 1.1 + latency


@pytest.mark.parametrize("slower", [1.5, 20])
def test_a_device_slower_than_expected_is_still_right(slower: float) -> None:
    device = device_of(compute_seconds=slower * COMPUTE_SECONDS)
    with Accelerator(Line(device), expected_of(), baud=BAUD) as accelerator:
        x = samples(20)
        assert (together(accelerator.predict(x)) == right(x)).all()
    assert device.abandoned


@dataclass
class Soaked:
    """Faults that happened, calls, those of them that ended in an error, and those that gave a wrong result."""

    faults: int = 0
    calls: int = 0
    refused: int = 0
    wrong: int = 0

    def to_json(self) -> dict[str, int]:
        return asdict(self)


def soak(faults: int, *, seed: int, rate: float) -> Soaked:
    """Predict until so many faults have happened. A call that outlasts its time fails an assertion."""
    rng, result, expected = random.Random(seed), Soaked(), expected_of()
    while result.faults < faults:
        result.calls += 1
        device = device_of()
        line = Line(device, seed=rng.randrange(2**32), rate=rate, latency_seconds=rng.choice((0, 0.004)))
        count, seconds, ends = 8, 1.0, 0.0
        try:
            with Accelerator(line, expected, baud=BAUD, seconds=seconds, depth=rng.choice((1, 4, 16))) as accelerator:
                ends = line.now() + count * seconds + 0.1
                x = samples(count, seed=result.calls)
                result.wrong += int((together(accelerator.predict(x)) != right(x)).any())
        except LinkError:
            result.refused += 1
        # Within its time.
        assert line.closed
        assert not ends or line.now() <= ends
        result.faults += line.faults
    return result


@pytest.mark.parametrize(("seed", "rate"), [(1, 0.002), (2, 0.01), (3, 0.03)])
def test_no_fault_on_the_line_goes_undetected(seed: int, rate: float) -> None:
    result = soak(300, seed=seed, rate=rate)
    assert result.faults >= 300
    assert result.wrong == 0
    # On a line that is not too bad, repetitions make up for all of it.
    assert not result.refused or rate > 0.002


def test_a_driver_that_does_not_check_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The soak sees what a check that always passes lets through."""

    def unchecked(self: Decoder) -> Frame | None:
        body = bytes(self._body[:-CHECK_BYTES])
        return Frame(kind=body[0], sequence=body[1], payload=body[HEADER_BYTES:]) if len(body) > HEADER_BYTES else None

    expected = expected_of()
    monkeypatch.setattr(Decoder, "_frame", unchecked)
    wrong = 0
    for seed in range(60):
        with suppress(LinkError):
            line = Line(device_of(), seed=seed, rate=0.01)
            accelerator = Accelerator(line, expected, baud=BAUD, seconds=1)
            x = samples(8, seed)
            wrong += int((together(accelerator.predict(x)) != right(x)).any())
    assert wrong


@pytest.mark.parametrize("depth", [1, 16])
def test_a_line_that_falls_silent_ends_in_an_error_in_time(depth: int) -> None:
    device = device_of()
    line = Line(device)
    accelerator = Accelerator(line, expected_of(), baud=BAUD, seconds=2, depth=depth)
    device.take = lambda byte, now: None
    start = line.now()
    with pytest.raises(LinkError, match="no answer within 2 s: nothing came back"):
        accelerator.predict(samples(3))
    assert line.now() - start <= 2.01


def test_a_cable_that_is_pulled_ends_in_an_error_at_once() -> None:
    line = Line(device_of())
    accelerator = Accelerator(line, baud=BAUD)

    def pull(done: int) -> None:
        line.pulled = done == 3

    with pytest.raises(LinkError, match="the connection broke"):
        accelerator.predict(samples(10), progress=pull)
    assert accelerator.statistics.samples == 3


@pytest.mark.parametrize(
    ("noise", "words"), [(b"\x55", "bytes came back, but no answer"), (b"\x01\x02\x7e", "damaged on the way")]
)
def test_a_line_of_nothing_but_noise_ends_in_an_error_in_time(noise: bytes, words: str) -> None:
    line = Line(device_of())

    def chatter(seconds: float) -> bytes:
        line._time += 1e-3
        return noise

    line.read = chatter
    with pytest.raises(LinkError, match=words):
        Accelerator(line, baud=BAUD, seconds=1)
    assert line.closed
    assert line.now() < 1.1


@pytest.mark.parametrize(
    ("identity", "words"),
    [
        (replace(IDENTITY, network=bytes(32)), "the device holds another network (000000000000) than heddle_model"),
        (replace(IDENTITY, version=VERSION + 1), f"the device speaks version {VERSION + 1} of the host link"),
        (replace(IDENTITY, inputs=IDENTITY.inputs[:1]), "other packets than heddle_model"),
        (replace(IDENTITY, outputs=()), "no inputs or no outputs"),
    ],
)
def test_another_device_than_expected_is_refused(identity: Identity, words: str) -> None:
    line = Line(device_of(identity))
    with pytest.raises(LinkError) as refusal:
        Accelerator(line, expected_of(), baud=BAUD)
    assert words in str(refusal.value)
    assert line.closed


def test_what_is_no_accelerator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAGIC", b"ABCD")
    line = Line(device_of())
    packed = IDENTITY.pack()
    monkeypatch.setattr(protocol, "MAGIC", b"HDDL")
    monkeypatch.setattr(Identity, "pack", lambda self: packed)
    with pytest.raises(LinkError, match="not how a Heddle accelerator identifies itself"):
        Accelerator(line, baud=BAUD)


def test_the_same_network_in_another_design_is_driven_one_request_at_a_time() -> None:
    line = Line(device_of(replace(IDENTITY, design=bytes(range(32)))))
    with Accelerator(line, expected_of(), baud=BAUD) as accelerator:
        assert accelerator.depth == 1
        x = samples(3)
        assert (together(accelerator.predict(x)) == right(x)).all()


def test_a_request_that_the_device_refuses_for_good_is_an_error() -> None:
    accelerator = Accelerator(Line(device_of()), baud=BAUD)
    with pytest.raises(LinkError, match=r"refuses a request of 3 bytes \(infer\): length"):
        accelerator._session.ask(Kind.INFER, b"123")


def digits_line(**options: Any) -> tuple[Expected, Line]:
    """Digits on a model of its device, which runs the program in NumPy."""
    design = digits()
    expected = expected_of_design(design, boards.get("ulx3s-25f"))
    emulator = Emulator(design.program)

    def compute(payload: bytes) -> bytes:
        (packet,) = emulator.run([np.frombuffer(payload, np.uint8)[None]])
        return packet.tobytes()

    device = Device(expected.identity, compute, compute_seconds=1e-3, byte_seconds=BYTE_SECONDS)
    return expected, Line(device, **options)


def test_a_network_gives_what_its_golden_model_gives_and_real_numbers_through_its_scales() -> None:
    expected, line = digits_line(rate=0.001)
    network, x = digits().network, digit_samples(10)
    with Accelerator(line, expected, baud=BAUD) as accelerator:
        golden = only(network.predict(x))
        assert np.array_equal(only(accelerator.predict(x)), golden)
        source, target = network.tensors[network.inputs[0]], network.tensors[network.outputs[0]]
        real = (source.scale * (x.astype(np.float32) - source.zero_point)).astype(np.float32)
        shares = only(accelerator.predict_real(real))
        assert shares.dtype == np.float32
        assert np.allclose(shares, target.scale * (golden.astype(np.float32) - target.zero_point))
        with pytest.raises(InputError, match="finite"):
            accelerator.predict_real(real * np.nan)


@pytest.fixture
def served() -> Iterator[str]:
    """The model behind a socket, in real time."""
    server = socket.create_server(("localhost", 0))
    device = device_of(compute_seconds=0)

    def serve() -> None:
        client, _ = server.accept()
        with client:
            while data := client.recv(4096):
                for byte in data:
                    device.take(byte, 0)
                client.sendall(bytes(byte for _, byte in device.sent))
                device.sent.clear()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield f"socket://localhost:{server.getsockname()[1]}"
    thread.join(timeout=5)
    server.close()


def test_a_socket_is_as_good_as_a_port(served: str) -> None:
    with heddle.open(served) as accelerator:
        x = samples(5)
        assert (together(accelerator.predict(x)) == right(x)).all()


def test_ports_that_cannot_be_opened_are_refused_with_remedy(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match=r"cannot be opened.*name a port that exists"):
        heddle.open(str(tmp_path / "none"))
    with pytest.raises(InputError, match=r"has no manifest\.json"):
        heddle.open("unused", tmp_path)
    master, slave = os.openpty()
    try:
        # Whoever is here first has it.
        import serial

        with (
            serial.Serial(os.ttyname(slave), exclusive=True),
            pytest.raises(LinkError, match="another program uses it"),
        ):
            heddle.open(os.ttyname(slave))
        with pytest.raises(LinkError, match="nothing came back"):
            heddle.open(os.ttyname(slave), timeout=0.1)
        with pytest.raises(HeddleError, match="more than 0 seconds"):
            heddle.open(os.ttyname(slave), timeout=-1)
    finally:
        os.close(master)
        os.close(slave)
