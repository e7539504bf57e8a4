"""What a work-list core takes before synthesis: multipliers and block RAMs exactly, LUTs and flip-flops estimated.

The formulas repeat the structure of ``hdl/worklist*.py``; a test compares them with syntheses.
"""

from collections.abc import Iterable, Mapping

from heddle.boards.family import ECP5
from heddle.gen.area import Area, adder, deep_memories, multiplexer, parameter_flipflops, requantizer_area
from heddle.gen.memories import MemoryUse, rom
from heddle.gen.resources import Resources
from heddle.hdl.multiplier import multiplier_latency
from heddle.hdl.products import BITS
from heddle.hdl.requantize import RequantizeConfig
from heddle.hdl.scratchpad import rotation_stages
from heddle.hdl.worklist import WorklistImages
from heddle.hdl.worklist_config import WorklistConfig, WorklistShape, bits_for
from heddle.hdl.worklist_edges import Loader, Storer
from heddle.hdl.worklist_lane import ROM_CYCLES, Lane, place_bits, rotation_cycles

PAIR_LUTS, PAIR_FLIPFLOPS = 54, 82
"""Of :class:`heddle.hdl.products.PairMultiplier`; ``python bench/elements.py`` counts them."""
CONTROL_LUTS, CONTROL_FLIPFLOPS = 250, 350
"""Of sequencer, issuer and the state machine that loads."""


def worklist_resources(config: WorklistConfig, images: WorklistImages) -> Resources:
    """Return what a work-list core with those initial contents takes on an ECP5."""
    kept = worklist_memories(config, images)
    return Resources(
        multipliers=worklist_multipliers(config.array, config.requantize) + config.array.lanes * Lane.dsps(config),
        # None is made of LUTs where multipliers run out.
        products=0,
        lut_products=0,
        memories=kept,
        parts=worklist_area(config, kept),
        family=ECP5,
    )


def worklist_multipliers(shape: WorklistShape, requantize: RequantizeConfig) -> int:
    """Return the multipliers of a core but for places: one for a pair of products, and those of its requantizers."""
    return shape.macs_per_cycle // 2 + shape.requantizers * requantize.dsps


def feature_maps(shape: WorklistShape, words: int) -> MemoryUse:
    """Return the banks of all copies of the feature maps, of so many words each."""
    return MemoryUse(name="feature maps", width=BITS, depth=words, stored=(BITS,) * shape.macs_per_cycle, written=True)


def worklist_memories(config: WorklistConfig, images: WorklistImages) -> tuple[MemoryUse, ...]:
    """Return what the core keeps in block RAM."""
    lists = (rom("items", config.item_layout(lane).size, [items]) for lane, items in enumerate(images.items))
    tables = (
        rom("taps", config.position_bits, [images.taps] * config.array.lanes),
        rom("masks", config.array.pixels, [images.masks] * config.array.lanes),
        rom("drains", config.drain_layout.size, [images.drains]),
        rom("destinations", config.dest_layout.size, [images.dests]),
        rom("bases", config.base_layout.size, [images.bases]),
        rom("program", config.record_layout.size, [images.records]),
    )
    return (feature_maps(config.array, config.words), *lists, *tables)


def worklist_area(config: WorklistConfig, memories: Iterable[MemoryUse]) -> Mapping[str, Area]:
    """Return the area of each part of the core."""
    shape = config.array
    lane = _reads(config) + _products(config) + _accumulators(config)
    return {
        "lanes": lane * shape.lanes,
        "requantizers": _requantizers(config.requantize, shape.requantizers),
        "drains": _drains(config),
        "writes": _writes(config),
        "edges": _edges(config),
        "control": Area(CONTROL_LUTS, CONTROL_FLIPFLOPS),
        "deep memories": deep_memories(memories),
    }


def _requantizers(config: RequantizeConfig, count: int) -> Area:
    """Of units that all have the same parameters, of which there is a copy."""
    return requantizer_area(config) * count + Area(0, -parameter_flipflops(config)) * (count - 1)


def least_luts(shape: WorklistShape, requantize: RequantizeConfig) -> float:
    """Return LUTs that a core takes at least, whatever its program."""
    pairs = PAIR_LUTS * shape.macs_per_cycle // 2
    sums = 2 * requantize.acc_bits * shape.macs_per_cycle
    return pairs + sums + requantizer_area(requantize).luts * shape.requantizers


def _rotation(config: WorklistConfig, width: int) -> Area:
    """Of V words: a multiplexer of two a bit and stage; a register behind each pair of stages."""
    pixels = config.array.pixels
    bits = pixels * width
    return Area(bits * rotation_stages(pixels), (bits + config.bank_bits) * rotation_cycles(pixels))


def _rows(config: WorklistConfig) -> Area:
    """Of the row of each bank: this or the next one, chosen for all bits of it alike."""
    rows = config.array.pixels * config.row_bits
    return Area(
        adder(config.position_bits) + adder(config.row_bits) + config.array.pixels + rows,
        config.position_bits + 2 * config.row_bits + 2 * config.bank_bits + rows,
    )


def _reads(config: WorklistConfig) -> Area:
    """Of a lane's reads: positions, rows, rotation, masks; registers behind memories lie in the block RAMs."""
    control = Lane.latency(config) - ROM_CYCLES
    arrival = Lane.byte_latency(config) - ROM_CYCLES
    places, masks = config.position_bits, bits_for(config.mask_words)
    product = multiplier_latency(*place_bits(config), config.array.primitive)
    positions = Area(
        2 * adder(places) + adder(bits_for(config.tap_words)) + adder(masks),
        places * (2 + product) + bits_for(config.tap_words) + masks * (arrival - ROM_CYCLES - 1),
    )
    masked = Area(BITS, BITS) * config.array.pixels
    delays = Area(0, BITS * arrival + arrival + 3 * control)
    return positions + _rows(config) + _rotation(config, BITS) + masked + delays


def _products(config: WorklistConfig) -> Area:
    return Area(PAIR_LUTS, PAIR_FLIPFLOPS) * (config.array.pixels // 2)


def _accumulators(config: WorklistConfig) -> Area:
    """Sum and shadow of each pixel; a product may count more, and the sum begin anew."""
    bits = config.acc_bits
    return Area(bits + adder(bits), 2 * bits) * config.array.pixels


def _drains(config: WorklistConfig) -> Area:
    """Of the choice of a sum and of what is added up, for each requantizer; a load selects bytes instead."""
    bits, shape = config.acc_bits, config.array
    bytes_ = [
        {chosen[v] for chosen in config.selections for v in range(q, shape.pixels, shape.requantizers)} - {None}
        for q in range(shape.requantizers)
    ]
    loaded = sum(multiplexer(len(own)) * BITS for own in bytes_)
    # Two sums to a LUT, and these with the load's byte into another one or more.
    sums = shape.lanes * shape.turns
    pairs = -(-sums // 2)
    choice = (pairs if sums > 1 else 0) + -(-(pairs + 1) // 3)
    # What waits for more, and what is written, is of every pixel.
    waiting = Area(0, bits * shape.turns + BITS * (shape.turns - 1))
    each = Area(choice * bits + adder(bits) + bits, 2 * bits) + waiting
    params = Area(0, 3 * config.requantize.params_layout.size)
    return each * shape.requantizers + Area(loaded, 0) + params


def _writes(config: WorklistConfig) -> Area:
    """Of every second pixel, the rotation, rows, and the registers in which these wait for one another."""
    pixels, word = config.array.pixels, BITS + 1
    halved = Area(multiplexer(4) * BITS, 0) * (pixels // 2)
    places = Area(1, word) * pixels
    waiting = abs(rotation_cycles(pixels) - 2)
    late = Area(0, waiting * pixels * (config.row_bits if rotation_cycles(pixels) > 2 else word))
    numbers = Area(0, (config.position_bits + config.dest_layout.size) + 2 * config.requantize.latency)
    return halved + places + _rotation(config, word) + _rows(config) + late + numbers


def _edges(config: WorklistConfig) -> Area:
    """Of the load's buffer and beat, and of two queues of beats: memories in LUTs, and a register each."""
    beat = BITS * config.array.stream_bytes
    queues = sum(-(-(beat + 1) // 4) * 6 * -(-depth // 16) for depth in (Loader.DEPTH, Storer.DEPTH))
    return Area(2 * beat + queues, BITS * config.load_bytes + 5 * beat)
