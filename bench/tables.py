"""``docs/performance.md`` from the recorded results: no figure is written by hand."""

import json
from pathlib import Path
from typing import Any

import comparison
from record import rewrite

INTRODUCTION = """# Performance

Measured, not estimated; `make bench` makes every figure again and rewrites this page from `bench/results/`.

- *Cycles*: whole network, from the first input beat accepted to the last output beat offered, streams never stalled
  from outside. Simulated in Verilator; the compiler's prediction is equal for every slice, or the table says so.
- *Utilisation*: multiply-accumulates of convolutions and fully-connected layers, over cycles times the array's peak.
  Zeros that are skipped and channels that are removed count as work done, so a layer can exceed 100%; *live* are the
  multiply-accumulates of the channels that are left.
- *Fmax*: nextpnr's post-route estimate, speed grade 6, median of the seeds; the design sits in a harness of few pins.
- *Latency*: cycles over the median Fmax. It leaves out the host link.
"""


ESTIMATES = "estimates.json"
ESTIMATES_TITLE = """## Estimates

What the compiler says before synthesis / what nextpnr counts after packing, the harness left out; the error, where
there is one, in brackets. `python bench/estimates.py` counts again, and fails where LUTs or flip-flops are off by more
than 10%, or the others at all.
"""


def write_tables(results: Path, page: Path, readme: Path) -> None:
    """Write ``page``, and the marked part of ``readme``, from the JSON files in ``results``."""
    # Other benchmarks keep their records beside these.
    read = [json.loads(path.read_text()) for path in sorted(results.glob("*.json"))]
    found = [record for record in read if isinstance(record, dict) and "layers" in record]
    estimates = json.loads((results / ESTIMATES).read_text()) if (results / ESTIMATES).exists() else []
    parts = [
        INTRODUCTION,
        "## Networks\n",
        _networks(found),
        "## Bitstreams\n",
        _builds(found),
        comparison.INTRODUCTION,
        _table(comparison.HEAD, comparison.rows(found)),
        ESTIMATES_TITLE,
        _estimates(estimates),
        "## Layers\n",
    ]
    parts += [_layers(result) for result in found]
    page.write_text("\n".join(parts).rstrip() + "\n")
    comparison.plot(found, page.parent / comparison.PLOT)
    rewrite(readme, "tables.py", _networks(found) + "\n" + _builds(found))


def _table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def _networks(results: list[dict[str, Any]]) -> str:
    rows = []
    for r in results:
        s = r.get("simulation", {})
        equal = "not simulated"
        if s:
            equal = f"{s['samples']} samples, {s['mismatches']} differences from {s['against']}"
        cycles = "yes" if s and not s["slices_with_other_cycles"] and s["cycles"] == [r["cycles"]] else "no"
        rows.append(
            [
                f"`{r['network']}`",
                r["board"],
                r["array"],
                f"{r['cycles']:,}",
                f"{r['macs']:,}",
                f"{r['live_macs']:,}",
                f"{r['utilisation']:.1%}",
                f"{r['live_macs'] / (r['cycles'] * r['macs_per_cycle']):.1%}",
                equal,
                cycles,
            ]
        )
    head = [
        "network",
        "target",
        "array",
        "cycles",
        "MACs",
        "live",
        "utilisation",
        "of live",
        "RTL",
        "cycles as predicted",
    ]
    return _table(head, rows)


def _builds(results: list[dict[str, Any]]) -> str:
    rows = []
    for r in results:
        if b := r.get("build"):
            used = {cell: f"{v['used']:,} ({v['percent']}%)" for cell, v in b["resources"].items()}
            clock = b["fmax_mhz"]
            seeds = ", ".join(f"{mhz:.1f}" for mhz in clock["seeds"])
            rows.append(
                [
                    f"`{r['network']}`",
                    r["board"],
                    b["array"],
                    *(used.get(c, "-") for c in CELLS),
                    f"{clock['median']:.1f}",
                    seeds,
                    f"{b['latency_ms']}{_of_other_hardware(r)}",
                ]
            )
    return _table(["network", "target", "array", *CELLS, "Fmax median, MHz", "seeds, MHz", "latency, ms"], rows)


def _of_other_hardware(result: dict[str, Any]) -> str:
    """Say so where the bitstream takes other cycles than the design does today."""
    cycles = result["build"]["cycles"]
    return "" if cycles == result["cycles"] else f"; of {cycles:,} cycles"


CELLS = ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD")


def _estimates(results: list[dict[str, Any]]) -> str:
    rows = []
    for r in results:
        pairs = [(r["estimated"][cell], r["counted"][cell]) for cell in CELLS]
        found = [f"{e:,} / {c:,}" + (f" ({e / c - 1:+.1%})" if e != c else "") for e, c in pairs]
        rows.append([f"`{r['network']}`", r["board"], r["array"], r["block"], r["requantizers"], *found])
    return _table(["network", "target", "array", "M", "q", *CELLS], rows)


def _layers(result: dict[str, Any]) -> str:
    rows = [
        [
            f"`{layer['name']}`",
            layer["op"],
            layer["kind"],
            f"{layer['macs']:,}",
            f"{layer['cycles']:,}",
            f"{layer['macs'] / (layer['cycles'] * result['macs_per_cycle']):.0%}" if layer["macs"] else "-",
        ]
        for layer in result["layers"]
    ]
    title = f"### {result['network']} on {result['array']}\n"
    return title + "\n" + _table(["layer", "operator", "kind", "MACs", "cycles", "utilisation"], rows)
