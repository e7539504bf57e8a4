"""Remove nodes that no output depends on, and tensors that nothing uses."""

from dataclasses import replace

from heddle.gen.ir import Network


def remove_dead(network: Network) -> Network:
    """Keep what the outputs need; inputs stay, read or not."""
    needed = set(network.outputs)
    kept = []
    for node in reversed(network.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            kept.append(node)
    needed.update(network.inputs)
    tensors = {name: tensor for name, tensor in network.tensors.items() if name in needed}
    return replace(network, nodes=tuple(reversed(kept)), tensors=tensors)
