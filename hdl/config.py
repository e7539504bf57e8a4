"""Parameters of one core: the array, its memories and the widths of its program's fields.

A frozen description shared by the hardware (:mod:`heddle.hdl.core`), the compiler and the cycle model. Nothing here
depends on a network except through sizes that the compiler derives from it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import get_args

from heddle.errors import CapacityError
from heddle.hdl.multiplier import Primitive
from heddle.hdl.products import ProductPrimitive
from heddle.hdl.requantize import RequantizeConfig

LIMITS = {"rows": 32, "cols": 128, "pixels": 8, "block": 16, "requantizers": 16, "stream_bytes": 16}
"""The most of each that an array may have."""


@dataclass(frozen=True, kw_only=True)
class ArrayConfig:
    """The shape of the systolic array: what a board or a user chooses.

    Parameters
    ----------
    rows
        R, reduction lanes; also the number of feature-map banks, so that every lane can read one block a cycle.
    cols
        C, output channels computed at once; a multiple of ``block``.
    pixels
        V, planes of C columns: in a narrow slice output pixels (along a row) that share each weight, in a wide one
        more output channels that share each activation.
    block
        M, channels in a block: the unit of feature-map memory and of N:M selection. A power of two.
    requantizers
        q, accumulators scaled to int8 each cycle; divides ``block``.
    stream_bytes
        Width of ``s_axis_tdata`` and ``m_axis_tdata`` in bytes, 1 to 16.
    primitive
        ``"generic"`` (plain ``*``), ``"mult18x18d"`` or ``"sb_mac16"`` (DSPs of ECP5 and iCE40, instantiated with their
        registers).
    lut_products
        How many of the R * C * V products are made of LUTs rather than by ``primitive``.
    """

    rows: int = 9
    cols: int = 8
    pixels: int = 1
    block: int = 8
    requantizers: int = 4
    stream_bytes: int = 1
    primitive: Primitive = "generic"
    lut_products: int = 0

    def __post_init__(self) -> None:
        for name, limit in LIMITS.items():
            if not 1 <= getattr(self, name) <= limit:
                raise self._refusal(f"{name} is {getattr(self, name)}", f"choose {name} in 1..{limit}")
        if self.block not in (2, 4, 8, 16):
            raise self._refusal(f"block is {self.block}", "choose 2, 4, 8 or 16")
        if self.cols % self.block:
            raise self._refusal(
                f"{self.cols} columns are not whole blocks of {self.block}", "make cols a multiple of block"
            )
        if self.block % self.requantizers:
            raise self._refusal(
                f"{self.requantizers} requantizers do not divide a block of {self.block}",
                "choose requantizers that divide the block",
            )
        if not 0 <= self.lut_products <= self.macs_per_cycle:
            raise self._refusal(
                f"{self.lut_products} products in LUTs", f"choose lut_products in 0..{self.macs_per_cycle}"
            )
        if self.primitive not in get_args(Primitive):
            raise self._refusal(f"primitive is {self.primitive!r}", "choose generic, mult18x18d or sb_mac16")

    @staticmethod
    def _refusal(fact: str, remedy: str) -> CapacityError:
        return CapacityError(fact, where="array", remedy=remedy)

    @property
    def macs_per_cycle(self) -> int:
        """Peak multiply-accumulates per cycle: R * C * V."""
        return self.rows * self.cols * self.pixels

    @property
    def primitives(self) -> list[ProductPrimitive]:
        """What makes each product: lane by lane, plane by plane, column by column; the last planes' of each in LUTs."""
        order = sorted(
            (v, c, r, (r * self.pixels + v) * self.cols + c)
            for r in range(self.rows) for v in range(self.pixels) for c in range(self.cols)
        )  # fmt: skip
        kinds: list[ProductPrimitive] = [self.primitive] * self.macs_per_cycle
        for *_, index in order[len(order) - self.lut_products :]:
            kinds[index] = "lut"
        return kinds

    def __str__(self) -> str:
        return f"{self.rows}x{self.cols}x{self.pixels}"


@dataclass(frozen=True, kw_only=True)
class CoreConfig:
    """An array with its memories, sized for one program.

    Parameters
    ----------
    bank_words
        Words (blocks of M bytes) in each of the R feature-map banks.
    weight_words, wide_words
        Words of C int8 weights beside each lane; of plane 0, and of each plane beyond it, which only wide slices read.
    index_words, wide_index_words
        Words of C selection indices beside each lane, likewise; 0 where every slice is dense.
    diagonal
        Slices of columns that each select their own channel.
    step_words, param_words, program_words
        Entries of the step table, the requantization parameters (q channels each) and the program (32 bits each).
    table_words, table_bits
        Entries and width of the vector unit's tables; 0 entries where no slice uses the vector unit.
    second_operand, paired
        The vector unit adds a second operand; lane 1 reads it in the step in which lane 0 reads the first.
    spread
        Lanes can share a block.
    followed_bytes
        Bytes of a block that a load writes while a slice follows it; 0 where none is followed.
    maximum
        The vector unit takes a running maximum.
    grain
        Power of two that divides the bytes of a block, of a beat and of every pixel's last block that a move touches.
    byte_writes
        The feature-map memory writes single bytes of a block.
    acc_bits
        Width of a column's accumulator.
    step_bits
        Bits of a step's tap coordinates ``dy`` and ``dx``.
    field_bits
        Width of each program field, see :mod:`heddle.hdl.program`.
    """

    array: ArrayConfig
    requantize: RequantizeConfig
    bank_words: int
    weight_words: int
    wide_words: int
    index_words: int
    wide_index_words: int
    diagonal: bool
    step_words: int
    param_words: int
    program_words: int
    table_words: int
    table_bits: int
    second_operand: bool
    paired: bool
    spread: bool
    followed_bytes: int
    maximum: bool
    grain: int
    byte_writes: bool
    acc_bits: int
    step_bits: int
    field_bits: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "field_bits", MappingProxyType(dict(self.field_bits)))

    @property
    def address_bits(self) -> int:
        """Bits of a row address within a feature-map bank."""
        return max(1, (self.bank_words - 1).bit_length())
