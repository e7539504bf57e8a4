"""A whole design in a simulator: real samples through the RTL, cycles per slice, the first difference by layer.

Verilator runs the Verilog that would be synthesized; Python wakes only for stream beats, and with ``layers`` for written
blocks. :mod:`heddle.sim.bench_network` is the other side.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from heddle.errors import ToolError
from heddle.gen import golden
from heddle.gen.design import Design
from heddle.hdl.program import Unit
from heddle.sim.runner import Simulator, run

BENCH = "heddle.sim.bench_network"


@dataclass(frozen=True, kw_only=True)
class Difference:
    """The first place where the simulated design differs from the golden model."""

    sample: int
    layer: str
    tensor: str
    index: tuple[int, ...]
    expected: int
    got: int

    def __str__(self) -> str:
        place = ", ".join(map(str, self.index))
        return f"sample {self.sample}, {self.layer}: {self.tensor}[{place}] is {self.got}, not {self.expected}"


@dataclass(frozen=True, kw_only=True, eq=False)
class SimulationResult:
    """What the simulated accelerator did.

    Parameters
    ----------
    outputs
        The network's outputs, after what the host does: an array, or arrays by name.
    mismatches
        Elements of the accelerator's output packets that differ from the golden model.
    first_difference
        With ``layers`` the first in execution order; otherwise the first of the outputs; ``None`` if all is equal.
    cycles
        Of each inference, from the first input beat accepted to the last output beat taken, inclusive.
    slice_cycles
        Of the first inference's slices, each from its start to the next one's.
    simulator
        Which one ran.
    """

    outputs: np.ndarray | dict[str, np.ndarray]
    mismatches: int
    first_difference: Difference | None
    cycles: tuple[int, ...]
    slice_cycles: tuple[int, ...]
    simulator: str


def simulate(
    design: Design,
    x: golden.Inputs,
    *,
    simulator: Simulator = "verilator",
    build_dir: Path | None = None,
    verilog: str | None = None,
    stall: float = 0.0,
    reset_after: int | None = None,
    layers: bool = False,
    seed: int = 1,
) -> SimulationResult:
    """Run samples through the design's RTL back to back and compare with the golden model.

    Parameters
    ----------
    x
        As ``Network.predict`` takes it.
    build_dir
        Where the simulation is built; kept for the next run if given.
    verilog
        Verilog to run instead of the design's own (a netlist, or one with a planted fault).
    stall
        Probability, each cycle, that either stream pauses; seeded by ``seed``.
    reset_after
        Reset once, that many cycles into the first inference, and start over.
    layers
        Compare every feature map of every sample, not only the outputs.

    Raises
    ------
    ToolError
        The simulator is missing, or the simulation ended before it was done (by a hang, say).
    """
    if build_dir is None:
        with tempfile.TemporaryDirectory(prefix="heddle-") as folder:
            return simulate(
                design, x, simulator=simulator, build_dir=Path(folder), verilog=verilog, stall=stall,
                reset_after=reset_after, layers=layers, seed=seed,
            )  # fmt: skip
    build_dir.mkdir(parents=True, exist_ok=True)
    runs: list[tuple[dict[str, Any], list[np.ndarray]]] = []

    def accelerator(packets: Sequence[np.ndarray]) -> list[np.ndarray]:
        data = _run(design, packets, build_dir, simulator, verilog or design.verilog(), seed, _expected(design, x, layers),
                    stall=stall, reset_after=reset_after, layers=layers)  # fmt: skip
        outputs = [np.array(samples, np.uint8) for samples in data["outputs"]]
        runs.append((data, outputs))
        return outputs

    outputs = design.run_host(x, accelerator)
    data, packets = runs[0]
    mismatches, first = _compare(design, golden.run(design.network, x), packets)
    if data["difference"]:
        first = Difference(**{**data["difference"], "index": tuple(data["difference"]["index"])})
    return SimulationResult(
        outputs=outputs,
        mismatches=mismatches,
        first_difference=first,
        cycles=tuple(data["cycles"]),
        slice_cycles=tuple(data["slice_cycles"]),
        simulator=simulator,
    )


def _run(
    design: Design,
    packets: Sequence[np.ndarray],
    build_dir: Path,
    simulator: Simulator,
    verilog: str,
    seed: int,
    expected: dict[str, np.ndarray],
    **options: Any,
) -> dict[str, Any]:
    """Build and run the bench; return what it hands back."""
    data = build_dir.resolve() / "samples.npz"
    np.savez(data, **{f"input{i}": packet for i, packet in enumerate(packets)}, **expected)
    tensors = design.network.tensors
    parameters = {
        "data": str(data),
        "stream_bytes": design.array.stream_bytes,
        "inputs": len(design.plan.inputs),
        "output_bytes": [int(np.prod(tensors[name].hwc)) for name in design.plan.outputs],
        "samples": len(packets[0]),
        "slices": len(design.program.records),
        "timeout": 4 * design.cycles + 10_000,
        "checks": _checks(design) if options["layers"] else [],
        "block": design.array.block,
        "banks": design.array.rows,
        "byte_writes": design.program.config.byte_writes,
        "memory": design.program.config.bank_words * design.array.rows,
        **options,
    }
    top = design.name
    core = f"{top}.core"
    visible = [(f"{core}.sequencer", "start"), (f"{core}.scratchpad", "write_strobe")]
    names = ("at", "data", "bytes") if design.program.config.byte_writes else ("at", "data")
    visible += [(f"{core}.scratchpad", f"write_{name}") for name in names]
    heavy = design.cycles * len(packets[0]) > HEAVY_CYCLES
    result = run(
        top=top, verilog=verilog, bench=BENCH, build_dir=build_dir, simulator=simulator, parameters=parameters,
        visible=visible, optimise=heavy, seed=seed,
    )  # fmt: skip
    if result.data is None:
        raise ToolError(
            f"the simulation did not finish: {result.text}", where=top, remedy=f"read {result.log}; this is a defect"
        )
    return result.data


HEAVY_CYCLES = 200_000
"""From here on the simulator's optimising build pays."""


def _expected(design: Design, x: golden.Inputs, layers: bool) -> dict[str, np.ndarray]:
    """Every checked feature map of every sample, as ``expected<i>`` in the order of :func:`_checks`."""
    if not layers:
        return {}
    values = golden.run(design.network, x)
    result = {}
    for i, check in enumerate(_checks(design)):
        shape = design.network.tensors[check["tensor"]].hwc
        result[f"expected{i}"] = values[check["tensor"]].reshape(-1, *shape).view(np.uint8)
    return result


def _checks(design: Design) -> list[dict[str, Any]]:
    """After which slice which feature map is complete, and where it lies."""
    complete: dict[str, int] = {}
    for index, operation in enumerate(design.slice_operation):
        if (dest := design.plan.operations[operation].dest) is not None:
            complete[dest] = index
    checks = []
    for tensor, index in complete.items():
        layout = design.layouts[tensor]
        checks.append(
            {
                "slice": index,
                "layer": design.plan.operations[design.slice_operation[index]].layer,
                "tensor": tensor,
                "base": layout.base,
                "pitches": [layout.row_pitch, layout.pixel_pitch],
            }
        )
    return sorted(checks, key=lambda check: check["slice"])


def _compare(
    design: Design, expected: dict[str, np.ndarray], packets: Sequence[np.ndarray]
) -> tuple[int, Difference | None]:
    """Differing elements of the output packets, and the first of them."""
    mismatches, first = 0, None
    for name, packet in zip(design.plan.outputs, packets, strict=True):
        shape = design.network.tensors[name].hwc
        got, want = packet.view(np.int8).reshape(-1, *shape), expected[name].reshape(-1, *shape)
        different = np.argwhere(got != want)
        mismatches += len(different)
        if len(different) and first is None:
            sample, *index = (int(i) for i in different[0])
            place = (sample, *index)
            first = Difference(
                sample=sample, layer=f"store:{name}", tensor=name, index=tuple(index),
                expected=int(want[place]), got=int(got[place]),
            )  # fmt: skip
    return mismatches, first
