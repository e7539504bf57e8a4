"""Remove channels that say nothing about the input, and channels that nothing reads.

The first are *known*: they have the same values for every input, whatever the reason. Weights of zeros are the usual one, left
by pruning and by training; a function that always saturates is another. What a known channel adds to a sum is a constant,
and constants belong into the bias. The channels are then unread, as others may be from the beginning.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from heddle.gen import arithmetic, golden
from heddle.gen.fixed_point import INT32_MAX, INT32_MIN
from heddle.gen.ir import Add, AveragePool, Concat, Linear, MaxPool, Mean, Network, Node, Pad, Table, Tensor, Window

Masks = dict[str, np.ndarray]
"""For each tensor, which of its channels: bool ``(channels,)``."""
CHANNELWISE = (Table, MaxPool, AveragePool, Mean, Add)
"""Nodes whose output channel ``c`` is a function of channel ``c`` of each input."""


def remove_dead_channels(network: Network) -> Network:
    """Fold known channels into the bias of what reads them, and remove every channel that nothing reads then.

    ``bias[o] + sum(w[o, c] * (x[c] - zp)) = bias'[o]`` wherever ``x[c]`` is known and the sum the same at every position.

    Requires a network without nodes that no output needs. Ensures that every channel that stays has the values that it
    had, that shapes of inputs and outputs stay, that no tensor loses its last channel, and that a second time changes
    nothing. What is gone is recorded: :attr:`Tensor.kept`, :attr:`Linear.file_weights`.

    A bias that would leave int32 is not folded into, nor one that would depend on the position: at the border of a map
    the window meets padding, which a known channel adds nothing to unless it is the zero point (see
    docs/decisions/0006-dead-channels.md).
    """
    network = _fold_known(network)
    kept = _kept_channels(network)
    if all(mask.all() for mask in kept.values()):
        return network
    return replace(
        network,
        tensors={name: _narrow_tensor(tensor, kept[name]) for name, tensor in network.tensors.items()},
        nodes=tuple(_narrow_node(node, kept) for node in network.nodes),
    )


def reads(node: Linear) -> np.ndarray:
    """Which input channels each output channel has weights for: bool ``(cout, cin)``."""
    cout, depth = len(node.bias), node.weight.shape[3]
    result = np.zeros((cout, node.groups, depth), bool)
    channels = np.arange(cout)
    result[channels, channels // (cout // node.groups)] = node.weight.any(axis=(1, 2))
    return result.reshape(cout, -1)


# --- what is known --------------------------------------------------------------------------------------------------


def known_channels(network: Network) -> Masks:
    """Which channels have the same values for every input."""
    known = {name: np.zeros(network.tensors[name].hwc[2], bool) for name in network.inputs}
    for node in network.nodes:
        before = [known[name] for name in node.inputs]
        known[node.output] = _known_output(node, before, network.tensors)
    return known


def _known_output(node: Node, before: list[np.ndarray], tensors: Mapping[str, Tensor]) -> np.ndarray:
    match node:
        case Linear():
            low, high = arithmetic.linear_range(node, tensors[node.inputs[0]].zero_point)
            least, greatest = (arithmetic.linear_output(node, tensors, acc) for acc in (low, high))
            return ~(reads(node) & ~before[0]).any(axis=1) | (least == greatest)
        case Concat(axis=2):
            return np.concatenate(before)
        case Concat() | Table() | MaxPool() | AveragePool() | Mean() | Add():
            return np.logical_and.reduce(before)
        case Pad():
            return np.pad(before[0], (node.before[2], node.after[2]), constant_values=True)
    return np.full(tensors[node.output].hwc[2], before[0].all())


def _fold_known(network: Network) -> Network:
    """Move what known channels add to sums into the bias: their weights become zero."""
    known = known_channels(network)
    readers = [node for node in network.nodes if isinstance(node, Linear) and known[node.inputs[0]].any()]
    if not any((reads(node) & known[node.inputs[0]]).any() for node in readers):
        return network
    # What they are is what they are for any one input.
    zeros = {name: np.zeros((1, *network.tensors[name].sample_shape), np.int8) for name in network.inputs}
    values = golden.run(network, zeros)
    folded = {}
    for node in readers:
        source = network.tensors[node.inputs[0]]
        offsets = values[source.name].reshape(source.hwc).astype(np.int64) - source.zero_point
        folded[node.name] = _fold(node, known[source.name], offsets)
    return replace(network, nodes=tuple(folded.get(node.name, node) for node in network.nodes))


def _fold(node: Linear, known: np.ndarray, offsets: np.ndarray) -> Linear:
    """Return ``node`` without weights for ``known`` channels, whose ``offsets`` from the zero point are given.

    Those weights stay whose products add up to different sums at different positions.
    """
    weight, bias = node.weight.copy(), node.bias.astype(np.int64)
    cout, depth = len(bias), weight.shape[3]
    for channel in np.flatnonzero(known & reads(node).any(axis=0)):
        group, place = divmod(int(channel), depth)
        outputs = slice(group * (cout // node.groups), (group + 1) * (cout // node.groups))
        taps = weight[outputs, ..., place]
        sums = taps.reshape(len(taps), -1).astype(np.int64) @ _windows(offsets[..., channel], node.window)
        total = bias[outputs] + sums[:, 0]
        fixed = (sums == sums[:, :1]).all(axis=1) & (total >= INT32_MIN) & (total <= INT32_MAX)
        bias[outputs] = np.where(fixed, total, bias[outputs])
        taps[fixed] = 0
    return replace(node, weight=weight, bias=bias.astype(node.bias.dtype))


def _windows(values: np.ndarray, window: Window) -> np.ndarray:
    """Return the different contents of ``window`` as it slides over a map padded with 0: ``(taps, contents)``."""
    p = window.padding
    padded = np.pad(values, [(p.top, p.bottom), (p.left, p.right)])
    (rows, cols), (down, right) = window.dilation, window.stride
    reach = ((window.kernel[0] - 1) * rows + 1, (window.kernel[1] - 1) * cols + 1)
    views = np.lib.stride_tricks.sliding_window_view(padded, reach)[::down, ::right, ::rows, ::cols]
    return np.unique(views.reshape(-1, window.kernel[0] * window.kernel[1]), axis=0).T


# --- what is read ---------------------------------------------------------------------------------------------------


def _kept_channels(network: Network) -> Masks:
    """Which channels must stay: the least masks that agree with every node.

    They only grow, from what the edges need, until each node has what it reads and its inputs and output match.
    """
    free = {name for node in network.nodes for name in (*node.inputs, node.output)}
    whole = {name for node in network.nodes if not _can_narrow(node) for name in (*node.inputs, node.output)}
    whole |= {*network.inputs, *network.outputs}
    kept = {name: np.full(t.hwc[2], name in whole or name not in free) for name, t in network.tensors.items()}
    while True:
        before = sum(int(mask.sum()) for mask in kept.values())
        for node in reversed(network.nodes):
            for name, mask in _agreed(node, kept):
                kept[name] = kept[name] | mask
            # An unread map that nothing can do without: a sum of nothing still has a map to slide over.
            kept[node.output][0] |= not kept[node.output].any()
        if sum(int(mask.sum()) for mask in kept.values()) == before:
            return kept


def _can_narrow(node: Node) -> bool:
    """Whether ``node`` means the same with fewer channels: host nodes and moves of bytes do not."""
    return isinstance(node, (*CHANNELWISE, Linear, Concat, Pad))


def _agreed(node: Node, kept: Masks) -> list[tuple[str, np.ndarray]]:
    """What ``node`` wants kept of its tensors, given what is."""
    output, inputs = kept[node.output], [kept[name] for name in node.inputs]
    match node:
        case Linear(groups=1):
            return [(node.inputs[0], reads(node)[output].any(axis=0))]
        case Linear():
            # A group stays whole, or goes.
            group = output.reshape(node.groups, -1).any(axis=1) | inputs[0].reshape(node.groups, -1).any(axis=1)
            return [
                (name, np.repeat(group, len(kept[name]) // node.groups)) for name in (node.inputs[0], node.output)
            ]
        case Concat(axis=2):
            ends = np.cumsum([len(mask) for mask in inputs])
            parts = zip(node.inputs, np.split(output, ends[:-1]), strict=True)
            return [*parts, (node.output, np.concatenate(inputs))]
        case Pad():
            start = node.before[2]
            inside = np.pad(inputs[0], (start, node.after[2]))
            return [(node.inputs[0], output[start : start + len(inputs[0])]), (node.output, inside)]
    same = np.logical_or.reduce([output, *inputs]) if _can_narrow(node) else np.True_
    return [(name, same) for name in (*node.inputs, node.output)]


def _narrow_tensor(tensor: Tensor, kept: np.ndarray) -> Tensor:
    if kept.all():
        return tensor
    names = np.arange(len(kept)) if tensor.kept is None else np.array(tensor.kept)
    shape = (*tensor.shape[:-1], int(kept.sum()))
    return replace(tensor, shape=shape, kept=tuple(names[kept].tolist()))


def _narrow_node(node: Node, kept: Masks) -> Node:
    output, source = kept[node.output], kept[node.inputs[0]]
    match node:
        case Linear() if not (output.all() and source.all()):
            groups = int(source.reshape(node.groups, -1).any(axis=1).sum()) if node.groups > 1 else 1
            weight = node.weight[output]
            return replace(
                node,
                weight=weight if node.groups > 1 else weight[..., source],
                bias=node.bias[output],
                multiplier=node.multiplier[output],
                shift=node.shift[output],
                groups=groups,
                file_weights=node.file_weights or node.weight.size,
            )
        case Pad():
            start, end = node.before[2], len(output) - node.after[2]
            around = int(output[:start].sum()), int(output[end:].sum())
            return replace(node, before=(*node.before[:2], around[0]), after=(*node.after[:2], around[1]))
    return node
