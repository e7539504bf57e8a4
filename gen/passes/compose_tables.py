"""Two functions of one value, one after the other, are one function."""

from dataclasses import replace

import numpy as np

from heddle.gen.ir import Network, Node, Table


def compose_tables(network: Network) -> Network:
    """Compose each :class:`Table` with the one before it, where nothing else reads what lies between."""
    nodes: dict[str, Node] = {}
    for node in network.nodes:
        before = nodes.get(node.inputs[0])
        if (
            isinstance(node, Table)
            and isinstance(before, Table)
            and before.output not in network.outputs
            and len(network.consumers(before.output)) == 1
        ):
            del nodes[before.output]
            node = replace(node, inputs=before.inputs, table=node.table[before.table.astype(np.int16) + 128])
        nodes[node.output] = node
    used = {*network.inputs, *nodes}
    tensors = {name: tensor for name, tensor in network.tensors.items() if name in used}
    return replace(network, nodes=tuple(nodes.values()), tensors=tensors)
