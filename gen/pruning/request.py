"""What a user asks of pruning, checked against the network file before anything is computed."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from enum import StrEnum

from heddle.errors import InputError
from heddle.gen.ir import Linear, Network
from heddle.gen.pruning.criteria import Criterion
from heddle.gen.pruning.layers import PrunableFile, PrunableLayer
from heddle.hdl.config import ArrayConfig

FIRST, LAST, DEPTHWISE = "first", "last", "depthwise"
GROUPS = (FIRST, LAST, DEPTHWISE)
"""Names of layers by what they are, for ``skip``."""


class Kind(StrEnum):
    """What becomes zero together."""

    UNSTRUCTURED = "unstructured"
    SELECTION = "n:m"
    CHANNELS = "channels"
    BLOCKS = "blocks"


class Scope(StrEnum):
    """Whether layers share one sparsity or each has it."""

    GLOBAL = "global"
    UNIFORM = "uniform"


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """``kind``, and of :attr:`Kind.SELECTION` how many of a block's M channels stay."""

    kind: Kind
    count: int = 0
    block: int = 0

    def __str__(self) -> str:
        return f"{self.count}:{self.block}" if self.kind is Kind.SELECTION else str(self.kind.value)


def parse_pattern(text: str, array: ArrayConfig, where: str = "pattern") -> Pattern:
    """Return the pattern ``text`` names: ``unstructured``, ``channels``, ``blocks``, or N:M as ``4:8``.

    Raises
    ------
    InputError
        It names none, or M is not the channels of a block of ``array``, or N is not in 1..M.
    """
    if text in (Kind.UNSTRUCTURED, Kind.CHANNELS, Kind.BLOCKS):
        return Pattern(kind=Kind(text))
    if not (match := re.fullmatch(r"(\d{1,3}):(\d{1,3})", text)):
        kinds = "unstructured, channels, blocks or N:M as 4:8"
        raise InputError(f"there is no pattern {text!r}", where=where, remedy=f"choose {kinds}")
    count, block = map(int, match.groups())
    if block != array.block:
        raise InputError(
            f"{text} chooses among {block} channels, a block of the array has {array.block}",
            where=where,
            remedy=f"ask for N:{array.block}, or for an array with such blocks (block)",
        )
    if not 1 <= count <= block:
        raise InputError(f"{text} leaves {count} of {block}", where=where, remedy=f"choose N in 1..{block}")
    return Pattern(kind=Kind.SELECTION, count=count, block=block)


@dataclass(frozen=True, kw_only=True)
class Request:
    """How to prune.

    Parameters
    ----------
    pattern
        As :func:`parse_pattern` takes it.
    sparsity
        The share of weights to be zero, in [0, 1), of all layers that are pruned and not named in ``layers``. An N:M
        pattern says it itself.
    scope
        Whether that is of all together or of each alone.
    criterion
        How weights of different layers are compared where they are pruned together.
    layers
        Of single layers by name a sparsity of their own, or N:M.
    skip
        Layers to leave: names, or ``first``, ``last`` and ``depthwise``.
    array
        Whose blocks of channels and columns structured patterns follow.
    """

    pattern: str = Kind.UNSTRUCTURED.value
    sparsity: float | None = None
    scope: Scope = Scope.GLOBAL
    criterion: Criterion = Criterion.LAMP
    layers: Mapping[str, str | float] = field(default_factory=dict)
    skip: Sequence[str] = ()
    array: ArrayConfig = field(default_factory=ArrayConfig)


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """A checked request.

    Parameters
    ----------
    layers
        Those to prune, in order of the file.
    left
        Why others stay as they are, by name.
    counts, sparsities
        Of layers with a wish of their own: N of M, or a sparsity.
    """

    pattern: Pattern
    sparsity: float
    layers: tuple[PrunableLayer, ...]
    left: Mapping[str, str]
    counts: Mapping[str, int]
    sparsities: Mapping[str, float]


def check_request(request: Request, file: PrunableFile) -> Target:
    """Return what ``request`` means for ``file``.

    Raises
    ------
    InputError
        A layer does not exist or cannot be pruned, a sparsity is outside [0, 1), or pattern and sparsity disagree.
    """
    pattern = parse_pattern(request.pattern, request.array)
    if not file.layers:
        raise InputError(
            "has no convolution or fully-connected layer", where=file.network.name, remedy="there is nothing to prune"
        )
    names = {name: layer for layer in file.layers for name in layer.names}
    wishes = {names[_known(name, names, "layers")].name: value for name, value in request.layers.items()}
    skipped = _skipped(request.skip, file, names)
    counts, sparsities = {}, {}
    for name, value in wishes.items():
        if reason := names[name].reason:
            raise InputError(f"cannot be pruned: {reason}", where=name, remedy="leave it out")
        if name in skipped:
            raise InputError("is both named and skipped", where=name, remedy="do one of them")
        if pattern.kind is Kind.SELECTION:
            own = parse_pattern(str(value), request.array, where=name)
            if own.kind is not Kind.SELECTION:
                raise InputError(f"{value!r} is no N:M", where=name, remedy=f"say it as 2:{request.array.block}")
            counts[name] = own.count
        else:
            sparsities[name] = _sparsity(value, name)
    left = {layer.name: layer.reason for layer in file.layers if layer.reason}
    left |= {name: "skipped" for name in skipped if name not in left}
    if pattern.kind in (Kind.SELECTION, Kind.BLOCKS):
        thin = {name: reason for name, reason in _thin(file, request.array.block).items() if name not in wishes}
        left = {**thin, **left}
    return Target(
        pattern=pattern,
        sparsity=_global_sparsity(request.sparsity, pattern),
        layers=tuple(layer for layer in file.layers if layer.name not in left),
        left=left,
        counts=counts,
        sparsities=sparsities,
    )


def _global_sparsity(sparsity: float | None, pattern: Pattern) -> float:
    if pattern.kind is not Kind.SELECTION:
        if sparsity is None:
            raise InputError("none is given", where="sparsity", remedy="say which share of the weights shall be zero")
        return _sparsity(sparsity, "sparsity")
    if sparsity is not None:
        raise InputError(
            f"{sparsity} is given, and the pattern {pattern}", where="sparsity", remedy="leave it out: N:M says it"
        )
    return 1 - pattern.count / pattern.block


def _sparsity(value: str | float, where: str) -> float:
    try:
        number = float(value)
    except ValueError:
        raise InputError(f"{value!r} is no number", where=where, remedy="give a sparsity in [0, 1)") from None
    if not 0 <= number < 1:
        raise InputError(f"a sparsity of {value}", where=where, remedy="give one in [0, 1): 0.75 leaves every fourth")
    return number


def _known(name: str, names: Mapping[str, PrunableLayer], where: str) -> str:
    if name not in names:
        near = get_close_matches(name, names, n=3) or list(names)[:8]
        raise InputError(f"there is no layer {name} with weights", where=where, remedy=f"there are {', '.join(near)}")
    return name


def _skipped(skip: Sequence[str], file: PrunableFile, names: Mapping[str, PrunableLayer]) -> set[str]:
    skipped = {names[_known(name, names, "skip")].name for name in skip if name not in GROUPS}
    ends = {FIRST: _without_linear(file.network, before=True), LAST: _without_linear(file.network, before=False)}
    for group in set(skip) & set(ends):
        skipped |= {layer.name for layer in file.layers if set(layer.names) & ends[group]}
    if DEPTHWISE in skip:
        skipped |= {layer.name for layer in file.layers if layer.op == "DEPTHWISE_CONV_2D"}
    return skipped


def _without_linear(network: Network, *, before: bool) -> set[str]:
    """Return the layers with weights that no other one comes before, or none behind."""
    ends, follows = set(), set()
    for node in network.nodes if before else reversed(network.nodes):
        near, far = (node.inputs, (node.output,)) if before else ((node.output,), node.inputs)
        behind = any(name in follows for name in near)
        if isinstance(node, Linear) and not behind:
            ends.add(node.name)
        if isinstance(node, Linear) or behind:
            follows.update(far)
    return ends


def _thin(file: PrunableFile, block: int) -> dict[str, str]:
    """Return the layers that read an input of fewer channels than a block, and why those patterns leave them."""
    first = _without_linear(file.network, before=True)
    nodes = {node.name: node for node in file.network.nodes if isinstance(node, Linear)}
    thin = {}
    for layer in file.layers:
        channels = file.network.tensors[nodes[layer.name].inputs[0]].hwc[2]
        if layer.name in first and channels < block:
            thin[layer.name] = f"its input's {channels} channels fill no block"
    return thin
