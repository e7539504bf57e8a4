"""Let a fully-connected layer read the map itself instead of its flattened copy."""

from dataclasses import replace

from heddle.gen.ir import Linear, Network, Node, Reshape, Window


def absorb_flatten(network: Network) -> Network:
    """Turn ``Linear 1x1`` of a flattened ``(H, W, C)`` map into a ``Linear`` with a kernel of ``H x W`` on the map.

    The flattened order is rows, columns, channels, which is the order of the weights: only their shape changes. The
    reshape itself is left to :func:`remove_dead`.
    """
    producers = {node.output: node for node in network.nodes}
    return replace(network, nodes=tuple(_absorb(node, producers, network) for node in network.nodes))


def _absorb(node: Node, producers: dict[str, Node], network: Network) -> Node:
    if not isinstance(node, Linear) or node.window != Window(kernel=(1, 1)) or node.groups != 1:
        return node
    flatten = producers.get(node.inputs[0])
    if not isinstance(flatten, Reshape) or network.tensors[node.inputs[0]].hwc[:2] != (1, 1):
        return node
    height, width, channels = network.tensors[flatten.inputs[0]].hwc
    weight = node.weight.reshape(len(node.weight), height, width, channels)
    return replace(node, inputs=flatten.inputs, weight=weight, window=Window(kernel=(height, width)))
