"""Published results beside the recorded ones: a table and a plot for ``docs/performance.md``.

What others published lies in ``published.json``, each entry with its source and what is not comparable about it.
"""

import json
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

PUBLISHED = Path(__file__).with_name("published.json")
PLOT = "latency.svg"
INTRODUCTION = f"""## Beside published results

Latency of one inference, batch 1. *Here* is the engine: cycles over the median clock where a bitstream was made, or
cycles alone. The others are of boards and chips as their authors measured them.

![Latency of each network, here and published]({PLOT})

*MACs per cycle per DSP* counts the multiply-accumulates in the network file, over cycles and multipliers used.
"""
OURS, OTHERS, CHIP = "#2f6db5", "#9aa5b3", "#d0d5db"


def rows(results: list[dict[str, Any]]) -> list[list[str]]:
    """Return the rows of the table, those of a network together, the fastest of them first."""
    found = []
    for network in _networks(results):
        entries = [_own(result) for result in results if result["network"] == network]
        entries += [_published(entry) for entry in _read() if entry["network"] == network]
        entries.sort(key=lambda entry: entry["latency_ms"] or float("inf"))
        for entry in entries:
            latency, efficiency = entry["latency_ms"], entry["efficiency"]
            found.append(
                [
                    f"`{network}`",
                    entry["system"],
                    entry["device"],
                    f"{latency:.4g}" if latency else "no clock yet",
                    f"{efficiency:.3f}" if efficiency else "-",
                    entry["notes"],
                ]
            )
    return found


HEAD = ["network", "system", "device", "latency, ms", "MACs per cycle per DSP", "comparable"]


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Draw the latency of each network here and published, as an SVG whose bytes depend on the figures alone."""
    bars: list[tuple[str, float, str]] = []
    for network in _networks(results):
        own = [entry for r in results if r["network"] == network and (entry := _own(r))["latency_ms"]]
        others = [_published(entry) for entry in _read() if entry["network"] == network]
        for entry in sorted(own + others, key=lambda entry: entry["latency_ms"]):
            colour = OURS if entry in own else CHIP if entry["device"] == "chip" else OTHERS
            bars.append((f"{network.partition('_')[0]}: {entry['system']}", entry["latency_ms"], colour))
    with rc_context({"svg.hashsalt": "latency", "svg.fonttype": "none", "font.size": 8.5}):
        figure = Figure(figsize=(9, 0.7 + 0.26 * len(bars)), layout="constrained")
        axes = figure.subplots()
        places = range(len(bars))
        axes.barh(places, [bar[1] for bar in bars], color=[bar[2] for bar in bars])
        axes.set_yticks(places, [bar[0] for bar in bars])
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("latency, ms (blue: here; light: a chip)")
        for place, bar in zip(places, bars, strict=True):
            axes.annotate(f" {bar[1]:.3g}", (bar[1], place), va="center")
        axes.margins(x=0.12)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _networks(results: list[dict[str, Any]]) -> list[str]:
    """Networks of which both sides are known."""
    published = {entry["network"] for entry in _read()}
    return sorted({result["network"] for result in results} & published)


def _own(result: dict[str, Any]) -> dict[str, Any]:
    build = result.get("build")
    return {
        "system": f"Heddle, {result['array']}, {result['cycles']:,} cycles",
        "device": f"{result['board']}, yosys and nextpnr",
        "latency_ms": build["latency_ms"] if build else None,
        "efficiency": result["macs"] / (result["cycles"] * result["multipliers"]),
        "notes": f"median of {len(build['fmax_mhz']['seeds'])} seeds{built_before(result)}"
        if build
        else "simulated RTL",
    }


def built_before(result: dict[str, Any]) -> str:
    """Say so where the bitstream is of hardware that took other cycles than today's."""
    build = result["build"]
    then = round(build["latency_ms"] * 1e3 * build["fmax_mhz"]["median"])
    # The recorded latency has four digits behind the point.
    return "" if abs(then - result["cycles"]) < 1e-3 * then + 10 else f"; built when it took {then:,} cycles"


def _published(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "system": entry["system"],
        "device": entry["device"],
        "latency_ms": entry["latency_ms"],
        "efficiency": entry.get("macs_per_cycle_per_dsp"),
        "notes": f"{entry['comparable']} {entry['source']}",
    }


def _read() -> list[dict[str, Any]]:
    return json.loads(PUBLISHED.read_text())
