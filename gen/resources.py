"""What a core takes of an ECP5, known before synthesis: multipliers and block RAMs exactly, LUTs as an estimate.

The counts of block RAMs follow yosys: bits that are the same in every word of a read-only memory are wires, and what is
left of a memory becomes a grid of ``DP16KD`` of one shape, the shape that needs fewest. A test compares them with a
synthesis.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from heddle.boards import Device
from heddle.hdl.array import psum_bits
from heddle.hdl.config import ArrayConfig, CoreConfig
from heddle.hdl.core import CoreImages
from heddle.hdl.program import WORD_BITS
from heddle.hdl.scratchpad import rotation_stages, step_layout

SHAPES = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
"""Widths and depths of a ``DP16KD`` with one read and one write port."""
BYTE_BITS = 9
"""Data bits behind each write enable of a ``DP16KD``; narrower shapes have a single enable."""

LUTS_PER_PRODUCT = 78
"""Of a product in LUTs; see ``docs/decisions/0007-processing-elements.md``."""
LUT_TOLERANCE = 1.1
"""How far an estimate of LUTs may be above what a device has before it is believed."""

MULTIPLIERS, BLOCK_RAMS, LUTS = "MULT18X18D", "DP16KD", "TRELLIS_COMB"


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """Memories of the same kind.

    Parameters
    ----------
    width
        Bits of a word as the hardware reads it.
    stored
        For each of the memories the bits of a word that are stored: the others are constant.
    byte_writes
        Each byte has its own write enable.
    """

    name: str
    width: int
    depth: int
    stored: tuple[int, ...]
    byte_writes: bool = False

    @property
    def copies(self) -> int:
        """How many there are."""
        return len(self.stored)

    @property
    def bits(self) -> int:
        """Bits that all words hold."""
        return sum(self.stored) * self.depth

    @property
    def block_rams(self) -> int:
        """``DP16KD`` they take.

        >>> MemoryUse(name="weights", width=64, depth=600, stored=(64, 60)).block_rams
        8
        """
        return sum(min(self._grid(bits, *shape) for shape in SHAPES) for bits in self.stored)

    def _grid(self, bits: int, width: int, depth: int) -> int:
        """Block RAMs of one memory if each has that shape."""
        if self.byte_writes:
            # An enable governs BYTE_BITS bits of a wide shape, all bits of a narrow one: a byte fills either.
            whole = width // BYTE_BITS
            columns = -(-(bits // 8) // whole) if whole else bits // 8 * -(-8 // width)
        else:
            columns = -(-bits // width)
        return columns * -(-self.depth // depth)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a core takes.

    Parameters
    ----------
    multipliers
        ``MULT18X18D``: those of the array's products that are not in LUTs, and those of the requantizers.
    products, lut_products
        The array's products in multipliers, and in LUTs.
    memories
        Everything that lies in block RAM.
    luts
        ``TRELLIS_COMB``: a rough estimate, see :func:`estimate_luts`.
    """

    multipliers: int
    products: int
    lut_products: int
    memories: tuple[MemoryUse, ...]
    luts: int

    @property
    def block_rams(self) -> int:
        """``DP16KD`` of all memories."""
        return sum(memory.block_rams for memory in self.memories)

    @property
    def exact(self) -> Mapping[str, int]:
        """Counts that synthesis will find, by nextpnr's name of the cell."""
        return {MULTIPLIERS: self.multipliers, BLOCK_RAMS: self.block_rams}

    def on(self, device: Device) -> "Resources":
        """Return what it takes there: products for which there are no multipliers are made of LUTs."""
        moved = min(max(0, self.multipliers - device.multipliers), self.products)
        return replace(
            self,
            multipliers=self.multipliers - moved,
            products=self.products - moved,
            lut_products=self.lut_products + moved,
            luts=self.luts + moved * LUTS_PER_PRODUCT,
        )

    def shortfall(self, device: Device) -> Mapping[str, int]:
        """Sites that ``device`` lacks, by cell; empty where the core fits.

        LUTs are an estimate: they are missing only where it is far beyond what there is.
        """
        here = self.on(device)
        missing = {cell: count - device.capacity[cell] for cell, count in here.exact.items()}
        missing[LUTS] = round(here.luts / LUT_TOLERANCE) - device.luts
        return {cell: count for cell, count in missing.items() if count > 0}

    def to_json(self) -> dict[str, object]:
        """Return plain data."""
        return {
            **self.exact,
            f"{LUTS}_estimate": self.luts,
            "memories": [
                {"name": m.name, "width": m.width, "depth": m.depth, "copies": m.copies, BLOCK_RAMS: m.block_rams}
                for m in self.memories
            ],
        }


def resources(config: CoreConfig, images: CoreImages) -> Resources:
    """Return what a core with those initial contents takes."""
    array = config.array
    return Resources(
        multipliers=array.macs_per_cycle - array.lut_products + array.requantizers * config.requantize.dsps,
        products=array.macs_per_cycle - array.lut_products,
        lut_products=array.lut_products,
        memories=tuple(memory for memory in _memories(config, images) if memory.depth and memory.width),
        luts=estimate_luts(config),
    )


def _memories(config: CoreConfig, images: CoreImages) -> list[MemoryUse]:
    array, q = config.array, config.array.requantizers
    step = step_layout(banks=array.rows, address_bits=config.address_bits, step_bits=config.step_bits)
    select_bits = (array.block - 1).bit_length()
    tables = images.tables if config.second_operand else images.tables[:1]
    return [
        _feature_maps(config),
        _rom("weights", 8 * array.cols, [lane.weights[0] for lane in images.lanes]),
        _rom("wide weights", 8 * array.cols, [plane for lane in images.lanes for plane in lane.weights[1:]]),
        _rom("indices", select_bits * array.cols, [lane.indices[0] for lane in images.lanes]),
        _rom("wide indices", select_bits * array.cols, [plane for lane in images.lanes for plane in lane.indices[1:]]),
        _rom("steps", step.size, [images.steps]),
        _rom("requantization", q * config.requantize.params_layout.size, [images.params]),
        _rom("program", WORD_BITS, [images.program]),
        _rom("tables", config.table_bits, [table for table in tables for _ in range(q)]),
    ]


def least_block_rams(config: CoreConfig, weights: np.ndarray, indices: np.ndarray) -> int:
    """Return the ``DP16KD`` of feature maps, weights and indices alone: most of a core's, and quickly counted.

    Parameters
    ----------
    weights, indices
        int8 and uint8 ``(R, words, V * C)``.
    """
    cols = config.array.cols
    planes = [slice(v * cols, (v + 1) * cols) for v in range(config.array.pixels)]
    parts = [
        (name, words[:, : depths[v > 0], plane])
        for name, words, depths in (
            ("weights", weights.view(np.uint8), (config.weight_words, config.wide_words)),
            ("indices", indices, (config.index_words, config.wide_index_words)),
        )
        for v, plane in enumerate(planes)
    ]
    roms = [
        MemoryUse(name=name, width=8 * cols, depth=words.shape[1], stored=_varying_by_lane(words))
        for name, words in parts
        if words.shape[1]
    ]
    return sum(memory.block_rams for memory in (_feature_maps(config), *roms))


def _varying_by_lane(words: np.ndarray) -> tuple[int, ...]:
    """Return how many bits differ between the words ``(R, words, C)`` of each lane."""
    varying = np.bitwise_or.reduce(words, axis=1) & ~np.bitwise_and.reduce(words, axis=1)
    return tuple(np.unpackbits(varying, axis=1).sum(axis=1).tolist())


def narrowest_banks(array: ArrayConfig) -> int:
    """Return the ``DP16KD`` of the smallest feature-map memory: a word in each bank."""
    word = 8 * array.block
    return MemoryUse(name="feature maps", width=word, depth=1, stored=(word,) * array.rows).block_rams


def _feature_maps(config: CoreConfig) -> MemoryUse:
    word = 8 * config.array.block
    return MemoryUse(
        name="feature maps",
        width=word,
        depth=config.bank_words,
        stored=(word,) * config.array.rows,
        byte_writes=config.byte_writes,
    )


def _rom(name: str, width: int, contents: Sequence[Sequence[int]]) -> MemoryUse:
    """Memories that are only read."""
    return MemoryUse(
        name=name,
        width=width,
        depth=len(contents[0]) if contents else 0,
        stored=tuple(_varying(words, width) for words in contents),
    )


def _varying(words: Sequence[int], width: int) -> int:
    """Return how many bits differ between words.

    >>> _varying([0b1001, 0b1010], 4)
    2
    """
    one, all_ones = 0, -1
    for word in words:
        one |= word
        all_ones &= word
    return (one & ~all_ones & ((1 << width) - 1)).bit_count()


def estimate_luts(config: CoreConfig) -> int:
    """Guess the ``TRELLIS_COMB`` of a core, from what each part of it consists of."""
    array, requantize = config.array, config.requantize
    return (
        array_luts(array)
        + array.lut_products * LUTS_PER_PRODUCT
        # Accumulators, and the multiplexer that drains them.
        + array.cols * array.pixels * (2 * config.acc_bits + config.acc_bits // 2)
        # Which of two sources a weight, an index, a lane's block has.
        + array.rows * array.cols * (8 * (array.pixels - 1) * bool(config.wide_words) + 3 * bool(config.index_words))
        + array.rows * 8 * array.block * config.spread
        + rotation_stages(array.rows) * array.rows * config.address_bits
        + array.requantizers * (5 + requantize.shift_bits) * requantize.scaled_bits
        + _mover_luts(config)
        + _followed_luts(config)
        + CONTROL_LUTS
    )


def _mover_luts(config: CoreConfig) -> int:
    """Guess the ``TRELLIS_COMB`` of the mover.

    yosys counted, and this guesses: blocks and beats of 8 bytes in grains of 1 byte 1022 and 1022, in grains of 8 bytes
    458 and 498; of 16 bytes in grains of 1 byte 2347 and 2142.
    """
    width = 1 << (max(config.array.block, config.array.stream_bytes) - 1).bit_length()
    columns = width // config.grain
    # A multiplexer of two for each bit and stage of both barrels; distributed RAM and the choice of what goes in.
    return 16 * width * (columns - 1).bit_length() + 40 * width + 20 * columns + 158


def _followed_luts(config: CoreConfig) -> int:
    """Guess the ``TRELLIS_COMB`` of a followed load's way into the memory; of 3 bytes and 9 banks yosys counted 585."""
    if not config.followed_bytes:
        return 0
    # Before each bank the choice between two blocks and two addresses; then a loop nest and the interlock.
    return config.array.rows * (8 * config.followed_bytes + config.address_bits) + 270


def array_luts(array: ArrayConfig) -> int:
    """Guess the LUTs of an array's elements and lanes, products left out."""
    # An element selects one of M bytes and adds.
    elements = sum(5 * array.block + psum_bits(lane) for lane in range(array.rows)) * array.cols * array.pixels
    # The rotation of blocks, a multiplexer of two a stage; padding; a block register in each further plane.
    return elements + array.rows * 8 * array.block * (rotation_stages(array.rows) + array.pixels)


CONTROL_LUTS = 1000
"""Sequencer, issuer and address generators."""
