"""What ``docs/sparsity.md`` shows of recorded results: the table of ``bench/worklist.py``, and a plot."""

import json
from collections.abc import Mapping
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure
from record import RESULTS, ROOT, rewrite

PAGE = ROOT / "docs" / "sparsity.md"
PLOT = ROOT / "docs" / "sparsity.svg"
CELLS = {"TRELLIS_COMB": "LUTs", "TRELLIS_FF": "flip-flops", "MULT18X18D": "multipliers", "DP16KD": "block RAMs"}
NETWORK = "ic"
"""The network of the plot."""
DENSE = "dense"
"""The design with the network as it is."""


def write_page() -> None:
    """Rewrite the marked part of the page, and the plot."""
    lists = json.loads((RESULTS / "worklist.json").read_text())
    patterns = json.loads((RESULTS / "pruning.json").read_text())
    rewrite(PAGE, "worklist.py", table(lists))
    plot(lists[NETWORK], patterns[NETWORK])


def table(recorded: Mapping[str, Any]) -> str:
    """Return the designs as a table in Markdown; sites that were not counted are predictions."""
    head = ["network", "zeros", "core", "cycles", "speed-up", "of the ideal", *CELLS.values(), "Fmax, MHz", "in time"]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    for result in recorded.values():
        for kind, row in result["designs"].items():
            dense = result["designs"][row["against"]]
            counted = row.get("counted")
            sites = [f"{(counted or row['predicted'])[cell]:,}" for cell in CELLS]
            if not counted:
                sites[:2] = [f"about {site}" for site in sites[:2]]
            clocks = row.get("fmax_mhz", {})
            fmax = f"{clocks['median']} ({len(clocks['seeds'])})" if clocks else ""
            faster = dense["cycles"] / row["cycles"]
            known = clocks and "fmax_mhz" in dense
            in_time = f"{faster * clocks['median'] / dense['fmax_mhz']['median']:.2f}" if known else ""
            zeros = kind if row["zeros"] else "none"
            cells = [f"`{result['network']}`" if kind == DENSE else "", zeros, row["core"], f"{row['cycles']:,}"]
            cells += [f"{faster:.2f}", f"{row['of_ideal']:.0%}", *sites, fmax, in_time]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def plot(lists: Mapping[str, Any], patterns: Mapping[str, Any]) -> None:
    """Draw speed-up by the share of zeros for each pattern, as an SVG whose bytes depend on the figures alone."""
    series: dict[str, list[tuple[float, float]]] = {}
    for kind, row in lists["designs"].items():
        dense = lists["designs"][row["against"]]["cycles"]
        if row["zeros"]:
            name = "single weights" if "%" in kind else "N:M"
            series.setdefault(f"{name}, {row['core']}", []).append((row["zeros"], dense / row["cycles"]))
    for row in patterns["patterns"]:
        name = "N:M" if row["asked"] is None else {"unstructured": "single weights"}.get(row["pattern"], row["pattern"])
        point = row["size"]["sparsity"], patterns["cycles"] / row["size"]["cycles"]
        series.setdefault(f"{name}, {patterns['array']}", []).append(point)
    with rc_context({"svg.hashsalt": "sparsity", "svg.fonttype": "none", "font.size": 9}):
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        shares = [i / 100 for i in range(93)]
        axes.plot(shares, [1 / (1 - share) for share in shares], color="0.6", linestyle="--", label="1 / density")
        for label, points in series.items():
            marker = "o" if len(points) > 1 else "s"
            axes.plot(*zip(*sorted(points), strict=True), marker=marker, label=label)
        axes.set(xlabel="share of zeros among the weights", ylabel="speed-up, in cycles", yscale="log", ylim=(0.9, 12))
        axes.set_yticks([1, 2, 3, 4, 6, 8, 10], ["1", "2", "3", "4", "6", "8", "10"])
        axes.minorticks_off()
        axes.xaxis.set_major_formatter("{x:.0%}")
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        figure.savefig(PLOT, format="svg", metadata={"Date": None})
