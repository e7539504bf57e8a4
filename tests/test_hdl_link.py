"""The device's side of the host link, before a small accelerator: whatever comes over the line, no wrong answer."""

import random
from collections.abc import Iterable
from pathlib import Path

import pytest
from amaranth.hdl import Module, Mux, ResetInserter, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from heddle.gen.verilog import to_verilog
from heddle.hdl.edges import AxiStream, AxiStreamInterface
from heddle.hdl.link import HostLink, SerialLink
from heddle.hdl.uart import SerialRate
from heddle.link.protocol import (
    CHECK_BYTES,
    ESCAPE,
    FLAG,
    HEADER_BYTES,
    REFUSED,
    REPLY,
    Counters,
    Decoder,
    Frame,
    Identity,
    Kind,
    Packet,
    Refusal,
)
from heddle.sim.runner import BenchResult, run

WIDTHS = (1, 4, 8)


def identity_of(inputs: Iterable[int], outputs: Iterable[int]) -> Identity:
    """Packets of so many bytes; digests with bytes that must be escaped."""
    ins, outs = ([Packet(height=1, width=1, channels=size) for size in sizes] for sizes in (inputs, outputs))
    digest = bytes((FLAG, ESCAPE)) * 16
    return Identity(network=digest, design=bytes(range(32)), inputs=tuple(ins), outputs=tuple(outs))


def answer_of(identity: Identity, x: bytes) -> bytes:
    """What the small accelerator makes of its input packets."""
    return bytes((sum(x) + 37 * k) % 256 for k in range(sum(packet.size for packet in identity.outputs)))


class Summing(wiring.Component):
    """Takes all input packets, waits, and gives bytes that depend on each; says so where a ``tlast`` is misplaced."""

    s_axis: AxiStreamInterface
    m_axis: AxiStreamInterface
    complete: Signal

    def __init__(self, identity: Identity, width: int, *, wait: int) -> None:
        self.identity, self.width, self.wait = identity, width, wait
        axi = AxiStream(width_bytes=width)
        super().__init__({"s_axis": In(axi), "m_axis": Out(axi), "complete": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        ends_in, ends_out = (self._ends(p) for p in (self.identity.inputs, self.identity.outputs))
        beat, total, waited = (
            Signal(range(max(len(ends_in), len(ends_out)) + 1)),
            Signal(8),
            Signal(range(self.wait + 1)),
        )
        taken = self.s_axis.tvalid & self.s_axis.tready
        last_in, last_out = self._at(m, ends_in, beat, "in"), self._at(m, ends_out, beat, "out")
        with m.FSM():
            with m.State("TAKE"):
                m.d.comb += self.s_axis.tready.eq(1)
                with m.If(taken):
                    lanes = sum((self.s_axis.tdata.word_select(i, 8) for i in range(self.width)), start=total)
                    m.d.sync += total.eq(lanes + (self.s_axis.tlast != last_in))
                    m.d.sync += beat.eq(beat + 1)
                    with m.If(beat == len(ends_in) - 1):
                        m.d.sync += [beat.eq(0), waited.eq(0)]
                        m.d.comb += self.complete.eq(1)
                        m.next = "WAIT"
            with m.State("WAIT"):
                m.d.sync += waited.eq(waited + 1)
                with m.If(waited == self.wait - 1):
                    m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += [self.m_axis.tvalid.eq(1), self.m_axis.tlast.eq(last_out)]
                first = self._first(beat)
                m.d.comb += [
                    self.m_axis.tdata.word_select(i, 8).eq(total + 37 * (first + i)) for i in range(self.width)
                ]
                with m.If(self.m_axis.tready):
                    m.d.sync += beat.eq(beat + 1)
                    with m.If(beat == len(ends_out) - 1):
                        m.d.sync += [beat.eq(0), total.eq(0)]
                        m.next = "TAKE"
        return m

    def _ends(self, packets: Iterable[Packet]) -> list[bool]:
        """Whether each beat ends its packet."""
        return [i == -(-p.size // self.width) - 1 for p in packets for i in range(-(-p.size // self.width))]

    def _at(self, m: Module, ends: list[bool], beat: Signal, name: str) -> Signal:
        found = Signal(name=f"last_{name}")
        m.d.comb += found.eq(sum(end << i for i, end in enumerate(ends)) >> beat)
        return found

    def _first(self, beat: Signal) -> Signal:
        """The number of a beat's first byte among all output bytes."""
        firsts, start = [], 0
        for packet in self.identity.outputs:
            firsts += range(start, start + packet.size, self.width)
            start += packet.size
        value = firsts[-1]
        result = None
        for index, first in enumerate(firsts):
            result = Mux(beat == index, first, value if result is None else result)
        return result  # pyright: ignore[reportReturnType]


class Device(wiring.Component):
    """The link and the accelerator."""

    i: stream.Interface
    o: stream.Interface
    whole: Signal

    def __init__(self, identity: Identity, width: int, wait: int) -> None:
        self.identity, self.width, self.wait = identity, width, wait
        byte = stream.Signature(unsigned(8))
        # How often the last beat of the last packet went to the accelerator.
        super().__init__({"i": In(byte), "o": Out(byte), "whole": Out(unsigned(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = HostLink(self.identity, width_bytes=self.width)
        core = Summing(self.identity, self.width, wait=self.wait)
        m.submodules.core = ResetInserter(link.clear)(core)
        wiring.connect(m, link.m_axis, core.s_axis)
        wiring.connect(m, core.m_axis, link.s_axis)
        m.d.sync += self.whole.eq(self.whole + core.complete)
        wiring.connect(m, wiring.flipped(self.i), link.i)
        wiring.connect(m, link.o, wiring.flipped(self.o))
        return m


class SerialDevice(wiring.Component):
    """The same behind a serial line."""

    rx: Signal
    tx: Signal

    def __init__(self, identity: Identity, width: int, wait: int, rate: SerialRate, *, one_clock: bool) -> None:
        self.identity, self.width, self.wait, self.rate, self.one_clock = identity, width, wait, rate, one_clock
        super().__init__({"rx": In(1), "tx": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.link = link = SerialLink(
            self.identity, self.rate, width_bytes=self.width, one_clock=self.one_clock
        )
        core = Summing(self.identity, self.width, wait=self.wait)
        m.submodules.core = ResetInserter(link.clear)(core)
        wiring.connect(m, link.m_axis, core.s_axis)
        wiring.connect(m, core.m_axis, link.s_axis)
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]
        return m


@pytest.fixture(autouse=True)
def _benches_of_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the simulator import ``bench_link``."""
    monkeypatch.syspath_prepend(Path(__file__).parent)


def frames(answer: list[int]) -> list[Frame]:
    return list(Decoder(limit=1000).feed(answer))


def talk(path: Path, device: Device | SerialDevice, chunks: list[bytes], **parameters: object) -> list[list[Frame]]:
    """Send each chunk when the one before has been answered; return the frames that answered it."""
    serial = isinstance(device, SerialDevice)
    decoder = Decoder(limit=sum(packet.size for packet in device.identity.inputs))
    whole = [frame for frame in decoder.feed(b"".join(chunks)) if frame.kind == Kind.INFER]
    count = sum(len(frame.payload) == decoder.limit - HEADER_BYTES - CHECK_BYTES for frame in whole)
    result: BenchResult = run(
        top="device",
        verilog=to_verilog(device, "device"),
        bench="bench_link",
        build_dir=path,
        simulator="icarus",
        parameters={"chunks": [list(chunk) for chunk in chunks], "patience": 400, "stall": 0, **parameters},
        test_filter="serial_line" if serial else "bytes_are",
    )
    assert result.passed, result.text
    # Whatever was damaged, the accelerator has not seen its end.
    assert serial or result.data["whole"] == count
    return [frames(answer) for answer in result.data["answers"]]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("inputs", "outputs"), [((9,), (3,)), ((5, 8), (1, 16, 2))])
def test_every_request_is_answered(
    tmp_path: Path, width: int, inputs: tuple[int, ...], outputs: tuple[int, ...]
) -> None:
    rng, identity = random.Random(width), identity_of(inputs, outputs)
    packets = [rng.choice([rng.randbytes(sum(inputs)), bytes((FLAG,)) * sum(inputs)]) for _ in range(3)]
    asked = [Frame(kind=Kind.INFER, sequence=n, payload=x) for n, x in enumerate(packets)]
    asked += [Frame(kind=Kind.IDENTIFY, sequence=FLAG), Frame(kind=Kind.COUNTERS, sequence=ESCAPE)]
    asked += [Frame(kind=Kind.RESET, sequence=5), Frame(kind=Kind.COUNTERS, sequence=6)]
    device = Device(identity, width, wait=20)
    got = talk(tmp_path, device, [frame.encode() for frame in asked], stall=0.3)
    assert [[(f.kind, f.sequence) for f in answer] for answer in got] == [[(f.kind | REPLY, f.sequence)] for f in asked]
    payloads = [answer[0].payload for answer in got]
    assert payloads[:3] == [answer_of(identity, x) for x in packets]
    assert Identity.unpack(payloads[3]) == identity
    counters = Counters.unpack(payloads[4])
    assert (counters.inferences, counters.damaged, counters.abandoned) == (3, 0, 0)
    # The accelerator waits 20 cycles after its last beat, and offers in the next.
    assert counters.busy_cycles == 21
    assert counters.cycles > counters.busy_cycles
    assert payloads[5] == b""
    assert Counters.unpack(payloads[6]) == Counters(cycles=0, busy_cycles=0, inferences=0, damaged=0, abandoned=0)


def test_what_cannot_be_done_is_refused_with_its_reason(tmp_path: Path) -> None:
    identity = identity_of((9,), (3,))
    flipped = bytearray(Frame(kind=Kind.INFER, sequence=4, payload=b"123456789").encode())
    flipped[5] ^= 4
    chunks = [
        Frame(kind=9, sequence=1).encode(),
        Frame(kind=Kind.INFER, sequence=2, payload=b"12345678").encode(),
        Frame(kind=Kind.INFER, sequence=3, payload=b"1234567890").encode(),
        bytes(flipped),
        Frame(kind=Kind.COUNTERS, sequence=5, payload=b"x").encode(),
        Frame(kind=Kind.INFER, sequence=6, payload=b"123456789").encode(),
    ]
    got = talk(tmp_path, Device(identity, 4, wait=20), chunks)
    reasons = [Refusal.KIND, Refusal.LENGTH, Refusal.LENGTH, Refusal.DAMAGED, Refusal.LENGTH]
    expected = [[Frame(kind=REFUSED, sequence=n, payload=bytes((r,)))] for n, r in enumerate(reasons, start=1)]
    good = Frame(kind=Kind.INFER | REPLY, sequence=6, payload=answer_of(identity, b"123456789"))
    assert got == [*expected, [good]]


def faulty(rng: random.Random, frame: bytes) -> bytes:
    """Bytes that are lost, doubled, changed or made up, or the end missing."""
    damaged, at = bytearray(frame), rng.randrange(len(frame))
    match rng.randrange(6):
        case 0:
            del damaged[at]
        case 1:
            damaged.insert(at, damaged[at])
        case 2:
            damaged[at] ^= 1 << rng.randrange(8)
        case 3:
            damaged[at:at] = rng.randbytes(rng.randrange(1, 9))
        case 4:
            del damaged[at:]
        case _:
            damaged[at:at] = bytes(rng.choice((FLAG, ESCAPE, Kind.INFER, 0)) for _ in range(rng.randrange(1, 12)))
    return bytes(damaged)


@pytest.mark.parametrize("seed", range(3))
def test_faults_on_the_line_never_give_a_wrong_answer_and_end_with_the_next_frame(tmp_path: Path, seed: int) -> None:
    rng, identity = random.Random(seed), identity_of((9,), (3,))
    chunks, asked = [], []
    for n in range(60):
        frame = Frame(kind=Kind.INFER, sequence=n, payload=rng.randbytes(9))
        # Some chunks bring the good frame while the answer to what came before is under way.
        chunks.append(b"".join(faulty(rng, frame.encode()) for _ in range(rng.randrange(1, 4))) + frame.encode())
        asked.append(frame)
    got = talk(tmp_path, Device(identity, 4, wait=20), chunks, stall=rng.choice((0, 0.2)))
    for frame, answers in zip(asked, got, strict=True):
        good = Frame(kind=Kind.INFER | REPLY, sequence=frame.sequence, payload=answer_of(identity, frame.payload))
        assert answers[-1] == good
        assert all(answer in (good,) or answer.kind == REFUSED for answer in answers)


@pytest.mark.parametrize(("wait", "stall"), [(1, 0.8), (20, 0.3), (30, 0.8), (40, 0.5), (300, 0)])
def test_a_later_inference_replaces_the_one_under_way(tmp_path: Path, wait: int, stall: float) -> None:
    """While the first is computed, before its reply and within it: never the one's output under the other's number."""
    rng, identity = random.Random(wait), identity_of((9,), (16,))
    pairs = [
        [Frame(kind=Kind.INFER, sequence=n, payload=rng.randbytes(9)) for n in (2 * k, 2 * k + 1)] for k in range(25)
    ]
    # Flags between frames mean nothing: the later one comes at any time.
    chunks = [first.encode() + bytes((FLAG,)) * rng.randrange(10) + later.encode() for first, later in pairs]
    chunks.append(Frame(kind=Kind.COUNTERS, sequence=99).encode())
    *got, (last,) = talk(tmp_path, Device(identity, 8, wait), chunks, stall=stall)
    answered = 0
    for pair, answers in zip(pairs, got, strict=True):
        good = [
            Frame(kind=Kind.INFER | REPLY, sequence=f.sequence, payload=answer_of(identity, f.payload)) for f in pair
        ]
        assert answers in (good, good[1:])
        answered += len(answers)
    counters = Counters.unpack(last.payload)
    # Which of them were cut short is a matter of cycles, but each was.
    assert (counters.inferences, counters.abandoned) == (answered, 2 * len(pairs) - answered)
    assert counters.abandoned


@pytest.mark.parametrize("one_clock", [False, True])
@pytest.mark.parametrize(("clocks", "period_ps", "skew"), [(4, 10_000, 1), (8.33, 8_130, 1.02), (10.4, 33_000, 0.98)])
def test_serial_line(tmp_path: Path, clocks: float, period_ps: int, skew: float, one_clock: bool) -> None:
    identity, rng = identity_of((9,), (3,)), random.Random(1)
    rate = SerialRate(clock_hz=100e6, baud=100e6 / clocks)
    asked = [Frame(kind=Kind.INFER, sequence=n, payload=rng.randbytes(9)) for n in range(4)]
    asked.append(Frame(kind=Kind.IDENTIFY, sequence=4))
    device = SerialDevice(identity, 8, 20, rate, one_clock=one_clock)
    noise = [frame.encode() if n else b"\x00\xff" + frame.encode() for n, frame in enumerate(asked)]
    got = talk(
        tmp_path, device, noise, clocks=clocks, period_ps=period_ps, skew=skew, patience=2000, one_clock=one_clock
    )
    want = [answer_of(identity, frame.payload) for frame in asked[:4]] + [identity.pack()]
    expected = [Frame(kind=f.kind | REPLY, sequence=f.sequence, payload=p) for f, p in zip(asked, want, strict=True)]
    assert [answer[-1] for answer in got] == expected


def test_rate_beyond_the_clock_is_refused() -> None:
    with pytest.raises(ValueError, match="a 4th of the clock"):
        SerialRate(clock_hz=12e6, baud=4e6)
