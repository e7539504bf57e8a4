"""cocotb bench: a block follows a trace, cycle by cycle.

It serves every block whose behaviour in a cycle depends on nothing but the cycles before: what the bench drives and
expects is computed beforehand, by a model that shares no code with the hardware.

Parameters: ``idle``, the initial value of every input; ``drive``, for each cycle the inputs that change, by name;
``checks``, in order of cycles, ``[cycle, port, low bit, width, expected, place]``; expected < 0 is two's complement.
"""

from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, RisingEdge

from heddle.sim.bench import hand_back, parameters, start


@cocotb.test()
async def follows_trace(dut: Any) -> None:
    """Every checked part of every output has its value in its cycle; a difference is named by its place."""
    p = parameters()
    for name, value in p["idle"].items():
        getattr(dut, name).value = value
    await start(dut)
    await ClockCycles(dut.clk, 1)
    checks = iter(p["checks"])
    check = next(checks, None)
    edge = RisingEdge(dut.clk)
    done = 0
    # The edge at the end of cycle c shows its outputs as they were before it, and begins cycle c + 1.
    for cycle in range(-1, len(p["drive"])):
        await edge
        seen: dict[str, str] = {}
        while check is not None and check[0] == cycle:
            _, port, low, width, expected, place = check
            if port not in seen:
                seen[port] = str(getattr(dut, port).value)
            end = len(seen[port]) - low
            # Icarus shows registers without reset as unknown before their first use: only the checked bits matter.
            bits = seen[port][end - width : end]
            assert set(bits) <= {"0", "1"}, f"cycle {cycle}, {place}: {port} is unknown ({bits}), not {expected}"
            got = int(bits, 2)
            if expected < 0:
                got -= got >> (width - 1) << width
            assert got == expected, f"cycle {cycle}, {place}: {port} is {got}, not {expected}"
            done += 1
            check = next(checks, None)
        if cycle + 1 < len(p["drive"]):
            for name, value in p["drive"][cycle + 1].items():
                getattr(dut, name).value = value
    assert check is None, f"the trace ends before cycle {check[0]}"
    hand_back(done)
