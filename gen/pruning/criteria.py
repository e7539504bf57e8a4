"""Which weights matter least: scores that compare weights of different channels and layers.

All start from the square of a weight as a real number, ``(weight * scale)**2``: integers of channels with different
scales cannot be compared. Blocks and channels count the mean of their weights' squares. Between layers:

- ``lamp``, the default: the square by the sum of all that are not smaller in its layer (Lee et al., Layer-adaptive
  Sparsity for the Magnitude-based Pruning, ICLR 2021, arXiv:2010.07611). It bounds by how much the output of a network
  changes relative to itself, has no parameter, and leaves no layer empty.
- ``normalized``: the square by the sum of its layer's squares (the layer-wise l2 normalization of Molchanov et al.,
  ICLR 2017, arXiv:1611.06440).
- ``magnitude``: the square itself. The scale of a layer that a normalization follows says little, so this may empty
  whole layers; it is here to be compared with.
"""

from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from heddle.gen.pruning.layers import PrunableLayer, Weights
from heddle.gen.pruning.units import NONE, Units


class Criterion(StrEnum):
    """How weights of different layers are compared."""

    LAMP = "lamp"
    NORMALIZED = "normalized"
    MAGNITUDE = "magnitude"


def scores(values: np.ndarray, criterion: Criterion) -> np.ndarray:
    """Return the scores of a layer's units, given the mean square of each: float64 ``(units,)`` both.

    >>> scores(np.array([1.0, 3.0, 0.0]), Criterion.LAMP).tolist()
    [0.25, 1.0, 0.0]
    >>> scores(np.array([1.0, 3.0, 0.0]), Criterion.NORMALIZED).tolist()
    [0.25, 0.75, 0.0]
    """
    if criterion is Criterion.MAGNITUDE:
        return values
    if criterion is Criterion.NORMALIZED:
        return values / (values.sum() or 1)
    order = np.argsort(values, kind="stable")
    rising = values[order]
    not_smaller = np.cumsum(rising[::-1])[::-1]
    result = np.empty_like(values)
    result[order] = np.divide(rising, not_smaller, out=np.zeros_like(rising), where=not_smaller > 0)
    return result


def prune_units(
    layers: Sequence[PrunableLayer], weights: Weights, units: Units, sparsity: float, criterion: Criterion
) -> dict[str, np.ndarray]:
    """Return the layers' weights, the units of least score zero, so that of all together ``sparsity`` are.

    Zeros that were there count. As many units go as fit: single weights reach the number exactly, rounded to the next
    whole one; of larger ones the last that would exceed it stays. So does the best unit of each layer: a layer of
    zeros says nothing.
    """
    total, names, places = 0.0, [], []
    for layer in layers:
        unit = units[layer.name]
        names.append(unit[unit != NONE])
        places.append(len(names[-1]))
    if not sum(places):
        return {layer.name: weights[layer.name] for layer in layers}
    found, inverse = np.unique(np.concatenate(names), return_inverse=True)
    ends = np.cumsum(places)
    score, live, stays = np.zeros(len(found)), np.zeros(len(found), np.int64), np.zeros(len(found), bool)
    spent = 0
    for layer, own in zip(layers, np.split(inverse, ends[:-1]), strict=True):
        weight = weights[layer.name]
        total += weight.size
        spent += np.count_nonzero(weight == 0)
        if not len(own):
            continue
        inside = units[layer.name] != NONE
        size = np.bincount(own, minlength=len(found))
        sums = np.bincount(own, layer.energy(weight)[inside], minlength=len(found))
        here = np.flatnonzero(size)
        layer_scores = scores(sums[here] / size[here], criterion)
        score[here] += layer_scores
        live += np.bincount(own, weight[inside] != 0, minlength=len(found)).astype(np.int64)
        stays[here[np.argmax(sums[here] / size[here])]] = True
    budget = round(sparsity * total) - spent
    order = np.argsort(score, kind="stable")
    order = order[~stays[order]]
    gone = np.zeros(len(found), bool)
    gone[order[np.cumsum(live[order]) <= budget]] = True
    return {layer.name: _without(weights[layer.name], units[layer.name], found[gone]) for layer in layers}


def _without(weight: np.ndarray, unit: np.ndarray, gone: np.ndarray) -> np.ndarray:
    return np.where(np.isin(unit, gone), 0, weight).astype(np.int8)


def keep_largest(layer: PrunableLayer, weight: np.ndarray, blocks: np.ndarray, count: int) -> np.ndarray:
    """Return ``weight`` with the ``count`` largest of each block, all others of it zero; of equals the first stay."""
    flat, block = layer.energy(weight).reshape(-1), blocks.reshape(-1)
    inside = np.flatnonzero(block != NONE)
    order = inside[np.lexsort((-flat[inside], block[inside]))]
    ordered = block[order]
    # Places within runs of one block.
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(order) else np.zeros(0, np.int64)
    rank = np.arange(len(order)) - np.repeat(first, np.diff(np.r_[first, len(order)]))
    result = weight.reshape(-1).copy()
    result[order[rank >= count]] = 0
    return result.reshape(weight.shape)
