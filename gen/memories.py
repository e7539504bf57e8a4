"""The memories of a core, and the block RAMs that each takes: exact, before synthesis.

The counts follow yosys: bits that are the same in every word of a read-only memory are wires, and what is left of a
memory becomes a grid of block RAMs of one shape, that of the least cost: block RAMs, and LUTs to choose between those
that lie one behind another. A test compares them with a synthesis.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from heddle.boards.family import ECP5, Family
from heddle.hdl.config import ArrayConfig, CoreConfig
from heddle.hdl.core import CoreImages
from heddle.hdl.gearbox import LEAST_ROWS
from heddle.hdl.program import WORD_BITS
from heddle.hdl.scratchpad import step_layout

COLUMN_ROWS = 256
"""Words that a column of the mover has at most; fewer take no less."""
PARAMETERS = "requantization"
"""Name of the memory of the requantizers' parameters."""


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """Memories of the same kind.

    Parameters
    ----------
    width
        Bits of a word as the hardware reads it.
    stored
        For each of the memories the bits of a word that are stored: the others are constant.
    written, byte_writes
        It is no read-only memory; each byte has its own write enable.
    """

    name: str
    width: int
    depth: int
    stored: tuple[int, ...]
    written: bool = False
    byte_writes: bool = False
    family: Family = ECP5

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
        """Block RAMs they take.

        >>> MemoryUse(name="weights", width=64, depth=600, stored=(64, 60)).block_rams
        8
        """
        return sum(self._grid(bits)[0] for bits in self.stored)

    @property
    def split(self) -> tuple[tuple[int, int], ...]:
        """Bits and rows of the memories that are deeper than their block RAMs: multiplexers choose between the rows."""
        grids = [(bits, self._grid(bits)[1]) for bits in self.stored if bits]
        return tuple((bits, rows) for bits, rows in grids if rows > 1)

    def _grid(self, bits: int) -> tuple[int, int]:
        """Block RAMs of one memory, and how many of them lie one behind another."""
        grids = []
        # Of equal cost the narrowest shape, the last one, is taken.
        for width, depth, enabled in reversed(self.family.block_ram_shapes):
            rows = -(-self.depth // depth)
            padded = self._padded(bits, enabled)
            # Rows lie side by side: what is left of one block RAM by a row is for the next.
            blocks = -(-padded * rows // width)
            enables = padded // enabled if self.byte_writes else 1
            choosing = (rows - 1) * bits + (rows * enables if self._chosen(rows) else 0)
            grids.append((self.family.block_ram_cost * blocks + choosing / 2, blocks, rows))
        _, blocks, rows = min(grids, key=lambda grid: grid[0])
        return blocks, rows

    def _chosen(self, rows: int) -> bool:
        """Whether writes have to choose between rows."""
        return rows > 1 and (self.written or self.byte_writes)

    def _padded(self, bits: int, enabled: int) -> int:
        """Bits of a word with those that go with the last write enable of so many bits, or with each byte's."""
        if self.byte_writes:
            return bits // 8 * -(-8 // enabled) * enabled
        return -(-bits // enabled) * enabled if self.written else bits


def memories(config: CoreConfig, images: CoreImages, family: Family = ECP5) -> tuple[MemoryUse, ...]:
    """Return what a core with those initial contents keeps in block RAM."""
    array, q = config.array, config.array.requantizers
    step = step_layout(banks=array.rows, address_bits=config.address_bits, step_bits=config.step_bits)
    select_bits = (array.block - 1).bit_length()
    tables = images.tables if config.second_operand else images.tables[:1]
    listed = [
        _feature_maps(config),
        rom("weights", 8 * array.cols, [lane.weights[0] for lane in images.lanes]),
        rom("wide weights", 8 * array.cols, [plane for lane in images.lanes for plane in lane.weights[1:]]),
        rom("indices", select_bits * array.cols, [lane.indices[0] for lane in images.lanes]),
        rom("wide indices", select_bits * array.cols, [plane for lane in images.lanes for plane in lane.indices[1:]]),
        rom("steps", step.size, [images.steps]),
        rom(PARAMETERS, q * config.requantize.params_layout.size, [images.params]),
        rom("program", WORD_BITS, [images.program]),
        rom("tables", config.table_bits, [table for table in tables for _ in range(q)]),
    ]
    if not family.small_rams:
        listed += _mover(config)
    return tuple(replace(memory, family=family) for memory in listed if memory.depth and memory.width)


def least_block_rams(config: CoreConfig, weights: np.ndarray, indices: np.ndarray, family: Family = ECP5) -> int:
    """Return the block RAMs of feature maps, weights and indices alone: most of a core's, and quickly counted.

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
    return sum(replace(memory, family=family).block_rams for memory in (_feature_maps(config), *roms))


def _varying_by_lane(words: np.ndarray) -> tuple[int, ...]:
    """Return how many bits differ between the words ``(R, words, C)`` of each lane."""
    varying = np.bitwise_or.reduce(words, axis=1) & ~np.bitwise_and.reduce(words, axis=1)
    return tuple(np.unpackbits(varying, axis=1).sum(axis=1).tolist())


def narrowest_banks(array: ArrayConfig, family: Family = ECP5) -> int:
    """Return the block RAMs of the smallest feature-map memory: a word in each bank."""
    word = 8 * array.block
    return MemoryUse(
        name="feature maps", width=word, depth=1, stored=(word,) * array.rows, written=True, family=family
    ).block_rams


def _mover(config: CoreConfig) -> tuple[MemoryUse, MemoryUse]:
    """Return the mover's buffer, a memory for each grain of its widest chunk, of a few words; and its queue."""
    width = 1 << (max(config.array.block, config.array.stream_bytes) - 1).bit_length()
    grain, chunk = 8 * config.grain, 8 * width
    return (
        MemoryUse(
            name="mover", width=grain, depth=COLUMN_ROWS, stored=(grain,) * (width // config.grain), written=True
        ),
        MemoryUse(name="mover's queue", width=chunk, depth=LEAST_ROWS, stored=(chunk,), written=True),
    )


def _feature_maps(config: CoreConfig) -> MemoryUse:
    word = 8 * config.array.block
    return MemoryUse(
        name="feature maps",
        width=word,
        depth=config.bank_words,
        stored=(word,) * config.array.rows,
        written=True,
        byte_writes=config.byte_writes,
    )


def rom(name: str, width: int, contents: Sequence[Sequence[int]]) -> MemoryUse:
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
