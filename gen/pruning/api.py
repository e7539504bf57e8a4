"""``heddle.prune``: a network file pruned by names and numbers, as the command line and a notebook have them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from heddle import boards
from heddle.boards import DEFAULT_BOARD
from heddle.errors import InputError
from heddle.gen import fitting
from heddle.gen.pruning import Criterion, Pruned, Request, Scope, prune_file
from heddle.gen.pruning.oneshot import SampleSource
from heddle.gen.pruning.sensitivity import SAMPLES
from heddle.hdl.config import ArrayConfig

_Choice = TypeVar("_Choice", bound=StrEnum)


def prune(
    network: str | Path,
    output: str | Path,
    pattern: str = "unstructured",
    sparsity: float | None = None,
    *,
    scope: str = "global",
    criterion: str = "lamp",
    layers: Mapping[str, str | float] | None = None,
    skip: Sequence[str] = (),
    board: str = DEFAULT_BOARD,
    array: ArrayConfig | str | None = None,
    block: int | None = None,
    calibrate: SampleSource | None = None,
    calibration_samples: int = SAMPLES,
    inputs: SampleSource | None = None,
    samples: int | None = None,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> Pruned:
    """Write the network file ``network`` to ``output`` with weights made zero: one-shot, without retraining.

    Parameters
    ----------
    pattern
        ``"unstructured"``, ``"channels"``, ``"blocks"``, or N:M as ``"4:8"``: N weights stay of a block's M channels.
    sparsity
        The share of weights to be zero, in [0, 1); an N:M pattern says it itself.
    scope
        ``"global"``: of all layers together; ``"uniform"``: of each.
    criterion
        How weights of different layers are compared: ``"lamp"``, ``"normalized"`` or ``"magnitude"``.
    layers
        A sparsity, or N:M, for single layers by name.
    skip
        Layers to leave: names, ``"first"``, ``"last"``, ``"depthwise"``.
    board, array, block
        Whose blocks structured patterns follow; as :func:`heddle.compile` takes them.
    calibrate, calibration_samples
        Samples to measure each layer's sensitivity on, by which the sparsity is then divided; how many of them.
    inputs, samples
        Samples to compare the networks on, before and after; how many of them.
    overwrite
        Replace what is at ``output``.
    progress
        Called with a line of text as the work goes on.

    Raises
    ------
    FileFormatError, UnsupportedError
        The file is none that Heddle executes.
    InputError
        What is asked for does not suit the network, samples do not, or ``output`` exists.
    """
    target = boards.get(board)
    shape = array if isinstance(array, ArrayConfig) else fitting.default_array(target)
    if isinstance(array, str):
        named = fitting.parse_array(array, target)
        if not isinstance(named, ArrayConfig):
            raise InputError(f"{named} has no blocks to prune by", where="array", remedy="name an array, or none")
        shape = named
    if block is not None:
        shape = replace(shape, block=block)
    request = Request(
        pattern=pattern,
        sparsity=sparsity,
        scope=_choice(scope, Scope, "scope"),
        criterion=_choice(criterion, Criterion, "criterion"),
        layers=layers or {},
        skip=skip,
        array=shape,
    )
    return prune_file(
        network,
        output,
        request,
        calibrate=calibrate,
        calibration_samples=calibration_samples,
        inputs=inputs,
        samples=samples,
        overwrite=overwrite,
        progress=progress,
    )


def _choice(text: str, choices: type[_Choice], where: str) -> _Choice:
    try:
        return choices(text)
    except ValueError:
        names = ", ".join(choices)
        raise InputError(f"there is no {text!r}", where=where, remedy=f"choose of {names}") from None
