"""What pruning did: sparsity by layer, accuracy and outputs before and after; as data and as a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from heddle.gen import golden
from heddle.gen.console import table
from heddle.gen.ir import Network
from heddle.gen.pruning.request import Pattern, Request
from heddle.gen.pruning.sensitivity import logits
from heddle.gen.samples import Samples, classes

ONE_SHOT = "one-shot: no retraining; what accuracy is lost, training with these zeros would give back in part"
_AT_ONCE = 32
"""Samples whose feature maps are in memory together."""


@dataclass(frozen=True, kw_only=True)
class LayerResult:
    """Weights of one layer, and how many of them are zero before and after.

    ``pattern`` says how it was pruned, or ``left`` why not; ``sensitivity`` is the disturbance at each level measured.
    """

    name: str
    names: tuple[str, ...]
    op: str
    weights: int
    zeros_before: int
    zeros_after: int
    pattern: str
    left: str
    sensitivity: Mapping[float, float] | None

    @property
    def before(self) -> float:
        """Sparsity before."""
        return self.zeros_before / self.weights

    @property
    def after(self) -> float:
        """Sparsity after."""
        return self.zeros_after / self.weights


@dataclass(frozen=True, kw_only=True)
class Quality:
    """Of the golden model on samples.

    Parameters
    ----------
    accuracy_before, accuracy_after
        Share of samples whose greatest output is at their label; ``None`` without labels.
    agreement
        Share of samples whose greatest output stays at its place.
    disturbance
        Mean square of the change of the outputs before softmax, relative to their variance.
    """

    samples: int
    source: str
    accuracy_before: float | None
    accuracy_after: float | None
    agreement: float | None
    disturbance: float

    @staticmethod
    def measure(before: Network, after: Network, samples: Samples) -> "Quality":
        """Run both networks."""
        (old, old_logits), (new, new_logits) = (_run(network, samples) for network in (before, after))
        error = variance = 0.0
        for first, second in zip(old_logits, new_logits, strict=True):
            error += float(((second - first) ** 2).mean(axis=0).sum())
            variance += float(first.var(axis=0).sum())
        agreement = None
        if not isinstance(old, Mapping) and not isinstance(new, Mapping):
            agreement = float((classes(old) == classes(new)).mean())
        return Quality(
            samples=len(samples),
            source=samples.source,
            accuracy_before=samples.accuracy(old),
            accuracy_after=samples.accuracy(new),
            agreement=agreement,
            disturbance=error / (variance or 1.0),
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Pruned:
    """A pruned network file; ``before`` and ``after`` are its networks, ready for :func:`heddle.compile`."""

    path: Path
    before: Network
    after: Network
    pattern: Pattern
    request: Request
    layers: tuple[LayerResult, ...]
    quality: Quality | None
    calibration: str | None

    @property
    def sparsity_before(self) -> float:
        """Share of zeros among the weights of all layers, before."""
        return sum(layer.zeros_before for layer in self.layers) / sum(layer.weights for layer in self.layers)

    @property
    def sparsity_after(self) -> float:
        """Share of zeros among the weights of all layers, after."""
        return sum(layer.zeros_after for layer in self.layers) / sum(layer.weights for layer in self.layers)

    def layer_table(self) -> Table:
        """Sparsity by layer."""
        result = table("layer", "operator", ">weights", ">zero before", ">zero after", "pattern")
        for layer in self.layers:
            result.add_row(
                ", ".join(layer.names),
                layer.op,
                f"{layer.weights:,}",
                f"{layer.before:.1%}",
                f"{layer.after:.1%}",
                layer.pattern or f"left: {layer.left}",
            )
        return result

    def lines(self) -> list[str]:
        """Headline figures, a line each."""
        lines = [f"sparsity     {self.sparsity_before:.1%} before, {self.sparsity_after:.1%} after"]
        if all(layer.zeros_before == layer.zeros_after for layer in self.layers):
            lines.append("unchanged    the network has as many zeros as were asked for")
        if self.calibration:
            lines.append(f"divided      by sensitivity, measured on {self.calibration}")
        if quality := self.quality:
            what = f"{quality.samples} samples ({quality.source}), golden model"
            if quality.accuracy_before is not None and quality.accuracy_after is not None:
                lines.append(
                    f"accuracy     {quality.accuracy_before:.2%} before, {quality.accuracy_after:.2%} after; {what}"
                )
            lines.append(f"outputs      change by {quality.disturbance:.2%} of their variance; {what}")
        return [*lines, f"note         {ONE_SHOT}"]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        quality = self.quality
        return {
            "output": str(self.path),
            "pattern": str(self.pattern),
            "scope": self.request.scope.value,
            "criterion": self.request.criterion.value,
            "one_shot": True,
            "sparsity_before": self.sparsity_before,
            "sparsity_after": self.sparsity_after,
            "calibration": self.calibration,
            "layers": [
                {
                    "name": layer.name,
                    "shared_by": list(layer.names),
                    "op": layer.op,
                    "weights": layer.weights,
                    "sparsity_before": layer.before,
                    "sparsity_after": layer.after,
                    "pattern": layer.pattern or None,
                    "left": layer.left or None,
                    "sensitivity": _levels(layer.sensitivity),
                }
                for layer in self.layers
            ],
            "quality": None
            if quality is None
            else {
                "samples": quality.samples,
                "source": quality.source,
                "accuracy_before": quality.accuracy_before,
                "accuracy_after": quality.accuracy_after,
                "agreement": quality.agreement,
                "disturbance": quality.disturbance,
            },
        }


def _run(network: Network, samples: Samples) -> tuple[np.ndarray | dict[str, np.ndarray], list[np.ndarray]]:
    """Return the network's outputs, and what they are made of before softmax, as float64; a few samples at a time."""
    names = dict.fromkeys((*network.outputs, *logits(network)))
    parts: dict[str, list[np.ndarray]] = {name: [] for name in names}
    for start in range(0, len(samples), _AT_ONCE):
        some = {name: value[start : start + _AT_ONCE] for name, value in samples.inputs.items()}
        values = golden.run(network, some)
        for name, part in parts.items():
            part.append(values[name])
    whole = {name: np.concatenate(part) for name, part in parts.items()}
    outputs = {name: whole[name] for name in network.outputs}
    single = outputs[network.outputs[0]] if len(outputs) == 1 else outputs
    return single, [whole[name].astype(np.float64) for name in logits(network)]


def _levels(curve: Mapping[float, float] | None) -> list[dict[str, float]]:
    return [{"level": abs(level), "disturbance": value} for level, value in (curve or {}).items()]
