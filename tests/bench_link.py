"""cocotb bench of the host link: what each chunk of bytes on the line is answered with.

Parameters: ``chunks``, lists of bytes, each sent when the answer to the one before has ended; ``stall``, the chance
that the line pauses on either side, or ``clocks``, the cycles of a bit where the line is a serial one; ``patience``,
cycles without an answer after which a chunk has none. Hands back the bytes that answered each chunk, and
``whole``, how many inferences' last beats went to the accelerator.
"""

import random
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, FallingEdge, Timer
from cocotb.utils import get_sim_time

from heddle.sim.bench import PERIOD_NS, hand_back, parameters, start
from heddle.sim.stream import StreamPort


@cocotb.test()
async def bytes_are_answered(dut: Any) -> None:
    p = parameters()
    rng = random.Random(cocotb.RANDOM_SEED)
    sender = StreamPort(dut, "i", rng=rng, stall=p["stall"]).idle_sender()
    receiver = StreamPort(dut, "o", rng=rng, stall=p["stall"]).idle_receiver()
    await start(dut)
    got: list[int] = []

    async def listen() -> None:
        while True:
            got.extend(await receiver.receive(1))

    cocotb.start_soon(listen())
    answers = []
    for chunk in p["chunks"]:
        got.clear()
        await sender.send(chunk)
        answers.append(await _answer(dut.clk, got, p["patience"]))
    hand_back({"answers": answers, "whole": int(dut.whole.value)})


@cocotb.test()
async def serial_line_is_answered(dut: Any) -> None:
    p = parameters()
    bit_ns = p["clocks"] * PERIOD_NS
    dut.rx.value = 1
    # The line's clock and the accelerator's have nothing to do with each other.
    Clock(dut.link_clk, PERIOD_NS, unit="ns", impl="gpi").start()
    Clock(dut.clk, p["period_ps"], unit="ps", impl="gpi").start()
    dut.link_rst.value = dut.rst.value = 1
    await ClockCycles(dut.link_clk, 8)
    dut.link_rst.value = dut.rst.value = 0
    got: list[int] = []

    async def listen() -> None:
        while True:
            await FallingEdge(dut.tx)
            edge = get_sim_time("ns")
            value = 0
            for bit in range(9):
                await _until(edge + (bit + 1.5) * bit_ns)
                value |= int(dut.tx.value) << bit
            assert value >> 8, "no stop bit"
            got.append(value & 0xFF)

    cocotb.start_soon(listen())
    answers = []
    for chunk in p["chunks"]:
        got.clear()
        begin = get_sim_time("ns")
        # A host's clock is not the device's.
        own_bit_ns = bit_ns * p["skew"]
        for index, byte in enumerate(chunk):
            for bit, level in enumerate((0, *((byte >> b & 1) for b in range(8)), 1)):
                await _until(begin + (10 * index + bit) * own_bit_ns)
                dut.rx.value = level
        await _until(begin + 10 * len(chunk) * own_bit_ns)
        answers.append(await _answer(dut.link_clk, got, p["patience"]))
    hand_back({"answers": answers})


async def _answer(clock: Any, got: list[int], patience: int) -> list[int]:
    """Wait until nothing more comes into ``got``, and return what has come."""
    seen = -1
    while seen != len(got):
        seen = len(got)
        await ClockCycles(clock, patience)
    return list(got)


async def _until(ns: float) -> None:
    left = round(1000 * (ns - get_sim_time("ns")))
    if left > 0:
        await Timer(left, unit="ps")
