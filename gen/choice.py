"""How each layer with weights is computed, what else there was, and what its zeros give.

The compiler takes, for each layer, the kind of selection of the fewest cycles (:mod:`heddle.gen.reduction`), indices
only where they save enough in the whole network (:mod:`heddle.gen.mapping`). Here the others are counted too, for a
reader of the report: this is not needed to compile.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from heddle.gen.design import CoreDesign, Design
from heddle.gen.kinds import Accumulate
from heddle.gen.reduction import reductions
from heddle.gen.worklist import WorklistDesign
from heddle.hdl.program import Selection, SliceRecord

_KINDS = {
    Selection.DENSE: (Selection.DENSE,),
    Selection.DIAGONAL: (Selection.DENSE, Selection.DIAGONAL),
    Selection.INDEXED: (Selection.DENSE, Selection.INDEXED),
}
"""What is compared: a tile of a layer that a kind cannot compute, or not as fast, is dense."""
WORKLIST = "worklist"
"""What a work-list core does with every layer: it multiplies by what is not zero, wherever that is."""
KINDS = (*(kind.name.lower() for kind in _KINDS), WORKLIST)
"""Names of all kinds."""


@dataclass(frozen=True, kw_only=True)
class LayerChoice:
    """A layer's selection.

    Parameters
    ----------
    kind
        What was chosen.
    pattern
        Activations of a block of M that meet a weight, least to most: ``"8:8"``, ``"2-3:8"``. Where lanes share a
        block, of all of them together. Empty on a work-list core, which has no blocks.
    cycles
        Of each kind that gives anything: multiply cycles, bubbles and a constant for each slice. On a work-list core
        the dense kind's are those of lists that hold every weight.
    density
        Fraction that is not zero of the weights of channels that are left.
    stored_bits, non_zeros
        Bits in the memories beside the lanes, indices and the zeros that fill words included; and the weights that are
        not zero.
    grouped
        Channels meet only those of their group: the dense kind multiplies zeros that no file holds.
    """

    name: str
    kind: str
    pattern: str
    cycles: Mapping[str, int]
    density: float
    stored_bits: int
    non_zeros: int
    grouped: bool

    @property
    def speedup(self) -> float:
        """Cycles of the dense kind, by those of the chosen one."""
        return self.cycles["dense"] / self.cycles[self.kind]

    @property
    def of_ideal(self) -> float | None:
        """:attr:`speedup` as a fraction of ``1 / density``, what zeros can give at most; ``None`` where grouped."""
        return None if self.grouped else self.speedup * self.density

    @property
    def bits_per_weight(self) -> float:
        """Stored bits for each weight that is not zero; infinite where all are."""
        return self.stored_bits / self.non_zeros if self.non_zeros else float("inf")

    def to_json(self) -> dict[str, object]:
        """Return plain data."""
        return {
            "kind": self.kind,
            "pattern": self.pattern,
            "cycles": dict(self.cycles),
            "density": round(self.density, 6),
            "speedup": round(self.speedup, 4),
            "of_ideal": None if self.of_ideal is None else round(self.of_ideal, 4),
            "stored_bits": self.stored_bits,
            "bits_per_weight": round(self.bits_per_weight, 3) if self.non_zeros else None,
        }


@lru_cache(maxsize=1)
def layer_choices(design: CoreDesign) -> tuple[LayerChoice, ...]:
    """Return the choice of each convolution and fully-connected layer that still has multiplications, in order.

    The latest design's are kept: text, page and manifest of one design all ask.
    """
    members: dict[str, list[int]] = {}
    for index, operation in enumerate(design.slice_operation):
        op = design.plan.operations[operation]
        if isinstance(op, Accumulate) and op.macs:
            members.setdefault(op.layer, []).append(index)
    if isinstance(design, WorklistDesign):
        return tuple(_worklist_choice(design, name, slices) for name, slices in members.items())
    assert isinstance(design, Design)
    return tuple(_choice(design, name, slices) for name, slices in members.items())


def _original(design: CoreDesign, slices: list[int]) -> list[Accumulate]:
    """Return a layer's operations as the file has them: folded weights hold zeros that nobody wrote."""
    used = dict.fromkeys(design.slice_operation[index] for index in slices)
    return [op for index in used if isinstance(op := design.plan.operations[index], Accumulate)]


def _weights(original: list[Accumulate]) -> tuple[int, int]:
    """Return how many weights a layer has, and how many of these are not zero."""
    weights = {op.dest_at: op.weight for op in original}.values()
    return sum(weight.size for weight in weights), sum(int(np.count_nonzero(weight)) for weight in weights)


def _worklist_choice(design: WorklistDesign, name: str, slices: list[int]) -> LayerChoice:
    config, original = design.program.config, _original(design, slices)
    size, non_zeros = _weights(original)
    lanes = range(config.array.lanes)
    item_bits = sum(config.item_layout(lane).size for lane in lanes)
    cycles = dense = stored_bits = 0
    lists: set[int] = set()
    for index in slices:
        record, op = design.program.records[index], design.plan.operations[design.slice_operation[index]]
        assert isinstance(op, Accumulate)
        groups, overhead = record.group_last + 1, design.slice_cycles[index]
        overhead -= groups * (record.loop_last + 1)
        cycles += design.slice_cycles[index]
        # A list is no shorter than its drains.
        full = max(-(-op.weight.size // len(lanes)), record.writes * len(op.bias) * config.array.turns)
        dense += groups * full + overhead
        # The slices of a layer's rectangles have the same lists.
        if record.item_base not in lists:
            lists.add(record.item_base)
            stored_bits += (record.loop_last + 1) * item_bits
    return LayerChoice(
        name=name,
        kind=WORKLIST,
        pattern="",
        cycles={Selection.DENSE.name.lower(): dense, WORKLIST: cycles},
        density=non_zeros / size,
        stored_bits=stored_bits,
        non_zeros=non_zeros,
        # Every product is an item of its own: groups cost nothing.
        grouped=False,
    )


def _choice(design: Design, name: str, slices: list[int]) -> LayerChoice:
    records = [design.program.records[index] for index in slices]
    used = dict.fromkeys(design.slice_operation[index] for index in slices)
    original = _original(design, slices)
    size, non_zeros = _weights(original)
    folded = [op for index in used if isinstance(op := design.operations[index], Accumulate)]
    return LayerChoice(
        name=name,
        kind=Selection(max(record.selection for record in records)).name.lower(),
        pattern=_pattern(records, design.array.block),
        cycles=_cycles(folded, design),
        density=non_zeros / size,
        stored_bits=_stored_bits(records, design),
        non_zeros=non_zeros,
        grouped=any(op.groups > 1 for op in original),
    )


def _pattern(records: list[SliceRecord], block: int) -> str:
    counts = [
        min(record.inner(step) << record.spread, block) for record in records for step in range(record.step_last + 1)
    ]
    least, most = min(counts), max(counts)
    return f"{least}:{block}" if least == most else f"{least}-{most}:{block}"


def _stored_bits(records: list[SliceRecord], design: Design) -> int:
    """Slices of one layer that share their weights have them once."""
    array, index_bits = design.array, (design.array.block - 1).bit_length()
    words: dict[int, int] = {}
    for record in records:
        tiles = record.src_lasts[2] + 1
        columns = array.cols * (array.pixels if record.wide else 1)
        bits = 8 + (index_bits if record.selection == Selection.INDEXED else 0)
        words[record.weight_base] = array.rows * tiles * record.words_per_tile * columns * bits
    return sum(words.values())


def _cycles(ops: list[Accumulate], design: Design) -> dict[str, int]:
    """Return the cycles of the layer for each kind that changes anything."""
    groups: dict[tuple[int, int, int], list[Accumulate]] = {}
    for op in ops:
        groups.setdefault(op.dest_at, []).append(op)
    found: dict[str, int] = {}
    for kind, allowed in _KINDS.items():
        plans = [
            (plan, group)
            for group in groups.values()
            for plan in reductions(group, design.array, design.layouts[group[0].source], kinds=allowed)
        ]
        if kind is Selection.DENSE or any(plan.mode.selection is kind for plan, _ in plans):
            found[kind.name.lower()] = sum(plan.cycles(op) for plan, group in plans for op in group)
    return found
