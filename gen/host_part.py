"""The host's part of a network: what runs before and after the accelerator, and the packets between them.

It is all that a driver needs of a network, so the manifest carries it and a driver needs no network file.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any, Self

import numpy as np

from heddle.errors import FileFormatError
from heddle.gen import host
from heddle.gen.inputs import Inputs, check_inputs
from heddle.gen.ir import ArgMax, Dequantize, HostNode, Network, Quantize, Softmax, Tensor

Accelerate = Callable[[list[np.ndarray]], Sequence[np.ndarray]]
"""From uint8 packets ``(samples, bytes)``, one array for each input, to those of the outputs."""

DTYPES = ("int8", "uint8", "float32", "int32", "int64")
"""Of tensors at the edges."""
MAX_ELEMENTS = 2**31
"""Of a tensor: a packet's bytes are a number of four bytes."""
_KINDS: Mapping[str, type[HostNode]] = {kind.__name__: kind for kind in (Quantize, Dequantize, Softmax, ArgMax)}


@dataclass(frozen=True, kw_only=True, eq=False)
class HostPart:
    """A network as the host sees it.

    Parameters
    ----------
    network
        The network, of whose nodes only those of the host count.
    inputs, outputs
        Names of the tensors that go to the accelerator and come from it, in the order of their packets.
    """

    network: Network
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def run(self, x: Inputs, accelerator: Accelerate) -> np.ndarray | dict[str, np.ndarray]:
        """Return the network's outputs, an array or arrays by name, with ``accelerator`` doing its part.

        Raises
        ------
        InputError
            Samples that do not match the network's inputs.
        """
        values = check_inputs(self.network, x)
        self._compute(values)
        tensors = self.network.tensors
        packets = [values[name].reshape(-1, tensors[name].size).view(np.uint8) for name in self.inputs]
        for name, packet in zip(self.outputs, accelerator(packets), strict=True):
            values[name] = np.ascontiguousarray(packet).view(np.int8).reshape(len(packet), *tensors[name].hwc)
        self._compute(values)
        outputs = {name: values[name].reshape(-1, *tensors[name].sample_shape) for name in self.network.outputs}
        return outputs if len(outputs) > 1 else outputs[self.network.outputs[0]]

    def _compute(self, values: dict[str, np.ndarray]) -> None:
        """Run the host's nodes whose inputs are there and whose outputs are not."""
        tensors = self.network.tensors
        for node in self.network.nodes:
            if isinstance(node, HostNode) and node.inputs[0] in values and node.output not in values:
                source, target = tensors[node.inputs[0]], tensors[node.output]
                result = host.execute(node, values[source.name], source, target)
                values[target.name] = result.reshape(len(result), *target.hwc)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        nodes = [node for node in self.network.nodes if isinstance(node, HostNode)]
        edges = (*self.network.inputs, *self.network.outputs, *self.inputs, *self.outputs)
        names = dict.fromkeys((*edges, *(name for node in nodes for name in (*node.inputs, node.output))))
        return {
            "tensors": [asdict(replace(self.network.tensors[name], kept=None)) for name in names],
            "nodes": [{"kind": type(node).__name__, **asdict(node)} for node in nodes],
            "inputs": list(self.network.inputs),
            "outputs": list(self.network.outputs),
            "packets_in": list(self.inputs),
            "packets_out": list(self.outputs),
        }

    @classmethod
    def from_json(cls, data: Any, *, name: str, sha256: str, where: str) -> Self:
        """Read what :meth:`to_json` gave, for the network called ``name`` whose file has the hash ``sha256``.

        Raises
        ------
        FileFormatError
            ``data`` is something else; ``where`` says whose fault that is.
        """
        try:
            tensors = {entry["name"]: _tensor(entry) for entry in data["tensors"]}
            nodes = [
                _KINDS[entry["kind"]](**_tuples({key: value for key, value in entry.items() if key != "kind"}))
                for entry in data["nodes"]
            ]
            inputs, outputs, packets_in, packets_out = (
                tuple(data[key]) for key in ("inputs", "outputs", "packets_in", "packets_out")
            )
            # Every name must be known, now and not in the middle of an inference.
            read = [each for node in nodes for each in (*node.inputs, node.output)]
            if unknown := {*inputs, *outputs, *packets_in, *packets_out, *read} - set(tensors):
                raise KeyError(min(unknown))
            if not (inputs and outputs and packets_in and packets_out):
                raise ValueError("no inputs or no outputs")
        except (KeyError, TypeError, ValueError) as error:
            raise FileFormatError(
                f"does not describe the host's part of a network ({error})", where=where, remedy="generate it anew"
            ) from error
        network = Network(
            name=name, tensors=tensors, nodes=tuple(nodes), inputs=inputs, outputs=outputs, sha256=sha256
        )  # fmt: skip
        return cls(network=network, inputs=packets_in, outputs=packets_out)


def _tensor(entry: Mapping[str, Any]) -> Tensor:
    """Return the tensor, of whose name, type and sizes the driver relies on more than that they are there."""
    tensor = Tensor(**_tuples(entry))
    if not isinstance(tensor.name, str) or tensor.dtype not in DTYPES:
        raise ValueError(f"{tensor.name!r} is a tensor of {tensor.dtype!r}")
    for sizes in (tensor.shape, *(() if tensor.layout is None else (tensor.layout,))):
        if not (isinstance(sizes, tuple) and sizes) or any(type(size) is not int or size < 1 for size in sizes):
            raise ValueError(f"tensor {tensor.name!r} has the sizes {sizes!r}")
    if tensor.size > MAX_ELEMENTS or prod(tensor.hwc) != tensor.size:
        raise ValueError(f"tensor {tensor.name!r} has {tensor.size:,} elements")
    return tensor


def _tuples(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``entry`` with tuples for JSON's lists."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
