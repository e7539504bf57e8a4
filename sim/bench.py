"""What every bench needs inside the simulator: its parameters, clock and reset, stimulus, and a way to answer."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PARAMETERS = "HEDDLE_BENCH_PARAMETERS"
"""Environment variable: path of the JSON file that ``runner.run`` wrote."""
RESULT = "HEDDLE_BENCH_RESULT"
"""Environment variable: path of the JSON file that ``runner.run`` reads afterwards."""
PERIOD_NS = 10


def parameters() -> Any:
    """Return the JSON value that was given to ``runner.run(parameters=...)``."""
    return json.loads(Path(os.environ[PARAMETERS]).read_text())


def hand_back(value: Any) -> None:
    """Store ``value`` (JSON) as ``BenchResult.data``; the last call counts."""
    Path(os.environ[RESULT]).write_text(json.dumps(value))


async def start(dut: Any, *, reset_cycles: int = 2) -> None:
    """Start the clock ``clk`` and hold ``rst`` for some cycles.

    Drive the inputs before, so that the design never sees an undefined one. The clock toggles inside the simulator:
    cycles in which no test waits for anything cost no Python.
    """
    from cocotb.clock import Clock

    # Benches write after an edge, never at it, so the simulator's own clock is safe on Icarus too.
    Clock(dut.clk, PERIOD_NS, unit="ns", impl="gpi").start()
    await reset(dut, cycles=reset_cycles)


async def reset(dut: Any, *, cycles: int = 2) -> None:
    """Hold ``rst`` for some cycles of a running clock, as at power-on or in the middle of an inference."""
    from cocotb.triggers import ClockCycles

    dut.rst.value = 1
    await ClockCycles(dut.clk, cycles)
    dut.rst.value = 0


def cycle() -> int:
    """Return the number of clock periods since the simulation began."""
    from cocotb.utils import get_sim_time

    return int(get_sim_time("ns")) // PERIOD_NS


async def play(dut: Any, inputs: Mapping[str, Sequence[int]], output: str, *, latency: int) -> list[int]:
    """Feed a static pipeline one item a cycle, and return what comes out ``latency`` cycles later.

    Parameters
    ----------
    inputs
        For each input port its values, all sequences of one length. Negative values are two's complement.
    output
        The output port; read as an unsigned integer.

    Returns
    -------
    list of int
        As many results as items.
    """
    from cocotb.triggers import RisingEdge

    edge = RisingEdge(dut.clk)
    ports = [getattr(dut, name) for name in inputs]
    items = list(zip(*inputs.values(), strict=True))
    result, o = [], getattr(dut, output)
    for index in range(len(items) + latency + 1):
        # Values read here are those before the edge: written `latency` edges ago and one cycle to settle.
        await edge
        if index > latency:
            result.append(int(o.value))
        if index < len(items):
            for port, value in zip(ports, items[index], strict=True):
                port.value = value
    return result
