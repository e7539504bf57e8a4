"""From the operators of a file to the nodes of a network, collecting every reason for refusal on the way."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from heddle.errors import FileFormatError, UnsupportedError
from heddle.gen.importers import edges, elementwise, layout, linear, unary, window
from heddle.gen.importers.operation import Operation, activation, constant_value
from heddle.gen.importers.shape_code import fold
from heddle.gen.importers.tflite_file import OPTIONAL, FileModel, FileOperator
from heddle.gen.ir import AveragePool, Linear, MaxPool, Network, Node

MAX_ACTIVATION_BYTES = 256 * 2**20
MAX_CONSTANT_BYTES = 256 * 2**20
MAX_WORK = 2**31
"""Multiply-accumulates, or elements looked at, of one inference: more than any network that fits a board."""

LOWERINGS: Mapping[str, Callable[[Operation], list[Node]]] = {
    "ADD": elementwise.add,
    "ARG_MAX": edges.arg_max,
    "AVERAGE_POOL_2D": window.pool_2d,
    "CONCATENATION": layout.concatenation,
    "CONV_2D": linear.conv_2d,
    "DEPTHWISE_CONV_2D": linear.depthwise_conv_2d,
    "DEQUANTIZE": edges.dequantize,
    "EXPAND_DIMS": layout.reshape,
    "FULLY_CONNECTED": linear.fully_connected,
    "MAX_POOL_2D": window.pool_2d,
    "MEAN": layout.mean,
    "PAD": layout.pad,
    "PADV2": layout.pad,
    "QUANTIZE": edges.quantize,
    "RESHAPE": layout.reshape,
    "SOFTMAX": edges.softmax,
    "SQUEEZE": layout.reshape,
    "SUB": elementwise.add,
    **unary.LOWERINGS,
}
"""What each operator of the file becomes."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One operator of the file: the nodes it became, or why it cannot be executed.

    ``folded`` where its result is known at compile time.
    """

    operator: FileOperator
    nodes: tuple[Node, ...] = ()
    problem: UnsupportedError | None = None
    folded: bool = False


@dataclass(frozen=True, kw_only=True)
class Lowered:
    """All layers of a file, and the network, where all of them can be executed."""

    layers: tuple[Layer, ...]
    problems: tuple[UnsupportedError, ...]
    network: Network | None = field(default=None)


def lower(model: FileModel, reference: Literal["tflm", "litert"]) -> Lowered:
    """Lower every operator of ``model``.

    Raises
    ------
    FileFormatError
        The graph is inconsistent: a tensor is read before it is written, written twice, or of an impossible size.
    """
    walk = _Walk(model, reference)
    layers = tuple(walk.layer(operator) for operator in model.operators)
    problems = [*walk.edge_problems(), *(layer.problem for layer in layers if layer.problem)]
    if problems:
        return Lowered(layers=layers, problems=tuple(problems))
    nodes = tuple(node for layer in layers for node in layer.nodes)
    return Lowered(layers=layers, problems=(), network=walk.network(nodes))


class _Walk:
    """The state of one pass over the operators: what is constant, and what has been written."""

    def __init__(self, model: FileModel, reference: Literal["tflm", "litert"]) -> None:
        self._model = model
        self._reference: Literal["tflm", "litert"] = reference
        if len(set(model.inputs)) < len(model.inputs) or len(set(model.outputs)) < len(model.outputs):
            raise self._error("an input or output is listed twice")
        if not model.inputs or not model.outputs:
            raise self._error("the graph has no input or no output")
        self._written: set[int] = set(model.inputs)
        self._values: dict[int, np.ndarray] = {}
        self._activation_bytes = self._constant_bytes = self._work = 0

    def _error(self, fact: str) -> FileFormatError:
        return FileFormatError(fact, where=self._model.name, remedy="convert or download the network again")

    def layer(self, operator: FileOperator) -> Layer:
        for index in operator.inputs:
            if index != OPTIONAL:
                self._read(index, operator)
        for index in operator.outputs:
            if index in self._written or self._model.tensors[index].data:
                raise self._error(
                    f"{operator.name} writes {self._model.tensors[index].name}, which has a value already"
                )
            self._written.add(index)
        try:
            known = self._fold(operator)
            if known is not None:
                self._values[operator.outputs[0]] = known
                return Layer(operator=operator, folded=True)
            return Layer(operator=operator, nodes=tuple(self._lower(operator)))
        except UnsupportedError as problem:
            return Layer(operator=operator, problem=problem)

    def _read(self, index: int, operator: FileOperator) -> None:
        tensor = self._model.tensors[index]
        if index in self._written or index in self._values:
            return
        if not tensor.data and 0 not in tensor.shape:
            raise self._error(f"{operator.name} reads {tensor.name} before anything writes it")

    def _fold(self, operator: FileOperator) -> np.ndarray | None:
        """Return the output's value where it is known at compile time; takes in the constants the operator reads."""
        for index in operator.inputs:
            if index != OPTIONAL and index not in self._written and index not in self._values:
                value = constant_value(self._model.tensors[index], operator.name)
                if value is None:
                    raise self._error(f"{operator.name} reads {self._model.tensors[index].name}, which has no value")
                self._values[index] = value
        return fold(self._model, operator, self._values)

    def _lower(self, operator: FileOperator) -> Iterable[Node]:
        if operator.op not in LOWERINGS:
            raise UnsupportedError(
                f"operator {operator.op} is not supported",
                where=operator.name,
                remedy="replace it, or add a lowering for it to gen/importers",
            )
        operation = Operation(model=self._model, operator=operator, values=self._values, reference=self._reference)
        self._constant_bytes += sum(self._values[index].nbytes for index in operator.inputs if index in self._values)
        if self._constant_bytes > MAX_CONSTANT_BYTES:
            # Operators may share a constant: a small file can ask for much.
            raise operation.refuse(
                f"the constants up to here take {self._constant_bytes} bytes",
                f"stay below {MAX_CONSTANT_BYTES}: no board holds more",
            )
        nodes = LOWERINGS[operator.op](operation)
        self._activation_bytes += math.prod(self._model.tensors[operator.outputs[0]].shape)
        if self._activation_bytes > MAX_ACTIVATION_BYTES:
            raise operation.refuse(
                f"the activations up to here take {self._activation_bytes} bytes",
                f"stay below {MAX_ACTIVATION_BYTES}: no board holds more",
            )
        self._work += sum(work(node, math.prod(self._model.tensors[operator.outputs[0]].shape)) for node in nodes)
        if self._work > MAX_WORK:
            raise operation.refuse(
                f"an inference up to here takes {self._work} operations",
                f"stay below {MAX_WORK}: use a smaller network",
            )
        return nodes

    def edge_problems(self) -> Iterable[UnsupportedError]:
        """Say what is wrong with the network's own inputs and outputs."""
        for index in self._model.outputs:
            if index not in self._written:
                raise self._error(f"nothing writes the output {self._model.tensors[index].name}")
            if index in self._model.inputs or index in self._values:
                yield UnsupportedError(
                    f"the output {self._model.tensors[index].name} does not depend on any operator",
                    where=self._model.name,
                    remedy="remove it from the outputs",
                )
        for index in self._model.inputs:
            try:
                tensor = activation(self._model, index, self._model.name)
            except UnsupportedError as problem:
                yield problem
                continue
            if tensor.dtype not in ("int8", "uint8", "float32"):
                yield UnsupportedError(
                    f"the input {tensor.name} is {tensor.dtype}",
                    where=self._model.name,
                    remedy="use int8, uint8 or float32 inputs",
                )

    def network(self, nodes: tuple[Node, ...]) -> Network:
        names = {tensor.name: index for index, tensor in enumerate(self._model.tensors)}
        used = [*self._model.inputs, *(names[node.output] for node in nodes)]
        tensors = [activation(self._model, index, self._model.name) for index in used]
        return Network(
            name=self._model.name,
            tensors={tensor.name: tensor for tensor in tensors},
            nodes=nodes,
            inputs=tuple(self._model.tensors[index].name for index in self._model.inputs),
            outputs=tuple(self._model.tensors[index].name for index in self._model.outputs),
            sha256=self._model.sha256,
            reference=self._reference,
        )


def work(node: Node, size: int) -> int:
    """Count multiply-accumulates, or elements looked at, of a node whose output has ``size`` elements."""
    match node:
        case Linear():
            return size // len(node.bias) * node.weight.size
        case AveragePool() | MaxPool():
            return size * math.prod(node.window.kernel)
    return size


def refuse(model: FileModel, problems: tuple[UnsupportedError, ...]) -> UnsupportedError:
    """Make one error of all ``problems``: the list of what the file would need."""
    if len(problems) == 1:
        return problems[0]
    rest = "; ".join(f"{problem.where}: {problem.fact}" for problem in problems)
    remedies = dict.fromkeys(problem.remedy for problem in problems)
    return UnsupportedError(
        f"{len(problems)} layers cannot be executed exactly: {rest}", where=model.name, remedy="; ".join(remedies)
    )
