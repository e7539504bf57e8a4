"""cocotb bench: a whole accelerator on samples, back to back, with stalls, resets and checks by layer."""

import random
from itertools import cycle, pairwise
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles, RisingEdge, SimTimeoutError, with_timeout

from heddle.sim import bench
from heddle.sim.stream import StreamPort


class Watch:
    """Records when slices start, and with checks mirrors the feature-map memory from its writes."""

    def __init__(self, dut: Any, parameters: dict[str, Any], data: Any) -> None:
        # A netlist is flat: it has streams, and no slices to watch.
        self.clock: Any = dut.clk
        self.core: Any = dut.core if parameters["slices_visible"] else None
        self.parameters, self.data = parameters, data
        self.starts: list[int] = []
        self.difference: dict[str, Any] | None = None
        self.memory = np.zeros((parameters["memory"], parameters["block"]), np.uint8)

    @property
    def state(self) -> str:
        """Which slice runs."""
        slices = self.parameters["slices"]
        index = (len(self.starts) - 1) % len(slices)
        return f"slice {index} ({slices[index]}) does not end" if self.starts else "no slice has started"

    async def slices(self) -> None:
        """Note the cycle of each start."""
        start = self.core.sequencer.start
        while True:
            await RisingEdge(start)
            self.starts.append(bench.cycle())

    async def writes(self, port: dict[str, Any]) -> None:
        """Follow a write port; a slice is complete with its last block, when others have long started."""
        counts = port["writes"]
        writers = cycle(i for i, count in enumerate(counts) if count)
        inference, writing = 0, next(writers)
        left = counts[writing]
        memory, banks = self.core.scratchpad, self.parameters["banks"]
        strobe, position, data = (getattr(memory, port[name]) for name in ("strobe", "at", "data"))
        enable = getattr(memory, port["bytes"]) if port["bytes"] else None
        bank_bits = max(1, (banks - 1).bit_length())
        row_bits = len(position) - bank_bits
        edge = RisingEdge(self.clock)
        while True:
            await RisingEdge(strobe)
            await edge
            while strobe.value:
                at = int(position.value)
                linear = (at & ((1 << row_bits) - 1)) * banks + (at >> row_bits)
                block = int(data.value).to_bytes(len(data) // 8, "little")
                mask = -1 if enable is None else int(enable.value)
                for i, byte in enumerate(block):
                    if mask >> i & 1:
                        self.memory[linear, i] = byte
                left -= 1
                if not left:
                    self._check(inference, writing)
                    before, writing = writing, next(writers)
                    inference += writing <= before
                    left = counts[writing]
                await edge

    def _check(self, sample: int, index: int) -> None:
        """Compare the feature maps that slice ``index`` of an inference has completed."""
        for i, check in enumerate(self.parameters["checks"]):
            if check["slice"] == index and sample < self.parameters["samples"]:
                self._compare(sample, check, self.data[f"expected{i}"][sample])

    def _compare(self, sample: int, check: dict[str, Any], expected: np.ndarray) -> None:
        height, width, channels = expected.shape
        rows = np.arange(height)[:, None] * check["pitches"][0] + np.arange(width)[None, :] * check["pitches"][1]
        blocks = -(-channels // self.parameters["block"])
        linear = check["base"] + rows[:, :, None] + np.arange(blocks)
        got = self.memory[linear].reshape(height, width, -1)[:, :, :channels]
        different = np.argwhere(got != expected)
        if len(different) and self.difference is None:
            place = tuple(int(i) for i in different[0])
            self.difference = {
                "sample": sample,
                "layer": check["layer"],
                "tensor": check["tensor"],
                "index": place,
                "expected": int(expected[place].view(np.int8)),
                "got": int(got[place].view(np.int8)),
            }


@cocotb.test()
async def runs_every_sample(dut: Any) -> None:
    """Send the samples' packets, collect the results' and hand both back with the cycles."""
    p = bench.parameters()
    with np.load(p["data"]) as file:
        data = dict(file)
    rng = random.Random(cocotb.RANDOM_SEED)
    source = StreamPort(dut, "s_axis", rng=rng, stall=p["stall"]).idle_sender()
    StreamPort(dut, "m_axis").idle_receiver()
    await bench.start(dut)
    inputs = [data[f"input{i}"] for i in range(p["inputs"])]
    if p["reset_after"] is not None:
        sending = cocotb.start_soon(_send(source, inputs, 0, p["stream_bytes"]))
        await ClockCycles(dut.clk, p["reset_after"])
        sending.cancel()
        source.idle_sender()
        await bench.reset(dut)
    watch = Watch(dut, p, data)
    if p["slices_visible"]:
        cocotb.start_soon(watch.slices())
    if p["checks"]:
        for port in p["ports"]:
            cocotb.start_soon(watch.writes(port))
    firsts: list[int] = []

    async def send_all() -> None:
        for sample in range(p["samples"]):
            port = StreamPort(dut, "s_axis", rng=rng, stall=p["stall"])
            firsts.append(await _send(port, inputs, sample, p["stream_bytes"]))

    cocotb.start_soon(send_all())
    outputs: list[list[list[int]]] = [[] for _ in p["output_bytes"]]
    cycles = []
    for sample in range(p["samples"]):
        last = 0
        for output, size in zip(outputs, p["output_bytes"], strict=True):
            sink = StreamPort(dut, "m_axis", rng=rng, stall=p["stall"])
            receiving = sink.receive_packet(-(-size // p["stream_bytes"]))
            limit = int(p["timeout"] / (1 - p["stall"]) ** 2) * bench.PERIOD_NS
            try:
                beats = await with_timeout(receiving, limit, "ns")
            except SimTimeoutError:
                raise AssertionError(f"sample {sample}: no output in {limit} ns; {watch.state}") from None
            packet = b"".join(beat.to_bytes(p["stream_bytes"], "little") for beat in beats)
            output.append(list(packet[:size]))
            last = sink.last_cycle or 0
        cycles.append(last - firsts[sample] + 1)
    # The last slice ends where the next inference's first one starts, soon after.
    await ClockCycles(dut.clk, 64)
    starts = watch.starts[: len(p["slices"]) + 1]
    bench.hand_back(
        {
            "outputs": outputs,
            "cycles": cycles,
            "slice_cycles": [after - before for before, after in pairwise(starts)],
            "difference": watch.difference,
        }
    )


async def _send(source: StreamPort, inputs: list[np.ndarray], sample: int, width: int) -> int:
    """Send one sample's packets; return the cycle in which the first beat passed."""
    for packets in inputs:
        padded = packets[sample].tobytes()
        padded += bytes(-len(padded) % width)
        await source.send([int.from_bytes(padded[i : i + width], "little") for i in range(0, len(padded), width)])
    assert source.first_cycle is not None
    return source.first_cycle
