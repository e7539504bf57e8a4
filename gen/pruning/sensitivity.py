"""How much pruning one layer alone disturbs the outputs, and the sparsities of least disturbance under one target.

A layer's sensitivity is measured on samples by the golden model: the squared difference of the network's outputs before
softmax, relative to their variance, at a few sparsities. Disturbances of several layers are taken to add up. Then the
best division of a target is that of the steepest descent along the lower convex hull of each layer's curve.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from heddle.gen import golden
from heddle.gen.ir import HostNode, Network
from heddle.gen.pruning.layers import PrunableFile, Weights

LEVELS = (0.25, 0.5, 0.75, 0.9, 0.97)
"""Sparsities at which layers are measured."""
SAMPLES = 32
"""How many calibration samples are used where nothing says otherwise."""


class Disturbance:
    """Measures what other weights do to the outputs of a network, on the same samples each time.

    Only what lies behind the changed layers is computed again.
    """

    def __init__(self, file: PrunableFile, samples: Mapping[str, np.ndarray]) -> None:
        self._file = file
        self._values = golden.run(file.network, samples)
        self._outputs = logits(file.network)
        outputs = [self._values[name].astype(np.float64) for name in self._outputs]
        self._variance = sum(float(values.var(axis=0).sum()) for values in outputs)

    def of(self, weights: Weights) -> float:
        """Return the mean square of what ``weights`` change in the outputs, relative to the outputs' variance."""
        network = self._file.network_with(weights)
        changed = {name for layer in self._file.layers if layer.name in weights for name in layer.names}
        values = golden.run_again(network, self._values, changed)
        error = 0.0
        for name in self._outputs:
            difference = values[name].astype(np.float64) - self._values[name]
            error += float((difference**2).mean(axis=0).sum())
        return error / (self._variance or 1.0)


def logits(network: Network) -> tuple[str, ...]:
    """Return the tensors that the network's outputs are made of by the host: before softmax, before dequantization."""
    made = {node.output: node for node in network.nodes if isinstance(node, HostNode)}
    names = []
    for name in network.outputs:
        while name in made and name not in network.inputs:
            name = made[name].inputs[0]
        names.append(name)
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True, kw_only=True)
class Curve:
    """What a part of a network costs and disturbs at some levels, from the densest to the sparsest.

    Parameters
    ----------
    name
        Of the part.
    levels
        Sparsities, or negated numbers of weights that stay in each block.
    costs
        Weights that stay, or multiplications.
    disturbances
        Of the outputs, by this part alone.
    """

    name: str
    levels: tuple[float, ...]
    costs: tuple[float, ...]
    disturbances: tuple[float, ...]

    def hull(self) -> list[int]:
        """Return the levels on the lower convex hull, made monotone: indices, from the first."""
        height = np.maximum.accumulate(self.disturbances)
        hull: list[int] = []
        for index in range(len(self.levels)):
            if hull and self.costs[index] >= self.costs[hull[-1]]:
                continue
            while len(hull) > 1 and self._slope(height, hull[-2], hull[-1]) >= self._slope(height, hull[-1], index):
                hull.pop()
            hull.append(index)
        return hull

    def _slope(self, height: np.ndarray, start: int, end: int) -> float:
        return float(height[end] - height[start]) / (self.costs[start] - self.costs[end])


def measure(
    name: str,
    levels: Sequence[float],
    apply: Callable[[float], Weights],
    cost: Callable[[float, Weights], float],
    disturbance: Disturbance,
) -> Curve:
    """Measure one part at ``levels``, the first of which is as it is."""
    changed = [apply(level) for level in levels]
    return Curve(
        name=name,
        levels=tuple(levels),
        costs=tuple(cost(level, weights) for level, weights in zip(levels, changed, strict=True)),
        disturbances=(0.0, *(disturbance.of(weights) for weights in changed[1:])),
    )


def divide(curves: Sequence[Curve], budget: float, *, whole: bool) -> dict[str, float]:
    """Return the level of each part at which all together cost ``budget`` and disturb least.

    Parameters
    ----------
    whole
        There is nothing between levels: the last step ends at the first that is enough, so the cost may be less.
    """
    chosen = {curve.name: curve.levels[0] for curve in curves}
    cost = sum(curve.costs[0] for curve in curves)
    steps = []
    for curve in curves:
        hull = curve.hull()
        height = np.maximum.accumulate(curve.disturbances)
        for start, end in pairwise(hull):
            saved = curve.costs[start] - curve.costs[end]
            steps.append((float(height[end] - height[start]) / saved, len(steps), curve, start, end))
    for _, _, curve, start, end in sorted(steps, key=lambda step: step[:2]):
        if cost <= budget:
            break
        if whole:
            # The last step goes no further than it must, be that level on the hull or not.
            enough = (each for each in range(start + 1, end) if cost - curve.costs[start] + curve.costs[each] <= budget)
            end = next(enough, end)
        saved = curve.costs[start] - curve.costs[end]
        share = 1.0 if whole else min(1.0, (cost - budget) / saved)
        chosen[curve.name] = curve.levels[start] + share * (curve.levels[end] - curve.levels[start])
        cost -= share * saved
    return chosen
