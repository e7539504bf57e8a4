"""cocotb bench: the accelerator's edges, between AXI4-Stream packets and blocks.

Parameters: ``stalls``, the probabilities of a pause that are tried one after another; ``pipeline_cycles`` from the
issue of a block to its arrival; ``obey_hold``, false only where a fault is planted; and of these what a test needs:

- ``packets``: lists of beats;
- ``read``: tensors as lists of entries (block, and whether it is a pixel's last and the tensor's last, as
  ``Mover.entry`` has them);
- ``written``: tensors as lists of ``[block, bytes]``, of which only the lower bytes count.

Each hands back the cycles of the tensors it saw: from a tensor's first beat or block coming in to its last one leaving,
inclusive.
"""

import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, First, RisingEdge

from heddle.sim.bench import cycle, hand_back, parameters, reset, start
from heddle.sim.stream import StreamPort

PATIENCE_CYCLES = 5000


@cocotb.test()
async def packets_become_blocks(dut: Any) -> None:
    """Short packets vanish, long ones are cut, and no beat is taken before its load has started."""
    p = parameters()
    dut.start.value = 0
    StreamPort(dut, "axi_").idle_sender()
    cycles = []
    async for rng, stall in _runs(dut):
        sender = StreamPort(dut, "axi_", rng=rng, stall=stall)
        sending = cocotb.start_soon(_send_all(sender, p["packets"]))
        cycles += await _load_all(dut, rng, stall, begins=("axi__tvalid", "axi__tready"), accepts="axi__tready")
        sending.cancel()
    hand_back(cycles)


@cocotb.test()
async def a_reset_drops_what_is_under_way(dut: Any) -> None:
    """After a reset in any cycle of a load, the next packet is loaded as if nothing had been before."""
    p = parameters()
    dut.start.value = 0
    StreamPort(dut, "axi_").idle_sender()
    rng = random.Random(cocotb.RANDOM_SEED)
    await start(dut)
    for after in p["reset_after"]:
        await reset(dut)
        sending = cocotb.start_soon(_send_all(StreamPort(dut, "axi_"), p["packets"]))
        dut.start.value = 1
        await ClockCycles(dut.clk, 1)
        dut.start.value = 0
        await ClockCycles(dut.clk, after)
        sending.cancel()
        StreamPort(dut, "axi_").idle_sender()
        await reset(dut)
        sending = cocotb.start_soon(_send_all(StreamPort(dut, "axi_"), p["packets"]))
        await _load_all(dut, rng, 0.0, accepts="axi__tready")
        sending.cancel()


@cocotb.test()
async def blocks_become_packets(dut: Any) -> None:
    """Every byte of every tensor leaves in order, the last beat filled with zeros and marked."""
    p = parameters()
    dut.start.value = 0
    _idle_pipeline(dut)
    StreamPort(dut, "axi_").idle_receiver()
    cycles = []
    async for rng, stall in _runs(dut):
        for number, (packet, entries) in enumerate(zip(p["packets"], p["read"], strict=True)):
            await _start(dut)
            arrivals: list[int] = []
            feeding = cocotb.start_soon(_feed(dut, entries, arrivals, rng, stall))
            receiver = StreamPort(dut, "axi_", rng=rng, stall=stall)
            receiving = cocotb.start_soon(receiver.receive_packet(len(packet)))
            await First(receiving, ClockCycles(dut.clk, PATIENCE_CYCLES))
            assert receiving.done(), f"stall {stall}, packet {number}: no last beat in {PATIENCE_CYCLES} cycles"
            for beat, (got, expected) in enumerate(zip(receiving.result(), packet, strict=True)):
                assert got == expected, f"stall {stall}, packet {number}, beat {beat} is {got:#x}, not {expected:#x}"
            cycles.append((receiver.last_cycle or 0) - arrivals[0] + 1)
            feeding.cancel()
    hand_back(cycles)


@cocotb.test()
async def a_reset_drops_what_is_to_leave(dut: Any) -> None:
    """After a reset in any cycle of a store, the next tensor leaves as if nothing had been before."""
    p = parameters()
    dut.start.value = 0
    _idle_pipeline(dut)
    StreamPort(dut, "axi_").idle_receiver()
    rng = random.Random(cocotb.RANDOM_SEED)
    await start(dut)
    (packet,), (entries,) = p["packets"], p["read"]
    for after in p["reset_after"]:
        await reset(dut)
        await _start(dut)
        tasks = [cocotb.start_soon(_feed(dut, entries, [], rng, 0.0))]
        tasks += [cocotb.start_soon(StreamPort(dut, "axi_", rng=rng, stall=0.3).receive(len(packet)))]
        await ClockCycles(dut.clk, after)
        for task in tasks:
            task.cancel()
        _idle_pipeline(dut)
        StreamPort(dut, "axi_").idle_receiver()
        await reset(dut)
        await _start(dut)
        feeding = cocotb.start_soon(_feed(dut, entries, [], rng, 0.0))
        receiving = cocotb.start_soon(StreamPort(dut, "axi_").receive_packet(len(packet)))
        await First(receiving, ClockCycles(dut.clk, PATIENCE_CYCLES))
        feeding.cancel()
        assert receiving.done(), f"reset after {after} cycles: no last beat in {PATIENCE_CYCLES} cycles"
        assert receiving.result() == packet, f"reset after {after} cycles: {receiving.result()}, not {packet}"


@cocotb.test()
async def blocks_become_other_blocks(dut: Any) -> None:
    """Bytes pass from blocks to blocks of pixels of another depth."""
    dut.start.value = 0
    _idle_pipeline(dut)
    cycles = []
    async for rng, stall in _runs(dut):
        cycles += await _load_all(dut, rng, stall, begins=("arrived",), feeds=True)
    hand_back(cycles)


async def _runs(dut: Any) -> AsyncIterator[tuple[random.Random, float]]:
    """Start the clock, then reset before each probability of stalls."""
    rng = random.Random(cocotb.RANDOM_SEED)
    await start(dut)
    for stall in parameters()["stalls"]:
        await reset(dut)
        yield rng, stall


async def _send_all(sender: StreamPort, packets: Sequence[Sequence[int]]) -> None:
    for packet in packets:
        await sender.send(packet)


def _idle_pipeline(dut: Any) -> None:
    for name in ("arrived", "entry"):
        getattr(dut, name).value = 0


async def _start(dut: Any) -> None:
    dut.start.value = 1
    await ClockCycles(dut.clk, 1)
    dut.start.value = 0
    await ClockCycles(dut.clk, 1)


async def _feed(dut: Any, entries: Sequence[int], arrivals: list[int], rng: random.Random, stall: float) -> None:
    """Issue every block of a tensor unless on hold, as the issuer does, and let it arrive as the pipeline does."""
    p, edge = parameters(), RisingEdge(dut.clk)
    under_way: deque[int | None] = deque([None] * (p["pipeline_cycles"] - 1))
    waiting = deque(entries)
    while True:
        await edge
        if dut.arrived.value:
            arrivals.append(cycle())
        issue = bool(waiting) and not (p["obey_hold"] and dut.hold.value) and rng.random() >= stall
        under_way.append(waiting.popleft() if issue else None)
        arriving = under_way.popleft()
        dut.arrived.value = int(arriving is not None)
        dut.entry.value = arriving or 0


async def _load_all(
    dut: Any,
    rng: random.Random,
    stall: float,
    *,
    begins: Sequence[str] = (),
    accepts: str | None = None,
    feeds: bool = False,
) -> list[int]:
    """Start a load for each tensor of ``written``; compare the blocks pushed since the last restart.

    ``accepts`` names a signal that must be low while no load is running; ``feeds`` lets the blocks of ``read`` arrive.
    Returns the cycles of each tensor, from the first in which all signals of ``begins`` are high.
    """
    edge = RisingEdge(dut.clk)
    spans = []
    for number, expected in enumerate(parameters()["written"]):
        place = f"stall {stall}, tensor {number}"
        for left in reversed(range(rng.randrange(1, 5))):
            dut.start.value = int(left == 0)
            await edge
            assert accepts is None or not getattr(dut, accepts).value, f"{place}: {accepts} is 1 before its start"
        dut.start.value = 0
        feeding = cocotb.start_soon(_feed(dut, parameters()["read"][number], [], rng, stall)) if feeds else None
        blocks: list[int] = []
        first: int | None = None
        for _ in range(PATIENCE_CYCLES):
            await edge
            if first is None and all(getattr(dut, name).value for name in begins):
                first = cycle()
            if dut.push.value:
                blocks.append(int(dut.block.value))
            if accepts is not None and dut.restart.value:
                blocks = []
            if dut.done.value:
                spans.append(cycle() - (first or 0) + 1)
                break
        else:
            raise AssertionError(f"{place}: {len(blocks)} blocks of {len(expected)} in {PATIENCE_CYCLES} cycles")
        if feeding is not None:
            feeding.cancel()
        assert len(blocks) == len(expected), f"{place}: {len(blocks)} blocks, not {len(expected)}"
        for index, (got, (block, count)) in enumerate(zip(blocks, expected, strict=True)):
            mask = (1 << 8 * count) - 1
            assert got & mask == block & mask, f"{place}, block {index} is {got & mask:#x}, not {block & mask:#x}"
    return spans
