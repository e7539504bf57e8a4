"""Remove channels that say nothing about the input, and channels that nothing reads.

The first are *known*: they have the same values for every input, whatever the reason. Weights of zeros are the usual
one, left by pruning and by training; a function that always saturates is another. What a known channel adds to a sum is
a constant, and constants belong into the bias. The channels are then unread, as others may be from the beginning.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from math import prod
from operator import or_

import numpy as np

from heddle.gen import arithmetic, golden
from heddle.gen.fixed_point import INT32_MAX, INT32_MIN
from heddle.gen.ir import Add, AveragePool, Concat, Linear, MaxPool, Mean, Network, Node, Pad, Table, Tensor, Window

Masks = dict[str, np.ndarray]
"""For each tensor, which of its channels: bool ``(channels,)``."""
CHANNELWISE = (Table, MaxPool, AveragePool, Mean, Add)
"""Nodes whose output channel ``c`` is a function of channel ``c`` of each input."""
RECTANGLE_MACS = 2048
"""Multiply-accumulates that a further rectangle must save: what an array of 72 does, two thirds of it busy, in the 45
cycles that a slice takes for itself. A guess at the array only makes a design slower, never wrong."""


def remove_dead_channels(network: Network) -> Network:
    """Fold known channels into the bias of what reads them, and remove every channel that nothing reads then.

    ``sum(w[o, c] * (x[c] - zp))`` over known ``x[c]`` depends on nothing but ``o`` and, where the window meets padding
    or ``x[c]`` itself varies, on the position. The first belongs into ``bias``, the second into ``local_bias``, where
    that saves an array more than its rectangles cost; :attr:`Network.undivided` is without the second.

    Requires a network without nodes that no output needs. Ensures that every channel that stays has the values that it
    had, that inputs and outputs keep their shapes, that no tensor loses its last channel, and that a second time
    changes nothing. No bias leaves int32. What is gone is recorded: :attr:`Tensor.kept`, :attr:`Linear.file_weights`.
    """
    undivided = _reduced(network, divide=False)
    divided = _reduced(undivided, divide=True)
    return divided if divided is undivided else divided.divided_from(undivided)


def _reduced(network: Network, *, divide: bool) -> Network:
    while True:
        smaller = _without_unread(_fold_known(network, divide=divide))
        if smaller is network:
            return network
        # A sum of fewer terms has a smaller range, and may be known now.
        network = smaller


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
    # Channels do not stay apart: one that is not known may be anywhere.
    return np.full(tensors[node.output].hwc[2], all(mask.all() for mask in before))


def _fold_known(network: Network, *, divide: bool) -> Network:
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
        folded[node.name] = _fold(node, known[source.name], known[node.output], offsets, divide=divide)
    nodes = tuple(folded.get(node.name, node) for node in network.nodes)
    return network if nodes == network.nodes else replace(network, nodes=nodes)


def _fold(node: Linear, known: np.ndarray, known_output: np.ndarray, offsets: np.ndarray, *, divide: bool) -> Linear:
    """Return ``node`` without weights for ``known`` channels, whose ``offsets`` from the zero point are given.

    Where sums of a position differ from those of another, only if it may ``divide`` the positions into rectangles.

    Outputs that are known themselves keep those weights whose products have different sums at different positions:
    what reads them will do without them instead.
    """
    everywhere, somewhere = node.weight.copy(), node.weight.copy()
    height, width = node.window.output_size(*offsets.shape[:2])
    bias, cout, depth = node.bias.astype(np.int64), len(node.bias), node.weight.shape[3]
    local = np.zeros((height, width, cout), np.int64)
    # Most known channels are the same value everywhere, and few such values differ.
    distinct: dict[bytes, tuple[np.ndarray, np.ndarray]] = {}
    for channel in np.flatnonzero(known & reads(node).any(axis=0)):
        group, place = divmod(int(channel), depth)
        outputs = slice(group * (cout // node.groups), (group + 1) * (cout // node.groups))
        values = offsets[..., channel]
        if (key := values.tobytes()) not in distinct:
            distinct[key] = _contents(values, node.window)
        contents, position = distinct[key]
        taps = node.weight[outputs, ..., place]
        sums = contents @ taps.reshape(len(taps), -1).T.astype(np.int64)
        fixed = (sums == sums[0]).all(axis=0)
        bias[outputs] += np.where(fixed, sums[0], 0)
        varying = ~fixed & ~known_output[outputs]
        local[..., outputs] += np.where(varying, sums, 0)[position].reshape(height, width, -1)
        everywhere[outputs, ..., place][fixed] = 0
        somewhere[outputs, ..., place][fixed | varying] = 0
    result = node
    if (everywhere != node.weight).any() and _is_int32(bias):
        result = replace(node, weight=everywhere, bias=bias.astype(np.int32))
    total = local if node.local_bias is None else local + node.local_bias
    if divide and (somewhere != everywhere).any() and _is_int32(bias + total):
        split = replace(node, weight=somewhere, bias=bias.astype(np.int32), local_bias=total.astype(np.int32))
        more = len(split.rectangles(height, width)) - len(node.rectangles(height, width))
        if np.count_nonzero(somewhere != everywhere) * height * width > more * RECTANGLE_MACS:
            return split
    return result


def _is_int32(values: np.ndarray) -> bool:
    return bool(values.min() >= INT32_MIN and values.max() <= INT32_MAX)


def _contents(values: np.ndarray, window: Window) -> tuple[np.ndarray, np.ndarray]:
    """Return what ``window`` may hold as it slides over a map padded with 0, and which of that at each position.

    Shapes ``(contents, taps)`` and ``(positions,)``.
    """
    p = window.padding
    padded = np.pad(values, [(p.top, p.bottom), (p.left, p.right)])
    (rows, cols), (down, right) = window.dilation, window.stride
    reach = ((window.kernel[0] - 1) * rows + 1, (window.kernel[1] - 1) * cols + 1)
    views = np.lib.stride_tricks.sliding_window_view(padded, reach)[::down, ::right, ::rows, ::cols]
    contents, position = np.unique(views.reshape(-1, prod(window.kernel)), axis=0, return_inverse=True)
    return contents, position.reshape(-1)


# --- what is read ---------------------------------------------------------------------------------------------------


def _without_unread(network: Network) -> Network:
    kept = _kept_channels(network)
    if all(mask.all() for mask in kept.values()):
        return network
    return replace(
        network,
        tensors={name: _narrow_tensor(tensor, kept[name]) for name, tensor in network.tensors.items()},
        nodes=tuple(_narrow_node(node, kept) for node in network.nodes),
    )


def _kept_channels(network: Network) -> Masks:
    """Which channels must stay: the least masks that agree with every node.

    They only grow, from what the edges need, until each node has what it reads and its inputs and output match.
    """
    whole = {name for node in network.nodes if not can_narrow(node) for name in (*node.inputs, node.output)}
    whole |= {*network.inputs, *network.outputs}
    kept = {name: np.full(tensor.hwc[2], name in whole) for name, tensor in network.tensors.items()}
    while True:
        before = sum(int(mask.sum()) for mask in kept.values())
        for node in reversed(network.nodes):
            for name, mask in _agreed(node, kept):
                kept[name] = kept[name] | mask
            # An unread map that nothing can do without: a sum of nothing still has a map to slide over.
            kept[node.output][0] |= not kept[node.output].any()
        if sum(int(mask.sum()) for mask in kept.values()) == before:
            return kept


def can_narrow(node: Node) -> bool:
    """Whether ``node`` means the same with fewer channels: host nodes and moves of bytes do not."""
    return isinstance(node, (*CHANNELWISE, Linear, Concat, Pad))


def _agreed(node: Node, kept: Masks) -> list[tuple[str, np.ndarray]]:
    """Return what ``node`` wants kept of its tensors, given what is."""
    output, inputs = kept[node.output], [kept[name] for name in node.inputs]
    match node:
        case Linear(groups=1):
            return [(node.inputs[0], np.asarray(reads(node)[output].any(axis=0)))]
        case Linear():
            # A group stays whole, or goes.
            group = output.reshape(node.groups, -1).any(axis=1) | inputs[0].reshape(node.groups, -1).any(axis=1)
            return [(name, np.repeat(group, len(kept[name]) // node.groups)) for name in (node.inputs[0], node.output)]
        case Concat(axis=2):
            ends = np.cumsum([len(mask) for mask in inputs])
            parts = zip(node.inputs, np.split(output, ends[:-1]), strict=True)
            return [*parts, (node.output, np.concatenate(inputs))]
        case Pad():
            start = node.before[2]
            inside = np.pad(inputs[0], (start, node.after[2]))
            return [(node.inputs[0], output[start : start + len(inputs[0])]), (node.output, inside)]
    if not can_narrow(node):
        # All of theirs is kept from the beginning.
        return []
    same = reduce(or_, inputs, output)
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
                local_bias=None if node.local_bias is None else node.local_bias[..., output],
                groups=groups,
                file_weights=node.file_weights or node.weight.size,
            )
        case Pad():
            start, end = node.before[2], len(output) - node.after[2]
            around = int(output[:start].sum()), int(output[end:].sum())
            return replace(node, before=(*node.before[:2], around[0]), after=(*node.after[:2], around[1]))
    return node
