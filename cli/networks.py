"""Commands that look at a network: ``inspect`` and ``plan``."""

from typing import Annotated

import typer

from heddle.cli.app import app
from heddle.cli.options import (
    REFUSED,
    Block,
    BoardName,
    Json,
    MaxMs,
    NetworkFile,
    Requantizers,
    StreamBytes,
)
from heddle.gen.console import Screen
from heddle.gen.objective import Objective


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
