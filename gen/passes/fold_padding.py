"""Fold constant padding into the window of the layer that reads it."""

from dataclasses import replace

from heddle.gen.arithmetic import INT8_MIN
from heddle.gen.ir import Linear, MaxPool, Network, Node, Pad, Padding, Window


def fold_padding(network: Network) -> Network:
    """Let a :class:`Linear` or :class:`MaxPool` pad its map itself, where that gives the same values.

    A ``Linear`` pads with the zero point. A ``MaxPool`` ignores what lies outside, which is the same as the least
    value there, as long as every window meets an element inside. An average counts only elements inside: there the
    padding stays. Pads that nothing reads any more are left to :func:`remove_dead`.
    """
    pads = {
        node.output: node for node in network.nodes if isinstance(node, Pad) and not (node.before[2] or node.after[2])
    }
    return replace(network, nodes=tuple(_fold(node, pads, network) for node in network.nodes))


def _fold(node: Node, pads: dict[str, Pad], network: Network) -> Node:
    pad = pads.get(node.inputs[0])
    if pad is None or not isinstance(node, (Linear, MaxPool)):
        return node
    source = network.tensors[pad.inputs[0]]
    window = replace(node.window, padding=_sum(node.window.padding, pad))
    if isinstance(node, Linear):
        same = pad.value == source.zero_point
    else:
        same = pad.value == INT8_MIN and _always_inside(window, source.hwc)
    return replace(node, inputs=pad.inputs, window=window) if same else node


def _sum(padding: Padding, pad: Pad) -> Padding:
    return Padding(
        top=padding.top + pad.before[0],
        bottom=padding.bottom + pad.after[0],
        left=padding.left + pad.before[1],
        right=padding.right + pad.after[1],
    )


def _always_inside(window: Window, hwc: tuple[int, int, int]) -> bool:
    """Whether every position of ``window`` (not dilated) meets an element of the map."""
    before = (window.padding.top, window.padding.left)
    counts = window.output_size(*hwc[:2])
    return window.dilation == (1, 1) and all(
        pad < kernel and (count - 1) * stride < pad + size
        for pad, kernel, count, stride, size in zip(before, window.kernel, counts, window.stride, hwc, strict=False)
    )
