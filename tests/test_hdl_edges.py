"""The edges: packets to blocks, blocks to packets, and blocks to blocks of another shape, stalled and unstalled."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from heddle.gen.verilog import to_verilog
from heddle.hdl.addressing import LoopNest
from heddle.hdl.edges import AxiStream, AxiStreamInterface, Mover
from heddle.hdl.multiplier import Primitive
from heddle.hdl.timing import beat_ends, block_ends, regroup_cycles
from heddle.sim.runner import BenchResult, Simulator, run

PIPELINE_CYCLES = 6
WIDTHS, BLOCKS = (1, 2, 3, 4, 8, 16), (2, 4, 8, 16)


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """``pixels`` of ``channels`` bytes, each pixel in whole blocks."""

    pixels: int
    channels: int
    block: int = 4

    @property
    def size(self) -> int:
        return self.pixels * self.channels

    @property
    def lasts(self) -> list[int]:
        """Last indices of the loops over a pixel's blocks and over pixels."""
        return [-(-self.channels // self.block) - 1, self.pixels - 1]

    @property
    def tail(self) -> int:
        return (self.channels - 1) % self.block

    @property
    def ends(self) -> np.ndarray:
        return block_ends(self.lasts, self.tail, block=self.block)

    def blocks(self, elements: bytes) -> list[tuple[int, int]]:
        """Each block of ``elements``, and how many of its bytes are the tensor's."""
        pixels = [elements[i : i + self.channels] for i in range(0, self.size, self.channels)]
        parts = [pixel[i : i + self.block] for pixel in pixels for i in range(0, self.channels, self.block)]
        return [(int.from_bytes(part, "little"), len(part)) for part in parts]

    def entries(self, elements: bytes, rng: random.Random) -> list[int]:
        """What ``Mover`` gets for ``elements``; what lies behind a pixel's last byte is not zero."""
        blocks, result = self.blocks(elements), []
        for index, (block, count) in enumerate(blocks):
            noise = rng.getrandbits(8 * self.block) >> 8 * count << 8 * count
            tail = index % (self.lasts[0] + 1) == self.lasts[0]
            result.append(block | noise | tail << 8 * self.block | (index == len(blocks) - 1) << 8 * self.block + 1)
        return result

    def __str__(self) -> str:
        return f"{self.pixels}x{self.channels}in{self.block}s"


class Edge(wiring.Component):
    """From a tensor in blocks or a stream to a tensor in blocks or a stream: the mover as the core joins it.

    Members
    -------
    axi
        Unless both ends are blocks.
    arrived, entry, hold
        Where blocks are read.
    push, block, restart, done
        Where blocks are written.
    """

    axi: AxiStreamInterface
    start: Signal
    arrived: Signal
    entry: data.View
    hold: Signal
    push: Signal
    block: Signal
    restart: Signal
    done: Signal

    def __init__(
        self, *, source: Tensor | None, dest: Tensor | None, width_bytes: int = 1, primitive: Primitive = "generic"
    ) -> None:
        self.source, self.dest, self.width_bytes = source, dest, width_bytes
        (self.block_size,) = {tensor.block for tensor in (source, dest) if tensor}
        grain = gcd(width_bytes, self.block_size, *(tensor.tail + 1 for tensor in (source, dest) if tensor))
        self.mover = Mover(
            width_bytes=width_bytes,
            block=self.block_size,
            grain=grain,
            pipeline_cycles=PIPELINE_CYCLES,
            count_bits=8,
            primitive=primitive,
        )
        axi = AxiStream(width_bytes=width_bytes)
        members = {"axi": In(axi)} if source is None else {"axi": Out(axi)} if dest is None else {}
        members |= {"start": In(1)}
        if source is not None:
            members |= {"arrived": In(1), "entry": In(self.mover.entry_shape), "hold": Out(1)}
        if dest is not None:
            members |= {"push": Out(1), "block": Out(8 * self.block_size), "restart": Out(1), "done": Out(1)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.mover = mover = self.mover
        m.d.comb += [
            mover.start.eq(self.start),
            mover.from_stream.eq(self.source is None),
            mover.to_stream.eq(self.dest is None),
        ]
        if self.source is None:
            wiring.connect(m, wiring.flipped(self.axi), mover.s_axis)
        else:
            m.d.comb += [
                mover.src_tail.eq(self.source.tail),
                mover.arrived.eq(self.arrived),
                mover.entry.eq(self.entry),
                self.hold.eq(mover.hold),
            ]
        if self.dest is None:
            wiring.connect(m, mover.m_axis, wiring.flipped(self.axi))
        else:
            m.submodules.nest = nest = LoopNest(levels=2, count_bits=8, address_bits=1, banks=1)
            m.d.comb += [
                mover.dst_tail.eq(self.dest.tail),
                mover.dst_last_block.eq(self.dest.lasts[0]),
                nest.lasts.eq(data.ArrayLayout(unsigned(8), 2).const(self.dest.lasts)),
                nest.start.eq(self.start | mover.restart),
                nest.step.eq(mover.push),
                mover.final.eq(nest.wraps[1]),
                mover.push_ready.eq(1),
                *(getattr(self, name).eq(getattr(mover, name)) for name in ("push", "block", "restart", "done")),
            ]
        return m

    @property
    def cycles(self) -> int:
        """From the first beat or block in to the last one out, inclusive, if neither side ever waits."""
        ends = [tensor.ends for tensor in (self.source, self.dest) if tensor]
        packet = beat_ends(int(ends[0][-1]), width=self.width_bytes)
        source = packet if self.source is None else ends[0]
        dest = packet if self.dest is None else ends[-1]
        latency = Mover.BEAT_LATENCY if self.dest is None else Mover.BLOCK_LATENCY
        return latency + regroup_cycles(source, dest)


def beats(elements: bytes, width: int) -> list[int]:
    padded = elements + bytes(-len(elements) % width)
    return [int.from_bytes(padded[i : i + width], "little") for i in range(0, len(padded), width)]


def simulate(edge: Edge, test: str, path: Path, *, simulator: Simulator = "icarus", **parameters: Any) -> BenchResult:
    common = {"stalls": [0.0, 0.5], "pipeline_cycles": PIPELINE_CYCLES, "obey_hold": True}
    return run(
        top="edge", verilog=to_verilog(edge, "edge"), bench="heddle.sim.bench_edges", build_dir=path,
        simulator=simulator, parameters={**common, **parameters}, test_filter=test,
    )  # fmt: skip


def shapes() -> list[tuple[int, Tensor]]:
    """Every width of stream with every block, and every tail of the most usual ones."""
    channels = {2: (1, 6, 5), 4: (12, 3, 6, 9), 8: (12, 3, 17, 8, 10), 16: (40, 3, 33, 20, 32)}
    result = []
    for block in BLOCKS:
        for i, width in enumerate(WIDTHS):
            count = channels[block][i % len(channels[block])]
            result.append((width, Tensor(pixels=min(255, 60 * block // count), channels=count, block=block)))
    return result + [(8, Tensor(pixels=255 // count, channels=count, block=8)) for count in range(1, 9)]


SHAPES = pytest.mark.parametrize(("width", "tensor"), shapes(), ids=[f"{width}-{t}" for width, t in shapes()])


# --- cycles -------------------------------------------------------------------------------------------------------


def one_by_one(source: list[int], dest: list[int]) -> int:
    """Cycles by stepping through them: a chunk comes, then one that is complete goes."""
    cycle, given = 0, 0
    while given < len(dest):
        given += dest[given] <= source[min(cycle, len(source) - 1)]
        cycle += 1
    return cycle


def test_cycles_are_those_of_stepping_through_them() -> None:
    rng = random.Random(1)
    for _ in range(500):
        size = rng.randrange(1, 200)
        source, dest = (
            np.array([*sorted(rng.sample(range(1, size), rng.randrange(min(size, 60)))), size]) for _ in range(2)
        )
        assert regroup_cycles(source, dest) == one_by_one(source.tolist(), dest.tolist())


def test_a_wide_stream_is_as_fast_as_its_beats_or_blocks() -> None:
    packet = beat_ends(640, width=8)
    assert regroup_cycles(packet, Tensor(pixels=1, channels=640, block=8).ends) == 80
    rgb = Tensor(pixels=1024, channels=3, block=8).ends
    assert regroup_cycles(beat_ends(3072, width=8), rgb) == 1024
    assert regroup_cycles(rgb, beat_ends(3072, width=8)) == 1024
    assert regroup_cycles(beat_ends(3072, width=1), rgb) == 3072


# --- loading ------------------------------------------------------------------------------------------------------


def random_packets(tensor: Tensor, width: int, *, seed: int) -> tuple[list[bytes], list[list[tuple[int, int]]]]:
    """Packets of every length around the tensor's, and the tensors of those that are long enough."""
    rng = random.Random(seed)
    size, edge = tensor.size, -(-tensor.size // width) * width
    lengths = [size, 1, size, edge - width, edge + 1, size, edge + 5 * width, rng.randrange(1, size), size, size]
    packets = [rng.randbytes(length) for length in lengths if length]
    # A beat's unused bytes count: the stream does not say which they are.
    whole = [packet + bytes(-len(packet) % width) for packet in packets]
    return packets, [tensor.blocks(packet[:size]) for packet in whole if len(packet) >= size]


@SHAPES
def test_packets_become_blocks_whatever_their_length(tmp_path: Path, width: int, tensor: Tensor) -> None:
    packets, written = random_packets(tensor, width, seed=width)
    edge = Edge(source=None, dest=tensor, width_bytes=width)
    sent = [beats(packet, width) for packet in packets]
    result = simulate(edge, "packets_become_blocks", tmp_path, packets=sent, written=written)
    assert result.passed, result.text
    assert result.data[0] == edge.cycles


@pytest.mark.parametrize("width", [2, 8])
def test_a_tensor_of_one_block_is_loaded_from_packets_of_any_length(tmp_path: Path, width: int) -> None:
    tensor = Tensor(pixels=1, channels=3)
    packets, written = random_packets(tensor, width, seed=width)
    edge = Edge(source=None, dest=tensor, width_bytes=width)
    sent = [beats(packet, width) for packet in packets]
    result = simulate(edge, "packets_become_blocks", tmp_path, packets=sent, written=written)
    assert result.passed, result.text
    assert result.data[0] == edge.cycles


@pytest.mark.parametrize("width", [1, 3, 16])
def test_after_a_reset_in_the_middle_of_a_packet_the_next_one_is_loaded(tmp_path: Path, width: int) -> None:
    tensor = Tensor(pixels=20, channels=6)
    elements = random.Random(width).randbytes(tensor.size)
    edge = Edge(source=None, dest=tensor, width_bytes=width)
    result = simulate(
        edge, "a_reset_drops_what_is_under_way", tmp_path,
        packets=[beats(elements, width)], written=[tensor.blocks(elements)], reset_after=[*range(1, 16), 33],
    )  # fmt: skip
    assert result.passed, result.text


def drop_a_beat(packets: list[list[int]]) -> None:
    del packets[5][2]


def repeat_a_beat(packets: list[list[int]]) -> None:
    packets[0].insert(2, packets[0][2])


@pytest.mark.parametrize(
    ("fault", "place"), [(drop_a_beat, "tensor 3, block 0 is"), (repeat_a_beat, "tensor 0, block 1 is")]
)
def test_planted_fault_in_a_packet_is_caught_and_named(
    tmp_path: Path, fault: Callable[[list[list[int]]], None], place: str
) -> None:
    tensor = Tensor(pixels=3, channels=4)
    packets, written = random_packets(tensor, 2, seed=2)
    sent = [beats(packet, 2) for packet in packets]
    fault(sent)
    edge = Edge(source=None, dest=tensor, width_bytes=2)
    result = simulate(edge, "packets_become_blocks", tmp_path, packets=sent, written=written)
    assert place in result.text


# --- storing and reshaping ----------------------------------------------------------------------------------------


def random_tensors(tensor: Tensor, count: int, rng: random.Random) -> tuple[list[bytes], list[list[int]]]:
    """Elements of random tensors, and the entries in which they are read."""
    elements = [rng.randbytes(tensor.size) for _ in range(count)]
    return elements, [tensor.entries(e, rng) for e in elements]


@SHAPES
def test_blocks_become_packets(tmp_path: Path, width: int, tensor: Tensor) -> None:
    elements, read = random_tensors(tensor, 3, random.Random(width))
    edge = Edge(source=tensor, dest=None, width_bytes=width)
    packets = [beats(e, width) for e in elements]
    result = simulate(edge, "blocks_become_packets", tmp_path, packets=packets, read=read, stalls=[0.0, 0.3, 0.7])
    assert result.passed, result.text
    assert result.data[:3] == [edge.cycles] * 3


@pytest.mark.parametrize("width", [1, 3, 16])
def test_after_a_reset_in_the_middle_of_a_packet_the_next_one_leaves(tmp_path: Path, width: int) -> None:
    tensor = Tensor(pixels=20, channels=6)
    (elements,), read = random_tensors(tensor, 1, random.Random(width))
    edge = Edge(source=tensor, dest=None, width_bytes=width)
    result = simulate(
        edge, "a_reset_drops_what_is_to_leave", tmp_path,
        packets=[beats(elements, width)], read=read, reset_after=[*range(1, 24), 41],
    )  # fmt: skip
    assert result.passed, result.text


@pytest.mark.parametrize(("width", "channels"), [(1, 3), (2, 5), (16, 12)])
def test_a_queue_in_a_block_ram_gives_the_same_in_the_same_cycles(tmp_path: Path, width: int, channels: int) -> None:
    tensor, rng = Tensor(pixels=60, channels=channels), random.Random(width)
    elements, read = random_tensors(tensor, 3, rng)
    out = Edge(source=tensor, dest=None, width_bytes=width, primitive="sb_mac16")
    packets = [beats(e, width) for e in elements]
    result = simulate(
        out, "blocks_become_packets", tmp_path / "out", packets=packets, read=read, stalls=[0.0, 0.3, 0.7]
    )
    assert result.passed, result.text
    assert result.data[:3] == [out.cycles] * 3
    result = simulate(
        out, "a_reset_drops_what_is_to_leave", tmp_path / "reset",
        packets=packets[:1], read=read[:1], reset_after=[*range(1, 24), 41],
    )  # fmt: skip
    assert result.passed, result.text


RESHAPES = [(5, 10, 4), (10, 5, 4), (1, 40, 8), (40, 1, 8), (12, 8, 8), (3, 16, 2), (33, 11, 16), (64, 8, 8)]


@pytest.mark.parametrize(("channels", "other", "block"), RESHAPES)
def test_blocks_become_blocks_of_another_shape(tmp_path: Path, channels: int, other: int, block: int) -> None:
    # As many pixels as the counters of the bench hold, and whole pixels on the other side.
    step = other // gcd(channels, other)
    pixels = max(1, min(255, 255 * other // channels) // step) * step
    source = Tensor(pixels=pixels, channels=channels, block=block)
    dest = Tensor(pixels=source.size // other, channels=other, block=block)
    elements, read = random_tensors(source, 3, random.Random(1))
    written = [dest.blocks(e) for e in elements]
    edge = Edge(source=source, dest=dest)
    result = simulate(edge, "blocks_become_other_blocks", tmp_path, read=read, written=written)
    assert result.passed, result.text
    assert result.data[:3] == [edge.cycles] * 3


def test_planted_ignored_hold_is_caught_and_named(tmp_path: Path) -> None:
    """An issuer that does not wait overruns the buffer."""
    tensor = Tensor(pixels=80, channels=4)
    elements, read = random_tensors(tensor, 1, random.Random(1))
    packets = [beats(e, 1) for e in elements]
    edge = Edge(source=tensor, dest=None)
    result = simulate(edge, "blocks_become_packets", tmp_path, packets=packets, read=read, obey_hold=False)
    assert re.search(r"packet 0, beat \d+ is", result.text)


def test_planted_wrong_tail_is_caught_and_named(tmp_path: Path) -> None:
    """The hardware takes one byte more from a pixel's last block."""
    tensor = Tensor(pixels=4, channels=6)
    elements, read = random_tensors(tensor, 1, random.Random(1))
    packets = [beats(e, 1) for e in elements]
    edge = Edge(source=Tensor(pixels=4, channels=7), dest=None)
    result = simulate(edge, "blocks_become_packets", tmp_path, packets=packets, read=read)
    assert "tlast is 0 at beat 23 of 24" in result.text
