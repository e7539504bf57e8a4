"""cocotb bench: a whole accelerator and packets that do not fit its input.

Parameters: ``sent``, lists of beats; ``expected``, the packets that must come out, lists of beats; ``patience_cycles``
for each of them, and after the last to see that none follows; ``stall``, the probability of the sender's pauses, or
nothing.
"""

import random
from typing import Any

import cocotb
from cocotb.triggers import ClockCycles, First, RisingEdge

from heddle.sim.bench import parameters, start
from heddle.sim.stream import StreamPort


@cocotb.test()
async def only_whole_packets_are_answered(dut: Any) -> None:
    """Too short a packet gives nothing, too long a one counts up to the tensor's end, and the next one is whole."""
    p = parameters()
    rng = random.Random(cocotb.RANDOM_SEED)
    source = StreamPort(dut, "s_axis", rng=rng, stall=p.get("stall", 0.0)).idle_sender()
    sink = StreamPort(dut, "m_axis").idle_receiver()
    await start(dut)

    async def send() -> None:
        for packet in p["sent"]:
            await source.send(packet)

    sending = cocotb.start_soon(send())
    for number, expected in enumerate(p["expected"]):
        receiving = cocotb.start_soon(sink.receive_packet(len(expected)))
        await First(receiving, ClockCycles(dut.clk, p["patience_cycles"]))
        assert receiving.done(), f"output packet {number}: not complete in {p['patience_cycles']} cycles"
        got = receiving.result()
        assert got == expected, f"output packet {number} is {got}, not {expected}"
    assert sending.done(), "an input packet was not taken to its end"
    more = RisingEdge(dut.m_axis_tvalid)
    assert await First(more, ClockCycles(dut.clk, p["patience_cycles"])) is not more, "an output packet too many"
