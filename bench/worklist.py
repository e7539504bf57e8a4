"""Cycles of a work-list core on pruned networks, against the ideal and against an array with as many multipliers.

``python bench/worklist.py NETWORK.tflite ...`` prints a line for each network and sparsity. The smallest weights of
each layer are zero, whatever that does to accuracy: only their number matters here.
"""

import sys
from dataclasses import replace

import numpy as np

from heddle.gen.design import compile_network
from heddle.gen.importers import load
from heddle.gen.ir import Linear, Network
from heddle.gen.memories import MemoryUse
from heddle.gen.worklist import WorklistDesign, compile_worklist
from heddle.hdl.config import ArrayConfig
from heddle.hdl.worklist_config import WorklistShape

SHAPE = WorklistShape(lanes=4, pixels=32, stream_bytes=8, primitive="mult18x18d")
DENSE = ArrayConfig(rows=4, cols=16, pixels=2, block=8, requantizers=8, stream_bytes=8)
SPARSITIES = (0.5, 0.75, 0.9)


def pruned(network: Network, sparsity: float) -> Network:
    """Return ``network`` with that fraction of each layer's weights zero, the smallest as they are stored."""

    def prune(node: Linear) -> Linear:
        weight = node.weight.reshape(-1).copy()
        weight[np.argsort(np.abs(weight.astype(int)), kind="stable")[: int(sparsity * weight.size)]] = 0
        return replace(node, weight=weight.reshape(node.weight.shape))

    return replace(network, nodes=tuple(prune(n) if isinstance(n, Linear) else n for n in network.nodes))


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
    for path in paths:
        network = load(path)
        dense = compile_network(network, DENSE).cycles
        for sparsity in SPARSITIES:
            design = compile_worklist(pruned(network, sparsity), SHAPE)
            ideal = sum(layer.macs * (layer.density or 0) for layer in design.layers) / SHAPE.macs_per_cycle
            print(
                f"{network.name} {sparsity:.0%}: {design.cycles:,} cycles, {ideal / design.cycles:.0%} of the ideal, "
                f"{dense / design.cycles:.2f} x the {dense:,} of {DENSE} dense; block RAMs {block_rams(design)}"
            )


if __name__ == "__main__":
    main(sys.argv[1:])
