"""What several commands take and give: options, exit status, and compiling, sampling and simulating on a screen."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heddle.gen.console import Screen
from heddle.gen.objective import Objective

if TYPE_CHECKING:
    from heddle.gen.api import CompiledDesign
    from heddle.gen.ir import Network
    from heddle.gen.samples import Samples
    from heddle.sim.network import SimulationResult

DONE, REFUSED, BAD_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130


class Reference(StrEnum):
    """Whose integers to reproduce."""

    TFLM = "tflm"
    LITERT = "litert"


class SimulatorName(StrEnum):
    """What runs the RTL."""

    VERILATOR = "verilator"
    ICARUS = "icarus"


NetworkFile = Annotated[Path, typer.Argument(metavar="NETWORK", help="A quantized .tflite file.")]
BoardName = Annotated[str, typer.Option("--board", "-b", help="A board or part; see `heddle boards`.")]
Folder = Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the folder whatever it holds.")]
ArrayShape = Annotated[
    str | None,
    typer.Option(
        "--array", metavar="RxCxV", help="Rows, columns and pixels, or worklist-GxV; default: what fits the board."
    ),
]
Requantizers = Annotated[int | None, typer.Option("--requantizers", help="Results scaled per cycle.")]
StreamBytes = Annotated[
    int | None, typer.Option("--stream-bytes", help="Width of both streams, 1 to 16; default: the board's.")
]
Block = Annotated[int | None, typer.Option("--block", help="Channels in a block: 2, 4, 8 or 16; default: the board's.")]
ObjectiveName = Annotated[
    Objective | None, typer.Option("--objective", help="Choose the array for this; as `heddle plan` does.")
]
MaxMs = Annotated[
    float | None, typer.Option("--max-ms", metavar="MS", help="What an inference may take at the estimated clock.")
]
ReferenceName = Annotated[Reference, typer.Option("--reference", help="Whose integers to reproduce.")]
InputsFile = Annotated[
    Path | None, typer.Option("--inputs", help="Samples, .npz: an array per input, or x; and label.")
]
SampleCount = Annotated[int | None, typer.Option("--samples", min=0, help="How many samples.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def compile_network(screen: Screen, network: Path, board: str, reference: Reference, **choice: Any) -> "CompiledDesign":
    """Compile; ``choice`` is what :func:`heddle.compile` takes to choose an array."""
    with screen.working(f"compiling {network.name}"):
        from heddle.gen import api

        loaded = api.load(network, reference=reference.value)
        design = api.compile(loaded, board, progress=screen.progress, **choice)
    for note in design.notes:
        screen.warn(f"note: {note}")
    return design


def show_design(screen: Screen, design: "CompiledDesign") -> None:
    """Show a design's layers and its figures."""
    report = design.report()
    screen.show(report.layer_table())
    if report.shows_selection:
        screen.show(report.selection_table())
    for line in report.lines():
        screen.say(line)


def read_or_make_samples(
    screen: Screen, network: "Network", path: Path | None, count: int | None, seed: int, *, default: int
) -> "Samples":
    """Read samples from ``path``, or make random ones and say so."""
    from heddle.errors import InputError
    from heddle.gen.samples import random_samples, read_samples

    if count == 0:
        raise InputError("0 samples were asked for", where="samples", remedy="ask for 1 or more")
    if path is not None:
        return read_samples(path, network, count)
    samples = random_samples(network, count or default, seed)
    screen.warn(f"no --inputs: simulating {len(samples)} samples at {samples.source}")
    return samples


def simulate_samples(
    screen: Screen, design: "CompiledDesign", samples: "Samples", **options: Any
) -> "SimulationResult":
    """Simulate, and say what came of it."""
    with screen.working(f"simulating {len(samples)} samples"):
        result = design.verify(samples.inputs, **options)
    report = design.report()
    screen.show(report.layer_table(report.simulated_cycles(result.slice_cycles)))
    predicted, got = design.cycles, result.cycles[0]
    screen.say(f"simulated    {len(samples)} samples ({samples.source}) on {result.simulator}")
    same = "as predicted" if got == predicted else f"{predicted:,} predicted without pauses"
    screen.say(f"cycles       {got:,} per inference, {same}")
    if (accuracy := samples.accuracy(result.outputs)) is not None:
        screen.say(f"accuracy     {accuracy:.2%}")
    if result.first_difference is None:
        screen.say("bit-exact    every integer equals the golden model's", style="green")
    else:
        screen.refuse(f"{design.name}: {result.mismatches} output integers differ; first {result.first_difference}")
    return result


def simulation_data(design: "CompiledDesign", samples: "Samples", result: "SimulationResult") -> dict[str, Any]:
    """Return what ``--json`` prints of a simulation."""
    from dataclasses import asdict

    first = result.first_difference
    report = design.report()
    simulated = report.simulated_cycles(result.slice_cycles)
    data = report.to_json()
    return {
        **data,
        "layers": [{**layer, "simulated_cycles": simulated[layer["name"]]} for layer in data["layers"]],
        "predicted_cycles": design.cycles,
        "cycles": result.cycles[0],
        "cycles_by_sample": list(result.cycles),
        "samples": len(samples),
        "mismatches": result.mismatches,
        "first_difference": None if first is None else {**asdict(first), "index": list(first.index)},
        "accuracy": samples.accuracy(result.outputs),
        "simulator": result.simulator,
    }
