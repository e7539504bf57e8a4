"""cocotb bench of the stream drivers themselves: a packet goes through a FIFO and must come out as it was."""

import random
from typing import Any

import cocotb

from heddle.sim.bench import cycle, hand_back, parameters, reset, start
from heddle.sim.stream import StreamPort


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def packet_passes_unchanged(dut: Any) -> None:
    p = parameters()
    rng = random.Random(cocotb.RANDOM_SEED)
    sender = StreamPort(dut, p["i"], rng=rng, stall=p["stall"]).idle_sender()
    receiver = StreamPort(dut, p["o"], rng=rng, stall=p["stall"], signed=p["signed"]).idle_receiver()
    await start(dut)
    for packet in p["packets"]:
        sent = [beat for index, beat in enumerate(packet) if index != p["drop"]]
        task = cocotb.start_soon(sender.send(sent))
        receive = receiver.receive_packet if p["o"] == "m_axis" else receiver.receive
        got = await receive(len(packet))
        await task
        assert got == packet, f"{p['o']}: {got} instead of {packet}"
    hand_back(
        {
            "first": receiver.first_cycle,
            "last": receiver.last_cycle,
            "cycles": cycle(),
            "level": int(dut.fifo.level.value),
        }
    )


@cocotb.test(timeout_time=1, timeout_unit="ms")
async def packet_after_reset_in_the_middle_is_whole(dut: Any) -> None:
    p = parameters()
    sender, receiver = StreamPort(dut, p["i"]).idle_sender(), StreamPort(dut, p["o"]).idle_receiver()
    await start(dut)
    await sender.send([1])
    await reset(dut)
    task = cocotb.start_soon(sender.send([2, 3]))
    assert await receiver.receive(2) == [2, 3]
    await task
