"""A checker must be seen to fail: each planted fault is caught, and the layer it was planted in is named.

Faults are planted in the program, so that emulator and RTL run the same faulty tables; both must differ from the golden
model, and in the same way.
"""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from digits import digit_samples, digits, only

from heddle.errors import ToolError
from heddle.gen import golden
from heddle.gen.design import Accelerate, Design
from heddle.gen.images import Program
from heddle.hdl.program import SliceRecord
from heddle.hdl.requantize import RequantizeParams
from heddle.sim.network import simulate

Plant = Callable[[Program, SliceRecord], Program]
"""A program with a fault in the slice of that record."""


def with_record(program: Program, record: SliceRecord, **changes: int) -> Program:
    records = tuple(replace(each, **changes) if each is record else each for each in program.records)
    return replace(program, records=records)


def flip_a_weight_bit(program: Program, record: SliceRecord) -> Program:
    weights = program.weights.copy()
    weights[0, record.weight_base, 2] ^= 1 << 5
    return replace(program, weights=weights)


def round_down(program: Program, record: SliceRecord) -> Program:
    """Take half a step off the offsets of every result of the slice."""
    q = program.config.array.requantizers
    entries = slice(record.param_base * q, (record.param_base + record.subs_last + 1) * q)
    params, config = program.params, program.config.requantize
    half = np.zeros_like(params.offset)
    half[entries] = (1 << params.shift[entries]) >> 1
    half &= -1 << config.offset_zeros
    faulty = {name: getattr(params, name) - half for name in ("offset", "offset_negative")}
    return replace(
        program, params=RequantizeParams(**{f.name: getattr(params, f.name) for f in fields(params)} | faulty)
    )


def pad_with_another_value(program: Program, record: SliceRecord) -> Program:
    return with_record(program, record, pad_value=record.pad_value + 9)


def read_one_row_off(program: Program, record: SliceRecord) -> Program:
    """Let the first lane of the slice's first step read the next word of its bank."""
    steps = list(program.steps)
    first, *others = steps[record.step_base].lanes
    assert first is not None
    lanes = (replace(first, row_offset=first.row_offset + 1), *others)
    steps[record.step_base] = replace(steps[record.step_base], lanes=lanes)
    return replace(program, steps=tuple(steps))


def write_one_block_off(program: Program, record: SliceRecord) -> Program:
    return with_record(program, record, dst_base=record.dst_base + 1)


def change_a_table_entry(program: Program, record: SliceRecord) -> Program:
    """Make the entry of -128, which RELU gives, that of 127."""
    tables = program.tables.copy()
    tables[0, record.table_base] = tables[0, record.table_base + 255]
    return replace(program, tables=tables)


FAULTS: dict[str, tuple[str, Plant]] = {
    "a flipped weight bit": ("CONV_2D", flip_a_weight_bit),
    "a flipped weight bit at the end": ("FULLY_CONNECTED", flip_a_weight_bit),
    "wrong rounding": ("CONV_2D", round_down),
    "wrong rounding of a mean": ("AVERAGE_POOL_2D", round_down),
    "wrong padding": ("DEPTHWISE_CONV_2D", pad_with_another_value),
    "a step's address off by one": ("DEPTHWISE_CONV_2D", read_one_row_off),
    "a destination off by one": ("CONV_2D", write_one_block_off),
    "a wrong table entry": ("ADD", change_a_table_entry),
}


def plant(design: Design, op: str, fault: Plant) -> tuple[Design, str]:
    """Return the design with ``fault`` in the last layer of kind ``op``, and that layer's name."""
    layer = next(layer for layer in reversed(design.layers) if layer.op == op)
    index = max(i for i, o in enumerate(design.slice_operation) if design.plan.operations[o].layer == layer.name)
    return replace(design, program=fault(design.program, design.program.records[index])), layer.name


@pytest.mark.parametrize("name", FAULTS)
def test_the_emulator_shows_a_planted_fault(name) -> None:
    design, x = digits(), digit_samples(20)
    faulty, _ = plant(design, *FAULTS[name])
    expected = only(design.network.predict(x))
    assert np.array_equal(only(design.predict(x)), expected)
    assert not np.array_equal(only(faulty.predict(x)), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAULTS)
def test_the_simulation_names_the_layer_of_a_planted_fault(name) -> None:
    faulty, layer = plant(digits(), *FAULTS[name])
    x = digit_samples(1)
    result = simulate(faulty, x, simulator="icarus", layers=True)
    first = result.first_difference
    assert first is not None
    assert first.layer == layer
    assert first.got != first.expected
    expected = golden.run(faulty.network, x)[first.tensor].reshape(1, *faulty.network.tensors[first.tensor].hwc)
    assert first.expected == expected[first.sample, *first.index]
    assert str(first).startswith(f"sample 0, {layer}: {first.tensor}[")
    # Wrong in the same way: nothing but the fault is wrong.
    assert np.array_equal(only(result.outputs), only(faulty.predict(x)))


class Dropping(Design):
    """A design whose sender loses a byte of every input packet: with one-byte beats, a beat."""

    def run_host(self, x: golden.Inputs, accelerator: Accelerate) -> np.ndarray | dict[str, np.ndarray]:
        return super().run_host(x, lambda packets: accelerator([np.delete(packet, 17, axis=1) for packet in packets]))


def test_the_simulation_names_the_slice_that_waits_for_a_dropped_beat() -> None:
    design = digits()
    dropping = Dropping(**{f.name: getattr(design, f.name) for f in fields(design)})
    with pytest.raises(ToolError) as refusal:
        simulate(dropping, digit_samples(1), simulator="icarus")
    message = str(refusal.value)
    assert "sample 0: no output in" in message
    load, first = (layer.name for layer in design.layers[:2])
    assert f"slice 1 ({first}, which follows {load}) does not end" in message
