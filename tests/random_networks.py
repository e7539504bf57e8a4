"""Random small networks for property tests: what an importer might meet, in any order and shape."""

import numpy as np

from heddle.gen.importers import load
from heddle.gen.ir import Network
from tflite_builder import TFLiteBuilder

ACTIVATIONS = ("NONE", "RELU", "RELU6")


class _Grower:
    """Adds random operators to a network while it stays small."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.b = TFLiteBuilder(seed, per_channel=bool(self.rng.integers(2)))

    def pick(self, *values):
        return values[int(self.rng.integers(len(values)))]

    def between(self, low: int, high: int) -> int:
        return int(self.rng.integers(low, high + 1))

    def grow(self, x: int) -> int:
        _, height, width, channels = self.b.shape(x)
        kernel = (self.between(1, min(4, height)), self.between(1, min(4, width)))
        stride = (self.between(1, 2), self.between(1, 2))
        padding, activation = self.pick("SAME", "VALID"), self.pick(*ACTIVATIONS)
        match self.pick("conv", "conv", "grouped", "depthwise", "average", "maximum", "add", "table", "pad", "concat", "reshape"):
            case "conv":
                dilation = (1, 1) if stride != (1, 1) or min(height, width) < 6 else self.pick((1, 1), (2, 1), (2, 2))
                if dilation != (1, 1):
                    kernel = (min(kernel[0], 2), min(kernel[1], 2))
                return self.b.conv_2d(x, cout=self.between(1, 20), kernel=kernel, stride=stride, dilation=dilation,
                                      padding=padding, activation=activation)  # fmt: skip
            case "grouped":
                groups = self.pick(*(g for g in (1, 2, 3, 4) if channels % g == 0))
                return self.b.conv_2d(x, cout=groups * self.between(1, 6), kernel=kernel, stride=stride, padding=padding,
                                      groups=groups, activation=activation)  # fmt: skip
            case "depthwise":
                multiplier = self.pick(1, 1, 2, 3) if channels < 12 else 1
                return self.b.depthwise_conv_2d(x, multiplier=multiplier, kernel=kernel, stride=stride, padding=padding)
            case "average" | "maximum" as kind:
                op = "AVERAGE_POOL_2D" if kind == "average" else "MAX_POOL_2D"
                return self.b.pool_2d(op, x, kernel=kernel, stride=stride, padding=padding, activation=activation)
            case "add":
                return self.b.add(x, self.b.conv_2d(x, cout=channels, kernel=(1, 1)), activation=activation)
            case "table":
                return self.b.unary("HARD_SWISH", x, self.b.like(x, self.b.shape(x)))
            case "pad":
                amounts = [(0, 0), *((self.between(0, 2), self.between(0, 2)) for _ in range(2)), (0, self.pick(0, 0, 3))]
                return self.b.pad(x, amounts)
            case "concat":
                other = self.b.conv_2d(x, cout=channels, kernel=(1, 1))
                same = self.b.unary("QUANTIZE", other, self.b.like(x, self.b.shape(other)))
                return self.b.concatenation([x, same, x][: self.between(2, 3)], axis=self.pick(1, 2, 3))
            case _:
                return self.b.reshape(x, (1, width, height, channels))


def random_network(seed: int, folder, *, layers: int = 4) -> Network:
    """A network of some ``layers`` operators and an optional classifier, made from ``seed``."""
    g = _Grower(seed)
    x = first = g.b.activation((1, g.between(1, 9), g.between(1, 9), g.between(1, 18)))
    for _ in range(g.between(1, layers)):
        x = g.grow(x)
        if np.prod(g.b.shape(x)) > 6000:
            break
    if g.between(0, 2) == 0:
        shape = g.b.shape(x)
        x = g.b.fully_connected(g.b.reshape(x, (1, int(np.prod(shape)))), cout=g.between(1, 20))
    elif g.between(0, 3) == 0:
        x = g.b.mean(x)
    path = folder / f"random_{seed}.tflite"
    path.write_bytes(g.b.finish([first], [x]))
    return load(path)


def random_inputs(network: Network, samples: int, seed: int = 0) -> np.ndarray:
    """Uniform int8 samples of the network's input."""
    shape = network.tensors[network.inputs[0]].shape[1:]
    return np.random.default_rng(seed).integers(-128, 128, (samples, *shape)).astype(np.int8)
