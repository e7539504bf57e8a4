"""Random small networks for property tests: what an importer might meet, in any order and shape."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
from tflite_builder import TFLiteBuilder

from heddle.gen.importers import load
from heddle.gen.ir import Network
from heddle.hdl.config import ArrayConfig

ACTIVATIONS = ("NONE", "NONE", "RELU", "RELU6", "RELU_N1_TO_1")
MAX_ELEMENTS = 6000
"""A map this large takes no more operators: the tests are many, and each must stay short."""


@dataclass(frozen=True, kw_only=True)
class RandomFile:
    """A network file, and what the reference runtime needs to run it: samples for each of its inputs."""

    data: bytes
    inputs: tuple[tuple[tuple[int, ...], str], ...]

    def samples(self, count: int, seed: int = 0) -> list[np.ndarray]:
        """Draw ``count`` samples of each input over the whole range of its type, in the file's order."""
        rng = np.random.default_rng(seed)
        return [_draw(rng, (count, *shape[1:]), dtype) for shape, dtype in self.inputs]

    def load(self, folder: Path, name: str = "random") -> Network:
        """Import the file by way of ``folder``."""
        path = folder / f"{name}.tflite"
        path.write_bytes(self.data)
        return load(path)


def random_file(seed: int, *, layers: int = 4, host: bool = True, dead: bool = False) -> RandomFile:
    """Draw a network of some ``layers`` operators, branches and all.

    Parameters
    ----------
    host
        Float, uint8, softmax and argmax may appear at the edges; otherwise every input and output is int8.
    dead
        Weights of whole channels, read and written, are zero here and there.
    """
    grower = _Grower(seed)
    x = grower.start(host=host)
    for _ in range(grower.between(1, layers)):
        x = grower.grow(x)
        if prod(grower.b.shape(x)) > MAX_ELEMENTS:
            break
    outputs = grower.finish(x, host=host)
    if dead:
        grower.b.clear_channels(np.random.default_rng([seed, 3]))
    shapes = tuple((grower.b.shape(index), grower.b.dtype(index)) for index in grower.inputs)
    return RandomFile(data=grower.b.finish(grower.inputs, outputs), inputs=shapes)


def random_network(seed: int, folder: Path, *, layers: int = 4) -> Network:
    """Draw a network with int8 inputs and outputs, as imported."""
    return random_file(seed, layers=layers, host=False).load(folder, f"random_{seed}")


def random_inputs(network: Network, samples: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Draw samples of each of the network's inputs over the whole range of its type."""
    rng = np.random.default_rng(seed)
    tensors = [network.tensors[name] for name in network.inputs]
    return {tensor.name: _draw(rng, (samples, *tensor.sample_shape), tensor.dtype) for tensor in tensors}


def random_array(seed: int) -> ArrayConfig:
    """Draw an array of 1 to 9 lanes, 1 to 3 blocks of columns and 1 to 4 pixels."""
    rng = np.random.default_rng([seed, 7])
    block = int(rng.choice([4, 8, 16]))
    return ArrayConfig(
        rows=int(rng.integers(1, 10)),
        cols=block * int(rng.integers(1, 4)),
        pixels=int(rng.integers(1, 5)),
        block=block,
        requantizers=int(rng.choice([q for q in (1, 2, 4, 8, 16) if block % q == 0])),
        stream_bytes=int(rng.integers(1, 17)),
    )


def _draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    if dtype == "float32":
        return rng.normal(0, 10, shape).astype(np.float32)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


class Builder(TFLiteBuilder):
    """A :class:`TFLiteBuilder` whose weights can be changed after they are drawn."""

    def last_weight(self) -> np.ndarray:
        """Return the int8 weights of the convolution or fully-connected layer added last, to be changed in place."""
        weight = self._tensors[self._operators[-1].inputs[1]].data
        assert weight is not None
        return weight

    def last_bias(self) -> np.ndarray:
        """Return the int32 bias of the convolution or fully-connected layer added last, to be changed in place."""
        bias = self._tensors[self._operators[-1].inputs[2]].data
        assert bias is not None
        return bias

    def clear_channels(self, rng: np.random.Generator) -> None:
        """Make the weights of some input and output channels of every layer zero."""
        for operator in self._operators:
            axes = {"CONV_2D": (0, 3), "FULLY_CONNECTED": (0, 1), "DEPTHWISE_CONV_2D": (3,)}.get(operator.op, ())
            for axis in axes:
                weight = self._tensors[operator.inputs[1]].data
                assert weight is not None
                np.moveaxis(weight, axis, 0)[rng.random(weight.shape[axis]) < rng.choice([0, 0.3, 0.7])] = 0


class _Grower:
    """Adds random operators to a network while it stays small."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.b = Builder(seed, per_channel=bool(self.rng.integers(2)))
        self.inputs: list[int] = []
        self.maps: list[int] = []
        self.read: set[int] = set()
        kinds = [self.conv] * 3 + [self.depthwise] * 2 + [self.residual] * 2 + [self.pool] * 2 + [self.concat] * 2
        self.kinds = [*kinds, self.grouped, self.wide, self.total, self.table, self.pad, self.reshape, self.mean]

    def pick(self, *values):
        return values[int(self.rng.integers(len(values)))]

    def between(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    # The whole

    def start(self, *, host: bool) -> int:
        shape = (1, self.between(1, 9), self.between(1, 9), self.between(1, 18))
        kind = self.pick("int8", "int8", "int8", "uint8", "float32") if host else "int8"
        x = self.entry(shape, kind)
        if self.between(0, 4) == 0:
            x = self.b.add(x, self.entry(shape, kind), op=self.pick("ADD", "SUB"))
        if kind != "int8":
            # Without it there might be nothing but reshapes, which the host does.
            x = self.conv(x)
        self.maps.append(x)
        return x

    def entry(self, shape: tuple[int, ...], kind: str) -> int:
        x = self.b.tensor(shape, "float32") if kind == "float32" else self.b.activation(shape, dtype=kind)
        self.inputs.append(x)
        return x if kind == "int8" else self.b.unary("QUANTIZE", x)

    def grow(self, x: int) -> int:
        # Sometimes from an earlier map, so that there are branches.
        x = self.pick(x, x, x, self.pick(*self.maps))
        self.read.add(x)
        kind: Callable[[int], int] = self.pick(*self.kinds)
        y = kind(x)
        self.maps.append(y)
        return y

    def finish(self, x: int, *, host: bool) -> list[int]:
        """Outputs: the end of each branch."""
        ends = [each for each in self.maps if each not in self.read and each != x]
        if self.between(0, 2) == 0:
            x = self.b.fully_connected(self.b.reshape(x, (1, prod(self.b.shape(x)))), cout=self.between(1, 20))
        if len(self.maps) > 1 and self.between(0, 4) == 0:
            # An output that is also read inside.
            ends.append(self.pick(*self.maps[1:]))
        edge = self.pick("int8", "int8", "softmax", "argmax", "float32") if host else "int8"
        return [self.exit(x, edge), *(each for each in dict.fromkeys(ends) if each != x)]

    def exit(self, x: int, kind: str) -> int:
        shape = self.b.shape(x)
        match kind:
            case "softmax":
                return self.b.softmax(x)
            case "argmax":
                index = self.b.tensor(shape[:-1], "int32")
                return self.b.op("ARG_MAX", [x, self.b.integers([-1])], [index], "ArgMaxOptions", OutputType=2)
            case "float32":
                return self.b.unary("DEQUANTIZE", x, self.b.tensor(shape, "float32"))
        return x

    # Operators

    def window(self, x: int, largest: int = 4) -> dict:
        _, height, width, _ = self.b.shape(x)
        return {
            "kernel": (self.between(1, min(largest, height)), self.between(1, min(largest, width))),
            "stride": (self.between(1, 3), self.between(1, 2)),
            "padding": self.pick("SAME", "SAME", "VALID"),
        }

    def conv(self, x: int) -> int:
        window = self.window(x)
        if self.between(0, 3) == 0:
            reach = [
                (size - 1) // max(1, k - 1) for size, k in zip(self.b.shape(x)[1:3], window["kernel"], strict=True)
            ]
            dilation = tuple(self.between(1, max(1, min(3, limit))) for limit in reach)
            window |= {"stride": (1, 1), "dilation": dilation}
        y = self.b.conv_2d(x, cout=self.between(1, 20), activation=self.pick(*ACTIVATIONS), **window)
        if self.between(0, 3) == 0:
            self.prune()
        return y

    def wide(self, x: int) -> int:
        """Add a convolution whose kernel is the whole map."""
        _, height, width, _ = self.b.shape(x)
        return self.b.conv_2d(x, cout=self.between(1, 20), kernel=(height, width), padding=self.pick("SAME", "VALID"))

    def grouped(self, x: int) -> int:
        groups = self.pick(*(g for g in range(1, 7) if self.b.shape(x)[3] % g == 0))
        return self.b.conv_2d(x, cout=groups * self.between(1, 6), groups=groups, **self.window(x))

    def depthwise(self, x: int) -> int:
        multiplier = self.pick(1, 1, 2, 3) if self.b.shape(x)[3] < 12 else 1
        return self.b.depthwise_conv_2d(x, multiplier=multiplier, activation=self.pick(*ACTIVATIONS), **self.window(x))

    def pool(self, x: int) -> int:
        op = self.pick("AVERAGE_POOL_2D", "MAX_POOL_2D")
        return self.b.pool_2d(op, x, activation=self.pick(*ACTIVATIONS), **self.window(x))

    def residual(self, x: int) -> int:
        """Add a sum of two ways from ``x``, often at a stride."""
        stride, channels = self.pick((1, 1), (2, 2), (2, 1)), self.between(1, 20)
        main = self.b.conv_2d(x, cout=channels, kernel=(3, 3), stride=stride, activation="RELU")
        if self.between(0, 1):
            main = self.b.conv_2d(main, cout=channels, kernel=(1, 3))
        short = x
        if stride != (1, 1) or channels != self.b.shape(x)[3] or self.between(0, 1):
            short = self.b.conv_2d(x, cout=channels, kernel=(1, 1), stride=stride)
        pair = (main, short) if self.between(0, 1) else (short, main)
        return self.b.add(*pair, op=self.pick("ADD", "ADD", "SUB"), activation=self.pick(*ACTIVATIONS))

    def total(self, x: int) -> int:
        """Add a sum of ``x`` and itself, or of ``x`` and an earlier map of its shape."""
        others = [each for each in self.maps if self.b.shape(each) == self.b.shape(x)]
        other = self.pick(*others)
        self.read.add(other)
        return self.b.add(x, other, op=self.pick("ADD", "SUB"))

    def table(self, x: int) -> int:
        shape = self.b.shape(x)
        match self.pick("LOGISTIC", "TANH", "LEAKY_RELU", "HARD_SWISH"):
            case "LOGISTIC":
                return self.b.unary("LOGISTIC", x, self.b.activation(shape, scale=1 / 256, zero_point=-128))
            case "TANH":
                return self.b.unary("TANH", x, self.b.activation(shape, scale=1 / 128, zero_point=0))
            case "LEAKY_RELU":
                y = self.b.activation(shape, scale=self.b.scale(x))
                return self.b.unary("LEAKY_RELU", x, y, "LeakyReluOptions", Alpha=float(self.rng.uniform(0, 1)))
        return self.b.unary("HARD_SWISH", x, self.b.like(x, shape))

    def pad(self, x: int) -> int:
        amounts = [(0, 0), *((self.between(0, 2), self.between(0, 2)) for _ in range(2))]
        value = self.pick(None, self.between(-128, 127))
        return self.b.pad(x, [*amounts, self.pick((0, 0), (0, 3), (self.between(0, 9), 1))], value=value)

    def concat(self, x: int) -> int:
        same = [x, x]
        for _ in range(self.between(0, 2)):
            # CONCATENATION wants one quantization.
            other = self.b.conv_2d(x, cout=self.b.shape(x)[3], kernel=(1, 1))
            same.append(self.b.unary("QUANTIZE", other, self.b.like(x, self.b.shape(other))))
        joined = [same[i] for i in self.rng.permutation(len(same))[: self.between(2, len(same))]]
        return self.b.concatenation(joined, axis=self.pick(1, 2, 3, 3))

    def reshape(self, x: int) -> int:
        _, height, width, channels = self.b.shape(x)
        shape = self.pick((width, height, channels), (1, height * width, channels), (height, channels, width))
        return self.b.reshape(x, (1, *shape))

    def mean(self, x: int) -> int:
        return self.b.mean(x, keep_dims=True)

    def prune(self) -> None:
        """Make most weights of the convolution added last zero, so that selection by index pays."""
        weight = self.b.last_weight()
        kept = self.rng.random(weight.shape) < self.pick(0.05, 0.2, 0.4)
        weight[...] = np.where(kept, weight, 0)
