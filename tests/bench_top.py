"""cocotb bench of a board's top: only its pins are driven, and nobody presses reset first.

Parameters: ``bit_ns``, of the serial line; ``pressed``, the level of ``rst`` that resets; ``chunks``, lists of bytes,
sent one behind the other's answer; then reset is pressed for less than a cycle, and they are sent again. Hands back
what answered each, ``reset_ns``, for how long the accelerator was reset at first, and ``locked``, whether a PLL had
locked before that ended.
"""

from typing import Any

import cocotb
from bench_link import SerialLine
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly, RisingEdge, Timer
from cocotb.utils import get_sim_time

from heddle.sim.bench import hand_back, parameters

CLOCK_NS = 40
PATIENCE = 300


@cocotb.test()
async def a_device_answers_after_its_configuration_and_after_a_reset(dut: Any) -> None:
    p = parameters()
    pressed = p["pressed"]
    dut.serial_in.value, dut.rst.value = 1, 1 - pressed
    Clock(dut.clk, CLOCK_NS, unit="ns").start()
    accelerator = dut.shell.accelerator
    await FallingEdge(accelerator.rst)
    reset_ns = get_sim_time("ns")
    locked = int(dut.locked.value) if p["pll"] else None
    line = SerialLine(dut.serial_in, dut.serial_out, dut.clk, p["bit_ns"])
    before = [await line.ask(chunk, patience=PATIENCE) for chunk in p["chunks"]]
    # Between two edges of the clock.
    await RisingEdge(dut.clk)
    await Timer(7, unit="ns")
    dut.rst.value = pressed
    await Timer(5, unit="ns")
    dut.rst.value = 1 - pressed
    await RisingEdge(accelerator.rst)
    await FallingEdge(accelerator.rst)
    await ReadOnly()
    await Timer(20 * p["bit_ns"], unit="ns", round_mode="round")
    after = [await line.ask(chunk, patience=PATIENCE) for chunk in p["chunks"]]
    hand_back({"before": before, "after": after, "reset_ns": reset_ns, "locked": locked})
