"""The output stage: drains in order, every result with its own parameters, at the cycle the contract names."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hdl_trace import Trace, follow

from heddle.hdl.config import ArrayConfig, CoreConfig
from heddle.hdl.output import OutputStage
from heddle.hdl.program import RecordFormat, SliceRecord, Unit, field_bits
from heddle.hdl.requantize import RequantizeConfig, RequantizeParams

ACC_BITS, ADDRESS_BITS, TABLE_BITS, PARAM_WORDS = 24, 4, 18, 24
REQUANTIZE = RequantizeConfig(
    acc_bits=ACC_BITS, bias_bits=20, x_bits=18, multiplier_bits=12, offset_bits=20, shift_min=18, shift_max=21,
    split_sign=True,
)  # fmt: skip


class Case:
    """An output stage with random parameters and tables, and the records of the slices it will run."""

    def __init__(self, array: ArrayConfig, *, seed: int) -> None:
        self.array, self.rng = array, np.random.default_rng(seed)
        self.subs = array.block // array.requantizers
        self.params = self._random_params(PARAM_WORDS * array.requantizers)
        self.tables = self.rng.integers(-(1 << TABLE_BITS - 1), 1 << TABLE_BITS - 1, (2, 512))
        self.records = [self._record(number) for number in range(10)]
        self.format = RecordFormat(field_bits(self.records, block=array.block), ADDRESS_BITS, array.rows)
        self.config = CoreConfig(
            array=array, requantize=REQUANTIZE, bank_words=16, weight_words=1, wide_words=0, index_words=0,
            wide_index_words=0, diagonal=False, step_words=1, param_words=PARAM_WORDS, program_words=1, table_words=512,
            table_bits=TABLE_BITS, second_operand=True, paired=False, spread=True, followed_bytes=0, maximum=True,
            grain=1, byte_writes=False, acc_bits=ACC_BITS, step_bits=2, field_bits=self.format.widths,
        )  # fmt: skip

    def _random_params(self, count: int) -> RequantizeParams:
        integers = self.rng.integers
        return RequantizeParams(
            bias=integers(-(2**15), 2**15, count),
            multiplier=integers(2**8, 2**12, count),
            offset=integers(0, 2**19, count),
            offset_negative=integers(0, 2**19, count),
            shift=integers(18, 22, count),
        )

    def _record(self, number: int) -> SliceRecord:
        """Array and vector slices in turn, of any number of result blocks a pixel."""
        integers = self.rng.integers
        vector, wide = number % 3 == 2, number % 2
        columns = self.array.cols * (self.array.pixels if wide else 1)
        blocks = 1 if vector else int(integers(1, columns // self.array.block + 1))
        low = int(integers(-128, 0))
        return SliceRecord(
            unit=Unit.VECTOR if vector else Unit.ARRAY,
            wide=0 if vector else wide,
            param_base=int(integers(0, PARAM_WORDS // 4)),
            # A vector slice has one set of parameters; `tile_end` is the array's and says nothing.
            param_hold=1 if vector else int(integers(0, 2)),
            subs_last=blocks * self.subs - 1,
            zero_point=int(integers(-128, 128)),
            low=low,
            high=int(integers(low, 128)),
            table_base=256 * int(integers(0, 2)),
            operands=int(integers(0, 2)),
        )

    def word(self, record: SliceRecord) -> int:
        """Return ``record`` as the port takes it."""
        words = self.format.pack(record)
        return sum(word << 32 * i for i, word in enumerate(words)) & ((1 << self.format.layout.size) - 1)

    def create(self, params: RequantizeParams | None = None) -> OutputStage:
        q, width = self.array.requantizers, REQUANTIZE.params_layout.size
        words = (params or self.params).pack(REQUANTIZE)
        joined = [sum(word << width * i for i, word in enumerate(words[s : s + q])) for s in range(0, len(words), q)]
        return OutputStage(
            self.config, self.format, params=joined, tables=(self.tables[0].tolist(), self.tables[1].tolist())
        )


class Slice:
    """Writes one slice's drains into the trace, and the blocks they must give."""

    def __init__(
        self, case: Case, trace: Trace, number: int, rng: random.Random, later: dict[int, tuple[int, int]]
    ) -> None:
        self.case, self.array, self.trace, self.rng = case, case.array, trace, rng
        self.number, self.record = number, case.records[number]
        self.words = self.record.subs_last + 1
        self.planes = 1 if self.record.unit == Unit.VECTOR or self.record.wide else case.array.pixels
        self.later = later
        self.redirect = 0
        self.pushes: set[int] = set()

    def run(self, *, groups: int = 8) -> None:
        case, rng, record = self.case, self.rng, self.record
        self.trace.hold(record=case.word(record))
        tile, first_done, latency = 0, self.trace.now, OutputStage.latency_of(case.config)
        self.redirect = first_done + latency - OutputStage.REDIRECT_CYCLES
        bits = case.format.layout.size
        self.trace.expect(self.redirect, "taken", case.word(record), f"slice {self.number}", width=bits)
        for group in range(groups):
            fits = record.param_hold or record.param_base + (tile + 2) * self.words <= PARAM_WORDS
            tile_end, spare = int(fits and rng.random() < 0.5), rng.randrange(self.planes)
            done = self.trace.now
            opens = int(group == 0)
            acc = self._vector(tile_end, opens) if record.unit == Unit.VECTOR else self._array(tile_end, spare, opens)
            # From now on the next slice's record may come.
            self.trace.hold(record=self.rng.getrandbits(bits))
            first = record.param_base + (0 if record.param_hold else tile * self.words)
            self._expect(done, acc[: self.planes - spare], first, f"slice {self.number}, pixel group {group}")
            # The issuer keeps this distance.
            for _ in range(self.planes * self.words - 1 + rng.choice([0, 0, 3])):
                self.step()
            tile += tile_end
        # As the compiler keeps two slices apart at least.
        while self.trace.now < first_done + latency - 1:
            self.step()

    def step(self, **values: int) -> None:
        """One cycle, in which sums that are due have changed."""
        mask, value = self.later.pop(self.trace.now, (0, 0))
        self.trace.hold(sums=self.trace.held["sums"] & ~mask | value)
        self.trace.cycle(**values)

    def _expect(self, done: int, acc: np.ndarray, first: int, place: str) -> None:
        """Blocks of ``acc``, int64 ``(planes, results)``, by the parameters from word ``first`` on."""
        q, m, record = self.array.requantizers, self.array.block, self.record
        ofmap = REQUANTIZE.compute(
            acc, self.case.params.rows(first * q, self.words * q),
            zero_point=record.zero_point, low=record.low, high=record.high,
        )  # fmt: skip
        for index, block in enumerate(ofmap.reshape(-1, m)):
            cycle = done + OutputStage.latency_of(self.case.config) + index * self.case.subs
            value = int.from_bytes(block.astype(np.int8).tobytes(), "little")
            self.trace.expect(cycle, "block", value, f"{place}, block {index}", width=8 * m)
            self.pushes.add(cycle)

    def _array(self, tile_end: int, spare: int, opens: int) -> np.ndarray:
        """``done`` of the array; plane v's sums change v + 1 cycles after it. Returns the sums ``(V, results)``."""
        shape = (self.array.pixels, self.array.cols)
        sums = np.array([self.rng.randrange(-(2**20), 2**20) for _ in range(shape[0] * shape[1])]).reshape(shape)
        bits = ACC_BITS * self.array.cols
        for v, plane in enumerate(sums):
            mask = ((1 << bits) - 1) << bits * v
            self.later[self.trace.now + v + 1] = (mask, join(plane, ACC_BITS) << bits * v)
        self.step(array_done=1, array_opens=opens, tile_end=tile_end, spare=spare)
        results = self.words * self.array.requantizers
        return sums.reshape(1, -1)[:, :results] if self.record.wide else sums[:, :results]

    def _vector(self, tile_end: int, opens: int) -> np.ndarray:
        """``done`` of the vector unit; its operands change in the next cycle. Returns the sums ``(1, M)``."""
        a, b = (np.frombuffer(self.rng.randbytes(self.array.block), np.int8).astype(np.int64) for _ in range(2))
        spare = self.rng.randrange(self.array.pixels)
        self.step(vector_done=1, vector_opens=opens, tile_end=tile_end, spare=spare)
        self.trace.hold(a=join(a, 8), b=join(b, 8))
        base = self.record.table_base + 128
        first, second = self.case.tables[0, base + a], self.case.tables[1, base + b]
        return (first + second if self.record.operands else first)[None]


def join(values: np.ndarray, bits: int) -> int:
    return sum((int(value) & ((1 << bits) - 1)) << bits * i for i, value in enumerate(values))


def random_trace(case: Case, *, seed: int) -> Trace:
    rng = random.Random(seed)
    ports = ("record", "take", "array_done", "array_opens", "tile_end", "spare", "sums", "vector_done", "vector_opens")
    trace = Trace(*ports, "a", "b")
    pushes: set[int] = set()
    redirects: set[int] = set()
    later: dict[int, tuple[int, int]] = {}
    slices = [Slice(case, trace, number, rng, later) for number in range(len(case.records))]
    for running in slices:
        running.run()
        pushes |= running.pushes
        redirects.add(running.redirect)
    for _ in range(OutputStage.latency_of(case.config) + 1):
        slices[-1].step()
    assert max(pushes) < trace.now
    # A byte mover's slice redirects at once.
    trace.hold(record=case.word(case.records[0]))
    redirects.add(trace.now + 1)
    trace.expect(trace.now + 1, "taken", case.word(case.records[0]), "byte mover", width=case.format.layout.size)
    trace.cycle(take=1)
    trace.idle(2)
    for cycle in range(trace.now):
        trace.expect(cycle, "push", int(cycle in pushes), "a block is complete", width=1)
        trace.expect(cycle, "redirect", int(cycle in redirects), "a slice begins to write", width=1)
    return trace


ARRAYS = {
    "one plane": ArrayConfig(rows=2, cols=8, pixels=1, block=4, requantizers=2),
    "three planes": ArrayConfig(rows=2, cols=8, pixels=3, block=4, requantizers=1),
    "a block at once": ArrayConfig(rows=2, cols=8, pixels=2, block=4, requantizers=4),
    "a plane at once": ArrayConfig(rows=2, cols=4, pixels=3, block=4, requantizers=4),
    "three groups": ArrayConfig(rows=2, cols=12, pixels=3, block=4, requantizers=4),
}


@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS.keys())
def test_every_result_is_scaled_by_its_own_parameters(tmp_path: Path, array: ArrayConfig) -> None:
    case = Case(array, seed=1)
    result = follow(case.create(), random_trace(case, seed=2), tmp_path)
    assert result.passed, result.text


def shift_parameters(case: Case) -> OutputStage:
    """Every word of parameters in the place of the one before."""
    q = case.array.requantizers
    return case.create(case.params.take(np.roll(np.arange(len(case.params)), -q)))


def swap_tables(case: Case) -> OutputStage:
    case.tables = case.tables[::-1]
    return case.create()


@pytest.mark.parametrize(("fault", "place"), [(shift_parameters, "slice 0"), (swap_tables, "slice 2")])
def test_planted_fault_is_caught_in_its_slice(tmp_path: Path, fault: Callable[[Case], OutputStage], place: str) -> None:
    case = Case(ARRAYS["one plane"], seed=1)
    trace = random_trace(case, seed=2)
    result = follow(fault(case), trace, tmp_path)
    assert f"{place}, pixel group 0, block 0: block is" in result.text
