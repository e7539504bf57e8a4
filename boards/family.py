"""Families of parts: what their cells are called, which tools make a bitstream, and what is known before synthesis.

One name carries the difference through all hardware: the *primitive*, of which a core's multipliers are made
(``docs/decisions/0016-families.md``).
"""

from dataclasses import dataclass
from typing import Literal

Shape = tuple[int, int, int]
"""Of a block RAM with one read and one write port: bits of a word, words, and the bits behind each write enable."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family of parts.

    Parameters
    ----------
    name
        As targets begin: ``ecp5-25f``.
    primitive
        What a core's multipliers are made of: see :data:`heddle.hdl.multiplier.Primitive`.
    luts, flipflops, multipliers, block_rams
        What nextpnr calls their sites; ``flipflops`` is empty where it counts them with the LUTs.
    block_ram_bits, block_ram_shapes
        The size of a block RAM, and how it can be divided into words.
    block_ram_cost
        What yosys takes one for (``brams.txt``), where a multiplexer of two costs a half for each bit.
    small_rams
        LUTs can be memories of a few words; else the mover's take block RAMs.
    products_in_luts
        Products for which there are no multipliers can be made of LUTs.
    estimated
        LUTs and flip-flops are estimated before synthesis; else only a build tells.
    retunable
        A build clocks the design from a PLL that is set after routing; else from the oscillator itself.
    nextpnr, packer
        The tools that place and route, and that make a bitstream.
    pins_file, routed_file, bitstream_file
        Names of the constraints, the routed design and the bitstream; their endings are the tools' formats.
    caveat
        What a report has to say of its timing.
    """

    name: str
    primitive: Literal["generic", "mult18x18d", "sb_mac16"]
    luts: str
    flipflops: str
    multipliers: str
    block_rams: str
    block_ram_bits: int
    block_ram_shapes: tuple[Shape, ...]
    block_ram_cost: int
    products_in_luts: bool
    small_rams: bool = True
    estimated: bool
    retunable: bool
    nextpnr: str
    packer: str
    pins_file: str
    routed_file: str
    bitstream_file: str
    caveat: str = ""


_LARGE_RAM: tuple[Shape, ...] = (
    (36, 512, 9),
    (18, 1024, 9),
    (9, 2048, 9),
    (4, 4096, 4),
    (2, 8192, 2),
    (1, 16384, 1),
)

ECP5 = Family(
    name="ecp5",
    primitive="mult18x18d",
    luts="TRELLIS_COMB",
    flipflops="TRELLIS_FF",
    multipliers="MULT18X18D",
    block_rams="DP16KD",
    block_ram_bits=18432,
    block_ram_shapes=_LARGE_RAM,
    block_ram_cost=128,
    products_in_luts=True,
    estimated=True,
    retunable=True,
    nextpnr="nextpnr-ecp5",
    packer="ecppack",
    pins_file="pins.lpf",
    routed_file="design.config",
    bitstream_file="design.bit",
)

ICE40 = Family(
    name="ice40",
    primitive="sb_mac16",
    # A cell is a LUT, a flip-flop, or both.
    luts="ICESTORM_LC",
    flipflops="",
    multipliers="ICESTORM_DSP",
    block_rams="ICESTORM_RAM",
    block_ram_bits=4096,
    block_ram_shapes=((16, 256, 1), (8, 512, 8), (4, 1024, 4), (2, 2048, 2)),
    block_ram_cost=64,
    small_rams=False,
    products_in_luts=False,
    estimated=False,
    retunable=False,
    nextpnr="nextpnr-ice40",
    packer="icepack",
    pins_file="pins.pcf",
    routed_file="design.asc",
    bitstream_file="design.bin",
    caveat="nextpnr's delays of iCE40UP's multipliers are placeholders: do not believe figures beyond 48 MHz",
)

GOWIN = Family(
    name="gowin",
    primitive="generic",
    luts="LUT4",
    flipflops="DFF",
    # A MULT18X18 takes the place of two, a MULT36X36 of eight.
    multipliers="MULT9X9",
    block_rams="BSRAM",
    block_ram_bits=18432,
    block_ram_shapes=_LARGE_RAM,
    block_ram_cost=128,
    products_in_luts=False,
    estimated=False,
    retunable=False,
    nextpnr="nextpnr-himbaechel-gowin",
    packer="gowin_pack",
    pins_file="pins.cst",
    routed_file="routed.json",
    bitstream_file="design.fs",
    caveat="nextpnr knows no delays of Gowin's multipliers and block RAMs: the clock is optimistic",
)


def gowin_places(a_bits: int, b_bits: int) -> int:
    """Return the ``MULT9X9`` whose place a signed product takes that yosys makes of Gowin's multipliers.

    Both operands above 21 bits are one MULT36X36; else limbs of 18 bits, each pair of them at most a MULT18X18.

    >>> [gowin_places(*bits) for bits in ((8, 8), (9, 10), (26, 24), (26, 18))]
    [1, 2, 8, 4]
    """
    if max(a_bits, b_bits) <= 9:
        return 1
    if min(a_bits, b_bits) >= 22 and max(a_bits, b_bits) <= 36:
        return 8
    limbs = [1 if bits <= 18 else -(-bits // 17) for bits in (a_bits, b_bits)]
    return 2 * limbs[0] * limbs[1]
