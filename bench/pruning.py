"""One-shot pruning of the reference networks: accuracy and predicted cycles, by pattern.

    python bench/pruning.py                 # all, a quarter of an hour; rewrites the table in docs/sparsity.md
    python bench/pruning.py ic kws          # some of them; the others' figures stay
    python bench/pruning.py --pattern 4:8   # some rows of the table; may be repeated
    python bench/pruning.py --tables        # only rewrite the table

Each pattern is made twice: by size alone, and divided between layers by sensitivity, which is measured on the first
:data:`CALIBRATION` samples; quality is measured on up to :data:`EVALUATION` of those behind them, by the golden model.
Of the autoencoder it is the area under the ROC curve, clip by clip. Cycles are the compiler's prediction for
:data:`ARRAY`; nothing is simulated here. Results go to ``bench/results/pruning.json``.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, ROOT, SHARED, add_networks, chosen_networks, rewrite, stamp

import heddle
from heddle.gen.pruning import Pruned
from heddle.gen.samples import Samples

RESULT, PAGE = RESULTS / "pruning.json", ROOT / "docs" / "sparsity.md"
TOOLS = ("heddle-fpga", "numpy", "tflite")
ARRAY, BOARD = "9x16x2", "ecp5-85f"
CALIBRATION, EVALUATION = 32, 200

NETWORKS = {
    "ad": "ad_autoencoder.tflite",
    "ic": "ic_resnet8.tflite",
    "kws": "kws_dscnn.tflite",
    "vww": "vww_mobilenetv1.tflite",
}
PATTERNS: tuple[tuple[str, float | None], ...] = (
    ("4:8", None),
    ("2:8", None),
    ("channels", 0.25),
    ("blocks", 0.5),
    ("unstructured", 0.5),
    ("unstructured", 0.75),
    ("unstructured", 0.9),
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Data:
    """Samples of a network, divided; ``clips`` says which belong together where quality is that of clips."""

    calibration: Samples
    evaluation: Samples
    clips: np.ndarray | None

    @staticmethod
    def read(name: str, network: heddle.Network) -> "Data":
        """Read those of a reference network."""
        with np.load(SHARED / "data" / f"{name}.npz") as archive:
            arrays = dict(archive)
        # A clip's samples stay together, so all of them are needed.
        count = None if "clip" in arrays else CALIBRATION + EVALUATION
        first, rest = slice(CALIBRATION), slice(CALIBRATION, count)
        parts = [
            Samples(inputs={network.inputs[0]: arrays["x"][part]}, label=arrays["label"][part], source=f"{name}.npz")
            for part in (first, rest)
        ]
        return Data(calibration=parts[0], evaluation=parts[1], clips=arrays["clip"][rest] if "clip" in arrays else None)

    def quality(self, network: heddle.Network) -> float:
        """Return the accuracy of ``network``, or of an autoencoder the area under the curve."""
        outputs = network.predict(self.evaluation.inputs)
        assert isinstance(outputs, np.ndarray)
        if self.clips is None:
            accuracy = self.evaluation.accuracy(outputs)
            assert accuracy is not None
            return accuracy
        return self._area(network, outputs)

    def _area(self, network: heddle.Network, outputs: np.ndarray) -> float:
        """Return how often a clip with an anomaly has a greater error than one without."""
        assert self.clips is not None
        assert self.evaluation.label is not None
        real = []
        inputs = self.evaluation.inputs[network.inputs[0]]
        for name, values in ((network.inputs[0], inputs), (network.outputs[0], outputs)):
            tensor = network.tensors[name]
            real.append((values.astype(np.float64) - tensor.zero_point) * tensor.scale)
        errors = ((real[0] - real[1]) ** 2).mean(axis=1)
        clips, first, inverse = np.unique(self.clips, return_index=True, return_inverse=True)
        error = np.bincount(inverse, errors) / np.bincount(inverse, minlength=len(clips))
        anomaly = self.evaluation.label[first] != 0
        greater = error[anomaly][:, None] > error[~anomaly]
        equal = error[anomaly][:, None] == error[~anomaly]
        return float((greater + equal / 2).mean())


def main() -> int:
    """Measure the chosen networks; exit status 1 if one is missing."""
    parser = argparse.ArgumentParser(description="Accuracy and cycles of pruned networks.")
    add_networks(parser, NETWORKS)
    parser.add_argument("--pattern", action="append", help="of the patterns only this; default: all")
    parser.add_argument("--tables", action="store_true", help="only rewrite the table")
    options = parser.parse_args()
    results: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    found = [] if options.tables else list(chosen_networks(parser, options, NETWORKS))
    for name, path in found:
        chosen = [row for row in PATTERNS if not options.pattern or row[0] in options.pattern]
        results[name] = _measure(name, path, chosen, results.get(name, {}).get("patterns", []))
        RESULT.write_text(json.dumps(results, indent=1) + "\n")
    rewrite(PAGE, "pruning.py", _table(results))
    return int(not options.tables and len(found) < len(options.networks or NETWORKS))


def _measure(
    name: str, path: Path, patterns: Sequence[tuple[str, float | None]], recorded: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Measure ``patterns``; of others, the ``recorded`` rows stay."""
    network = heddle.load(path)
    data = Data.read(name, network)
    facts: dict[str, Any] = {
        "network": path.name,
        "array": ARRAY,
        "measure": "accuracy" if data.clips is None else "area under the ROC curve",
        "samples": len(data.evaluation),
        "calibration_samples": CALIBRATION,
        "quality": data.quality(network),
        "cycles": heddle.compile(network, BOARD, ARRAY).cycles,
    }
    rows = {(row["pattern"], row["asked"]): row for row in recorded}
    with tempfile.TemporaryDirectory() as folder:
        for pattern, sparsity in patterns:
            start = time.monotonic()
            row: dict[str, Any] = {**stamp("pruning.py", TOOLS), "pattern": pattern, "asked": sparsity}
            for how, calibrate in (("size", None), ("sensitivity", data.calibration)):
                pruned = heddle.prune(
                    path, Path(folder) / "pruned.tflite", pattern, sparsity, array=ARRAY, board=BOARD,
                    calibrate=calibrate, overwrite=True,
                )  # fmt: skip
                row[how] = _facts(pruned, data)
                print(f"{name}: {pattern} {sparsity or ''} by {how}: {row[how]}", flush=True)
            rows[pattern, sparsity] = {**row, "seconds": round(time.monotonic() - start)}
    return {**facts, "patterns": [rows[key] for key in PATTERNS if key in rows]}


def _facts(pruned: Pruned, data: Data) -> dict[str, Any]:
    network = heddle.load(pruned.path)
    design = heddle.compile(network, BOARD, ARRAY)
    return {
        "sparsity_before": round(pruned.sparsity_before, 4),
        "sparsity": round(pruned.sparsity_after, 4),
        "quality": data.quality(network),
        "cycles": design.cycles,
        "live_macs": design.live_macs,
        "luts": design.resources.luts,
        "block_rams": design.resources.block_rams,
    }


def _table(results: dict[str, Any]) -> str:
    head = ["network", "pattern", "zeros", "quality", "cycles", "speed-up"]
    columns = [*head, *(f"{each}, by sensitivity" for each in head[2:])]
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join(["---"] * len(columns)) + " |"]
    for result in results.values():
        quality, cycles = result["quality"], result["cycles"]
        zeros = result["patterns"][0]["size"]["sparsity_before"]
        first = [f"`{result['network']}`", "as it is", f"{zeros:.1%}", f"{quality:.1%}", f"{cycles:,}", "1.00"]
        lines.append("| " + " | ".join([*first, *[""] * 4]) + " |")
        for row in result["patterns"]:
            name = row["pattern"] if row["asked"] is None else f"{row['pattern']}, {row['asked']:.0%}"
            cells = ["", name]
            for how in ("size", "sensitivity"):
                each = row[how]
                cells += [f"{each['sparsity']:.1%}", f"{each['quality']:.1%}", f"{each['cycles']:,}"]
                cells.append(f"{cycles / each['cycles']:.2f}")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
