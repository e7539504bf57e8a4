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
    clocks, resets = [dut.clk], [dut.rst]
    if p["one_clock"]:
        Clock(dut.clk, PERIOD_NS, unit="ns", impl="gpi").start()
    else:
        # The line's clock and the accelerator's have nothing to do with each other.
        clocks, resets = [dut.link_clk, dut.clk], [dut.link_rst, dut.rst]
        Clock(dut.link_clk, PERIOD_NS, unit="ns", impl="gpi").start()
        Clock(dut.clk, p["period_ps"], unit="ps", impl="gpi").start()
    for reset in resets:
        reset.value = 1
    await ClockCycles(clocks[0], 8)
    for reset in resets:
        reset.value = 0
    line = SerialLine(dut.rx, dut.tx, clocks[0], bit_ns)
    # A host's clock is not the device's.
    chunks = [await line.ask(chunk, patience=p["patience"], skew=p["skew"]) for chunk in p["chunks"]]
    hand_back({"answers": chunks})


class SerialLine:
    """The host's end of a serial line: ``to`` and ``back`` are the device's pins, ``clock`` is what patience counts."""

    def __init__(self, to: Any, back: Any, clock: Any, bit_ns: float) -> None:
        self._to, self._back, self._clock, self._bit_ns = to, back, clock, bit_ns
        self._got: list[int] = []
        cocotb.start_soon(self._listen())

    async def ask(self, chunk: list[int], *, patience: int, skew: float = 1) -> list[int]:
        """Send bytes, each bit ``skew`` times as long as the device thinks; return what answers them."""
        self._got.clear()
        begin, bit_ns = get_sim_time("ns"), self._bit_ns * skew
        for index, byte in enumerate(chunk):
            for bit, level in enumerate((0, *((byte >> b & 1) for b in range(8)), 1)):
                await _until(begin + (10 * index + bit) * bit_ns)
                self._to.value = level
        await _until(begin + 10 * len(chunk) * bit_ns)
        return await _answer(self._clock, self._got, patience)

    async def _listen(self) -> None:
        while True:
            await FallingEdge(self._back)
            edge = get_sim_time("ns")
            value = 0
            for bit in range(9):
                await _until(edge + (bit + 1.5) * self._bit_ns)
                value |= int(self._back.value) << bit
            assert value >> 8, "no stop bit"
            self._got.append(value & 0xFF)


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
