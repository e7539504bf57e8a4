"""The way from a window's origin to its blocks: scratchpad and fetch together, against a plain array of blocks."""

import random
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In
from hdl_trace import Trace, follow

from heddle.hdl import scratchpad
from heddle.hdl.addressing import position_layout, split
from heddle.hdl.scratchpad import Fetch, Scratchpad, step_layout

STEP_BITS, COORDINATE_BITS, STEPS = 3, 5, 12


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A memory of ``banks`` banks of ``words`` blocks of ``block`` bytes."""

    banks: int
    words: int
    block: int
    byte_writes: bool = True
    load_bytes: int = 0

    @property
    def address_bits(self) -> int:
        return max(1, (self.words - 1).bit_length())


@dataclass(frozen=True, kw_only=True)
class Lane:
    """What a lane reads in a step: an offset in rows, and its tap; ``used`` is 0 where it reads nothing."""

    used: int
    offset: int
    dy: int
    dx: int


@dataclass(frozen=True, kw_only=True)
class Step:
    """A linear offset for all lanes, and each lane."""

    common: int
    lanes: tuple[Lane, ...]


class ReadPath(wiring.Component):
    """Scratchpad and fetch as the core connects them."""

    def __init__(self, shape: Shape, steps: list[int]) -> None:
        self.scratchpad = Scratchpad(
            banks=shape.banks,
            words=shape.words,
            block=shape.block,
            byte_writes=shape.byte_writes,
            load_bytes=shape.load_bytes,
        )
        self.fetch = Fetch(
            banks=shape.banks,
            block=shape.block,
            address_bits=shape.address_bits,
            coordinate_bits=COORDINATE_BITS,
            step_bits=STEP_BITS,
            steps=steps,
            step_words=len(steps),
            scratchpad_latency=self.scratchpad.latency,
            spreads=True,
        )
        inner = {"base_bank", "rows", "read_blocks"}
        members = {name: member for name, member in self.fetch.signature.members.items() if name not in inner}
        writes = {
            n: member for n, member in self.scratchpad.signature.members.items() if n.startswith(("write", "load"))
        }
        super().__init__(members | writes)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fetch, m.submodules.scratchpad = fetch, memory = self.fetch, self.scratchpad
        m.d.comb += [
            memory.base_bank.eq(fetch.base_bank),
            memory.rows.eq(fetch.rows),
            fetch.read_blocks.eq(memory.blocks),
        ]
        for name, member in self.signature.members.items():
            block = memory if name.startswith(("write", "load")) else fetch
            inner, outer = getattr(block, name), getattr(self, name)
            m.d.comb += inner.eq(outer) if member.flow is In else outer.eq(inner)
        return m


def random_steps(shape: Shape, rng: random.Random) -> list[Step]:
    def lane() -> Lane:
        near, far = (rng.randrange(-2, 3) for _ in range(2)), 1 << (STEP_BITS - 1)
        dy, dx = rng.choice([(0, 0), (-far, far - 1), tuple(rng.randrange(-far, far) for _ in range(2))])
        return Lane(used=int(rng.random() < 0.8), offset=next(near), dy=dy, dx=dx)

    return [
        Step(common=rng.randrange(-2 * shape.banks, 2 * shape.banks), lanes=tuple(lane() for _ in range(shape.banks)))
        for _ in range(STEPS)
    ]


def images(shape: Shape, steps: list[Step]) -> list[int]:
    layout = step_layout(banks=shape.banks, address_bits=shape.address_bits, step_bits=STEP_BITS)
    rows = 1 << shape.address_bits
    words = []
    for step in steps:
        lanes = [{**asdict(lane), "offset": lane.offset % rows} for lane in step.lanes]
        common = split(step.common, address_bits=shape.address_bits, banks=shape.banks)
        words.append(layout.const({"common": common, "lanes": lanes}).as_bits())
    return words


class Model:
    """The memory as a list of blocks, and the trace of what is written into it and read from it."""

    def __init__(self, shape: Shape, steps: list[Step], rng: random.Random) -> None:
        self.shape, self.steps, self.rng = shape, steps, rng
        self.position = position_layout(shape.address_bits, shape.banks)
        self.blocks = [bytes(shape.block)] * (shape.banks * shape.words)
        self.latency = Fetch.latency_of(Scratchpad.latency_of(shape.banks))
        writes = ("write_strobe", "write_at", "write_data", "write_bytes", "load_strobe", "load_at", "load_data")
        self.trace = Trace("step", "origin", "y", "x", "start", "height", "width", "pad_value", "spread", *writes)

    def at(self, linear: int) -> int:
        position = split(linear, address_bits=self.shape.address_bits, banks=self.shape.banks)
        return self.position.const({**position}).as_bits()

    def write(self, linear: int) -> dict[str, int]:
        """Inputs that write a random block; one in four cycles only looks like it."""
        rng, shape = self.rng, self.shape
        block, mask = rng.randbytes(shape.block), rng.choice([-1, 0, rng.getrandbits(shape.block)])
        strobe = int(rng.random() < 0.75)
        if strobe:
            old = self.blocks[linear]
            kept = [not (mask >> i & 1) and shape.byte_writes for i in range(shape.block)]
            self.blocks[linear] = bytes(o if k else b for o, b, k in zip(old, block, kept, strict=True))
        return {
            "write_strobe": strobe,
            "write_at": self.at(linear),
            "write_data": int.from_bytes(block, "little"),
            "write_bytes": mask & ((1 << shape.block) - 1),
        }

    def load(self, linear: int, written: dict[str, int], at: int) -> dict[str, int]:
        """Inputs that write a block of a load beside ``written`` at ``at``: not where both lie in one bank."""
        rng, shape = self.rng, self.shape
        if not shape.load_bytes:
            return {}
        data, strobe = rng.randbytes(shape.load_bytes), int(rng.random() < 0.75)
        taken = strobe and not (written["write_strobe"] and (linear - at) % shape.banks == 0)
        if taken:
            # What lies beyond is arbitrary: here, what is offered to the other port.
            beyond = written["write_data"].to_bytes(shape.block, "little")[shape.load_bytes :]
            self.blocks[linear] = data + beyond
        place = f"load of block {linear}"
        self.trace.expect(self.trace.now, "load_taken", int(taken), place, width=1)
        return {"load_strobe": strobe, "load_at": self.at(linear), "load_data": int.from_bytes(data, "little")}

    def read(self, rows: range) -> dict[str, int]:
        """Inputs that read a random step at an origin from which every visible lane lies in ``rows``."""
        shape, rng = self.shape, self.rng
        held = self.trace.held
        while True:
            step = rng.randrange(len(self.steps))
            origin = rng.randrange(rows.start * shape.banks, rows.stop * shape.banks)
            y, x = rng.randrange(-4, held["height"] + 4), rng.randrange(-4, held["width"] + 4)
            common, lanes = self.steps[step].common, self.steps[step].lanes
            reads = []
            for r, lane in enumerate(lanes):
                inside = 0 <= y + lane.dy < held["height"] and 0 <= x + lane.dx < held["width"]
                reads.append(origin + common + r + shape.banks * lane.offset if lane.used and inside else None)
            if all(at is None or at // shape.banks in rows for at in reads):
                break
        pad = bytes([held["pad_value"]]) * shape.block
        bits = 8 * shape.block
        for r in range(shape.banks):
            # Neighbouring lanes share the block that was read for the first of them.
            at = reads[r >> held["spread"]]
            value = int.from_bytes(pad if at is None else self.blocks[at], "little")
            place = f"step {step} at block {origin} ({y}, {x}), lane {r}"
            self.trace.expect(self.trace.now + self.latency, "blocks", value, place, low=r * bits, width=bits)
        mask = (1 << COORDINATE_BITS) - 1
        return {"step": step, "origin": self.at(origin), "y": y & mask, "x": x & mask}


def random_trace(shape: Shape, steps: list[Step], *, seed: int, slices: int = 4, reads: int = 60) -> Trace:
    rng = random.Random(seed)
    model = Model(shape, steps, rng)
    trace = model.trace
    for linear in range(len(model.blocks)):
        trace.cycle(**model.write(linear))
    halves = [range(shape.words // 2), range(shape.words // 2, shape.words)]
    for number in range(slices):
        # As the core does: a slice writes a part of the memory that it does not read.
        source, dest = halves if number % 2 else reversed(halves)
        trace.hold(
            height=rng.randrange(1, 8), width=rng.randrange(1, 8), pad_value=rng.randrange(256), spread=number % 4
        )
        for read in range(reads):
            target, other = (rng.randrange(dest.start * shape.banks, dest.stop * shape.banks) for _ in range(2))
            step, written = model.read(source), model.write(target)
            trace.cycle(start=int(read == 0), **step, **written, **model.load(other, written, target))
        # The next slice's values come while the last steps of this one are still under way.
        trace.idle(Fetch.read_cycles(shape.banks))
    trace.idle(model.latency + 1)
    return trace


SHAPES = {
    "1 bank": Shape(banks=1, words=16, block=2),
    "2 banks": Shape(banks=2, words=11, block=4),
    "3 banks": Shape(banks=3, words=16, block=2),
    "4 banks, whole blocks": Shape(banks=4, words=13, block=2, byte_writes=False),
    "3 banks, a load beside": Shape(banks=3, words=16, block=4, load_bytes=3),
    "2 banks, a load of whole blocks": Shape(banks=2, words=16, block=2, byte_writes=False, load_bytes=2),
    "9 banks": Shape(banks=9, words=16, block=8),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_every_lane_reads_its_block_or_padding(tmp_path: Path, shape: Shape) -> None:
    steps = random_steps(shape, random.Random(1))
    result = follow(ReadPath(shape, images(shape, steps)), random_trace(shape, steps, seed=2), tmp_path)
    assert result.passed, result.text
    assert result.data == 240 * (shape.banks + (shape.load_bytes > 0))


@pytest.mark.slow
def test_every_lane_reads_its_block_or_padding_on_verilator(tmp_path: Path) -> None:
    shape = SHAPES["3 banks"]
    steps = random_steps(shape, random.Random(3))
    trace = random_trace(shape, steps, seed=4)
    result = follow(ReadPath(shape, images(shape, steps)), trace, tmp_path, simulator="verilator")
    assert result.passed, result.text


def change_lane(steps: list[Step], change: Callable[[Lane], Lane]) -> list[Step]:
    """Every step with lane 1 changed."""
    return [replace(s, lanes=(s.lanes[0], change(s.lanes[1]), *s.lanes[2:])) for s in steps]


FAULTS: dict[str, Callable[[list[Step]], list[Step]]] = {
    "address off by one": lambda steps: change_lane(steps, lambda lane: replace(lane, offset=lane.offset + 1)),
    "missing padding": lambda steps: change_lane(steps, lambda lane: replace(lane, used=1)),
    "tap in the wrong column": lambda steps: change_lane(steps, lambda lane: replace(lane, dx=~lane.dx)),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_planted_wrong_step_is_caught_at_its_lane(tmp_path: Path, fault: Callable[[list[Step]], list[Step]]) -> None:
    shape = SHAPES["3 banks"]
    steps = random_steps(shape, random.Random(1))
    trace = random_trace(shape, steps, seed=2, slices=8)
    result = follow(ReadPath(shape, images(shape, fault(steps))), trace, tmp_path)
    # Where lanes share, its block is that of lane 2.
    assert re.search("lane [12]: blocks is", result.text)


def test_planted_wrong_rotation_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rotate = scratchpad.rotate
    monkeypatch.setattr(
        scratchpad, "rotate", lambda *arguments, left, **options: rotate(*arguments, left=True, **options)
    )
    shape = SHAPES["3 banks"]
    steps = random_steps(shape, random.Random(1))
    result = follow(ReadPath(shape, images(shape, steps)), random_trace(shape, steps, seed=2), tmp_path)
    assert "lane" in result.text
    assert "blocks is" in result.text
