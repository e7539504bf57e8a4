"""What holds of every network, and of every network that mapping receives."""

from collections.abc import Iterator
from math import prod

from heddle.errors import UnsupportedError
from heddle.gen.ir import (
    Add,
    AveragePool,
    Concat,
    HostNode,
    Linear,
    MaxPool,
    Mean,
    Network,
    Node,
    Pad,
    Quantize,
    Reshape,
    Table,
)


def verify(network: Network) -> None:
    """Check order, shapes and types of ``network``.

    Raises
    ------
    ValueError
        The network is malformed: a mistake of the importer or of a pass, naming each violation.
    """
    if found := list(violations(network)):
        raise ValueError(f"{network.name} must be a well-formed network, not: {'; '.join(found)}")


def violations(network: Network) -> Iterator[str]:
    """Each way in which ``network`` is malformed, in words."""
    written = set(network.inputs)
    names: set[str] = set()
    for node in network.nodes:
        if node.name in names:
            yield f"two nodes are called {node.name}"
        names.add(node.name)
        missing = [name for name in (*node.inputs, node.output) if name not in network.tensors]
        if missing:
            yield f"{node.name} names unknown tensors {missing}"
            continue
        if unwritten := [name for name in node.inputs if name not in written]:
            yield f"{node.name} reads {unwritten} before they are written"
        if node.output in written:
            yield f"{node.name} writes {node.output}, which has a value already"
        written.add(node.output)
        yield from _shape_violations(network, node)
        if not isinstance(node, HostNode):
            types = {network.tensors[name].dtype for name in (*node.inputs, node.output)}
            if types != {"int8"}:
                yield f"{node.name} works on {sorted(types)}"
    for name in network.outputs:
        if name not in written:
            yield f"nothing writes the output {name}"
    for name, tensor in network.tensors.items():
        if prod(tensor.hwc) != tensor.size:
            yield f"{name} has the layout {tensor.layout} for shape {tensor.shape}"


def _shape_violations(network: Network, node: Node) -> Iterator[str]:
    inputs = [network.tensors[name].hwc for name in node.inputs]
    output = network.tensors[node.output].hwc
    height, width, channels = inputs[0]
    match node:
        case Linear():
            expected = (*node.window.output_size(height, width), len(node.bias))
            if node.weight.shape != (len(node.bias), *node.window.kernel, channels // node.groups):
                yield f"{node.name} has weights {node.weight.shape} for an input of {inputs[0]}"
            if node.local_bias is not None and node.local_bias.shape != output:
                yield f"{node.name} has a local bias of {node.local_bias.shape}, its output is {output}"
        case AveragePool() | MaxPool():
            expected = (*node.window.output_size(height, width), channels)
        case Mean():
            expected = (1, 1, channels)
        case Concat():
            joined = list(inputs[0])
            joined[node.axis] = sum(each[node.axis] for each in inputs)
            expected = (joined[0], joined[1], joined[2])
        case Pad():
            rows, cols, depth = (sum(each) for each in zip(inputs[0], node.before, node.after, strict=True))
            expected = (rows, cols, depth)
        case Add() | Table():
            expected = inputs[0]
            if len(set(inputs)) > 1:
                yield f"{node.name} adds {inputs[1]} to {inputs[0]}"
        case _:
            expected = output
            if isinstance(node, Reshape) and prod(inputs[0]) != prod(output):
                yield f"{node.name} makes {output} of {inputs[0]}"
    if expected != output:
        yield f"{node.name} gives {expected}, its output is {output}"


def check_edges(network: Network) -> None:
    """Refuse a network in which the host would have to work between two nodes of the accelerator.

    Raises
    ------
    UnsupportedError
        A host node, other than a quantization of an input, has a reader that is none.
    """
    late = {
        node.output: node
        for node in network.nodes
        if isinstance(node, HostNode) and not (isinstance(node, Quantize) and node.inputs[0] in network.inputs)
    }
    for node in network.nodes:
        inside = [late[name] for name in node.inputs if name in late]
        if inside and not isinstance(node, HostNode):
            raise UnsupportedError(
                f"{inside[0].op} lies inside the network: {node.name} reads its result",
                where=inside[0].name,
                remedy=f"move {inside[0].op} to the end, or remove it: Heddle runs it in the host",
            )
