"""The parts of a work-list core against their formulas: lanes, the load's buffer, the store's beats."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from heddle.hdl.packing import packer
from heddle.hdl.requantize import RequantizeConfig
from heddle.hdl.worklist_config import HIGH_SHIFT, WorklistConfig, WorklistShape
from heddle.hdl.worklist_edges import Loader, Storer
from heddle.hdl.worklist_lane import ROM_CYCLES, Lane

IDENTITY = RequantizeConfig(acc_bits=28, bias_bits=2, x_bits=18, multiplier_bits=1, offset_bits=2, shift_min=0,
                            shift_max=0, split_sign=False)  # fmt: skip
CONFIG = WorklistConfig(
    array=WorklistShape(lanes=2, pixels=8, stream_bytes=4), requantize=IDENTITY, words=20, item_words=64, drain_words=4,
    base_words=4, base_bits=8, dest_words=4, tap_words=9, mask_words=12, records=1, writes=1, skews=(4,), acc_bits=28,
    unit_bytes=2, load_bytes=8, selections=((0, 2, 4, 6, None, None, None, None),),
    field_bits={"loop_last": 6, "group_last": 6, "plane": 5, "tap": 3, "channel": 3},
)  # fmt: skip


def simulate(component: Any, bench: Any) -> None:
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()


@pytest.mark.parametrize(("pixels", "channels"), [(2, 8), (4, 3), (8, 30), (16, 2)])
@pytest.mark.parametrize("extreme", [False, True])
def test_a_lane_sums_its_items_over_neighbouring_places_from_any_place_on(pixels, channels, extreme) -> None:
    bits = {**CONFIG.field_bits, "channel": (channels - 1).bit_length()}
    config = replace(CONFIG, array=replace(CONFIG.array, pixels=pixels), field_bits=bits)
    rng = np.random.default_rng(pixels)
    places, wrap = config.words * pixels, (1 << config.position_bits) - 1
    memory = rng.integers(-128, 128, places)
    count = config.item_words
    weights, tap_base, masks_base, pad = rng.integers(-127, 128, count), 1, 3, -77
    if extreme:
        memory[:], weights[:], pad = -128, -127, 127
    # One group of a slice whose taps lie on both sides of its place, and whose channels fit behind it.
    base = places // 4
    plane = min((places - 2 * pixels - base) // channels, 31)
    taps = rng.integers(-base, pixels + 1, 8)
    masks = rng.integers(0, 1 << pixels, 8)
    tap, channel = rng.integers(0, 8, count), rng.integers(0, channels, count)
    ends, highs = rng.random(count) < 0.3, rng.random(count) < 0.2
    pack = packer(config.item_layout(1))
    items = [
        pack({"weight": w, "tap": t, "channel": c, "end": int(e), "high": int(h)})
        for w, t, c, e, h in zip(weights.tolist(), tap.tolist(), channel.tolist(), ends, highs, strict=True)
    ]
    tables = {"taps": [0, *(taps & wrap).tolist()], "masks": [0] * masks_base + masks.tolist()}
    lane = Lane(config, items, **tables, lane=1)
    # Items of the second half belong to a group of which nothing is beyond the map.
    inside = np.arange(count) >= count // 2
    got: dict[int, list[int]] = {}

    async def bench(ctx: Any) -> None:
        for row in range(config.words):
            for bank in range(pixels):
                ctx.set(lane.write.rows[bank], row)
                ctx.set(lane.write.bytes[bank], int(memory[row * pixels + bank]) & 255)
            ctx.set(lane.write.strobes, (1 << pixels) - 1)
            await ctx.tick()
        ctx.set(lane.write.strobes, 0)
        ctx.set(lane.record, {"tap_base": tap_base, "plane": plane, "pad": pad})
        for cycle in range(count + Lane.latency(config)):
            beyond = ROM_CYCLES <= cycle < count and not inside[cycle - ROM_CYCLES]
            ctx.set(lane.group, {"base": base, "beyond": int(beyond), "masks": masks_base})
            ctx.set(lane.address, min(cycle, count - 1))
            ctx.set(lane.valid, cycle < count)
            item = cycle - Lane.latency(config)
            if item >= 0 and ends[item]:
                got[item] = [ctx.get(lane.sums[v]) for v in range(pixels)]
            await ctx.tick()

    simulate(lane, bench)
    acc = np.zeros(pixels, np.int64)
    for item in range(count):
        first = base + taps[tap[item]] + channel[item] * plane
        masked = (masks[tap[item]] >> np.arange(pixels) & 1).astype(bool) & ~inside[item]
        here = np.where(masked, pad, memory[first : first + pixels])
        acc += int(weights[item]) * here * (1 << HIGH_SHIFT if highs[item] else 1)
        if ends[item] and item in got:
            assert got[item] == acc.tolist(), f"item {item}"
        if ends[item]:
            acc[:] = 0
    assert len(got) == int(ends.sum()) > 5
    assert ROM_CYCLES < Lane.byte_latency(config) < Lane.latency(config)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_load_begins_again_after_a_packet_too_short_and_drops_what_is_too_long(stall) -> None:
    loader = Loader(CONFIG)
    rng = np.random.default_rng(7)
    whole = rng.integers(0, 256, 24, np.uint8)
    # Three chunks of eight bytes each: too short, too long, and as it should be.
    packets = [whole[:12], np.concatenate([whole, whole[:8]]), whole[::-1]]
    beats = [(packet[i : i + 4], i + 4 == len(packet)) for packet in packets for i in range(0, len(packet), 4)]
    chunks: list[list[int]] = []
    loads: list[list[list[int]]] = []

    async def send(ctx: Any) -> None:
        for data, last in beats:
            while rng.random() < stall:
                await ctx.tick()
            ctx.set(loader.s_axis.tdata, int.from_bytes(data.tobytes(), "little"))
            ctx.set(loader.s_axis.tlast, last)
            ctx.set(loader.s_axis.tvalid, 1)
            await ctx.tick().until(loader.s_axis.tready)
            ctx.set(loader.s_axis.tvalid, 0)

    async def run(ctx: Any) -> None:
        ctx.set(loader.units_last, 3)
        ctx.set(loader.drains_last, 1)
        ctx.set(loader.chunks_last, 2)
        for _ in range(2):
            ctx.set(loader.start, 1)
            await ctx.tick()
            ctx.set(loader.start, 0)
            chunks.clear()
            for _ in range(2000):
                if ctx.get(loader.rewind):
                    chunks.clear()
                if ctx.get(loader.pulse):
                    chunks.append(list(ctx.get(loader.buffer).to_bytes(8, "little")))
                if ctx.get(loader.done):
                    break
                await ctx.tick()
            loads.append(list(chunks))
            await ctx.tick()

    simulator = Simulator(loader)
    simulator.add_clock(1e-6)
    simulator.add_testbench(run)
    simulator.add_testbench(send, background=True)
    simulator.run()
    # Each chunk is drained twice.
    assert loads == [
        [packet[i : i + 8].tolist() for i in (0, 8, 16) for _ in range(2)] for packet in (packets[1], packets[2])
    ]


@pytest.mark.parametrize("stall", [0.0, 0.7])
def test_bytes_become_beats_and_none_is_lost_however_slowly_they_are_taken(stall) -> None:
    storer = Storer(4)
    rng = np.random.default_rng(2)
    packets = [rng.integers(0, 256, size, np.uint8) for size in (4, 1, 301, 7)]
    got: list[tuple[int, int]] = []

    async def feed(ctx: Any) -> None:
        held = [0] * 16
        for packet in packets:
            for i, byte in enumerate(packet.tolist()):
                # What is under way still comes after `hold`.
                while held[0]:
                    held = [*held[1:], ctx.get(storer.hold)]
                    await ctx.tick()
                ctx.set(storer.byte, byte)
                ctx.set(storer.last, i == len(packet) - 1)
                ctx.set(storer.valid, 1)
                held = [*held[1:], ctx.get(storer.hold)]
                await ctx.tick()
                ctx.set(storer.valid, 0)

    async def take(ctx: Any) -> None:
        while len(got) < sum(-(-len(packet) // 4) for packet in packets):
            ready = rng.random() >= stall
            ctx.set(storer.m_axis.tready, ready)
            if ready and ctx.get(storer.m_axis.tvalid):
                got.append((ctx.get(storer.m_axis.tdata), ctx.get(storer.m_axis.tlast)))
            await ctx.tick()

    simulator = Simulator(storer)
    simulator.add_clock(1e-6)
    simulator.add_testbench(take)
    simulator.add_testbench(feed, background=True)
    simulator.run()
    want = [
        (int.from_bytes(packet[i : i + 4].tobytes(), "little"), int(i + 4 >= len(packet)))
        for packet in packets
        for i in range(0, len(packet), 4)
    ]
    assert got == want
