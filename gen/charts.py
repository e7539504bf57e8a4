"""Charts of the report, as SVG text. The same design gives the same bytes: no dates, no random identifiers."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from heddle.gen.design import CoreDesign

INK, FAINT, LINE = "#1c2430", "#6b7685", "#d9dee5"
KINDS = {
    "dense": "#2f6db5",
    "diagonal": "#3c9a6b",
    "indexed": "#8a5fb0",
    "worklist": "#b0507d",
    "vector": "#d08a2e",
    "move": "#9aa5b3",
}
"""Colour of each kind of layer."""
OVERFULL = "#b5382f"
SHADES = ("#bcd3ec", "#d3e2c8", "#f1dbb9", "#dcd0e8", "#cfe4e3")
"""Colours of neighbouring feature maps in the memory map."""
WIDTH_INCHES = 9.4


@dataclass(frozen=True, kw_only=True)
class Bar:
    """A share of the device: ``used`` of ``available``; ``exact`` unless it is an estimate."""

    name: str
    used: int
    available: int
    exact: bool = True


def layers(design: CoreDesign) -> str:
    """Cycles and utilisation of each layer, side by side, in order of execution."""
    return _draw(lambda figure: _layers(figure, design), height_inches=0.9 + 0.24 * len(design.layers), salt="layers")


def memory_map(design: CoreDesign) -> str:
    """Which feature map lies where in memory, from the cycle its first element is written to that of its last read."""
    return _draw(lambda figure: _memory_map(figure.subplots(), design), height_inches=3.6, salt="memory")


def resources(bars: Sequence[Bar]) -> str:
    """Draw what the design takes of the device, in percent."""
    return _draw(
        lambda figure: _resources(figure.subplots(), bars), height_inches=0.55 + 0.42 * len(bars), salt="resources"
    )


def _draw(paint: Callable[[Figure], None], *, height_inches: float, salt: str) -> str:
    """Return what ``paint`` draws as an ``<svg>`` element whose text is text."""
    settings: dict[Any, Any] = {
        "svg.hashsalt": salt,
        "svg.fonttype": "none",
        "font.size": 8.5,
        "hatch.linewidth": 0.8,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.titlesize": 9.5,
    }
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(WIDTH_INCHES, height_inches), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure)
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _layers(figure: Figure, design: CoreDesign) -> None:
    reports = design.layers
    cycles, use = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    rows = range(len(reports))
    colours = [KINDS[layer.kind] for layer in reports]
    cycles.barh(rows, [layer.cycles for layer in reports], color=colours, height=0.72)
    waiting = [layer.bubbles for layer in reports]
    starts = [layer.cycles - layer.bubbles for layer in reports]
    cycles.barh(rows, waiting, left=starts, height=0.72, color="none", edgecolor="white", hatch="////", linewidth=0)
    cycles.set_yticks(rows, [_short(layer.name, 30) for layer in reports])
    cycles.set_ylim(len(reports) - 0.4, -0.6)
    cycles.set_title("cycles", loc="left")
    longest = max(layer.cycles for layer in reports)
    cycles.set_xlim(0, longest * 1.14)
    for row, layer in zip(rows, reports, strict=True):
        cycles.text(layer.cycles + longest * 0.01, row, f"{layer.cycles:,}", va="center", fontsize=7.5, color=FAINT)
    shares = [100 * layer.utilisation(design.array.macs_per_cycle) for layer in reports]
    use.barh(rows, shares, color=colours, height=0.72)
    # Beyond 100 where multiplications by zero are skipped.
    most = max(100.0, *shares)
    for row, layer, share in zip(rows, reports, shares, strict=True):
        if layer.macs:
            use.text(share + most * 0.01, row, f"{share:.0f}", va="center", fontsize=7.5, color=FAINT)
    use.set_xlim(0, most * 1.14)
    use.axvline(100, color=FAINT, lw=0.8, ls="--")
    use.set_title("utilisation, % of the array's peak", loc="left")
    handles = [Patch(color=colour, label=kind) for kind, colour in KINDS.items() if colour in colours]
    if any(waiting):
        handles.append(Patch(facecolor=FAINT, edgecolor="white", hatch="////", label="waiting for requantizers"))
    figure.legend(handles=handles, loc="outside lower left", ncols=5, frameon=False, fontsize=8)
    for axes in (cycles, use):
        _tidy(axes, "x")
    _thousands(cycles.xaxis)


def _memory_map(axes: Axes, design: CoreDesign) -> None:
    regions = design.regions
    top = max(base + size for base, size in regions.values()) / 1024
    end = sum(design.slice_cycles)
    for index, (name, first, last) in enumerate(_lives(design)):
        low, size = (number / 1024 for number in regions[name])
        shade = SHADES[index % len(SHADES)]
        axes.add_patch(Rectangle((first, low), last - first, size, facecolor=shade, edgecolor=INK, lw=0.6))
        shape = "\N{MULTIPLICATION SIGN}".join(map(str, design.network.tensors[name].hwc))
        if (last - first) / end > 0.011 * len(shape) and size / top > 0.06:
            axes.text((first + last) / 2, low + size / 2, shape, ha="center", va="center", fontsize=7.5)
    axes.set_xlim(0, end)
    axes.set_ylim(0, top * 1.02)
    axes.set_xlabel("cycle")
    axes.set_ylabel("KiB")
    _tidy(axes, "both")
    _thousands(axes.xaxis)


def _resources(axes: Axes, bars: Sequence[Bar]) -> None:
    for row, bar in enumerate(bars):
        share = 100 * bar.used / bar.available
        colour = KINDS["dense"] if share <= 100 else OVERFULL
        if bar.exact:
            axes.barh(row, min(share, 100), height=0.6, color=colour)
        else:
            axes.barh(row, min(share, 100), height=0.6, facecolor="white", edgecolor=colour, hatch="////")
        label = f"{'' if bar.exact else 'about '}{bar.used:,} of {bar.available:,} ({share:.0f} %)"
        axes.text(102, row, label, va="center", fontsize=8.5)
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.axvline(100, color=FAINT, lw=0.8, ls="--")
    axes.set_xlim(0, 145)
    axes.set_xticks(range(0, 101, 25), [f"{x} %" for x in range(0, 101, 25)])
    _tidy(axes, "x")


def _lives(design: CoreDesign) -> Iterator[tuple[str, int, int]]:
    """Each feature map with the cycles between which its memory is its own."""
    alive: dict[str, tuple[int, int]] = {}
    start = 0
    for index, cycles in zip(design.slice_operation, design.slice_cycles, strict=True):
        operation = design.plan.operations[index]
        for name in (*operation.sources, operation.dest):
            if name:
                alive[name] = (alive.get(name, (start, 0))[0], start + cycles)
        start += cycles
    return ((name, first, last) for name, (first, last) in alive.items())


def _short(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length // 2 - 1]}...{name[2 - length // 2 :]}"


def _tidy(axes: Axes, grid: Literal["x", "both"]) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.grid(axis=grid, color=LINE, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelcolor=INK)


def _thousands(axis: Axis) -> None:
    axis.set_major_formatter(lambda value, _: f"{value:,.0f}")
