"""One-shot pruning: weights become zero by their size, and nothing is trained afterwards.

:func:`prune_file` is the whole of it: read, choose what goes, write, and say what that did to the network.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from heddle.boards.artifacts import write_atomically
from heddle.errors import InputError
from heddle.gen.inputs import Inputs, check_inputs
from heddle.gen.ir import Network
from heddle.gen.passes import run_pipeline
from heddle.gen.pruning import sensitivity
from heddle.gen.pruning.criteria import keep_largest, prune_units
from heddle.gen.pruning.layers import PrunableFile, PrunableLayer, Weights, read_layers
from heddle.gen.pruning.request import Kind, Request, Scope, Target, check_request
from heddle.gen.pruning.result import LayerResult, Pruned, Quality
from heddle.gen.pruning.units import NONE, Units, output_channels, selection_blocks, single_weights, zero_blocks
from heddle.gen.samples import LABEL, Samples, read_samples

Progress = Callable[[str], None]
SampleSource = Samples | Inputs | Path | str
"""Samples, an array or arrays by input (and ``label``), or an ``.npz`` file of them."""


def prune_file(
    path: str | Path,
    output: str | Path,
    request: Request,
    *,
    calibrate: SampleSource | None = None,
    calibration_samples: int = sensitivity.SAMPLES,
    inputs: SampleSource | None = None,
    samples: int | None = None,
    overwrite: bool = False,
    progress: Progress = lambda line: None,
) -> Pruned:
    """Write the network file at ``path`` to ``output`` with weights made zero as ``request`` says.

    What else it takes, and what it raises, is as of :func:`heddle.prune`; ``output`` may not be ``path``.
    """
    path, output = Path(path), Path(output)
    _check_output(path, output, overwrite=overwrite)
    file = read_layers(path)
    target = check_request(request, file)
    before = run_pipeline(file.network)
    quality_samples = None if inputs is None else _samples(inputs, before, samples, "inputs")
    chosen = None if calibrate is None else _samples(calibrate, before, calibration_samples, "calibrate")
    pruner = _Pruner(file, request, target, before, progress)
    weights = pruner.prune(chosen)
    after = run_pipeline(file.network_with(weights))
    quality = None
    if quality_samples is not None:
        progress(f"comparing before and after on {len(quality_samples)} samples")
        quality = Quality.measure(before, after, quality_samples)
    write_atomically(output, file.with_weights(weights))
    return Pruned(
        path=output,
        before=before,
        after=after,
        pattern=target.pattern,
        request=request,
        layers=tuple(_layer_result(layer, weights, target, pruner, (before, after)) for layer in file.layers),
        quality=quality,
        calibration=None if chosen is None else f"{len(chosen)} samples ({chosen.source})",
    )


def _check_output(path: Path, output: Path, *, overwrite: bool) -> None:
    if output.exists():
        if output.is_dir():
            raise InputError("is a folder", where=str(output), remedy="name a file")
        if path.exists() and output.samefile(path):
            raise InputError("is the network itself", where=str(output), remedy="name another file")
        if not overwrite:
            raise InputError("exists", where=str(output), remedy="name another file, or ask to overwrite it")
    if not output.parent.is_dir():
        raise InputError("its folder does not exist", where=str(output), remedy="make the folder first")


def _samples(given: SampleSource, network: Network, count: int | None, where: str) -> Samples:
    if count is not None and count < 1:
        raise InputError(f"{count} samples were asked for", where=where, remedy="ask for 1 or more")
    if isinstance(given, (str, Path)):
        return read_samples(Path(given), network, count)
    if isinstance(given, Samples):
        return given
    arrays = dict(given) if isinstance(given, Mapping) else {network.inputs[0]: given}
    label = arrays.pop(LABEL, None)
    checked = check_inputs(network, arrays if isinstance(given, Mapping) else given)
    length = len(next(iter(checked.values())))
    if label is not None and np.shape(label) != (length,):
        raise InputError(f"label has shape {np.shape(label)}", where=where, remedy=f"give one of shape ({length},)")
    if not length:
        raise InputError("holds no samples", where=where, remedy="give at least one")
    taken = {name: np.asarray(value)[:count] for name, value in arrays.items()}
    return Samples(inputs=taken, label=None if label is None else np.asarray(label)[:count], source="given")


@dataclass(frozen=True, kw_only=True, eq=False)
class _Part:
    """Layers that can be pruned only together, and how much of them: a sparsity, or N of M."""

    layers: tuple[PrunableLayer, ...]

    @property
    def name(self) -> str:
        return ", ".join(layer.name for layer in self.layers)

    @property
    def size(self) -> int:
        return sum(layer.weight.size for layer in self.layers)


class _Pruner:
    """Chooses what becomes zero."""

    def __init__(
        self, file: PrunableFile, request: Request, target: Target, compiled: Network, progress: Progress
    ) -> None:
        self._file, self._target, self._progress = file, target, progress
        self._criterion, self._scope, self._array = request.criterion, request.scope, request.array
        self._weights: dict[str, np.ndarray] = {layer.name: layer.weight for layer in file.layers}
        self.left = dict(target.left)
        self.curves: dict[str, sensitivity.Curve] = {}
        self.counts: dict[str, int] = {}
        self._blocks = self._selection(compiled) if target.pattern.kind is Kind.SELECTION else []
        self._units = self._find_units(compiled)
        parts = self._parts()
        wishes = target.counts.keys() | target.sparsities.keys()
        self._own = [part for part in parts if wishes & {layer.name for layer in part.layers}]
        self._shared = [part for part in parts if part not in self._own]

    def prune(self, samples: Samples | None) -> Weights:
        """Return the weights of all layers."""
        if self._target.pattern.kind is Kind.SELECTION:
            return self._prune_selection(samples)
        sparsities = {part.name: self._wish(part) for part in self._own}
        if samples is not None:
            sparsities |= self._divide(samples)
        elif self._scope is Scope.UNIFORM:
            sparsities |= dict.fromkeys((part.name for part in self._shared), self._target.sparsity)
        else:
            together = [layer for part in self._shared for layer in part.layers]
            self._weights |= self._without(together, self._target.sparsity)
        for part in (*self._own, *self._shared):
            if part.name in sparsities:
                self._weights |= self._without(part.layers, sparsities[part.name])
        return self._weights

    # Units and parts

    def _selection(self, compiled: Network) -> list[Units]:
        return selection_blocks(self._target.layers, self._weights, compiled, self._array.block)

    def _find_units(self, compiled: Network) -> Units:
        match self._target.pattern.kind:
            case Kind.UNSTRUCTURED:
                return single_weights(self._target.layers)
            case Kind.BLOCKS:
                array = self._array
                return zero_blocks(self._target.layers, self._weights, compiled, array.block, array.cols)
            case Kind.CHANNELS:
                return output_channels(self._target.layers, compiled)
        return {}

    def _parts(self) -> list[_Part]:
        """Return the layers, those together that share units, without those that have none."""
        layers = list(self._target.layers)
        if self._target.pattern.kind is Kind.SELECTION:
            for layer in layers:
                if self._fullest(layer) <= 1:
                    self.left[layer.name] = "its blocks have one weight, or none, of each output channel"
            return [_Part(layers=(layer,)) for layer in layers if layer.name not in self.left]
        groups: list[tuple[set[int], list[PrunableLayer]]] = []
        for layer in layers:
            units = set(np.unique(self._units[layer.name]).tolist()) - {NONE}
            if not units:
                self._leave(layer)
                continue
            joined = [group for group in groups if not units.isdisjoint(group[0])]
            groups = [group for group in groups if group not in joined]
            groups.append(
                (units.union(*(group[0] for group in joined)), [*(each for g in joined for each in g[1]), layer])
            )
        order = {layer.name: index for index, layer in enumerate(layers)}
        parts = [_Part(layers=tuple(sorted(group, key=lambda each: order[each.name]))) for _, group in groups]
        return sorted(parts, key=lambda part: order[part.layers[0].name])

    def _leave(self, layer: PrunableLayer) -> None:
        channels = self._target.pattern.kind is Kind.CHANNELS
        reason = "its channels are the network's, or are added to such" if channels else "nothing depends on it"
        if layer.name in self._target.sparsities:
            raise InputError(f"cannot be pruned: {reason}", where=layer.name, remedy="leave it out")
        self.left[layer.name] = reason

    def _wish(self, part: _Part) -> float:
        wishes = {self._target.sparsities[each.name] for each in part.layers if each.name in self._target.sparsities}
        if len(wishes) > 1:
            raise InputError(
                f"are pruned together, with sparsities {', '.join(map(str, sorted(wishes)))}",
                where=part.name,
                remedy="give one of them",
            )
        return wishes.pop()

    # Sparsities

    def _without(self, layers: Sequence[PrunableLayer], sparsity: float) -> dict[str, np.ndarray]:
        return prune_units(layers, self._weights, self._units, sparsity, self._criterion)

    def _divide(self, samples: Samples) -> dict[str, float]:
        """Return a sparsity for each part without one, by sensitivity."""
        levels = sorted({0.0, *sensitivity.LEVELS, self._target.sparsity})

        def cost(_: float, weights: Weights) -> float:
            return float(sum(np.count_nonzero(weight) for weight in weights.values()))

        self._measure(samples, levels, lambda part, level: self._without(part.layers, level), lambda _: cost)
        budget = (1 - self._target.sparsity) * sum(part.size for part in self._shared)
        return sensitivity.divide(list(self.curves.values()), budget, whole=False)

    def _measure(
        self,
        samples: Samples,
        levels: Sequence[float],
        apply: Callable[[_Part, float], Weights],
        cost: Callable[[_Part], Callable[[float, Weights], float]],
    ) -> None:
        disturbance = sensitivity.Disturbance(self._file, samples.inputs)
        for number, part in enumerate(self._shared, 1):
            self._progress(f"measuring how sensitive {part.name} is ({number} of {len(self._shared)})")
            self.curves[part.name] = sensitivity.measure(
                part.name, levels, partial(apply, part), cost(part), disturbance
            )

    # N:M

    def _prune_selection(self, samples: Samples | None) -> Weights:
        pattern = self._target.pattern
        layers = [layer for part in (*self._own, *self._shared) for layer in part.layers]
        self.counts = {layer.name: self._target.counts.get(layer.name, pattern.count) for layer in layers}
        if samples is not None:
            self.counts |= self._divide_selection(samples)
        compiled, before = None, None
        # A channel that nothing reads any more goes, and those behind it move into other blocks: again, then.
        while before is None or any((self._weights[name] != before[name]).any() for name in before):
            before = dict(self._weights)
            if compiled is not None:
                self._blocks = self._selection(compiled)
            for blocks in self._blocks:
                for layer in layers:
                    if layer.name in blocks:
                        kept = keep_largest(
                            layer, self._weights[layer.name], blocks[layer.name], self.counts[layer.name]
                        )
                        self._weights[layer.name] = kept
            compiled = run_pipeline(self._file.network_with(self._weights))
        return self._weights

    def _divide_selection(self, samples: Samples) -> dict[str, int]:
        """Return N for each layer without one, of as many multiplications together as one N for all."""
        block = self._target.pattern.block

        def apply(part: _Part, level: float) -> Weights:
            (layer,) = part.layers
            weight = layer.weight
            for blocks in self._blocks:
                if layer.name in blocks:
                    weight = keep_largest(layer, weight, blocks[layer.name], -int(level))
            return {layer.name: weight}

        def cost(part: _Part) -> Callable[[float, Weights], float]:
            (layer,) = part.layers
            return lambda level, _: layer.macs * min(-level, self._fullest(layer)) / block

        self._measure(samples, [float(-count) for count in range(block, 0, -1)], apply, cost)
        budget = sum(cost(part)(-self._target.pattern.count, {}) for part in self._shared)
        divided = sensitivity.divide(list(self.curves.values()), budget, whole=True)
        return {name: -round(level) for name, level in divided.items()}

    def _fullest(self, layer: PrunableLayer) -> int:
        """Return the most weights of a block that are not zero."""
        most = 0
        for blocks in self._blocks:
            if layer.name in blocks:
                live = blocks[layer.name][(layer.weight != 0) & (blocks[layer.name] != NONE)]
                most = max(most, int(np.bincount(live).max()) if len(live) else 0)
        return most


def _layer_result(
    layer: PrunableLayer, weights: Weights, target: Target, pruner: _Pruner, networks: tuple[Network, Network]
) -> LayerResult:
    curve = next((curve for name, curve in pruner.curves.items() if layer.name in name.split(", ")), None)
    count = pruner.counts.get(layer.name)
    wanted = f"{count}:{target.pattern.block}" if count else str(target.pattern)
    return LayerResult(
        name=layer.name,
        names=layer.names,
        op=layer.op,
        weights=layer.weight.size,
        zeros_before=int(np.count_nonzero(layer.weight == 0)),
        zeros_after=int(np.count_nonzero(weights[layer.name] == 0)),
        pattern="" if layer.name in pruner.left else wanted,
        left=pruner.left.get(layer.name, ""),
        sensitivity=None if curve is None else dict(zip(curve.levels, curve.disturbances, strict=True)),
    )
