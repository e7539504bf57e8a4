"""A whole design in a simulator: real samples through the RTL, cycles per slice, the first difference by layer.

Verilator runs the Verilog that would be synthesized; Python wakes only for stream beats, and with ``layers`` for
written blocks. :mod:`heddle.sim.bench_network` is the other side.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from heddle.errors import InputError, ToolError
from heddle.gen import golden
from heddle.gen.design import CoreDesign, Design
from heddle.gen.inputs import Inputs
from heddle.hdl.program import SliceRecord, Unit
from heddle.sim.runner import Simulator, log_remedy, run, tail

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
        Of the first inference's slices, each from its start to the next one's; of a netlist none.
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
    design: CoreDesign,
    x: Inputs,
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
        Verilog to run instead of the design's own: one with a planted fault, or the netlist after synthesis, which has
        no slices to see (``slice_cycles`` is empty, and ``layers`` must be false).
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
    if layers and not isinstance(design, Design):
        raise InputError(
            "feature maps of a work-list core cannot be watched", where="layers", remedy="compare the outputs only"
        )
    build_dir.mkdir(parents=True, exist_ok=True)
    expected = golden.run(design.network, x)
    options = {
        "stall": stall,
        "reset_after": reset_after,
        "checks": _checks(design) if layers and isinstance(design, Design) else [],
    }
    runs: list[tuple[dict[str, Any], list[np.ndarray]]] = []

    def accelerator(packets: list[np.ndarray]) -> list[np.ndarray]:
        data = _run(design, packets, expected, build_dir, simulator, verilog or design.verilog(), seed, options)
        outputs = [np.array(samples, np.uint8) for samples in data["outputs"]]
        runs.append((data, outputs))
        return outputs

    outputs = design.run_host(x, accelerator)
    data, packets = runs[0]
    mismatches, first = _compare(design, expected, packets)
    if found := data["difference"]:
        first = Difference(**{**found, "index": tuple(found["index"])})
    return SimulationResult(
        outputs=outputs,
        mismatches=mismatches,
        first_difference=first,
        cycles=tuple(data["cycles"]),
        slice_cycles=tuple(data["slice_cycles"]),
        simulator=simulator,
    )


def _run(
    design: CoreDesign,
    packets: Sequence[np.ndarray],
    expected: dict[str, np.ndarray],
    build_dir: Path,
    simulator: Simulator,
    verilog: str,
    seed: int,
    options: dict[str, Any],
) -> dict[str, Any]:
    """Build and run the bench; return what it hands back."""
    data = build_dir.resolve() / "samples.npz"
    tensors = design.network.tensors
    arrays: dict[str, Any] = {f"input{i}": packet for i, packet in enumerate(packets)}
    for i, check in enumerate(options["checks"]):
        tensor = tensors[check["tensor"]]
        arrays[f"expected{i}"] = expected[tensor.name].reshape(-1, *check["shape"]).view(np.uint8)
    np.savez(data, **arrays)
    parameters = {
        "data": str(data),
        "stream_bytes": design.array.stream_bytes,
        "inputs": len(design.plan.inputs),
        "output_bytes": [tensors[name].size for name in design.plan.outputs],
        "samples": len(packets[0]),
        "slices": _names(design),
        "timeout": 4 * design.cycles + 10_000,
        **_memory(design),
        **options,
    }
    top = design.name
    hierarchical = f"{top}.core.sequencer" in verilog
    parameters["slices_visible"] = hierarchical
    scratchpad = f"{top}.core.scratchpad"
    names = [port[part] for port in parameters["ports"] for part in ("strobe", "at", "data", "bytes")]
    visible = [(f"{top}.core.sequencer", "start"), *((scratchpad, name) for name in names if name)]
    result = run(
        top=top,
        verilog=verilog,
        bench=BENCH,
        build_dir=build_dir,
        simulator=simulator,
        parameters=parameters,
        visible=visible if hierarchical else (),
        optimise=design.cycles * len(packets[0]) > HEAVY_CYCLES,
        seed=seed,
    )
    if result.data is None:
        # Where the report is missing, the failure already ends with the log.
        last = tail(result.log)
        words = result.text if last in result.text else f"{result.text}\n{last}"
        raise ToolError(f"the simulation did not finish: {words}\n", where=top, remedy=log_remedy(result.log))
    return result.data


def _memory(design: CoreDesign) -> dict[str, Any]:
    """Return the feature-map memory and its write ports; none where they are not watched."""
    if not isinstance(design, Design):
        return {"ports": [], "block": 1, "banks": 1, "memory": 0}
    array = design.array
    words = design.program.config.bank_words * array.rows
    return {"ports": _ports(design), "block": array.block, "banks": array.rows, "memory": words}


def _names(design: CoreDesign) -> list[str]:
    """Return each slice's layer, and which load it follows: a stream that stops is seen there."""
    layers = [design.plan.operations[index].layer for index in design.slice_operation]
    if not isinstance(design, Design):
        return layers
    before = [None, *(record.followed for record in design.program.records)]
    return [
        f"{layer}, which follows {layers[i - 1]}" if followed else layer
        for i, (layer, followed) in enumerate(zip(layers, before, strict=False))
    ]


def _ports(design: Design) -> list[dict[str, Any]]:
    """Return the write ports of the feature-map memory, with the blocks that each slice writes there."""
    records, config = design.program.records, design.program.config
    main = {
        "strobe": "write_strobe",
        "at": "write_at",
        "data": "write_data",
        "bytes": "write_bytes" if config.byte_writes else None,
        "writes": [0 if record.followed else _blocks_written(record) for record in records],
    }
    load = {
        "strobe": "load_taken",
        "at": "load_at",
        "data": "load_data",
        "bytes": None,
        "writes": [_blocks_written(record) if record.followed else 0 for record in records],
    }
    return [main, load] if config.followed_bytes else [main]


def _blocks_written(record: SliceRecord) -> int:
    return 0 if record.unit == Unit.STORE else prod(last + 1 for last in record.dst_lasts)


HEAVY_CYCLES = 200_000
"""From here on the simulator's optimising build pays."""


def _checks(design: Design) -> list[dict[str, Any]]:
    """Return after which slice which feature map is complete, and where it lies."""
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
                "shape": [layout.height, layout.width, layout.channels],
                "base": layout.base,
                "pitches": [layout.row_pitch, layout.pixel_pitch],
            }
        )
    return sorted(checks, key=lambda check: check["slice"])


def _compare(
    design: CoreDesign, expected: dict[str, np.ndarray], packets: Sequence[np.ndarray]
) -> tuple[int, Difference | None]:
    """Count the differing elements of the output packets, and return the first of them."""
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
