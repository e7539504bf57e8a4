"""cocotb bench: the accelerator's edges, between AXI4-Stream packets and blocks.

Parameters: ``stalls``, the probabilities of a pause that are tried one after another; ``pipeline_cycles`` from the
issue of a block to its arrival; ``obey_hold``, false only where a fault is planted; and of these what a test needs:

- ``packets``: lists of beats;
- ``read``: tensors as lists of entries (block, and whether it is a pixel's last and the tensor's last, as
  ``BlocksToBytes.entry`` has them);
- ``written``: tensors as lists of ``[block, bytes]``, of which only the lower bytes count.
"""

import random
from collections import deque
from collections.abc import AsyncIterator, Sequence
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, First, RisingEdge

from heddle.sim.bench import hand_back, parameters, reset, start
from heddle.sim.stream import StreamPort

PATIENCE_CYCLES = 5000


@cocotb.test()
async def packets_become_blocks(dut: Any) -> None:
    """Short packets vanish, long ones are cut, and no beat is taken before its load has started."""
    p = parameters()
    dut.start.value = 0
    StreamPort(dut, "axi_").idle_sender()
    async for rng, stall in _runs(dut):
        sender = StreamPort(dut, "axi_", rng=rng, stall=stall)
        sending = cocotb.start_soon(_send_all(sender, p["packets"]))
        await _load_all(dut, rng, stall, accepts="axi__tready")
        sending.cancel()


@cocotb.test()
async def blocks_become_packets(dut: Any) -> None:
    """Every byte of every tensor leaves in order, the last beat filled with zeros and marked."""
    p = parameters()
    _idle_pipeline(dut)
    StreamPort(dut, "axi_").idle_receiver()
    cycles = []
    async for rng, stall in _runs(dut):
        feeding = cocotb.start_soon(_feed(dut, rng, stall))
        for number, packet in enumerate(p["packets"]):
            receiver = StreamPort(dut, "axi_", rng=rng, stall=stall)
            receiving = cocotb.start_soon(receiver.receive_packet(len(packet)))
            await First(receiving, ClockCycles(dut.clk, PATIENCE_CYCLES))
            assert receiving.done(), f"stall {stall}, packet {number}: no last beat in {PATIENCE_CYCLES} cycles"
            for beat, (got, expected) in enumerate(zip(receiving.result(), packet, strict=True)):
                assert got == expected, f"stall {stall}, packet {number}, beat {beat} is {got:#x}, not {expected:#x}"
            cycles.append((receiver.last_cycle or 0) - (receiver.first_cycle or 0))
        feeding.cancel()
    hand_back(cycles)


@cocotb.test()
async def blocks_become_other_blocks(dut: Any) -> None:
    """Bytes pass from blocks to blocks of pixels of another depth."""
    dut.start.value = 0
    _idle_pipeline(dut)
    async for rng, stall in _runs(dut):
        feeding = cocotb.start_soon(_feed(dut, rng, stall))
        await _load_all(dut, rng, stall)
        feeding.cancel()


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
    for name in ("issued", "arrived", "entry"):
        getattr(dut, name).value = 0


async def _feed(dut: Any, rng: random.Random, stall: float) -> None:
    """Issue every block of ``read`` unless on hold, as the issuer does, and push it as the pipeline does.

    ``hold`` is seen a cycle late, which it must allow for.
    """
    p, edge = parameters(), RisingEdge(dut.clk)
    under_way: deque[int | None] = deque([None] * p["pipeline_cycles"])
    waiting = deque(entry for tensor in p["read"] for entry in tensor)
    while True:
        await edge
        hold = bool(dut.hold.value) and p["obey_hold"]
        issue = bool(waiting) and not hold and rng.random() >= stall
        dut.issued.value = int(issue)
        under_way.append(waiting.popleft() if issue else None)
        arriving = under_way.popleft()
        dut.arrived.value = int(arriving is not None)
        dut.entry.value = arriving or 0


async def _load_all(dut: Any, rng: random.Random, stall: float, *, accepts: str | None = None) -> None:
    """Start a load for each tensor of ``written``; compare the blocks pushed since the last restart.

    ``accepts`` names a signal that must be low while no load is running.
    """
    edge = RisingEdge(dut.clk)
    for number, expected in enumerate(parameters()["written"]):
        place = f"stall {stall}, tensor {number}"
        for cycle in range(pause := rng.randrange(1, 5)):
            dut.start.value = int(cycle == pause - 1)
            await edge
            assert accepts is None or not getattr(dut, accepts).value, f"{place}: {accepts} is 1 before its start"
        dut.start.value = 0
        blocks: list[int] = []
        for _ in range(PATIENCE_CYCLES):
            await edge
            if dut.push.value:
                blocks.append(int(dut.block.value))
            if accepts is not None and dut.restart.value:
                blocks = []
            if dut.done.value:
                break
        else:
            raise AssertionError(f"{place}: {len(blocks)} blocks of {len(expected)} in {PATIENCE_CYCLES} cycles")
        assert len(blocks) == len(expected), f"{place}: {len(blocks)} blocks, not {len(expected)}"
        for index, (got, (block, count)) in enumerate(zip(blocks, expected, strict=True)):
            mask = (1 << 8 * count) - 1
            assert got & mask == block & mask, f"{place}, block {index} is {got & mask:#x}, not {block & mask:#x}"
