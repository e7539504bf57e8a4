"""What is pruned together: single weights, blocks of weights, output channels; and the blocks of N:M selection.

What a block is, the array decides: it holds M neighbouring channels of a feature map, at one tap of a kernel, as the
network has them once the compiler has removed the channels that say nothing (:attr:`heddle.gen.ir.Tensor.kept`). So
blocks are found in the network as compiled, and named in the weights as the file has them.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce

import numpy as np

from heddle.gen.ir import Concat, Linear, Network, Node, Pad
from heddle.gen.passes.remove_dead_channels import CHANNELWISE, can_narrow
from heddle.gen.pruning.layers import PrunableLayer, Weights

NONE = -1
"""Of a weight that belongs to no unit: it is never pruned."""

Units = dict[str, np.ndarray]
"""Of each layer by name: the unit of each weight, int64 of the weights' shape, or :data:`NONE`."""


def single_weights(layers: Sequence[PrunableLayer]) -> Units:
    """Every weight for itself."""
    ends = np.cumsum([0, *(layer.weight.size for layer in layers)])
    return {
        layer.name: np.arange(start, start + layer.weight.size).reshape(layer.weight.shape)
        for layer, start in zip(layers, ends.tolist(), strict=False)
    }


def selection_blocks(layers: Sequence[PrunableLayer], weights: Weights, compiled: Network, block: int) -> list[Units]:
    """Return the weights among which a column's N:M selection chooses: of one output channel and tap, M channels.

    One :data:`Units` for each operator of the layer that has most: where several share their weights, each has blocks
    of its own. Weights that the compiler removes or folds into a bias are in no block. ``compiled`` is the network of
    ``weights`` behind the passes.
    """
    nodes = {node.name: node for node in compiled.nodes if isinstance(node, Linear)}
    return [
        {
            layer.name: _blocks(weights[layer.name], nodes.get(layer.names[place]), compiled, block, columns=1)
            for layer in layers
            if place < len(layer.names)
        }
        for place in range(max((len(layer.names) for layer in layers), default=0))
    ]


def zero_blocks(
    layers: Sequence[PrunableLayer], weights: Weights, compiled: Network, block: int, columns: int
) -> Units:
    """Return the blocks that the array skips where they are zero: of one tap, M channels, for a tile of ``columns``.

    Of weights that several operators share, those of the first.
    """
    nodes = {node.name: node for node in compiled.nodes if isinstance(node, Linear)}
    units, start = {}, 0
    for layer in layers:
        own = _blocks(weights[layer.name], nodes.get(layer.name), compiled, block, columns)
        units[layer.name] = np.where(own == NONE, NONE, own + start)
        start += int(own.max()) + 1
    return units


def _blocks(weight: np.ndarray, node: Linear | None, compiled: Network, block: int, columns: int) -> np.ndarray:
    """Return the block of each weight of a layer, which the compiler left as ``node``, or removed."""
    cout, kh, kw, depth = weight.shape
    if node is None:
        return np.full(weight.shape, NONE)
    source, target = kept_channels(compiled, node.inputs[0]), kept_channels(compiled, node.output)
    left, height, width, left_depth = node.weight.shape
    # A flattened map is read as a map: the kernel is the map's, and the depth its channels.
    whole = np.full((cout, height, width, kh * kw * depth // (height * width)), NONE)
    channel = np.arange(left) // (left // node.groups) * left_depth
    read = channel[:, None] + np.arange(left_depth)
    count = -(-compiled.tensors[node.inputs[0]].hwc[2] // block)
    taps = np.arange(height * width).reshape(1, height, width, 1)
    tile = (np.arange(left) // columns)[:, None, None, None]
    ids = (tile * height * width + taps) * count + (read // block)[:, None, None, :]
    at = (
        target[:, None, None, None],
        np.arange(height)[:, None, None],
        np.arange(width)[:, None],
        (source[read] % whole.shape[3])[:, None, None, :],
    )
    # What the compiler folded into a bias is no weight of the array any more.
    folded = (node.weight == 0) & (weight.reshape(whole.shape)[at] != 0)
    whole[at] = np.where(folded, NONE, ids)
    return whole.reshape(weight.shape)


def kept_channels(network: Network, tensor: str) -> np.ndarray:
    """Return which of the file's channels a tensor has: int64 ``(channels,)``."""
    kept = network.tensors[tensor].kept
    return np.arange(network.tensors[tensor].hwc[2]) if kept is None else np.array(kept)


# --- whole channels -------------------------------------------------------------------------------------------------


def output_channels(layers: Sequence[PrunableLayer], compiled: Network) -> Units:
    """Return output channels, joined where one can be removed only with the other.

    Channels that are added to each other stay or go together, as do those of a depthwise layer and of what it reads.
    Channels that must stay are in no unit: those of the network's inputs and outputs, what is added to them, and what
    is read as something other than channels.
    """
    labels, fixed = _joined_channels(compiled)
    nodes = {node.name: node for node in compiled.nodes if isinstance(node, Linear)}
    units = {}
    for layer in layers:
        channels = np.full(len(layer.weight), NONE)
        # Weights that several layers share would join these; none of their channels is removed.
        if len(layer.names) == 1 and (node := nodes.get(layer.name)):
            label = labels[node.output]
            channels[kept_channels(compiled, node.output)] = np.where(fixed[label], NONE, label)
        units[layer.name] = np.broadcast_to(channels[:, None, None, None], layer.weight.shape).copy()
    return units


def _joined_channels(network: Network) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Return a label for each channel of each tensor, equal where they are joined; and which labels must stay."""
    labels, start = {}, 0
    for name, tensor in network.tensors.items():
        labels[name] = np.arange(start, start + tensor.hwc[2])
        start += tensor.hwc[2]
    stays = np.zeros(start, bool)
    for node in network.nodes:
        for part in () if can_narrow(node) else (*node.inputs, node.output):
            stays[labels[part]] = True
    for name in (*network.inputs, *network.outputs):
        stays[labels[name]] = True
    # The least label of all that are joined, found by passing on the lesser of two until nothing changes.
    least, before = np.arange(start), None
    while before is None or (least != before).any():
        before = least.copy()
        for node in network.nodes:
            for joined in _joins(node, labels):
                lowest = reduce(np.minimum, (least[each] for each in joined))
                for each in joined:
                    least[each] = lowest
        least = least[least]
    fixed = np.zeros(start, bool)
    fixed[least[stays]] = True
    return {name: least[label] for name, label in labels.items()}, fixed


def _joins(node: Node, labels: Mapping[str, np.ndarray]) -> Iterator[list[np.ndarray]]:
    """Yield lists of arrays of labels whose elements at one place are joined."""
    output, inputs = labels[node.output], [labels[name] for name in node.inputs]
    match node:
        case Linear(groups=1):
            return
        case Linear():
            # A group goes as a whole, with what it reads.
            group = np.concatenate([output.reshape(node.groups, -1), inputs[0].reshape(node.groups, -1)], axis=1)
            yield list(group.T)
        case Concat(axis=2):
            ends = np.cumsum([len(each) for each in inputs])
            for part, each in zip(np.split(output, ends[:-1]), inputs, strict=True):
                yield [part, each]
        case Pad():
            yield [output[node.before[2] : node.before[2] + len(inputs[0])], inputs[0]]
        case _ if isinstance(node, (*CHANNELWISE, Concat)):
            yield [output, *inputs]
