"""cocotb bench: Requantize equals its software model, which the test has run.

Parameters: ``latency`` and ``layers``, each with its constants ``zero_point``, ``low``, ``high`` and one entry per
item of ``acc``, ``params`` (words of ``params_layout``) and ``expected``.
"""

from typing import Any

import cocotb

from heddle.sim.bench import parameters, play, start


@cocotb.test(timeout_time=10, timeout_unit="ms")
async def equals_software_model(dut: Any) -> None:
    """Every activation comes out ``latency`` cycles after its accumulator, one a cycle."""
    p = parameters()
    constants = ("zero_point", "low", "high")
    for name in ("acc", "params", *constants):
        getattr(dut, name).value = 0
    await start(dut)
    for number, layer in enumerate(p["layers"]):
        for name in constants:
            getattr(dut, name).value = layer[name]
        got = await play(dut, {"acc": layer["acc"], "params": layer["params"]}, "ofmap", latency=p["latency"])
        for item, (value, expected) in enumerate(zip(got, layer["expected"], strict=True)):
            signed = value - (value >> 7 << 8)
            assert signed == expected, (
                f"layer {number}, item {item}: acc {layer['acc'][item]} gives {signed} instead of {expected}"
            )
