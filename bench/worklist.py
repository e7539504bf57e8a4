"""Cycles of a work-list core on pruned networks, against the ideal and against an array with as many multipliers.

``python bench/worklist.py NETWORK.tflite ...`` prints a line for each network and sparsity. Each layer is pruned alike,
by the size of its weights, whatever that does to accuracy: only their number matters here.
"""

import sys
from pathlib import Path

from record import ROOT

from heddle.boards.family import ECP5
from heddle.gen.design import compile_network
from heddle.gen.importers import load
from heddle.gen.worklist import compile_worklist
from heddle.hdl.config import ArrayConfig
from heddle.hdl.worklist_config import WorklistShape

sys.path.insert(0, str(ROOT / "tests"))  # pruned networks are the tests' too
from pruned_files import by_magnitude

SHAPE = WorklistShape(lanes=4, pixels=32, stream_bytes=8, primitive="mult18x18d")
DENSE = ArrayConfig(rows=4, cols=16, pixels=2, block=8, requantizers=8, stream_bytes=8)
SPARSITIES = (0.5, 0.75, 0.9)


def main(paths: list[str]) -> None:
    """Print the table."""
    for path in map(Path, paths):
        network = load(path)
        dense = compile_network(network, DENSE).cycles
        for sparsity in SPARSITIES:
            design = compile_worklist(by_magnitude(path, sparsity), SHAPE)
            rams = design.resources(ECP5).block_rams
            ideal = sum(layer.macs * (layer.density or 0) for layer in design.layers) / SHAPE.macs_per_cycle
            print(
                f"{network.name} {sparsity:.0%}: {design.cycles:,} cycles, {ideal / design.cycles:.0%} of the ideal, "
                f"{dense / design.cycles:.2f} x the {dense:,} of {DENSE} dense; {rams} block RAMs"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
