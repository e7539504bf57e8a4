"""``report.html``: a design on one page that needs nothing else, neither a network connection nor other files."""

from collections.abc import Mapping
from importlib.metadata import version
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from heddle.boards import Board
from heddle.boards.family import Family
from heddle.gen import charts
from heddle.gen.charts import Bar
from heddle.gen.choice import KINDS, layer_choices
from heddle.gen.design import CoreDesign
from heddle.gen.fitting import describe
from heddle.gen.resources import Resources

TEMPLATE = "report.html"


def render(
    design: CoreDesign,
    board: Board,
    resources: Resources,
    *,
    build: Mapping[str, Any] | None = None,
    notes: tuple[str, ...] = (),
) -> str:
    """Return the page; equal arguments give equal text.

    Parameters
    ----------
    build
        What a build reported (``BuildResult.to_json``); without, the page shows what is known before synthesis.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["percent"] = lambda value: f"{100 * value:.1f} %"
    template = environment.from_string((files("heddle.gen") / "templates" / TEMPLATE).read_text())
    return template.render(
        design=design,
        network=design.network,
        board=board,
        array=describe(design.array),
        peak=design.array.macs_per_cycle,
        build=build,
        notes=(*design.network.notes, *notes),
        heddle=version("heddle-fpga"),
        memories=resources.memories,
        block_rams=resources.block_rams,
        tensor=lambda name: design.network.tensors[name],
        choices=layer_choices(design),
        kinds=KINDS,
        charts={
            "layers": charts.layers(design),
            "memory": charts.memory_map(design),
            "resources": charts.resources(_bars(board, resources, build)),
        },
    )


def _cells(family: Family) -> dict[str, str]:
    """Return what nextpnr's cells are called on the page, in order."""
    named = {family.multipliers: "multipliers", family.block_rams: "block RAMs", family.luts: "LUTs"}
    return {**named, **({family.flipflops: "flip-flops"} if family.flipflops else {})}


def _bars(board: Board, resources: Resources, build: Mapping[str, Any] | None) -> list[Bar]:
    """Return what nextpnr counted, or what is known before it ran."""
    cells = _cells(board.device.family)
    if build:
        used = build["resources"]
        return [
            Bar(name=name, used=used[cell]["used"], available=used[cell]["available"]) for cell, name in cells.items()
        ]
    capacity = board.device.capacity
    exact = [Bar(name=cells[cell], used=count, available=capacity[cell]) for cell, count in resources.exact.items()]
    estimated = [
        Bar(name=cells[cell], used=count, available=capacity[cell], exact=False)
        for cell, count in resources.estimated.items()
    ]
    return [*exact, *estimated]
