"""What tests of dead channels share: how channels die, and what must be the same without them."""

import sys
from pathlib import Path

import numpy as np
from equality import assert_equal
from random_networks import Builder, random_inputs

from heddle.gen import golden
from heddle.gen.design import CoreDesign, compile_network
from heddle.gen.importers import load
from heddle.gen.ir import Linear, Network
from heddle.gen.passes import PIPELINE
from heddle.gen.passes.verify import verify
from heddle.hdl.config import ArrayConfig

MODULE = sys.modules["heddle.gen.passes.remove_dead_channels"]
ARRAYS = (
    ArrayConfig(rows=9, cols=8, pixels=1, block=8, requantizers=4),
    ArrayConfig(rows=4, cols=12, pixels=3, block=4, requantizers=2),
)


def assert_same(folder: Path, b: Builder, inputs: list[int], outputs: list[int]) -> Network:
    """Assert that reference, golden model and program agree on every value that is left; return the network."""
    network = assert_equal(folder, b, inputs, outputs, count=8)
    assert_kept(folder / "net.tflite", 8)
    x = random_inputs(network, 3)
    for array in ARRAYS:
        assert_predicts(compile_network(network, array), x)
    return network


def assert_kept(path: Path, count: int) -> tuple[Network, Network]:
    """Assert that every tensor has what it had before the pass, less the channels removed; return before and after."""
    before = load(path, passes=False)
    for rewrite in PIPELINE[:-1]:
        before = rewrite(before)
    after = PIPELINE[-1](before)
    verify(after)
    x = random_inputs(before, count)
    assert not differing(before, after, x)
    assert [node.name for node in after.nodes] == [node.name for node in before.nodes]
    assert all(after.tensors[name] == before.tensors[name] for name in (*before.inputs, *before.outputs))
    assert PIPELINE[-1](after) is after
    return before, after


def differing(before: Network, after: Network, x: golden.Inputs) -> list[str]:
    """Tensors of ``after`` whose values are not those of ``before``."""
    old, new = golden.run(before, x), golden.run(after, x)
    return [
        name
        for name, tensor in after.tensors.items()
        if not np.array_equal(old[name] if tensor.kept is None else old[name][..., tensor.kept], new[name])
    ]


def assert_predicts(design: CoreDesign, x: golden.Inputs) -> None:
    want, got = golden.run(design.network, x), design.predict(x)
    outputs = got if isinstance(got, dict) else {design.network.outputs[0]: got}
    assert all(np.array_equal(outputs[name], want[name]) for name in design.network.outputs), str(design.array)


def linear(network: Network, index: int) -> Linear:
    return [node for node in network.nodes if isinstance(node, Linear)][index]


def cleared(b: Builder, y: int, *channels: int) -> int:
    """Make output channels of the layer added last constant."""
    b.last_weight()[list(channels)] = 0
    return y


def unread(b: Builder, y: int, *channels: int) -> int:
    """Make the layer added last read nothing of some of its input channels."""
    b.last_weight()[..., list(channels)] = 0
    return y
