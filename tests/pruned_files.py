"""Pruned network files: what is in one, and small networks to make one of."""

import tempfile
from pathlib import Path

import numpy as np
from digits import FOLDER
from random_networks import Builder

import heddle
from heddle.gen.importers.tflite_file import read
from heddle.gen.ir import Linear, Network
from heddle.hdl.config import ArrayConfig

DIGITS = FOLDER / "digits.tflite"
SAMPLES = FOLDER / "samples.npz"
ARRAY = ArrayConfig(rows=9, cols=16, pixels=1, block=8, requantizers=8)


def write(tmp_path: Path, data: bytes) -> Path:
    """Write a network file."""
    path = tmp_path / "net.tflite"
    path.write_bytes(data)
    return path


def by_magnitude(path: Path, sparsity: float) -> Network:
    """Return the network in ``path`` with that fraction of each layer's weights zero, those nearest to it."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "pruned.tflite"
        return heddle.prune(path, output, "unstructured", sparsity, scope="uniform", criterion="magnitude").after


def fullest_blocks(network: Network, block: int) -> dict[str, int]:
    """Return the most non-zeros that an output channel has in a block of one tap, as the array would count them."""
    result = {}
    for node in network.nodes:
        if isinstance(node, Linear):
            cout, kh, kw, depth = node.weight.shape
            most = 0
            for o in range(cout):
                base = o // (cout // node.groups) * depth
                for y, x in np.ndindex(kh, kw):
                    taken = (base + np.flatnonzero(node.weight[o, y, x])) // block
                    most = max(most, int(np.bincount(taken).max(initial=0)))
            result[node.name] = most
    return result


def assert_only_zeros_are_new(before: Path, after: Path) -> None:
    """Assert that the files differ in weights that became 0, and in nothing else."""
    old, new = (np.frombuffer(path.read_bytes(), np.uint8) for path in (before, after))
    assert len(old) == len(new)
    changed = np.flatnonzero(old != new)
    assert not new[changed].any()
    inside = np.zeros(len(old), bool)
    model = read(before)
    for operator in model.operators:
        if operator.op in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"):
            tensor = model.tensors[operator.inputs[1]]
            inside[tensor.start : tensor.start + len(tensor.data)] = True
    assert inside[changed].all()


def channels_network(tmp_path: Path, *, cin: int = 16, cout: int = 32, kernel: int = 3) -> Path:
    """Write two convolutions behind an input: whole blocks in, and enough pixels that the reduction decides."""
    b = Builder(3)
    x = b.activation((1, 8, 8, cin))
    y = b.conv_2d(x, cout=cout, kernel=(kernel, kernel))
    return write(tmp_path, b.finish([x], [b.conv_2d(y, cout=8, kernel=(kernel, kernel))]))
