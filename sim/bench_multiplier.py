"""cocotb bench: lanes of Multiplier equal integer multiplication.

Parameters: ``a``, ``b`` (lists of operands), ``a_bits``, ``b_bits``, ``lanes``, ``latency``, ``outputs`` (names of
the product ports). Every port holds the lanes side by side, lane 0 lowest: one Python step tests them all.
"""

from collections.abc import Sequence
from typing import Any

import cocotb

from heddle.sim.bench import parameters, play, start


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def equals_integer_product(dut: Any) -> None:
    """Every product comes out ``latency`` cycles after its operands."""
    p = parameters()
    lanes, bits = p["lanes"], p["a_bits"] + p["b_bits"]
    dut.a.value, dut.b.value = 0, 0
    await start(dut)
    a, b = _pack(p["a"], p["a_bits"], lanes), _pack(p["b"], p["b_bits"], lanes)
    for output in p["outputs"]:
        words = await play(dut, {"a": a, "b": b}, output, latency=p["latency"])
        products = [word >> (bits * lane) & (1 << bits) - 1 for word in words for lane in range(lanes)]
        for x, y, got in zip(p["a"], p["b"], products, strict=False):
            signed = got - (got >> (bits - 1) << bits)
            assert signed == x * y, f"{output}: {x} * {y}: expected {x * y}, got {signed}"


def _pack(values: Sequence[int], bits: int, lanes: int) -> list[int]:
    """Pack ``lanes`` values to a word, the first lowest; the last word is filled with zeros."""
    mask = (1 << bits) - 1
    return [
        sum((value & mask) << (bits * lane) for lane, value in enumerate(values[index : index + lanes]))
        for index in range(0, len(values), lanes)
    ]
