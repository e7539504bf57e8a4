"""Remove reshapes that move nothing: values keep their order, and only some nodes see the shape."""

from dataclasses import replace

from heddle.gen.ir import Dequantize, HostNode, Network, Node, Quantize, Reshape, Tensor


def remove_reshapes(network: Network) -> Network:
    """Remove every :class:`Reshape` that moves nothing.

    That is one which

    - keeps height, width and channels (leading ones come and go),
    - is the only reader of an input, or of a host node's result: bytes arrive in the same order, so the input takes
      the layout that the network wants,
    - writes an output, or only feeds the host's element-wise nodes: bytes leave in the same order.

    Names and file shapes of the network's inputs and outputs stay. Others remain: only a copy could do them.
    """
    kept: set[str] = set()
    while True:
        node = next((n for n in network.nodes if isinstance(n, Reshape) and n.name not in kept), None)
        if node is None:
            return network
        smaller = _without(network, node)
        if smaller is None:
            kept.add(node.name)
        else:
            # What was in the way of another may be gone.
            network, kept = smaller, set()


def _without(network: Network, node: Reshape) -> Network | None:
    """Return the same network without ``node``, or ``None`` where it must stay."""
    before, after = network.tensors[node.inputs[0]], network.tensors[node.output]
    readers = [n for n in network.consumers(before.name) if n is not node]
    producer = network.producer(before.name)
    movable = before.name not in (*network.inputs, *network.outputs)
    if after.name in network.outputs:
        # The producer writes the output itself; other readers read the output instead.
        same_readers = before.hwc == after.hwc or not network.consumers(after.name)
        if not movable or not same_readers:
            return None
        return _merge(network, node, replace(after, layout=before.hwc))
    if before.hwc == after.hwc or all(isinstance(n, Quantize | Dequantize) for n in network.consumers(after.name)):
        return _merge(network, node, before)
    at_start = before.name in network.inputs or isinstance(producer, HostNode)
    if at_start and not readers and before.name not in network.outputs:
        return _merge(network, node, replace(before, layout=after.hwc))
    return None


def _merge(network: Network, node: Reshape, tensor: Tensor) -> Network:
    """Drop ``node``; ``tensor`` stands for what it read and for what it wrote."""
    gone = {node.inputs[0], node.output}

    def renamed(n: Node) -> Node:
        inputs = tuple(tensor.name if name in gone else name for name in n.inputs)
        output = tensor.name if n.output in gone else n.output
        return n if (inputs, output) == (n.inputs, n.output) else replace(n, inputs=inputs, output=output)

    tensors = {name: t for name, t in network.tensors.items() if name not in gone}
    tensors[tensor.name] = tensor
    nodes = tuple(renamed(n) for n in network.nodes if n is not node)
    return replace(network, nodes=nodes, tensors=tensors)
