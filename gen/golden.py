"""The golden model: a :class:`Network` executed in integers, on many samples at once.

Everything downstream is compared with it, and it with TensorFlow Lite Micro. The sums of products run as float64
matrix products, which are exact: no partial sum of int8 products reaches 2**53. Scaling is
:mod:`heddle.gen.arithmetic`.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import replace
from functools import reduce
from itertools import product

import numpy as np

from heddle.gen import arithmetic, host
from heddle.gen.inputs import Inputs, check_inputs
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
    Reshape,
    Table,
    Tensor,
    Window,
)

_BLOCK = 2**21
"""Elements of a temporary array: what one step of the model works on at once."""


def run(network: Network, inputs: Inputs) -> dict[str, np.ndarray]:
    """Compute every tensor of ``network`` for each sample.

    Parameters
    ----------
    inputs
        One array, or one for each input by name: ``(samples, *shape[1:])`` of the input's type.

    Returns
    -------
    dict
        Tensor name to array ``(samples, *shape[1:])`` of the tensor's type.

    Raises
    ------
    InputError
        Samples of another shape, type or range than the network's inputs.
    """
    values = check_inputs(network, inputs)
    _execute(network, values)
    return {name: _in_file_shape(network.tensors[name], value) for name, value in values.items()}


def run_again(network: Network, values: Mapping[str, np.ndarray], changed: Set[str]) -> dict[str, np.ndarray]:
    """Compute what other weights in the nodes ``changed`` make of ``values``, which :func:`run` gave before.

    Only these nodes run, and those behind them.

    Returns
    -------
    dict
        As :func:`run`.
    """
    result = {name: value.reshape(len(value), *network.tensors[name].hwc) for name, value in values.items()}
    stale: set[str] = set()
    for node in network.nodes:
        if node.name in changed or not stale.isdisjoint(node.inputs):
            stale.add(node.output)
            _execute(replace(network, nodes=(node,)), result)
    return {name: _in_file_shape(network.tensors[name], value) for name, value in result.items()}


def predict(network: Network, inputs: Inputs) -> np.ndarray | dict[str, np.ndarray]:
    """Compute the outputs of ``network`` for each sample: an array, or arrays by name where there are several outputs.

    Takes what :func:`run` takes, raises what it raises, and keeps only a part of the samples in memory at a time.
    """
    samples = check_inputs(network, inputs)
    count = len(next(iter(samples.values())))
    step = max(1, 16 * _BLOCK // max(1, sum(tensor.size for tensor in network.tensors.values())))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in network.outputs}
    for start in range(0, max(count, 1), step):
        values = {name: value[start : start + step] for name, value in samples.items()}
        _execute(network, values)
        for name, part in parts.items():
            part.append(_in_file_shape(network.tensors[name], values[name]))
    outputs = {name: np.concatenate(part) for name, part in parts.items()}
    return outputs if len(outputs) > 1 else outputs[network.outputs[0]]


def _in_file_shape(tensor: Tensor, value: np.ndarray) -> np.ndarray:
    return value.reshape(len(value), *tensor.sample_shape)


def _execute(network: Network, values: dict[str, np.ndarray]) -> None:
    """Add to ``values`` what each node gives, ``(samples, height, width, channels)``."""
    for node in network.nodes:
        x = [values[name] for name in node.inputs]
        result = _execute_node(node, x, network.tensors)
        values[node.output] = result.reshape(len(x[0]), *network.tensors[node.output].hwc)


def _execute_node(node: Node, x: list[np.ndarray], tensors: Mapping[str, Tensor]) -> np.ndarray:
    match node:
        case Linear():
            return _linear(node, x[0], tensors)
        case AveragePool():
            return _average_pool(node, x[0])
        case MaxPool():
            # The least value as padding never wins against an element inside.
            largest = _reduced(_padded(x[0], node.window, arithmetic.INT8_MIN), node.window, np.maximum)
            return np.clip(largest, node.act_min, node.act_max).astype(np.int8)
        case Mean():
            zero_point = tensors[node.inputs[0]].zero_point
            total = x[0].sum(axis=(1, 2), dtype=np.int64) - zero_point * x[0].shape[1] * x[0].shape[2]
            return arithmetic.mean_output(node, tensors, total)
        case Add():
            first, second = arithmetic.add_terms(node, tensors)
            sums = arithmetic.add_output(node, tensors, first[:, None] + second)
            return sums[x[0].astype(np.int16) + 128, x[1].astype(np.int16) + 128]
        case Table():
            return node.table[x[0].astype(np.int16) + 128]
        case Concat():
            return np.concatenate(x, axis=node.axis + 1)
        case Pad():
            around = [(0, 0), *zip(node.before, node.after, strict=True)]
            return np.pad(x[0], around, constant_values=node.value)
        case Reshape():
            return x[0]
        case HostNode():
            return host.execute(node, x[0], tensors[node.inputs[0]], tensors[node.output])
    raise TypeError(f"node must be of a kind the golden model knows, not {type(node).__name__}")


def _padded(x: np.ndarray, window: Window, value: int) -> np.ndarray:
    p = window.padding
    around = [(0, 0), (p.top, p.bottom), (p.left, p.right), (0, 0)]
    return np.pad(x, around, constant_values=value)


def _taps(padded: np.ndarray, window: Window) -> Iterator[np.ndarray]:
    """For each tap of the kernel, row by row, the element it meets at each position of the window: views."""
    reach = [(k - 1) * d for k, d in zip(window.kernel, window.dilation, strict=True)]
    rows, cols = padded.shape[1] - reach[0], padded.shape[2] - reach[1]
    for i in range(window.kernel[0]):
        for j in range(window.kernel[1]):
            y, x = i * window.dilation[0], j * window.dilation[1]
            yield padded[:, y : y + rows : window.stride[0], x : x + cols : window.stride[1]]


def _reduced(padded: np.ndarray, window: Window, combine: np.ufunc) -> np.ndarray:
    """Combine the elements of each window, along the columns and then along the rows."""
    for rows in (False, True):
        part = Window(
            kernel=(window.kernel[0], 1) if rows else (1, window.kernel[1]),
            stride=(window.stride[0], 1) if rows else (1, window.stride[1]),
        )
        padded = reduce(combine, _taps(padded, part))
    return padded


def _average_pool(node: AveragePool, x: np.ndarray) -> np.ndarray:
    inside = np.ones((1, *x.shape[1:3], 1), np.int32)
    total, count = (
        _reduced(_padded(each, node.window, 0), node.window, np.add) for each in (x.astype(np.int32), inside)
    )
    return arithmetic.average_output(node, total, count)


def _linear(node: Linear, x: np.ndarray, tensors: Mapping[str, Tensor]) -> np.ndarray:
    """Blocks of samples, rows and columns at a time, so that the patches of a large map do not fill the memory."""
    window = node.window
    height, width = window.output_size(*x.shape[1:3])
    zero_point = tensors[node.inputs[0]].zero_point
    padded = _padded(x, window, zero_point)
    result = np.empty((len(x), height, width, len(node.bias)), np.int8)
    largest = _BLOCK // max(node.weight[0].size * node.groups, len(node.bias))
    for block in _blocks((len(x), height, width), largest):
        samples, *pixels = block
        under = [
            slice(each.start * stride, (each.stop - 1) * stride + (kernel - 1) * dilation + 1)
            for each, stride, kernel, dilation in zip(
                pixels, window.stride, window.kernel, window.dilation, strict=True
            )
        ]
        acc = _products(node, padded[samples, *under].astype(np.float64) - zero_point) + node.bias
        if node.local_bias is not None:
            acc += node.local_bias[*block[1:]]
        result[block] = arithmetic.linear_output(node, tensors, acc.astype(np.int64))
    return result


def _blocks(shape: tuple[int, int, int], largest: int) -> Iterator[tuple[slice, ...]]:
    """Divide ``shape`` into blocks of some ``largest`` elements: whole rows, and whole samples, where they fit."""
    steps = [1, 1, 1]
    for axis in (2, 1, 0):
        steps[axis] = max(1, min(shape[axis], largest))
        largest //= steps[axis]
    ranges = [
        [slice(start, min(start + step, size)) for start in range(0, size, step)]
        for size, step in zip(shape, steps, strict=True)
    ]
    yield from product(*ranges)


def _products(node: Linear, padded: np.ndarray) -> np.ndarray:
    """Sum the products, without bias: float64 ``(samples, rows, columns, cout)``, exact."""
    weight = node.weight.astype(np.float64)
    cout, _, _, depth = weight.shape
    taps = list(_taps(padded, node.window))
    if depth == 1 and node.groups > 1:
        # Depthwise: no channels to sum over, so a matrix product would be mostly zeros.
        by_tap = weight.reshape(node.groups, cout // node.groups, len(taps))
        total = sum(tap[..., None] * by_tap[..., index] for index, tap in enumerate(taps))
        return np.asarray(total).reshape(*taps[0].shape[:3], cout)
    matrices = weight.reshape(node.groups, cout // node.groups, -1)
    parts = []
    for group, matrix in enumerate(matrices):
        channels = slice(group * depth, (group + 1) * depth)
        parts.append(np.concatenate([tap[..., channels] for tap in taps], axis=-1) @ matrix.T)
    return np.concatenate(parts, axis=-1)
