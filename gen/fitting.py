"""Whether a network fits a board with a certain array; and of all boards, as far as is known without compiling."""

import re
from collections.abc import Set
from dataclasses import dataclass, fields, replace
from functools import cached_property

import numpy as np

from heddle.boards import Board
from heddle.boards.device import ALL_DEVICES, Device
from heddle.boards.family import ECP5, Family
from heddle.errors import CapacityError, InputError
from heddle.gen.design import CoreDesign, Design, compile_network
from heddle.gen.ir import Linear, Network
from heddle.gen.mapping import Mapping, map_network
from heddle.gen.memories import least_block_rams, narrowest_banks
from heddle.gen.resources import Resources, resources
from heddle.gen.shapes import Space
from heddle.gen.worklist import compile_worklist
from heddle.hdl.config import ArrayConfig, CoreConfig
from heddle.hdl.requantize import RequantizeConfig, RequantizeParams
from heddle.hdl.worklist_config import WORKLIST, WorklistShape

SMALLEST_REQUANTIZER = RequantizeConfig(
    acc_bits=16, bias_bits=8, x_bits=16, multiplier_bits=8, offset_bits=8, shift_min=8, shift_max=8, split_sign=False
)
LARGEST_REQUANTIZER = RequantizeConfig(
    acc_bits=32, bias_bits=32, x_bits=33, multiplier_bits=31, offset_bits=64, shift_min=0, shift_max=62, split_sign=True
)
"""Bounds of what an exact requantizer takes: the compiler finds the cheapest one between them."""


def default_array(board: Board) -> ArrayConfig:
    """Return the array that suits ``board``, its products in the device's multipliers."""
    shape = board.array
    return ArrayConfig(
        rows=shape.rows,
        cols=shape.cols,
        pixels=shape.pixels,
        block=shape.block,
        requantizers=shape.requantizers,
        stream_bytes=shape.stream_bytes,
        primitive=board.device.family.primitive,
    )


def parse_array(text: str, board: Board) -> ArrayConfig | WorklistShape:
    """Return the array ``text`` names, ``RxC`` or ``RxCxV``, or the work-list core ``worklist-GxV``.

    What it does not name is the board's.

    Raises
    ------
    InputError
        ``text`` is not such a shape.
    CapacityError
        No core has that shape.
    """
    pattern = rf"(?P<lists>{WORKLIST}(?=\d+x\d+$))?(\d{{1,4}})x(\d{{1,4}})(?:x(\d{{1,4}}))?"
    if not (match := re.fullmatch(pattern, text.strip().lower())):
        raise InputError(
            f"{text!r} is not a shape",
            where="array",
            remedy=f"give rows x columns x pixels, for example 9x8x1, or lanes x pixels: {WORKLIST}4x32",
        )
    rows, cols, pixels = (int(part or 1) for part in match.groups()[1:])
    own = default_array(board)
    if match["lists"]:
        return WorklistShape(lanes=rows, pixels=cols, stream_bytes=own.stream_bytes, primitive=ECP5.primitive)
    return replace(own, rows=rows, cols=cols, pixels=pixels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Fitted:
    """A design that fits its board, what it takes, and notes on what was chosen that a user may not expect."""

    design: CoreDesign
    resources: Resources
    notes: tuple[str, ...] = ()


def compile_on(network: Network, board: Board, array: ArrayConfig | WorklistShape) -> Fitted:
    """Compile ``network`` for ``board`` with that array, or that work-list core.

    Raises
    ------
    CapacityError
        It does not fit: how much of what is missing, and the remedy.
    UnsupportedError
        A layer that no core of this kind can run.
    """
    design = _compile(network, board, array)
    fitted, refusal = check_fit(design, board.device)
    if refusal is None:
        return fitted
    if isinstance(design, Design) and design.program.config.index_words:
        plain, beyond = check_fit(compile_network(network, design.array, indexed=False), board.device)
        if beyond is None:
            note = f"zero weights save no cycles: {array} with selectors does not fit {board.device.part}"
            return replace(plain, notes=(note,))
    raise refusal


def _compile(network: Network, board: Board, array: ArrayConfig | WorklistShape) -> CoreDesign:
    if isinstance(array, ArrayConfig):
        return compile_network(network, array)
    if board.device.family is not ECP5:
        fact = f"{array} is made of an ECP5's multipliers, which {board.device.part} has not"
        raise CapacityError(fact, where=board.name, remedy="use an array, or a board with an ECP5")
    # What else it could be made of is for simulations.
    return compile_worklist(network, replace(array, primitive=ECP5.primitive))


def check_fit(design: CoreDesign, device: Device) -> tuple[Fitted, CapacityError | None]:
    """Return ``design`` as it is made on ``device``, and what is to be said if that has too little of something."""
    need = design.resources(device.family)
    here = need.on(device)
    made = design.with_lut_products(here.lut_products) if isinstance(design, Design) else design
    fitted = Fitted(design=made, resources=here)
    missing = need.shortfall(device).keys()
    if not missing:
        return fitted, None
    refusal = CapacityError(
        f"array {describe(design.array)} does not fit {device.part}: {shortage(need, device)}",
        where=design.network.name,
        remedy=_remedy(need, missing),
    )
    return fitted, refusal


def describe(array: ArrayConfig | WorklistShape) -> str:
    """Return the shape in words: ``9x8x1 with 4 requantizers``, and M where it is not the usual one."""
    plural = "" if array.requantizers == 1 else "s"
    block = ""
    if isinstance(array, ArrayConfig) and array.block != ArrayConfig.block:
        block = f" and blocks of {array.block}"
    return f"{array} with {array.requantizers} requantizer{plural}{block}"


def check_weights(network: Network, device: Device) -> None:
    """Raise :class:`CapacityError` where no array helps: the non-zero weights alone exceed the block RAM."""
    if reason := _weights_beyond(network, device):
        larger = [larger for larger in ALL_DEVICES if not _weights_beyond(network, larger)]
        remedy = f"choose a board with {larger[0].part} or larger" if larger else "prune or shrink the network"
        raise CapacityError(f"does not fit {device.part}: {reason}", where=network.name, remedy=remedy)


def _weights_beyond(network: Network, device: Device) -> str:
    """Return by how much the non-zero weights exceed the block RAM, in words; empty if they do not."""
    weights = _non_zeros(network)
    excess = weights - device.block_ram_bits // 8
    return f"{weights:,} non-zero weights exceed its block RAM by {excess:,} bytes" if excess > 0 else ""


def _non_zeros(network: Network) -> int:
    return sum(int(np.count_nonzero(node.weight)) for node in network.nodes if isinstance(node, Linear))


def shortage(need: Resources, device: Device) -> str:
    """Return what ``device`` lacks in words."""
    here = need.on(device)
    counts = {**here.exact, **here.estimated}
    return "it needs " + ", ".join(_lack(cell, counts[cell], device) for cell in need.shortfall(device))


def _lack(cell: str, need: int, device: Device) -> str:
    have = device.capacity[cell]
    about = "" if cell in (device.family.block_rams, device.family.multipliers) else "about "
    return f"{about}{need} {cell} of {have} ({need - have} too many)"


def _remedy(need: Resources, missing: Set[str]) -> str:
    larger = [d for d in ALL_DEVICES if d.family is need.family and not need.shortfall(d)]
    choices = [f"choose a board with {larger[0].part} or larger"] if larger else []
    choices += ["use a smaller array"] if missing - {need.family.block_rams} else []
    choices += ["prune or shrink the network"] if need.family.block_rams in missing else []
    return ", or ".join(choices)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Whether a network fits a board, as far as is known without compiling.

    Parameters
    ----------
    array
        The largest array that fits whatever the requantizers turn out to take; ``None`` if there is none.
    possible
        Some array may fit: ``heddle generate`` tells. Implied by ``array``.
    reason
        What is missing with the board's own array; empty where that fits.
    """

    board: str
    part: str
    array: ArrayConfig | None
    possible: bool
    reason: str

    def to_json(self) -> dict[str, object]:
        """Return plain data; ``fits`` is null where only compiling tells."""
        return {
            "board": self.board,
            "part": self.part,
            "fits": True if self.array else (None if self.possible else False),
            "array": str(self.array) if self.array else None,
            "requantizers": self.array.requantizers if self.array else None,
            "reason": self.reason,
        }


def judge(network: Network, boards: list[Board]) -> list[Verdict]:
    """Return the verdict for each of ``boards``, equal parts being judged once.

    Raises
    ------
    UnsupportedError
        A layer that no core of this kind can run.
    """
    known: dict[tuple[object, ...], Verdict] = {}
    mapped: _MappedArrays = {}
    verdicts = []
    for board in boards:
        key = (board.array, *board.device.capacity.values())
        if key not in known:
            try:
                known[key] = _judge(network, board, mapped)
            except CapacityError as error:
                known[key] = Verdict(
                    board=board.name, part=board.device.part, array=None, possible=False, reason=error.fact
                )
        verdicts.append(replace(known[key], board=board.name, part=board.device.part))
    return verdicts


def _judge(network: Network, board: Board, mapped: "_MappedArrays") -> Verdict:
    verdict = Verdict(board=board.name, part=board.device.part, array=None, possible=False, reason="")
    if reason := _weights_beyond(network, board.device):
        return replace(verdict, reason=reason)
    weight_rams = -(-8 * _non_zeros(network) // board.device.family.block_ram_bits)
    own, family = default_array(board), board.device.family
    # Most products a cycle first: what inspect shows is what fits, not what is fastest.
    halves = sorted(Space.halves(own), key=lambda a: (-a.macs_per_cycle, -a.cols, -a.requantizers))
    for array in halves:
        # Before anything is mapped: the non-zero weights, and the narrowest bank of feature maps for each lane.
        need = weight_rams + narrowest_banks(array, family)
        if need > board.device.block_rams:
            reason = f"it needs at least {_lack(family.block_rams, need, board.device)}"
            verdict = replace(verdict, reason=verdict.reason or reason)
            continue
        # A mapping is the same whatever multipliers are made of.
        shape = replace(array, primitive="generic")
        if shape not in mapped:
            mapped[shape] = map_network(network, shape), {}
        mapping, counted = mapped[shape]
        if family.name not in counted:
            counted[family.name] = _Mapped(mapping, family)
        here = counted[family.name]
        if (need := here.least_block_rams) > board.device.block_rams:
            reason = f"it needs at least {_lack(family.block_rams, need, board.device)}"
            verdict = replace(verdict, reason=verdict.reason or reason)
            continue
        least, most = here.bounds
        # Where LUTs are not estimated, only a build tells.
        if family.estimated and not most.shortfall(board.device):
            return replace(verdict, array=array, possible=True)
        possible = not least.shortfall(board.device)
        reason = shortage(most if possible else least, board.device)
        if possible and not most.shortfall(board.device):
            reason = f"LUTs are not estimated for {board.device.part}: `heddle build` tells"
        verdict = replace(verdict, possible=verdict.possible or possible, reason=verdict.reason or reason)
    return verdict


class _Mapped:
    """A network mapped onto an array, and what is known of its resources: counted only when asked for, and once.

    Only the requantizers are open: their size, and which bits of their parameters differ and so take memory.
    """

    def __init__(self, mapping: Mapping, family: Family) -> None:
        self._mapping, self._family = mapping, family
        self._small = self._config(SMALLEST_REQUANTIZER)

    def _config(self, requantize: RequantizeConfig) -> CoreConfig:
        made = replace(requantize, primitive=self._family.primitive)
        return self._mapping.config(made, acc_bits=requantize.acc_bits)

    @cached_property
    def least_block_rams(self) -> int:
        """Block RAMs of the largest memories alone."""
        tables = self._mapping.tables
        return least_block_rams(self._small, tables.weights, tables.indices, self._family)

    @cached_property
    def bounds(self) -> tuple[Resources, Resources]:
        """The least and the most that the network can take."""
        none = RequantizeParams(**{field.name: np.zeros(0, np.int64) for field in fields(RequantizeParams)})
        images = self._mapping.program(self._small, none).images()
        same = [0] * self._small.param_words
        return (
            resources(self._small, replace(images, params=same), self._family),
            resources(self._config(LARGEST_REQUANTIZER), replace(images, params=[*same[1:], -1]), self._family),
        )


_MappedArrays = dict[ArrayConfig, tuple[Mapping, dict[str, _Mapped]]]
"""What was mapped, by array, and what is counted of it, by family."""
