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
HEAD = ["network", "system", "device", "latency, ms", "MACs per cycle per DSP", "comparable"]
COLOURS = {"here": "#2f6db5", "chip": "#d0d5db"}
"""Of what has a colour of its own."""
OTHERS = "#9aa5b3"


def entries(results: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return what there is of each network of which both sides are known, its fastest first, unknown latencies last."""
    published = json.loads(PUBLISHED.read_text())
    both = {result["network"] for result in results} & {entry["network"] for entry in published}
    found = [entry for entry in [*map(_own, results), *map(_other, published)] if entry["network"] in both]
    return sorted(found, key=lambda entry: (entry["network"], entry["latency_ms"] or float("inf")))


def rows(results: list[dict[str, Any]]) -> list[list[str]]:
    """Return the rows of the table."""
    return [
        [
            f"`{entry['network']}`",
            entry["system"],
            entry["device"],
            f"{latency:.4g}" if (latency := entry["latency_ms"]) else "no clock yet",
            f"{efficiency:.3f}" if (efficiency := entry["macs_per_cycle_per_dsp"]) else "-",
            entry["notes"],
        ]
        for entry in entries(results)
    ]


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Draw the latencies that are known, as an SVG whose bytes depend on the figures alone."""
    known = [entry for entry in entries(results) if entry["latency_ms"]]
    with rc_context({"svg.hashsalt": "latency", "svg.fonttype": "none", "font.size": 8.5}):
        figure = Figure(figsize=(9, 0.7 + 0.26 * len(known)), layout="constrained")
        axes = figure.subplots()
        latencies = [entry["latency_ms"] for entry in known]
        axes.barh(range(len(known)), latencies, color=[COLOURS.get(entry["kind"], OTHERS) for entry in known])
        labels = [f"{entry['network'].partition('_')[0]}: {entry['system']}" for entry in known]
        axes.set_yticks(range(len(known)), labels)
        axes.invert_yaxis()
        axes.set_xscale("log")
        axes.set_xlabel("latency, ms (blue: here; light: a chip)")
        for place, latency in enumerate(latencies):
            axes.annotate(f" {latency:.3g}", (latency, place), va="center")
        axes.margins(x=0.12)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(path, format="svg", metadata={"Date": None})


def _own(result: dict[str, Any]) -> dict[str, Any]:
    notes, latency = "simulated RTL", None
    # A bitstream of hardware that takes other cycles says nothing of this one.
    if (build := result.get("build")) and build["cycles"] == result["cycles"]:
        notes, latency = f"median of {len(build['fmax_mhz']['seeds'])} seeds", build["latency_ms"]
    return {
        "kind": "here",
        "network": result["network"],
        "system": f"Heddle, {result['array']}, {result['cycles']:,} cycles",
        "device": f"{result['board']}, yosys and nextpnr",
        "latency_ms": latency,
        "macs_per_cycle_per_dsp": result["macs"] / (result["cycles"] * result["multipliers"]),
        "notes": notes,
    }


def _other(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        "kind": entry["device"],
        "macs_per_cycle_per_dsp": None,
        "notes": f"{entry['comparable']} {entry['source']}",
        **entry,
    }
