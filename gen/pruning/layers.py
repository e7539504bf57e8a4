"""The layers of a network file whose weights can be pruned, and the file with other weights in their place.

A pruned file is the file it was made from, byte for byte, but for the int8 weights that became 0: the zero point of
weights is 0, so that a 0 is nothing, and the biases, which hold no weight, stay what they are.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from heddle.gen.importers import lowering, tflite_file
from heddle.gen.importers.tflite_file import OPTIONAL, FileModel, FileOperator
from heddle.gen.ir import Linear, Network

WEIGHT = 1
"""Which input of a convolution or a fully-connected layer its weights are."""

Weights = Mapping[str, np.ndarray]
"""Of each layer by name: int8 ``(cout, kh, kw, cin / groups)``, as the network file has them."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PrunableLayer:
    """Weights in a file, and the operators that read them.

    Parameters
    ----------
    names
        The operators' names; more than one where a file lets several layers share their weights.
    op
        Their operator.
    weight
        int8, ``(cout, kh, kw, cin / groups)``.
    scale
        float64 ``(cout,)``: ``weight * scale`` are real numbers.
    macs
        Multiply-accumulates of an inference, of all operators together.
    start
        Where in the file the weights begin.
    reason
        Why the layer stays as it is; empty where it can be pruned.
    """

    names: tuple[str, ...]
    op: str
    weight: np.ndarray
    scale: np.ndarray
    groups: int
    macs: int
    start: int
    reason: str = ""

    @property
    def name(self) -> str:
        """The name of the first operator that reads the weights."""
        return self.names[0]

    def energy(self, weight: np.ndarray) -> np.ndarray:
        """Return the squares of real weights: float64 of the shape of ``weight``, which is the layer's."""
        return (weight * self.scale[:, None, None, None]) ** 2

    def file_bytes(self, weight: np.ndarray) -> bytes:
        """Return weights in the order of the file."""
        return (weight.transpose(3, 1, 2, 0) if self.op == "DEPTHWISE_CONV_2D" else weight).tobytes()


@dataclass(frozen=True, kw_only=True, eq=False)
class PrunableFile:
    """A network file: its bytes, its network before any pass, and its layers with weights, in the file's order."""

    data: bytes
    network: Network
    layers: tuple[PrunableLayer, ...]

    def with_weights(self, weights: Weights) -> bytes:
        """Return the file with ``weights`` in place of its own; layers that are not named keep theirs."""
        data = bytearray(self.data)
        for layer in self.layers:
            if layer.name in weights:
                new = layer.file_bytes(weights[layer.name])
                data[layer.start : layer.start + len(new)] = new
        return bytes(data)

    def network_with(self, weights: Weights) -> Network:
        """Return the network with ``weights`` in place of its own, as the file of :meth:`with_weights` gives it."""
        new = {name: weights[layer.name] for layer in self.layers if layer.name in weights for name in layer.names}
        nodes = tuple(
            replace(node, weight=new[node.name]) if isinstance(node, Linear) and node.name in new else node
            for node in self.network.nodes
        )
        return replace(self.network, nodes=nodes)


def read_layers(path: Path) -> PrunableFile:
    """Read a network file and find its layers.

    Raises
    ------
    FileFormatError
        The file is unreadable, truncated, inconsistent or not TFLite.
    UnsupportedError
        Layers that Heddle cannot execute exactly, as float ones.
    """
    model, data = tflite_file.read_with_bytes(path)
    lowered = lowering.lower(model, "tflm")
    if lowered.network is None:
        raise lowering.refuse(model, lowered.problems)
    nodes = {node.name: node for node in lowered.network.nodes if isinstance(node, Linear)}
    sharers: dict[tuple[int, int], list[FileOperator]] = {}
    for operator in model.operators:
        if operator.name in nodes:
            tensor = model.tensors[operator.inputs[WEIGHT]]
            sharers.setdefault((tensor.start, len(tensor.data)), []).append(operator)
    layers = [_layer(model, operators, nodes, lowered.network) for operators in sharers.values()]
    return PrunableFile(data=data, network=lowered.network, layers=tuple(layers))


def _layer(
    model: FileModel, operators: list[FileOperator], nodes: Mapping[str, Linear], network: Network
) -> PrunableLayer:
    node, tensor = nodes[operators[0].name], model.tensors[operators[0].inputs[WEIGHT]]
    layer = PrunableLayer(
        names=tuple(operator.name for operator in operators),
        op=node.op,
        weight=node.weight,
        scale=np.resize(np.array(tensor.scales), len(node.bias)),
        groups=node.groups,
        macs=sum(_positions(nodes[operator.name], network) * node.weight.size for operator in operators),
        start=tensor.start,
    )
    return replace(layer, reason=_why_not(model, operators, nodes, layer))


def _positions(node: Linear, network: Network) -> int:
    height, width, _ = network.tensors[node.output].hwc
    return height * width


def _why_not(model: FileModel, operators: list[FileOperator], nodes: Mapping[str, Linear], layer: PrunableLayer) -> str:
    """Return why the weights cannot be changed without changing something else, or nothing."""
    first = model.tensors[operators[0].inputs[WEIGHT]]
    if bytes(first.data) != layer.file_bytes(layer.weight):
        return "its weights are computed from others"
    names = set(layer.names)
    for operator in operators[1:]:
        tensor = model.tensors[operator.inputs[WEIGHT]]
        same = (tensor.shape, tensor.scales, operator.op) == (first.shape, first.scales, operators[0].op)
        if not same or nodes[operator.name].groups != layer.groups:
            return f"{operator.name} reads the same weights as other ones"
    end = layer.start + len(first.data)
    for index, tensor in enumerate(model.tensors):
        if not (tensor.data and tensor.start < end and layer.start < tensor.start + len(tensor.data)):
            continue
        if index in (*model.inputs, *model.outputs):
            return "its weights are an input or output of the network too"
        if other := _other_reader(model.operators, index, names):
            return f"{other} reads its weights too"
    return ""


def _other_reader(operators: Iterable[FileOperator], tensor: int, names: set[str]) -> str:
    """Return the name of an operator that reads ``tensor`` otherwise than as weights of the layers ``names``."""
    for operator in operators:
        places = [place for place, index in enumerate(operator.inputs) if index == tensor and index != OPTIONAL]
        if places and (operator.name not in names or places != [WEIGHT]):
            return operator.name
    return ""
