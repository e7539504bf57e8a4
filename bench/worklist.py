"""Cycles of a work-list core on pruned networks, against the ideal and against an array with as many multipliers.

``python bench/worklist.py NETWORK.tflite ...`` prints a line for each network and sparsity. Each layer is pruned alike,
by the size of its weights, whatever that does to accuracy: only their number matters here.
"""

import sys
from pathlib import Path

from record import ROOT

from heddle.gen.design import compile_network
from heddle.gen.importers import load
from heddle.gen.memories import MemoryUse
from heddle.gen.worklist import WorklistDesign, compile_worklist
from heddle.hdl.config import ArrayConfig
from heddle.hdl.worklist_config import WorklistShape

sys.path.insert(0, str(ROOT / "tests"))  # pruned networks are the tests' too
from pruned_files import by_magnitude

SHAPE = WorklistShape(lanes=4, pixels=32, stream_bytes=8, primitive="mult18x18d")
DENSE = ArrayConfig(rows=4, cols=16, pixels=2, block=8, requantizers=8, stream_bytes=8)
SPARSITIES = (0.5, 0.75, 0.9)


def block_rams(design: WorklistDesign) -> dict[str, int]:
    """Return the ``DP16KD`` of each kind of memory, every bit of a word counted as stored."""
    config = design.program.config
    tables = {
        "items": [(config.item_layout(lane).size, config.item_words) for lane in range(config.array.lanes)],
        "drains": [(config.drain_layout.size, config.drain_words)],
        "dests": [(config.dest_layout.size, config.dest_words)],
        "bases": [(config.base_bits, config.base_words)],
        "maps": [(8, config.words)] * config.array.macs_per_cycle,
    }
    return {
        name: sum(MemoryUse(name=name, width=w, depth=d, stored=(w,)).block_rams for w, d in memories)
        for name, memories in tables.items()
    }


def main(paths: list[str]) -> None:
    """Print the table."""
    for path in map(Path, paths):
        network = load(path)
        dense = compile_network(network, DENSE).cycles
        for sparsity in SPARSITIES:
            design = compile_worklist(by_magnitude(path, sparsity), SHAPE)
            ideal = sum(layer.macs * (layer.density or 0) for layer in design.layers) / SHAPE.macs_per_cycle
            print(
                f"{network.name} {sparsity:.0%}: {design.cycles:,} cycles, {ideal / design.cycles:.0%} of the ideal, "
                f"{dense / design.cycles:.2f} x the {dense:,} of {DENSE} dense; block RAMs {block_rams(design)}"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
