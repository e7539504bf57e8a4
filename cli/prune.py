"""The command that makes a pruned network file: ``prune``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heddle.cli.app import app
from heddle.cli.options import ArrayShape, Block, InputsFile, Json, NetworkFile, SampleCount
from heddle.errors import InputError
from heddle.gen.console import Screen
from heddle.gen.pruning.criteria import Criterion
from heddle.gen.pruning.request import Scope

if TYPE_CHECKING:
    from heddle.gen.pruning import Pruned


@app.command()
def prune(
    network: NetworkFile,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.tflite", help="The file to write.")],
    pattern: Annotated[
        str,
        typer.Option(
            "--pattern",
            help="unstructured, channels, blocks, or N:M: as 4:8, N weights stay of a block's M channels.",
        ),
    ] = "unstructured",
    sparsity: Annotated[
        float | None, typer.Option("--sparsity", help="The share of weights to be zero, in [0, 1); N:M says it itself.")
    ] = None,
    scope: Annotated[
        Scope, typer.Option("--scope", help="Sparsity of all layers together, or of each.")
    ] = Scope.GLOBAL,
    criterion: Annotated[
        Criterion, typer.Option("--criterion", help="How weights of different layers are compared.")
    ] = Criterion.LAMP,
    layer: Annotated[
        list[str] | None,
        typer.Option("--layer", metavar="NAME=VALUE", help="A sparsity, or N:M, for one layer; may be repeated."),
    ] = None,
    skip: Annotated[
        list[str] | None,
        typer.Option("--skip", metavar="NAME", help="Leave a layer, or first, last, depthwise; may be repeated."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option("--calibrate", help="Samples, .npz: measure each layer's sensitivity, and divide by it."),
    ] = None,
    calibration_samples: Annotated[int, typer.Option("--calibration-samples", min=1, help="How many of them.")] = 32,
    inputs: InputsFile = None,
    samples: SampleCount = None,
    board: Annotated[
        str | None, typer.Option("--board", "-b", help="Whose blocks to follow, and to predict cycles for.")
    ] = None,
    array: ArrayShape = None,
    block: Block = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    json: Json = False,
) -> None:
    """Write the network with weights made zero, in a pattern that the array turns into fewer cycles; no retraining."""
    from heddle.boards import DEFAULT_BOARD
    from heddle.gen.pruning import api

    screen = Screen(json_only=json)
    target = board or DEFAULT_BOARD
    with screen.working(f"pruning {network.name}"):
        result = api.prune(
            network, output, pattern, sparsity, scope=scope, criterion=criterion, layers=_layers(layer or []),
            skip=skip or [], board=target, array=array, block=block, calibrate=calibrate,
            calibration_samples=calibration_samples, inputs=inputs, samples=samples, overwrite=overwrite,
            progress=screen.progress,
        )  # fmt: skip
    screen.show(result.layer_table())
    for line in result.lines():
        screen.say(line)
    data = result.to_json()
    if board is not None:
        data["cycles"] = _cycles(screen, result, board=target, array=array, block=block)
    screen.say(f"written      {output}")
    screen.give(data)


def _layers(given: list[str]) -> dict[str, str | float]:
    layers: dict[str, str | float] = {}
    for each in given:
        name, equals, value = each.rpartition("=")
        if not equals:
            raise InputError(f"{each!r} gives no value", where="--layer", remedy="write NAME=0.75, or NAME=2:8")
        if name in layers:
            raise InputError(f"{name} is given twice", where="--layer", remedy="give it once")
        layers[name] = value
    return layers


def _cycles(screen: Screen, result: "Pruned", **options: Any) -> dict[str, Any]:
    """Predict the cycles of both networks. One that does not fit the board is a note: the file is written."""
    from heddle.errors import HeddleError
    from heddle.gen import api

    cycles: dict[str, Any] = {}
    for when, network in (("before", result.before), ("after", result.after)):
        with screen.working(f"compiling the network {when} pruning"):
            try:
                design = api.compile(network, **options)
            except HeddleError as error:
                screen.warn(f"note: no cycles {when} pruning: {error}")
                cycles[when] = None
                continue
        cycles[when] = {"cycles": design.cycles, "array": str(design.array)}
        screen.say(f"cycles       {design.cycles:,} {when}, on {design.array}")
    return cycles
