"""What a core takes of an ECP5, known before synthesis: multipliers and block RAMs exactly, LUTs as an estimate.

The counts of block RAMs follow yosys' ``memory_libmap``: a memory becomes a grid of ``DP16KD`` of one shape, the shape
that needs fewest. A test compares them with a synthesis.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from heddle.boards import Device
from heddle.hdl.config import CoreConfig
from heddle.hdl.program import WORD_BITS, RecordFormat
from heddle.hdl.scratchpad import step_layout

SHAPES = ((36, 512), (18, 1024), (9, 2048), (4, 4096), (2, 8192), (1, 16384))
"""Widths and depths of a ``DP16KD`` with one read and one write port."""
BYTE_BITS = 9
"""Data bits behind each write enable of a ``DP16KD``; narrower shapes have a single enable."""

MULTIPLIERS, BLOCK_RAMS, LUTS = "MULT18X18D", "DP16KD", "TRELLIS_COMB"


@dataclass(frozen=True, kw_only=True)
class MemoryUse:
    """``copies`` memories of ``depth`` words of ``width`` bits; ``byte_writes``: each byte has its own enable."""

    name: str
    width: int
    depth: int
    copies: int = 1
    byte_writes: bool = False

    @property
    def bits(self) -> int:
        """Bits that the words hold."""
        return self.width * self.depth * self.copies

    @property
    def block_rams(self) -> int:
        """``DP16KD`` they take.

        >>> MemoryUse(name="weights", width=64, depth=600).block_rams
        4
        """
        return self.copies * min(self._grid(width, depth) for width, depth in SHAPES)

    def _grid(self, width: int, depth: int) -> int:
        if self.byte_writes:
            # A byte fills a ninth-bit lane with eight, and no shape splits it.
            lanes = max(1, width // BYTE_BITS)
            return (
                -(-(self.width // 8) // lanes) * (1 if width >= BYTE_BITS else -(-8 // width)) * -(-self.depth // depth)
            )
        return -(-self.width // width) * -(-self.depth // depth)


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a core takes.

    Parameters
    ----------
    multipliers
        ``MULT18X18D``: one per product of the array, and those of the requantizers.
    memories
        Everything that lies in block RAM.
    luts
        ``TRELLIS_COMB``: a rough estimate, see :func:`estimate_luts`.
    """

    multipliers: int
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

    def shortfall(self, device: Device) -> Mapping[str, int]:
        """Sites that ``device`` lacks, by cell; empty where the core fits. The estimate of LUTs has no say."""
        missing = {cell: count - device.capacity[cell] for cell, count in self.exact.items()}
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


def resources(config: CoreConfig, *, records: int) -> Resources:
    """Return what a core takes that runs a program of ``records`` slices."""
    array = config.array
    return Resources(
        multipliers=array.macs_per_cycle + array.requantizers * config.requantize.dsps,
        memories=tuple(memory for memory in _memories(config, records) if memory.depth and memory.width),
        luts=estimate_luts(config),
    )


def _memories(config: CoreConfig, records: int) -> list[MemoryUse]:
    array, q = config.array, config.array.requantizers
    record = RecordFormat(config.field_bits, config.address_bits, array.rows)
    step = step_layout(banks=array.rows, address_bits=config.address_bits, step_bits=config.step_bits)
    return [
        MemoryUse(
            name="feature maps",
            width=8 * array.block,
            depth=config.bank_words,
            copies=array.rows,
            byte_writes=config.byte_writes,
        ),
        MemoryUse(name="weights", width=8 * array.cols, depth=config.weight_words, copies=array.rows),
        MemoryUse(
            name="indices",
            width=(array.block - 1).bit_length() * array.cols,
            depth=config.index_words,
            copies=array.rows,
        ),
        MemoryUse(name="steps", width=step.size, depth=config.step_words),
        MemoryUse(name="requantization", width=q * config.requantize.params_layout.size, depth=config.param_words),
        MemoryUse(name="program", width=WORD_BITS, depth=records * record.words),
        MemoryUse(
            name="tables",
            width=config.table_bits,
            depth=config.table_words,
            copies=q * (2 if config.second_operand else 1),
        ),
    ]


def estimate_luts(config: CoreConfig) -> int:
    """Guess the ``TRELLIS_COMB`` of a core from what its parts cost in syntheses of this repository's networks."""
    array = config.array
    psum_bits = 16 + (array.rows - 1).bit_length()
    # An element selects one of M bytes and adds; an accumulator adds and is drained through a multiplexer.
    element = 8 * (array.block - 1) // 2 + 2 * psum_bits
    column = 3 * config.acc_bits
    # The rotations of read addresses and of blocks, one multiplexer of two a stage.
    rotation = (array.rows - 1).bit_length() * array.rows * (8 * array.block + config.address_bits)
    requantizer = 4 * config.requantize.scaled_bits + config.requantize.shift_bits * config.requantize.scaled_bits
    return (
        array.macs_per_cycle * element
        + array.cols * array.pixels * column
        + rotation
        + array.requantizers * requantizer
        + CONTROL_LUTS
    )


CONTROL_LUTS = 3000
"""Sequencer, issuer, address generators and byte movers."""
