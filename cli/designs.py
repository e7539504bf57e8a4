"""Commands that make a design: ``generate``, ``simulate`` and ``build``."""

from typing import Annotated, Any

import typer

from heddle.cli.app import app
from heddle.cli.options import (
    REFUSED,
    ArrayShape,
    Block,
    BoardName,
    Folder,
    InputsFile,
    Json,
    MaxMs,
    NetworkFile,
    ObjectiveName,
    Overwrite,
    Reference,
    ReferenceName,
    Requantizers,
    SampleCount,
    SimulatorName,
    StreamBytes,
    compile_network,
    read_or_make_samples,
    show_design,
    simulate_samples,
    simulation_data,
)
from heddle.gen.console import Screen
from heddle.link.protocol import DEFAULT_BAUD

RANDOM_SAMPLES = 3
"""Samples of ``simulate`` where neither a file nor a number is given."""


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
    design = compile_network(
        screen, network, board, reference, array=array, requantizers=requantizers, stream_bytes=stream_bytes,
        block=block, objective=objective, max_ms=max_ms,
    )  # fmt: skip
    with screen.working("writing Verilog and report"):
        design.write(output, overwrite=overwrite)
    show_design(screen, design)
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
    design = compile_network(
        screen, network, board, reference, array=array, requantizers=requantizers, stream_bytes=stream_bytes,
        block=block, objective=objective, max_ms=max_ms,
    )  # fmt: skip
    chosen = read_or_make_samples(screen, design.network, inputs, samples, seed, default=RANDOM_SAMPLES)
    result = simulate_samples(screen, design, chosen, simulator=simulator.value, layers=layers, stall=stall, seed=seed)
    screen.give(simulation_data(design, chosen, result))
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
    baud: Annotated[int, typer.Option("--baud", min=1, help="Of the host link.")] = DEFAULT_BAUD,
    inputs: InputsFile = None,
    samples: Annotated[int, typer.Option("--samples", min=0, help="How many to simulate first; 0: none.")] = 1,
    floorplan: Annotated[
        bool | None,
        typer.Option(
            "--floorplan/--no-floorplan",
            help="Choose the sites of multipliers and block RAMs before nextpnr runs; default: in large designs.",
        ),
    ] = None,
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
    from heddle.gen.samples import read_samples

    screen = Screen(json_only=json)
    design = compile_network(
        screen, network, board, reference, array=array, requantizers=requantizers, stream_bytes=stream_bytes,
        block=block, objective=objective, max_ms=max_ms,
    )  # fmt: skip
    show_design(screen, design)
    verified: dict[str, Any] = {}
    # All of them, whatever is simulated: some go into the bundle.
    given = read_samples(inputs, design.network) if inputs else None
    if samples:
        made = given or read_or_make_samples(screen, design.network, None, samples, seed=1, default=samples)
        chosen = made.first(samples)
        result = simulate_samples(screen, design, chosen)
        verified = {"samples": len(chosen), "mismatches": result.mismatches}
        if result.first_difference is not None:
            screen.give(simulation_data(design, chosen, result))
            raise typer.Exit(REFUSED)
    with screen.working("building"):
        built = design.build(
            output,
            seeds,
            frequency_hz=frequency * 1e6 if frequency else None,
            baud=baud,
            inputs=None if given is None else given.inputs,
            floorplan=floorplan,
            overwrite=overwrite,
            progress=screen.progress,
        )
    facts = built.to_json()
    for usage in built.resources:
        screen.say(f"{usage.cell:<13}{usage.used:,} of {usage.available:,} ({usage.percent} %)")
    fmax = [f"{hertz / 1e6:.1f}" for hertz in built.fmax_hz.values()]
    screen.say(f"clock        {built.median_hz / 1e6:.1f} MHz after routing, seeds {', '.join(fmax)}")
    if built.clock_hz is not None:
        screen.say(f"             {built.clock_hz / 1e6:.1f} MHz is the bitstream's")
    latency = design.cycles / (built.clock_hz or built.median_hz)
    screen.say(f"latency      {latency * 1e6:.1f} us per inference at that clock")
    screen.say(f"written      {built.files['bitstream']}")
    screen.say(f"bundle       {built.files['bundle']}")
    screen.give({**design.report().to_json(), **facts, **verified, "output": str(output)})
