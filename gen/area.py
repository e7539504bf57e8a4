"""LUTs and flip-flops of a core before synthesis, as estimates: from what each of its parts consists of.

Flip-flops are those of the registers in ``hdl/``, whose structure these formulas repeat. LUTs are those of adders (one
a bit, in pairs), multiplexers and comparisons. What only synthesis knows is a constant below, measured.
``python bench/estimates.py`` compares both with nextpnr's packed counts of whole designs, and fails where they are
further off than :data:`heddle.gen.resources.TOLERANCE`: after a change of the hardware it says what to measure again.
The harness of a build (:mod:`heddle.boards.harness`) is no part of a core, and not counted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from heddle.boards.synthesis import COMBS
from heddle.gen.memories import MemoryUse
from heddle.gen.selectors import Selections
from heddle.hdl.array import Lane, psum_bits
from heddle.hdl.config import ArrayConfig, CoreConfig
from heddle.hdl.follow import LEVELS as FOLLOWED_LEVELS
from heddle.hdl.multiplier import LOGIC_BITS, limb_widths
from heddle.hdl.products import BITS, ProductPrimitive
from heddle.hdl.program import DST_LEVELS, SRC_LEVELS, WORD_BITS, RecordFormat
from heddle.hdl.requantize import LEVEL_BITS, RequantizeConfig
from heddle.hdl.scratchpad import SPREAD_BITS, Fetch, Scratchpad, rotation_stages
from heddle.hdl.selection import select_luts

LANE_LUTS, LANE_FLIPFLOPS = 5, 4
"""Of the strobes that a lane derives from its control."""
TAP_LUTS = 14
"""Of a lane's tap beside its sums and comparisons: which of them decide, and the bank's carry into the row."""
FOLLOWED_LUTS, FOLLOWED_FLIPFLOPS = 100, 40
"""Of the interlock between a load and the slice that follows it."""
STROBE_LUTS, OUTPUT_LUTS, OUTPUT_FLIPFLOPS, CONTROL_LUTS = 45, 70, 90, 100
"""Of strobes between the units, of the drain's counters, and of the state machines of sequencer and issuer."""


CORE_LUTS, CORE_FLIPFLOPS = 1200, 1700
"""Of control and mover of a small core, for choices made before there is a program."""


@dataclass(frozen=True)
class Area:
    """LUTs (``TRELLIS_COMB``) and flip-flops (``TRELLIS_FF``)."""

    luts: float = 0
    flipflops: float = 0

    def __add__(self, other: "Area") -> "Area":
        return Area(self.luts + other.luts, self.flipflops + other.flipflops)

    def __mul__(self, count: float) -> "Area":
        return Area(self.luts * count, self.flipflops * count)


def core_area(config: CoreConfig, chosen: Selections, memories: Iterable[MemoryUse]) -> Mapping[str, Area]:
    """Return the area of each part of a core; ``memories`` are all that it keeps in block RAM."""
    memories = tuple(memories)
    return {
        **array_area(
            config.array,
            chosen,
            wide=bool(config.wide_words),
            indexed=bool(config.index_words),
            diagonal=config.diagonal,
        ),
        "accumulators": _accumulators(config.array, config.acc_bits),
        "lane control": _lane_control(config),
        "feature-map memory": _scratchpad(config.array, config.address_bits, byte_writes=config.byte_writes),
        "fetch": _fetch(config),
        "requantizers": requantizer_area(config.requantize) * config.array.requantizers,
        "output stage": _output(config),
        "vector unit": _vector(config),
        "mover": _mover(config),
        "control": _control(config),
        "followed load": _followed(config),
        "deep memories": deep_memories(memories),
    }


def expected_area(array: ArrayConfig, requantizer: RequantizeConfig, *, acc_bits: int, alike: bool) -> Area:
    """Return about what a core takes before a program is known: somewhat less than with any.

    ``alike``: no column has indices, as where few weights are zero.
    """
    chosen = Selections.least(array) if alike else Selections.largest(array)
    parts = array_area(array, chosen, wide=False, indexed=not alike, diagonal=alike)
    block, registers = 8 * array.block, 2 * array.rows
    return sum(
        (
            _accumulators(array, acc_bits),
            _scratchpad(array, address_bits=4, byte_writes=False),
            # Padding, and the register behind it.
            Area(array.rows, registers) * block,
            _drain(array, acc_bits),
            requantizer_area(requantizer) * array.requantizers,
            Area(CORE_LUTS, CORE_FLIPFLOPS),
        ),
        start=sum(parts.values(), start=Area()),
    )


# --- the array --------------------------------------------------------------------------------------------------------


def array_area(
    array: ArrayConfig, chosen: Selections, *, wide: bool, indexed: bool, diagonal: bool
) -> Mapping[str, Area]:
    """Return the area of lanes and elements, which the shape and the selections decide.

    ``wide``, ``indexed`` and ``diagonal`` say whether there are wide slices' weights, indices, and slices whose columns
    select their own channels.
    """
    products, block = array.macs_per_cycle, 8 * array.block
    later = array.pixels - 1
    # The skew of the lanes, and what each plane holds.
    blocks = array.rows * (array.rows - 1) // 2 + array.rows * array.pixels
    psums = [psum_bits(lane) for lane in range(array.rows)]
    dense = array.rows * SPREAD_BITS * _bits(array.block)
    # The choice between the plane's and the column's own, for each channel of a block.
    own = Area(1, 1 - 1 / array.block) * (BITS * array.block * array.rows * array.pixels * (diagonal and not indexed))
    return {
        "products": products_area(products - array.lut_products, array.lut_products),
        "selection": Area(select_luts(array.block), 1) * (BITS * chosen.distinct)
        + Area(chosen.bits if indexed else dense, chosen.bits)
        + own,
        "weights": Area(BITS * array.rows * array.cols * later * wide, BITS * products),
        # A wide slice's planes take the block of the plane before.
        "blocks": Area(array.rows * later * block, blocks * block),
        # The first lane has nothing to add to.
        "partial sums": Area(sum(map(adder, psums[1:])), sum(psums)) * (array.cols * array.pixels),
    }


def products_area(multipliers: int, luts: int) -> Area:
    """Return the area of products in multipliers and in LUTs."""
    return product_area("mult18x18d") * multipliers + product_area("lut") * luts


def product_area(primitive: ProductPrimitive) -> Area:
    """Return the area of a product; in LUTs it has 79 and 80 flip-flops, see :mod:`heddle.hdl.products`."""
    if primitive != "lut":
        return Area(0, 2 * BITS)
    pair, half = BITS + 2, BITS + 4
    # Four pairs of rows, two sums of pairs, and the sum of these: chains take a LUT more than they have bits.
    return Area(4 * (pair + 1) + 2 * (pair + 1) + half + 1, 4 * pair + 2 * half + 2 * BITS)


def _accumulators(array: ArrayConfig, acc_bits: int) -> Area:
    """Sum and shadow; the adder's LUTs clear the sum."""
    return Area(adder(acc_bits), 2 * acc_bits) * (array.cols * array.pixels)


def _lane_control(config: CoreConfig) -> Area:
    """Carry what accompanies a multiply cycle through the fetch pipeline, down the lanes, and in part to their foot."""
    array = config.array
    foot_flags = 6
    # enable, load, first, last, tile_end, opens, and how the slice uses the array.
    flags = 6 + bool(config.index_words) + config.diagonal + (array.pixels > 1) + SPREAD_BITS
    flags += _bits(array.block) + _bits(array.pixels)
    fetch = Fetch.latency_of(Scratchpad.latency_of(array.rows)) - Lane.LEAD
    registers = (fetch + array.rows) * (flags + _bits(config.weight_words))
    foot = (Lane.LATENCY - 1 + array.pixels) * foot_flags
    return Area(STROBE_LUTS + LANE_LUTS * array.rows, registers + foot + LANE_FLIPFLOPS * array.rows)


# --- feature maps and their addresses ---------------------------------------------------------------------------------


def _scratchpad(array: ArrayConfig, address_bits: int, *, byte_writes: bool) -> Area:
    """Rotations of row addresses and of blocks; the block to write, in one register and then in those of the banks."""
    block, stages = 8 * array.block, rotation_stages(array.rows)
    enables = array.rows * (array.block if byte_writes else 1)
    rotated = -(-stages // 4) * address_bits + -(-stages // 2) * block
    return Area(
        array.rows * stages * (address_bits + block) + block + enables,
        # Equal registers beside the banks are merged, but for the enables.
        array.rows * rotated + 2 * (block + address_bits) + array.block + enables,
    )


def _fetch(config: CoreConfig) -> Area:
    """Each lane's tap, padding and sharing, from step table to blocks."""
    array, block = config.array, 8 * config.array.block
    tap, position = config.field_bits["coordinate"] + 1, config.address_bits + _bits(array.rows)
    # Two sums, two comparisons, and the sum of the row.
    lane = Area(
        4 * adder(tap) + adder(config.address_bits) + TAP_LUTS,
        2 * tap + 2 * config.address_bits + Scratchpad.latency_of(array.rows) + 2,
    )
    sharing = 0.0
    if config.spread:
        shifts = range(1 << config.field_bits["spread"])
        sharing = sum(multiplexer(len({row >> shift for shift in shifts})) for row in range(array.rows))
    return lane * array.rows + Area(
        (array.rows + sharing) * block + 4 * position, 2 * array.rows * block + 6 * position + 8 * tap
    )


_DEEP_SELECTS = 2
"""Registers of each bit that chooses between block RAMs: as late as the read, and as the output register."""


def deep_memories(memories: Iterable[MemoryUse]) -> Area:
    """Choose between block RAMs one behind another, by an address as late as their output registers."""
    split = [part for memory in memories for part in memory.split]
    selects = sum(_DEEP_SELECTS * (rows - 1).bit_length() for _, rows in split)
    return Area(sum(bits * multiplexer(rows) for bits, rows in split), selects)


# --- from sums to blocks ----------------------------------------------------------------------------------------------


def requantizer_area(config: RequantizeConfig) -> Area:
    """Return the area of a requantizer, its DSPs left out; bits below the smallest shift take nothing but a carry."""
    multiplier, latency = _multiplier(config)
    kept = max(2, config.scaled_bits - max(config.shift_min, config.offset_zeros))
    saturation = 1.2 * config.x_bits * (config.x_bits < config.total_bits)
    total = Area(adder(config.total_bits) + saturation, config.total_bits + config.multiplier_bits)
    # The offsets of both signs differ in about half of their bits.
    offset = Area(0.5 * config.split_sign, 1 + config.split_sign + latency) * config.offset_bits
    scaled = Area(adder(config.scaled_bits - config.offset_zeros), kept)
    stages = _shift_stages(config)
    shift = Area(kept * sum(map(multiplexer, stages)), kept * len(stages) + _waiting(config))
    # Saturation to a level, its sum with the zero point, two comparisons, and the choice of 3.
    clip = Area(
        kept / 3 + LEVEL_BITS + adder(LEVEL_BITS + 1) + 2 * adder(LEVEL_BITS + 1) + multiplexer(3) * BITS,
        2 * LEVEL_BITS + 1 + BITS,
    )
    return multiplier + total + offset + scaled + shift + clip


def parameter_flipflops(config: RequantizeConfig) -> int:
    """Return how many of a requantizer's flip-flops hold nothing but parameters: units that share those share them."""
    return config.multiplier_bits + (1 + config.split_sign) * config.offset_bits + _waiting(config)


def _shift_stages(config: RequantizeConfig) -> list[int]:
    """Return the inputs of the multiplexers that shift, one behind another."""
    return [1 << min(2, top) for top in range(config.shift_bits, 0, -2)]


def _waiting(config: RequantizeConfig) -> int:
    """Flip-flops in which the shift waits for the product."""
    return config.shift_bits * (config.latency - 3 - len(_shift_stages(config)))


def _multiplier(config: RequantizeConfig) -> tuple[Area, int]:
    """Return what :class:`heddle.hdl.multiplier.Multiplier` takes beside DSPs, and its latency."""
    area, terms = Area(), []
    a_bits, b_bits = config.x_bits, config.multiplier_bits + 1
    for i, a in enumerate(limb_widths(a_bits)):
        for j, b in enumerate(limb_widths(b_bits)):
            shift = sum(limb_widths(a_bits)[:i]) + sum(limb_widths(b_bits)[:j])
            narrow, wide = sorted((a, b))
            if narrow > LOGIC_BITS:
                terms.append((shift, a + b + 2))
                continue
            area += Area(narrow * wide, narrow * wide)
            rows = [(shift + row, wide + 2) for row in range(0, narrow, 2)]
            area += Area(adder(wide + 1), wide + 2) * len(rows)
            terms += rows
    terms.sort()
    latency = 2
    while len(terms) > 1:
        latency += 1
        pairs = [terms[index : index + 2] for index in range(0, len(terms), 2)]
        terms = []
        for pair in pairs:
            shift = pair[0][0]
            width = min(max(start + bits for start, bits in pair) + 1, a_bits + b_bits) - shift
            added = adder(width - (pair[1][0] - shift)) if len(pair) == 2 else 0
            area += Area(added, width - (config.offset_zeros if len(pairs) == 1 else 0))
            terms.append((shift, width))
    return area, latency


def _output(config: CoreConfig) -> Area:
    """Return drain and the block of results."""
    array = config.array
    results = 8 * array.block * (array.block > array.requantizers)
    return _drain(array, config.acc_bits) + Area(OUTPUT_LUTS, results + OUTPUT_FLIPFLOPS)


def _drain(array: ArrayConfig, acc_bits: int) -> Area:
    """Multiplexers of a plane's accumulators and of the planes."""
    bits, planes = array.requantizers * acc_bits, array.pixels
    luts = planes * multiplexer(array.cols // array.requantizers) + multiplexer(planes)
    return Area(bits * luts, (planes + 2) * bits)


def _vector(config: CoreConfig) -> Area:
    """Block unit, tables and their sum; nothing where no slice uses it."""
    if not config.table_words:
        return Area()
    q, block, total = config.array.requantizers, 8 * config.array.block, config.table_bits + 1
    second = config.second_operand
    choice = (1 + second) * 8 * q * multiplexer(config.array.block // q)
    # A maximum is a comparison and a choice.
    return Area(
        choice + q * adder(total) * second + block * (2 * second + 2.4 * config.maximum),
        block * (2 + second) + q * total,
    )


# --- edges and control ------------------------------------------------------------------------------------------------


def _mover(config: CoreConfig) -> Area:
    """Barrels before and behind columns of distributed RAM, each with its counters."""
    width = 1 << (max(config.array.block, config.array.stream_bytes) - 1).bit_length()
    columns = width // config.grain
    # Of 4 bits each: the columns, and the queue behind them.
    memories = COMBS["TRELLIS_DPR16X4"] * (2 * width + -(-(8 * width + 1) // 4))
    barrels = 2 * 8 * width * (columns - 1).bit_length()
    # What goes in, and the zeros behind what goes out; three registers of a chunk, and one of a block.
    return Area(
        memories + barrels + 2 * 8 * width + 30 * columns + 120,
        3 * 8 * width + 8 * config.array.block + 15 * columns + 60,
    )


def _followed(config: CoreConfig) -> Area:
    """Return the second way into the memory of a load that is followed; nothing where none is."""
    if not config.followed_bytes:
        return Area()
    block, count = 8 * config.followed_bytes, config.field_bits["count"]
    position = config.address_bits + _bits(config.array.rows)
    nest = Area(2 * ((count + 3) * FOLLOWED_LEVELS + 2 * position), (count + 3) * FOLLOWED_LEVELS + 2 * position)
    # Before each bank the choice between two blocks and two addresses; two blocks wait, beside a copy of the record.
    ways = config.array.rows * (block + config.address_bits)
    copies = position + FOLLOWED_LEVELS * (position + count)
    # The register beside a bank is one of its own where the bank's choice lies before it.
    own = (config.array.rows - 1) * (block + config.address_bits)
    return nest + Area(ways + block + FOLLOWED_LUTS, own + 2 * (block + position + 1) + copies + FOLLOWED_FLIPFLOPS)


def _control(config: CoreConfig) -> Area:
    """Sequencer and issuer, the nest of destinations, and the copies of the record that these and the output keep."""
    record = RecordFormat(config.field_bits, config.address_bits, config.array.rows)
    count, coordinate = config.field_bits["count"], config.field_bits["coordinate"]
    position = config.address_bits + _bits(config.array.rows)
    copies = WORD_BITS * record.words + record.layout.size + 2 * DST_LEVELS * (position + count)
    nests = sum((count + 3) * levels + 2 * position for levels in (SRC_LEVELS, DST_LEVELS))
    return Area(
        2 * nests + 8 * position + 6 * coordinate + CONTROL_LUTS,
        copies + nests + 4 * coordinate + 2 * _bits(config.weight_words),
    )


def _bits(count: int) -> int:
    """Bits of a number below ``count``, at least one."""
    return max(1, (count - 1).bit_length())


def adder(bits: int) -> int:
    """LUTs of a sum of ``bits``: whole ``CCU2C`` of two."""
    return 2 * -(-bits // 2)


def multiplexer(inputs: int) -> float:
    """LUTs of one bit of a multiplexer; those of many inputs pack better."""
    return {1: 0, 2: 1, 3: 2, 4: 3}.get(inputs, 0.75 * inputs)
