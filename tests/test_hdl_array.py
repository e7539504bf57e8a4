"""The systolic array against NumPy: dense, diagonal and indexed words, several planes, bubbles, extreme values."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hdl_trace import Trace, follow

from heddle.hdl.array import Lane, LaneImages, SystolicArray, control_layout, psum_bits
from heddle.hdl.config import ArrayConfig
from heddle.hdl.element import ElementLibrary
from heddle.hdl.multiplier import Primitive
from heddle.hdl.program import Selection
from heddle.sim.runner import BenchResult

ACC_BITS = 24


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """An array with its weights: ``weights`` int8 and ``indices`` uint8, both ``(R, words, V * C)``."""

    rows: int
    cols: int
    pixels: int
    block: int
    weights: np.ndarray
    indices: np.ndarray
    diagonal: bool = True

    @staticmethod
    def random(*, rows: int, cols: int, pixels: int, block: int, words: int, seed: int) -> "Case":
        """One weight in four is -128, so that some sums are as large as they can be."""
        rng = np.random.default_rng(seed)
        weights = rng.integers(-128, 128, (rows, words, pixels * cols))
        weights[rng.random(weights.shape) < 0.25] = -128
        weights[:, : words // 4] = -128
        indices = rng.integers(0, block, weights.shape)
        return Case(rows=rows, cols=cols, pixels=pixels, block=block, weights=weights, indices=indices)

    @property
    def latency(self) -> int:
        return self.rows - 1 + Lane.LATENCY

    def create(self, *, primitive: Primitive = "generic", lut_products: int = 0) -> SystolicArray:
        bits = (self.block - 1).bit_length()
        array = ArrayConfig(
            rows=self.rows, cols=self.cols, pixels=self.pixels, block=self.block, requantizers=1, primitive=primitive,
            lut_products=lut_products,
        )  # fmt: skip
        images = [
            LaneImages(weights=self._planes(weights, 8), indices=self._planes(indices, bits))
            for weights, indices in zip(self.weights, self.indices, strict=True)
        ]
        return SystolicArray(
            cols=self.cols,
            library=ElementLibrary(
                name="element", block=self.block, primitive=primitive, products=frozenset(array.primitives)
            ),
            images=images,
            diagonal=self.diagonal,
            acc_bits=ACC_BITS,
            primitives=array.primitives,
        )

    @property
    def selections(self) -> list[Selection]:
        """What the array can do."""
        kinds = {Selection.DIAGONAL: self.diagonal, Selection.INDEXED: self.indices.shape[1] > 0}
        return [kind for kind in Selection if kinds.get(kind, True)]

    def without_indices(self, *, diagonal: bool) -> "Case":
        """The same without memories of indices."""
        return replace(self, indices=self.indices[:, :0], diagonal=diagonal)

    def _planes(self, words: np.ndarray, bits: int) -> list[list[int]]:
        planes = np.split(words, self.pixels, axis=1)
        return [[_join(word, bits) for word in plane] for plane in planes]


def _join(values: np.ndarray, bits: int) -> int:
    return sum((int(value) & ((1 << bits) - 1)) << bits * i for i, value in enumerate(values))


class Stimulus:
    """Writes pixel groups into a trace, and what the array must make of them."""

    def __init__(self, case: Case, rng: random.Random) -> None:
        self.case, self.latency, self.rng = case, case.latency, rng
        self.control = control_layout(block=case.block, weight_words=case.weights.shape[1], pixels=case.pixels)
        self.trace = Trace("control", "blocks")
        self.due: dict[int, np.ndarray] = {}
        self.dones: list[int] = []

    def group(
        self, number: int, steps: list[int], *, word: int, selection: Selection, wide: int, spread: int,
        extreme: bool,
    ) -> None:  # fmt: skip
        """One pixel group whose steps last so many cycles, its words from ``word`` on."""
        case, rng = self.case, self.rng
        acc = np.zeros((case.pixels, case.cols), np.int64)
        spare, tile_end, opens = rng.randrange(case.pixels), rng.randrange(2), rng.randrange(2)
        dense_lane = np.arange(case.rows) % (1 << spread)
        own = np.tile(np.arange(case.cols) % case.block, (case.rows, 1))
        for step, inner in enumerate(steps):
            # The blocks of all lanes, (V, R, M): plane v's arrive v cycles after plane 0's; a wide slice has one block.
            shape = (case.pixels, case.rows, case.block)
            values = np.frombuffer(rng.randbytes(int(np.prod(shape))), np.int8).reshape(shape).astype(np.int64)
            blocks = np.full(shape, -128) if extreme else values
            if wide:
                blocks = np.repeat(blocks[:1], case.pixels, axis=0)
            for n in range(inner):
                self.bubbles()
                dense = np.repeat(((n << spread | dense_lane) % case.block)[:, None], case.cols, axis=1)
                for v in range(case.pixels):
                    columns = slice(v * case.cols, (v + 1) * case.cols) if wide else slice(case.cols)
                    match selection:
                        case Selection.DENSE:
                            select = dense
                        case Selection.DIAGONAL:
                            select = own
                        case Selection.INDEXED:
                            select = case.indices[:, word, columns]
                    chosen = np.take_along_axis(blocks[v], select, axis=1)
                    acc[v] += (chosen * case.weights[:, word, columns]).sum(axis=0)
                last = step == len(steps) - 1 and n == inner - 1
                if n == 0:
                    planes = 1 if wide else case.pixels
                    self.due |= {self.trace.now + Lane.LEAD + v: blocks[v] for v in range(planes)}
                self.cycle(enable=1, load=n == 0, first=step == n == 0, last=last, tile_end=tile_end,
                           opens=opens, indexed=selection is Selection.INDEXED,
                           diagonal=selection is Selection.DIAGONAL, wide=wide, spread=spread, inner=n, word=word,
                           spare=spare)  # fmt: skip
                word += 1
        done = self.trace.now - 1 + self.latency
        self.dones.append(done)
        place = f"pixel group {number}"
        self.trace.expect(done, "tile_end", tile_end, place, width=1)
        self.trace.expect(done, "opens", opens, place, width=1)
        self.trace.expect(done, "spare", spare, place, width=max(1, (case.pixels - 1).bit_length()))
        for v, c in np.ndindex(*acc.shape):
            where = f"{place}, plane {v}, column {c}"
            low = (v * case.cols + c) * ACC_BITS
            self.trace.expect(done + v + 1, "sums", int(acc[v, c]), where, low=low, width=ACC_BITS)

    def bubbles(self) -> None:
        """Cycles that do not count, whatever else they say; the blocks of a load arrive meanwhile."""
        while self.rng.random() < 0.15:
            names = ("first", "last", "tile_end", "opens", "indexed", "diagonal", "wide", "spread", "inner", "word")
            noise = {name: self.rng.randrange(2) for name in names}
            self.cycle(enable=0, load=0, **noise, spare=0)

    def cycle(self, **control: int | bool) -> None:
        bits = 8 * self.case.block * self.case.rows
        due = self.due.get(self.trace.now)
        blocks = self.rng.getrandbits(bits) if due is None else _join(due.reshape(-1), 8)
        self.trace.cycle(control=self.control.const({**control}).as_bits(), blocks=blocks)

    def finish(self) -> Trace:
        """Let the pipeline run dry; ``done`` must come where it was expected and nowhere else."""
        for _ in range(self.latency + self.case.pixels + 2):
            self.cycle()
        for cycle in range(self.trace.now):
            self.trace.expect(cycle, "done", int(cycle in self.dones), "end of a pixel group", width=1)
        return self.trace


def random_trace(case: Case, *, seed: int, groups: int = 16) -> Trace:
    rng = random.Random(seed)
    stimulus = Stimulus(case, rng)
    words = case.weights.shape[1]
    for number in range(groups):
        # A pixel's plane takes its block v cycles after plane 0, so a narrow step lasts V cycles at least.
        wide = rng.randrange(2)
        least = 1 if wide else case.pixels
        steps = [rng.randrange(least, case.block + 1) for _ in range(rng.choice([1, 1, 2, 3]))]
        extreme = number in (0, 1)
        word = 0 if extreme else rng.randrange(words - sum(steps))
        spread = rng.randrange(min(3, (case.block - 1).bit_length()) + 1)
        selection = rng.choice(case.selections)
        stimulus.group(number, steps, word=word, selection=selection, wide=wide, spread=spread, extreme=extreme)
    return stimulus.finish()


def simulate(array: SystolicArray, trace: Trace, folder: Path) -> BenchResult:
    return follow(array, trace, folder, library=array.library.modules)


CASES = {
    "one plane": Case.random(rows=3, cols=4, pixels=1, block=4, words=40, seed=1),
    "three planes": Case.random(rows=2, cols=4, pixels=3, block=4, words=40, seed=2),
    "one lane": Case.random(rows=1, cols=2, pixels=2, block=2, words=40, seed=3),
    "nine lanes": Case.random(rows=9, cols=8, pixels=1, block=8, words=60, seed=4),
    "one selector a plane": Case.random(rows=2, cols=4, pixels=2, block=4, words=40, seed=5).without_indices(
        diagonal=False
    ),
    "a column's own channel": Case.random(rows=2, cols=8, pixels=2, block=4, words=40, seed=6).without_indices(
        diagonal=True
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_array_equals_numpy(tmp_path: Path, case: Case) -> None:
    array = case.create()
    assert array.latency == case.latency
    result = simulate(array, random_trace(case, seed=5), tmp_path)
    assert result.passed, result.text


@pytest.mark.parametrize("name", ["three planes", "a column's own channel"])
def test_array_of_dsps_and_luts_equals_numpy(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    array = case.create(primitive="mult18x18d", lut_products=5)
    result = simulate(array, random_trace(case, seed=6), tmp_path)
    assert result.passed, result.text


def test_extreme_sum_fits_its_lane() -> None:
    for lane in range(32):
        assert 2 ** (psum_bits(lane) - 2) <= (lane + 1) * 128 * 128 < 2 ** (psum_bits(lane) - 1)


def select_the_next_activation(array: SystolicArray) -> None:
    """In column 1 of lane 0, wherever indices count."""
    _edit(array.lanes[0].images.indices[0], 1 << 2)


def flip_a_weight_bit(array: SystolicArray) -> None:
    """In column 1 of lane 1."""
    _edit(array.lanes[1].images.weights[0], 1 << 8)


def _edit(image: list[int], flips: int) -> None:
    image[:] = [word ^ flips for word in image]


def test_planted_columns_that_forget_their_own_channel_are_caught(tmp_path: Path) -> None:
    case = CASES["a column's own channel"]
    result = simulate(replace(case, diagonal=False).create(), random_trace(case, seed=5), tmp_path)
    assert re.search(r"pixel group \d+, plane \d, column \d: sums is", result.text)


@pytest.mark.parametrize("fault", [select_the_next_activation, flip_a_weight_bit])
def test_planted_fault_is_caught_in_its_column(tmp_path: Path, fault: Callable[[SystolicArray], None]) -> None:
    case = CASES["one plane"]
    array = case.create()
    fault(array)
    result = simulate(array, random_trace(case, seed=5), tmp_path)
    assert re.search(r"pixel group \d+, plane 0, column 1: sums is", result.text)


def test_planted_late_activations_are_caught(tmp_path: Path) -> None:
    """Every block a cycle late."""
    case = CASES["three planes"]
    trace = random_trace(case, seed=5)
    for cycle in reversed(range(1, trace.now)):
        trace.cycles[cycle]["blocks"] = trace.cycles[cycle - 1]["blocks"]
    result = simulate(case.create(), trace, tmp_path)
    assert re.search(r"pixel group \d+, plane \d, column \d: sums is", result.text)
