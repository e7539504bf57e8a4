"""The ``heddle`` command. Exit status: 0 done, 1 input refused, 2 bad arguments, 130 interrupted.

A traceback is always our bug. Modules that take long to import are imported by the command that needs them.
"""

import logging
import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heddle.errors import HeddleError
from heddle.gen.console import Screen, table
from heddle.gen.objective import Objective

if TYPE_CHECKING:
    from heddle.gen.api import CompiledDesign
    from heddle.gen.ir import Network
    from heddle.gen.samples import Samples
    from heddle.sim.network import SimulationResult

DONE, REFUSED, BAD_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130
RANDOM_SAMPLES = 3
"""Samples of ``simulate`` where neither a file nor a number is given."""


class Reference(StrEnum):
    """Whose integers to reproduce."""

    TFLM = "tflm"
    LITERT = "litert"


class SimulatorName(StrEnum):
    """What runs the RTL."""

    VERILATOR = "verilator"
    ICARUS = "icarus"


app = typer.Typer(
    name="heddle",
    help="Turn a quantized neural network into a verified FPGA accelerator.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

NetworkFile = Annotated[Path, typer.Argument(metavar="NETWORK", help="A quantized .tflite file.")]
BoardName = Annotated[str, typer.Option("--board", "-b", help="A board or part; see `heddle boards`.")]
Folder = Annotated[Path, typer.Option("--output", "-o", help="The folder to write.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the folder whatever it holds.")]
ArrayShape = Annotated[
    str | None, typer.Option("--array", metavar="RxCxV", help="Rows, columns and pixels; default: what fits the board.")
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


@app.callback(invoke_without_command=True)
def _options(
    *,
    show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is decided on the way.")] = False,
) -> None:
    if verbose:
        logging.basicConfig(level=logging.DEBUG, format="%(name)s: %(message)s", stream=sys.stderr)
        logging.getLogger("matplotlib").setLevel(logging.WARNING)
    if show_version:
        from importlib.metadata import version

        print(f"heddle {version('heddle-fpga')}")
        raise typer.Exit


@app.command()
def inspect(network: NetworkFile, json: Json = False) -> None:
    """Show layers, sizes and sparsity, what is unsupported and why, and which boards the network fits."""
    from heddle import boards
    from heddle.gen.fitting import judge
    from heddle.gen.importers import load, survey
    from heddle.gen.survey_view import layer_table, survey_data, verdict_table

    screen = Screen(json_only=json)
    found = survey(network)
    verdicts = [] if found.problems else judge(load(network), [boards.get(name) for name in boards.names()])
    screen.give(survey_data(found, verdicts))
    screen.say(f"{found.name}: {found.size_bytes:,} bytes, sha256 {found.sha256}")
    screen.show(layer_table(found))
    screen.say(f"{found.macs:,} MACs, {found.params:,} parameters, {found.zeros:,} zero weights")
    if verdicts:
        screen.say()
        screen.show(verdict_table(verdicts))
    for problem in found.problems:
        screen.refuse(str(problem))
    if found.problems:
        raise typer.Exit(REFUSED)


@app.command()
def plan(
    network: NetworkFile,
    board: BoardName,
    objective: Annotated[Objective, typer.Option("--objective", help="What to have the least of.")] = Objective.LATENCY,
    max_ms: MaxMs = None,
    requantizers: Requantizers = None,
    stream_bytes: StreamBytes = None,
    block: Block = None,
    json: Json = False,
) -> None:
    """Choose the array for a network on a board, and show what else there is."""
    screen = Screen(json_only=json)
    with screen.working(f"planning {network.name}"):
        from heddle.gen import api
        from heddle.gen.plan_view import plan_data, plan_lines, plan_table

        found = api.plan(
            api.load(network), board, objective, max_ms=max_ms, requantizers=requantizers,
            stream_bytes=stream_bytes, block=block, progress=screen.progress,
        )  # fmt: skip
    screen.show(plan_table(found))
    for line in plan_lines(found):
        screen.say(line)
    screen.give(plan_data(found))


@app.command()
def generate(
    network: NetworkFile,
    output: Folder,
    board: BoardName,
    array: ArrayShape = None,
    requantizers: Requantizers = None,
    stream_bytes: StreamBytes = None,
    block: Block = None,
    objective: ObjectiveName = None,
    max_ms: MaxMs = None,
    reference: ReferenceName = Reference.TFLM,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write Verilog, manifest.json and report.html; no synthesis."""
    screen = Screen(json_only=json)
    design = _compile(
        screen, network, board, reference, array=array, requantizers=requantizers, stream_bytes=stream_bytes,
        block=block, objective=objective, max_ms=max_ms,
    )  # fmt: skip
    with screen.working("writing Verilog and report"):
        design.write(output, overwrite=overwrite)
    _show_design(screen, design)
    screen.say(f"written      {output}")
    screen.give({**design.report().to_json(), "output": str(output)})


@app.command()
def simulate(
    network: NetworkFile,
    board: BoardName,
    inputs: InputsFile = None,
    samples: SampleCount = None,
    simulator: Annotated[SimulatorName, typer.Option("--simulator")] = SimulatorName.VERILATOR,
    layers: Annotated[bool, typer.Option("--layers", help="Compare every feature map, not only the outputs.")] = False,
    stall: Annotated[float, typer.Option("--stall", min=0, max=0.95, help="Chance of a pause of either stream.")] = 0,
    seed: Annotated[int, typer.Option("--seed", help="Of random samples and pauses.")] = 1,
    array: ArrayShape = None,
    requantizers: Requantizers = None,
    stream_bytes: StreamBytes = None,
    block: Block = None,
    objective: ObjectiveName = None,
    max_ms: MaxMs = None,
    reference: ReferenceName = Reference.TFLM,
    json: Json = False,
) -> None:
    """Run samples through the RTL and compare with the golden model, bit for bit."""
    screen = Screen(json_only=json)
    design = _compile(
        screen, network, board, reference, array=array, requantizers=requantizers, stream_bytes=stream_bytes,
        block=block, objective=objective, max_ms=max_ms,
    )  # fmt: skip
    chosen = _samples(screen, design.network, inputs, samples, seed, default=RANDOM_SAMPLES)
    result = _simulate(screen, design, chosen, simulator=simulator.value, layers=layers, stall=stall, seed=seed)
    screen.give(_simulation_data(design, chosen, result))
    if result.first_difference is not None:
        raise typer.Exit(REFUSED)


@app.command()
def build(
    network: NetworkFile,
    output: Folder,
    board: BoardName,
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="Place and route so often and keep the best.")] = 1,
    frequency: Annotated[
        float | None, typer.Option("--frequency", min=0.001, metavar="MHZ", help="The clock wished for.")
    ] = None,
    inputs: InputsFile = None,
    samples: Annotated[int, typer.Option("--samples", min=0, help="How many to simulate first; 0: none.")] = 1,
    array: ArrayShape = None,
    requantizers: Requantizers = None,
    stream_bytes: StreamBytes = None,
    block: Block = None,
    objective: ObjectiveName = None,
    max_ms: MaxMs = None,
    reference: ReferenceName = Reference.TFLM,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write Verilog, verify it in simulation, and make a bitstream with yosys and nextpnr."""
    screen = Screen(json_only=json)
    design = _compile(
        screen, network, board, reference, array=array, requantizers=requantizers, stream_bytes=stream_bytes,
        block=block, objective=objective, max_ms=max_ms,
    )  # fmt: skip
    _show_design(screen, design)
    verified: dict[str, Any] = {}
    if samples:
        chosen = _samples(screen, design.network, inputs, samples, seed=1, default=samples)
        result = _simulate(screen, design, chosen)
        verified = {"samples": len(chosen), "mismatches": result.mismatches}
        if result.first_difference is not None:
            screen.give(_simulation_data(design, chosen, result))
            raise typer.Exit(REFUSED)
    with screen.working("building"):
        built = design.build(
            output,
            seeds,
            frequency_hz=frequency * 1e6 if frequency else None,
            overwrite=overwrite,
            progress=screen.progress,
        )
    facts = built.to_json()
    for usage in built.resources:
        screen.say(f"{usage.cell:<13}{usage.used:,} of {usage.available:,} ({usage.percent} %)")
    fmax = [f"{hertz / 1e6:.1f}" for hertz in built.fmax_hz.values()]
    screen.say(f"clock        {built.median_hz / 1e6:.1f} MHz after routing, seeds {', '.join(fmax)}")
    screen.say(f"latency      {design.cycles / built.median_hz * 1e6:.1f} us per inference at that clock")
    screen.say(f"written      {built.files['bitstream']}")
    screen.give({**design.report().to_json(), **facts, **verified, "output": str(output)})


@app.command()
def boards(json: Json = False) -> None:
    """List boards and parts."""
    from heddle import boards as targets

    screen = Screen(json_only=json)
    listed = [targets.get(name) for name in targets.names()]
    shown = table("name", "device", ">LUTs", ">multipliers", ">block RAMs", "default array", "what")
    for board in listed:
        device, shape = board.device, board.array
        size = f"{shape.rows}x{shape.cols}x{shape.pixels}"
        numbers = (f"{count:,}" for count in (device.luts, device.multipliers, device.block_rams))
        shown.add_row(board.name, device.part, *numbers, size, board.title)
    screen.show(shown)
    screen.say("Parts in other packages and speed grades: ecp5-<size>-<package>-<speed>, as ecp5-85f-cabga756-7.")
    screen.give(
        {
            "boards": [
                {"name": b.name, "title": b.title, "device": b.device.name, **dict(b.device.capacity)} for b in listed
            ]
        }
    )


@app.command()
def doctor(json: Json = False) -> None:
    """Show which tools are here, which are missing, and how to get them."""
    from heddle.boards import tools

    screen = Screen(json_only=json)
    with screen.working("looking for tools"):
        checks = tools.doctor()
    shown = table("", "tool", "version", "needed to", "where, or how to get it")
    for check in checks:
        mark, how = ("ok", check.source) if check.found else ("--", check.remedy)
        shown.add_row(mark, check.name, check.version or "", check.purpose, how)
    screen.show(shown)
    missing = [check.name for check in checks if not check.found]
    screen.say(f"missing: {', '.join(missing)}" if missing else "nothing is missing")
    screen.give({"checks": [check.to_json() for check in checks], "missing": missing})


def _compile(screen: Screen, network: Path, board: str, reference: Reference, **choice: Any) -> "CompiledDesign":
    """Compile; ``choice`` is what :func:`heddle.compile` takes to choose an array."""
    with screen.working(f"compiling {network.name}"):
        from heddle.gen import api

        loaded = api.load(network, reference=reference.value)
        design = api.compile(loaded, board, progress=screen.progress, **choice)
    for note in design.notes:
        screen.warn(f"note: {note}")
    return design


def _show_design(screen: Screen, design: "CompiledDesign") -> None:
    report = design.report()
    screen.show(report.layer_table())
    for line in report.lines():
        screen.say(line)


def _samples(
    screen: Screen, network: "Network", path: Path | None, count: int | None, seed: int, *, default: int
) -> "Samples":
    from heddle.errors import InputError
    from heddle.gen.samples import random_samples, read_samples

    if count == 0:
        raise InputError("0 samples were asked for", where="samples", remedy="ask for 1 or more")
    if path is not None:
        return read_samples(path, network, count)
    samples = random_samples(network, count or default, seed)
    screen.warn(f"no --inputs: simulating {len(samples)} samples at {samples.source}")
    return samples


def _simulate(screen: Screen, design: "CompiledDesign", samples: "Samples", **options: Any) -> "SimulationResult":
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


def _simulation_data(design: "CompiledDesign", samples: "Samples", result: "SimulationResult") -> dict[str, Any]:
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        # Always ends with SystemExit: 2 after a usage error, 130 after an interrupt, else what the command said.
        app(arguments, prog_name="heddle")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else DONE
    except HeddleError as error:
        Screen().refuse(str(error))
        return REFUSED
    except OSError as error:
        Screen().refuse(f"{error.filename or 'system'}: {error.strerror or error}; check the path and its permissions")
        return REFUSED
    except KeyboardInterrupt:
        # Before a command runs; while one does, typer answers it with the same status.
        return INTERRUPTED
    return DONE
