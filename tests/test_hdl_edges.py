"""The edges: packets to blocks, blocks to packets, and blocks to blocks of another shape, stalled and unstalled."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from heddle.gen.verilog import to_verilog
from heddle.hdl.addressing import LoopNest
from heddle.hdl.edges import AxiStream, AxiStreamInterface, BlocksToBytes, BytesToBlocks, Pack, Unpack
from heddle.sim.runner import BenchResult, Simulator, run

BLOCK, DEPTH, PIPELINE_CYCLES = 4, 8, 5


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """``pixels`` of ``channels`` bytes, each pixel in whole blocks."""

    pixels: int
    channels: int

    @property
    def size(self) -> int:
        return self.pixels * self.channels

    @property
    def lasts(self) -> list[int]:
        """Last indices of the loops over a pixel's blocks and over pixels."""
        return [-(-self.channels // BLOCK) - 1, self.pixels - 1]

    @property
    def tail(self) -> int:
        return (self.channels - 1) % BLOCK

    def blocks(self, elements: bytes) -> list[tuple[int, int]]:
        """Each block of ``elements``, and how many of its bytes are the tensor's."""
        pixels = [elements[i : i + self.channels] for i in range(0, self.size, self.channels)]
        parts = [pixel[i : i + BLOCK] for pixel in pixels for i in range(0, self.channels, BLOCK)]
        return [(int.from_bytes(part, "little"), len(part)) for part in parts]

    def entries(self, elements: bytes, rng: random.Random) -> list[int]:
        """What ``BlocksToBytes`` gets for ``elements``; what lies behind a pixel's last byte is not zero."""
        blocks, result = self.blocks(elements), []
        for index, (block, count) in enumerate(blocks):
            noise = rng.getrandbits(8 * BLOCK) >> 8 * count << 8 * count
            tail = index % (self.lasts[0] + 1) == self.lasts[0]
            result.append(block | noise | tail << 8 * BLOCK | (index == len(blocks) - 1) << 8 * BLOCK + 1)
        return result


ENTRY = data.StructLayout({"block": unsigned(8 * BLOCK), "tail": unsigned(1), "final": unsigned(1)})


class Edge(wiring.Component):
    """From a tensor in blocks or a stream to a tensor in blocks or a stream: the movers as the core joins them.

    Members
    -------
    axi
        Unless both ends are blocks.
    issued, arrived, entry, hold
        Of ``BlocksToBytes``.
    start, push, block, restart, done
        Of ``BytesToBlocks``; a load is active from ``start`` to ``done``.
    """

    axi: AxiStreamInterface
    issued: Signal
    arrived: Signal
    entry: data.View
    hold: Signal
    start: Signal
    push: Signal
    block: Signal
    restart: Signal
    done: Signal

    def __init__(self, *, source: Tensor | None, dest: Tensor | None, width_bytes: int = 1) -> None:
        self.source, self.dest, self.width_bytes = source, dest, width_bytes
        axi = AxiStream(width_bytes=width_bytes)
        members = {"axi": In(axi)} if source is None else {"axi": Out(axi)} if dest is None else {}
        if source is not None:
            members |= {"issued": In(1), "arrived": In(1), "entry": In(ENTRY), "hold": Out(1)}
        if dest is not None:
            members |= {"start": In(1), "push": Out(1), "block": Out(8 * BLOCK), "restart": Out(1), "done": Out(1)}
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        moving = Signal()
        i = self._from_stream(m, moving) if self.source is None else self._from_blocks(m, self.source)
        if self.dest is not None:
            self._to_blocks(m, self.dest, i, moving)
        else:
            m.submodules.pack = pack = Pack(width_bytes=self.width_bytes)
            wiring.connect(m, i, pack.i)
            wiring.connect(m, pack.axi, wiring.flipped(self.axi))
        return m

    def _from_stream(self, m: Module, moving: Signal) -> stream.Interface:
        m.submodules.unpack = unpack = Unpack(width_bytes=self.width_bytes)
        wiring.connect(m, wiring.flipped(self.axi), unpack.axi)
        m.d.comb += unpack.enable.eq(moving)
        return unpack.o

    def _from_blocks(self, m: Module, tensor: Tensor) -> stream.Interface:
        m.submodules.to_bytes = to_bytes = BlocksToBytes(block=BLOCK, depth=DEPTH)
        m.d.comb += [
            to_bytes.issued.eq(self.issued),
            to_bytes.push.eq(self.arrived),
            to_bytes.entry.eq(self.entry),
            to_bytes.tail.eq(tensor.tail),
            self.hold.eq(to_bytes.hold),
        ]
        return to_bytes.o

    def _to_blocks(self, m: Module, tensor: Tensor, i: stream.Interface, moving: Signal) -> None:
        m.submodules.to_blocks = to_blocks = BytesToBlocks(block=BLOCK)
        m.submodules.nest = nest = LoopNest(levels=2, count_bits=8, address_bits=1, banks=1)
        wiring.connect(m, i, to_blocks.i)
        m.d.comb += [
            nest.lasts.eq(data.ArrayLayout(unsigned(8), 2).const(tensor.lasts)),
            nest.start.eq(self.start | to_blocks.restart),
            nest.step.eq(to_blocks.push),
            to_blocks.start.eq(self.start),
            to_blocks.enable.eq(moving),
            to_blocks.packets.eq(self.source is None),
            to_blocks.tail.eq(tensor.tail),
            to_blocks.tail_block.eq(nest.wraps[0]),
            to_blocks.final.eq(nest.wraps[1]),
            *(getattr(self, name).eq(getattr(to_blocks, name)) for name in ("push", "block", "restart", "done")),
        ]
        with m.If(self.start):
            m.d.sync += moving.eq(1)
        with m.Elif(to_blocks.done):
            m.d.sync += moving.eq(0)


def beats(elements: bytes, width: int) -> list[int]:
    padded = elements + bytes(-len(elements) % width)
    return [int.from_bytes(padded[i : i + width], "little") for i in range(0, len(padded), width)]


def simulate(edge: Edge, test: str, path: Path, *, simulator: Simulator = "icarus", **parameters: Any) -> BenchResult:
    common = {"stalls": [0.0, 0.5], "pipeline_cycles": PIPELINE_CYCLES, "obey_hold": True}
    return run(
        top="edge", verilog=to_verilog(edge, "edge"), bench="heddle.sim.bench_edges", build_dir=path,
        simulator=simulator, parameters={**common, **parameters}, test_filter=test,
    )  # fmt: skip


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


@pytest.mark.parametrize("width", [1, 3, 8, 16])
@pytest.mark.parametrize("tensor", [Tensor(pixels=5, channels=6), Tensor(pixels=3, channels=4)], ids=["tail", "whole"])
def test_packets_become_blocks_whatever_their_length(tmp_path: Path, width: int, tensor: Tensor) -> None:
    packets, written = random_packets(tensor, width, seed=width)
    edge = Edge(source=None, dest=tensor, width_bytes=width)
    sent = [beats(packet, width) for packet in packets]
    result = simulate(edge, "packets_become_blocks", tmp_path, packets=sent, written=written)
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


@pytest.mark.parametrize("width", [1, 3, 8, 16])
@pytest.mark.parametrize("tensor", [Tensor(pixels=9, channels=6), Tensor(pixels=6, channels=4)], ids=["tail", "whole"])
def test_blocks_become_packets(tmp_path: Path, width: int, tensor: Tensor) -> None:
    elements, read = random_tensors(tensor, 4, random.Random(width))
    edge = Edge(source=tensor, dest=None, width_bytes=width)
    packets = [beats(e, width) for e in elements]
    result = simulate(edge, "blocks_become_packets", tmp_path, packets=packets, read=read)
    assert result.passed, result.text
    # Unstalled, a byte a cycle: the first beat leaves with its last byte.
    assert result.data[0] == tensor.size - width


def test_blocks_become_blocks_of_another_shape(tmp_path: Path) -> None:
    source, dest = Tensor(pixels=6, channels=5), Tensor(pixels=3, channels=10)
    elements, read = random_tensors(source, 4, random.Random(1))
    written = [dest.blocks(e) for e in elements]
    result = simulate(
        Edge(source=source, dest=dest), "blocks_become_other_blocks", tmp_path, read=read, written=written
    )
    assert result.passed, result.text


def test_planted_ignored_hold_is_caught_and_named(tmp_path: Path) -> None:
    """An issuer that does not wait overruns the buffer."""
    tensor = Tensor(pixels=40, channels=4)
    elements, read = random_tensors(tensor, 1, random.Random(1))
    packets = [beats(e, 1) for e in elements]
    edge = Edge(source=tensor, dest=None)
    result = simulate(edge, "blocks_become_packets", tmp_path, packets=packets, read=read, obey_hold=False)
    assert re.search(r"tlast is 1 at beat \d+ of 160", result.text)


def test_planted_wrong_tail_is_caught_and_named(tmp_path: Path) -> None:
    """The hardware takes one byte more from a pixel's last block."""
    tensor = Tensor(pixels=4, channels=6)
    elements, read = random_tensors(tensor, 1, random.Random(1))
    packets = [beats(e, 1) for e in elements]
    edge = Edge(source=Tensor(pixels=4, channels=7), dest=None)
    result = simulate(edge, "blocks_become_packets", tmp_path, packets=packets, read=read)
    assert "tlast is 0 at beat 23 of 24" in result.text
