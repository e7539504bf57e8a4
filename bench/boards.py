"""Build digits for each board and record what came of it: ``python bench/boards.py [BOARD...] [--seeds N]``.

The array is the board's own; on parts of more than 30,000 LUTs, whose own array takes half an hour to route, it is
:data:`QUICK`. Results lie in ``bench/results/boards.json``, an entry a board, and as a table in ``docs/boards.md``;
those of boards that are not named stay.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path

from record import RESULTS, ROOT, compile_digits, rewrite

from heddle import boards

RESULT = RESULTS / "boards.json"
PAGE = ROOT / "docs" / "boards.md"
QUICK = "3x8x1"
LARGE_LUTS = 30_000
TARGET_HZ = {"icebreaker": 48e6, "tang-nano-20k": 60e6}
"""What nextpnr is asked for where its default is far beyond the part."""


def measure(name: str, seeds: int) -> dict[str, object]:
    """Build digits for the board called ``name`` and return its entry."""
    board = boards.get(name)
    design = compile_digits(name, QUICK if board.device.luts > LARGE_LUTS else None)
    with tempfile.TemporaryDirectory() as folder:
        start = time.monotonic()
        built = design.build(Path(folder) / "out", seeds=seeds, frequency_hz=TARGET_HZ.get(name), progress=print)
        wall = time.monotonic() - start
        size = built.files["bitstream"].stat().st_size
    facts = built.to_json()
    clock_hz = built.clock_hz or built.median_hz
    kept = ("part", "resources", "fmax_mhz", "clock_mhz", "caveat", "tools", "seconds")
    return {
        "array": str(design.array),
        "block": board.array.block,
        "cycles": design.cycles,
        "latency_us": round(design.cycles / clock_hz * 1e6, 1),
        "bitstream_bytes": size,
        "wall_seconds": round(wall),
        **{key: facts[key] for key in kept if key in facts},
    }


def table(entries: dict[str, dict[str, object]]) -> str:
    """Return the entries as a table in Markdown."""
    lines = [
        "| board | array | sites | Fmax, MHz (seeds) | clock, MHz | digits, us | bitstream, bytes | build, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, entry in entries.items():
        sites = ", ".join(f"{u['used']:,} {cell} ({u['percent']}%)" for cell, u in entry["resources"].items())  # type: ignore[attr-defined]
        fmax = f"{entry['fmax_mhz']['median']} ({len(entry['fmax_mhz']['seeds'])})"  # type: ignore[index]
        seconds = sum(entry["seconds"].values())  # type: ignore[attr-defined]
        cells = [f"`{name}`", entry["array"], sites, fmax, entry["clock_mhz"], entry["latency_us"]]
        lines.append("| " + " | ".join(map(str, [*cells, f"{entry['bitstream_bytes']:,}", round(seconds)])) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("boards", nargs="*", default=[n for n in boards.names() if boards.get(n).programmer])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--table", action="store_true", help="only write and print what is recorded")
    arguments = parser.parse_args()
    entries = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    for name in [] if arguments.table else arguments.boards:
        entries[name] = measure(name, arguments.seeds)
        RESULT.write_text(json.dumps(entries, indent=2) + "\n")
    rewrite(PAGE, "boards.py", table(entries) + "\n")
    print(table(entries))


if __name__ == "__main__":
    main()
