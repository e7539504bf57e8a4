"""Records in program words, their widths, and the parameters of arrays: software only."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.errors import CapacityError
from heddle.hdl.addressing import split
from heddle.hdl.config import ArrayConfig
from heddle.hdl.program import DST_LEVELS, SRC_LEVELS, WORD_BITS, RecordFormat, SliceRecord, Unit, field_bits

ADDRESS_BITS = 7
POSITIONS = {"src_base", "pixel_stride", "dst_base"}
JUMPS = {"src_jumps": SRC_LEVELS, "dst_jumps": DST_LEVELS}
LASTS = {"src_lasts": SRC_LEVELS, "dst_lasts": DST_LEVELS}
COORDINATES = {"row_start", "row_step", "col_start", "col_step", "pixel_step", "height", "width"}
BYTES = {"pad_value", "zero_point", "low", "high"}
OFFSETS = st.integers(-4000, 4000)


def values(name: str, block: int) -> st.SearchStrategy:
    """Return what a field may hold."""
    if name == "unit":
        return st.sampled_from(Unit)
    if name in POSITIONS:
        return OFFSETS
    if name in JUMPS:
        return st.tuples(*[OFFSETS] * JUMPS[name])
    if name in LASTS:
        return st.tuples(*[st.integers(0, 1000)] * LASTS[name])
    if name in COORDINATES:
        return st.integers(-300, 300)
    if name in BYTES:
        return st.integers(-128, 127)
    return st.integers(0, (1 << block) - 1 if name == "byte_enable" else 5000)


def records(block: int) -> st.SearchStrategy[SliceRecord]:
    return st.builds(SliceRecord, **{f.name: values(f.name, block) for f in fields(SliceRecord)})


def unpacked(layout: RecordFormat, words: list[int]) -> dict[str, object]:
    """Return the fields as the hardware sees them; positions as pairs."""
    bits = sum(word << WORD_BITS * i for i, word in enumerate(words)) & ((1 << layout.layout.size) - 1)
    record = layout.layout.from_bits(bits)
    plain: dict[str, object] = {}
    for item in fields(SliceRecord):
        value = getattr(record, item.name)
        if item.name in POSITIONS:
            plain[item.name] = {"row": value.row, "bank": value.bank}
        elif item.name in JUMPS:
            plain[item.name] = [{"row": value[i].row, "bank": value[i].bank} for i in range(JUMPS[item.name])]
        elif item.name in LASTS:
            plain[item.name] = [value[i] for i in range(LASTS[item.name])]
        else:
            plain[item.name] = value
    return plain


def expected(record: SliceRecord, banks: int) -> dict[str, object]:
    plain: dict[str, object] = {}
    for item in fields(SliceRecord):
        value = getattr(record, item.name)
        if item.name in POSITIONS:
            plain[item.name] = split(value, address_bits=ADDRESS_BITS, banks=banks)
        elif item.name in JUMPS:
            plain[item.name] = [split(v, address_bits=ADDRESS_BITS, banks=banks) for v in value]
        else:
            plain[item.name] = list(value) if item.name in LASTS else value
    return plain


@given(program=st.lists(records(8), min_size=1, max_size=4), banks=st.integers(1, 16))
def test_record_survives_packing(program: list[SliceRecord], banks: int) -> None:
    layout = RecordFormat(field_bits(program, block=8), ADDRESS_BITS, banks)
    words = layout.pack_all(program)
    assert len(words) == layout.words * len(program)
    assert all(0 <= word < 1 << WORD_BITS for word in words)
    for i, record in enumerate(program):
        assert unpacked(layout, words[i * layout.words : (i + 1) * layout.words]) == expected(record, banks)


@given(program=st.lists(records(4), min_size=1, max_size=4))
def test_widths_are_the_least_that_hold_every_record(program: list[SliceRecord]) -> None:
    widths = field_bits(program, block=4)
    assert widths["byte_enable"] == 4
    lasts = max(max(*record.src_lasts, *record.dst_lasts) for record in program)
    assert widths["count"] == max(1, lasts.bit_length())
    shared = {*POSITIONS, *JUMPS, *LASTS, *COORDINATES, *BYTES, "byte_enable"}
    for item in fields(SliceRecord):
        if item.name not in shared:
            assert widths[item.name] == max(1, max(getattr(record, item.name) for record in program).bit_length())


@given(program=st.lists(records(8), min_size=1, max_size=4), tap=st.integers(-64, 63))
def test_tap_around_the_map_never_wraps_into_it(program: list[SliceRecord], tap: int) -> None:
    """Any coordinate plus another fits the shared width: what lies outside of the map stays outside."""
    limit = 1 << (field_bits(program, block=8)["coordinate"] - 1)
    for record in program:
        for name in COORDINATES:
            for other in COORDINATES:
                assert -limit <= getattr(record, name) + getattr(record, other) < limit


def test_field_that_does_not_fit_is_refused() -> None:
    record = SliceRecord(unit=Unit.ARRAY, step_last=3, width=3)
    layout = RecordFormat(field_bits([record], block=8), ADDRESS_BITS, 3)
    with pytest.raises(ValueError, match="step_last must fit 2 unsigned bits, not 4"):
        layout.pack(replace(record, step_last=4))
    with pytest.raises(ValueError, match="width must fit 4 signed bits, not 8"):
        layout.pack(replace(record, width=8))
    with pytest.raises(ValueError, match="dst_lasts must fit 1 unsigned bits, not 2"):
        layout.pack(replace(record, dst_lasts=(0, 0, 2, 0)))


def test_step_lasts_as_long_as_its_side_of_the_split() -> None:
    record = SliceRecord(unit=Unit.ARRAY, step_last=4, step_split=2, inner_first=7, inner_rest=2)
    assert [record.inner(step) for step in range(5)] == [8, 8, 3, 3, 3]
    assert record.words_per_tile == 25


REFUSALS = {
    "rows is 33; choose rows in 1..32": {"rows": 33},
    "pixels is 0; choose pixels in 1..8": {"pixels": 0},
    "block is 12; choose 2, 4, 8 or 16": {"block": 12},
    "12 columns are not whole blocks of 8; make cols a multiple of block": {"cols": 12},
    "3 requantizers do not divide a block of 8; choose requantizers that divide the block": {"requantizers": 3},
    "primitive is 'dsp48'; choose generic, mult18x18d or sb_mac16": {"primitive": "dsp48"},
}


@pytest.mark.parametrize(("message", "choice"), REFUSALS.items(), ids=REFUSALS.keys())
def test_impossible_array_is_refused_with_remedy(message: str, choice: dict) -> None:
    with pytest.raises(CapacityError) as refusal:
        ArrayConfig(**choice)
    assert str(refusal.value) == f"array: {message}"


def test_coordinates_hold_taps_far_beyond_the_map() -> None:
    record = SliceRecord(unit=Unit.ARRAY, src_lasts=(2, 41, 0), row_step=1, col_step=1, height=2, width=2)
    bits = field_bits([record], block=8, reach=30)["coordinate"]
    assert 1 << (bits - 1) > 41 + 30
