"""Lattice ECP5 parts: what each holds, and how nextpnr and ecppack are told which one is meant.

The counts are those that nextpnr-ecp5 0.11.1 reports as available. The 12F is sold as 12k LUTs but is a 25F die with
another IDCODE; the open tools place on all of it, and so does Heddle.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from heddle.errors import InputError

SPEEDS = (6, 7, 8)
"""Speed grades nextpnr knows; 6 is the slowest."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One ECP5 part in one package and speed grade.

    Parameters
    ----------
    part
        The vendor's name, for example ``"LFE5U-85F"``.
    size
        nextpnr's name of the die, for example ``"85k"``.
    luts, flipflops
        LUT4s (``TRELLIS_COMB``) and flip-flops (``TRELLIS_FF``).
    multipliers
        ``MULT18X18D`` sites.
    block_rams
        ``DP16KD`` sites of 18 Kbit.
    lut_rams
        ``TRELLIS_DPR16X4`` sites of 64 bits; each takes the place of six LUT4s.
    idcode
        What the part answers over JTAG, and ecppack writes into the bitstream.
    packages
        Packages this die is sold in, as nextpnr spells them.
    package, speed
        The chosen package and speed grade.
    """

    part: str
    size: str
    luts: int
    flipflops: int
    multipliers: int
    block_rams: int
    lut_rams: int
    idcode: int
    packages: tuple[str, ...]
    package: str = "CABGA381"
    speed: int = 6

    BLOCK_RAM_BITS = 18432

    @property
    def name(self) -> str:
        """The full name as a target: ``ecp5-85f-cabga381-6``."""
        return f"{self.base_name}-{self.package.lower()}-{self.speed}"

    @property
    def base_name(self) -> str:
        """The name as a target without package and speed: ``ecp5-85f``."""
        return f"ecp5-{self.part.removeprefix('LFE5U-').lower()}"

    @property
    def block_ram_bits(self) -> int:
        """All block RAM, in bits, the ninth bit of every byte included."""
        return self.block_rams * self.BLOCK_RAM_BITS

    @property
    def nextpnr_options(self) -> tuple[str, ...]:
        """Command-line options that choose this part."""
        return (f"--{self.size}", "--package", self.package, "--speed", str(self.speed))

    @property
    def capacity(self) -> Mapping[str, int]:
        """Sites by nextpnr's name of the cell."""
        return {
            "TRELLIS_COMB": self.luts,
            "TRELLIS_FF": self.flipflops,
            "MULT18X18D": self.multipliers,
            "DP16KD": self.block_rams,
        }


_SMALL = ("CABGA256", "CSFBGA285", "CABGA381", "TQFP144")

_25F = Device(
    part="LFE5U-25F",
    size="25k",
    luts=24288,
    flipflops=24288,
    multipliers=28,
    block_rams=56,
    lut_rams=3036,
    idcode=0x41111043,
    packages=_SMALL,
)

DEVICES: tuple[Device, ...] = (
    replace(_25F, part="LFE5U-12F", size="12k", idcode=0x21111043),
    _25F,
    Device(
        part="LFE5U-45F",
        size="45k",
        luts=43848,
        flipflops=43848,
        multipliers=72,
        block_rams=108,
        lut_rams=5481,
        idcode=0x41112043,
        packages=(*_SMALL, "CABGA554"),
    ),
    Device(
        part="LFE5U-85F",
        size="85k",
        luts=83640,
        flipflops=83640,
        multipliers=156,
        block_rams=208,
        lut_rams=10455,
        idcode=0x41113043,
        packages=("CSFBGA285", "CABGA381", "CABGA554", "CABGA756"),
    ),
)


def ecp5(part: str) -> Device:
    """Return the part of that name, in its usual package and slowest speed grade."""
    return next(device for device in DEVICES if device.part == part)


def parse_device(name: str) -> Device | None:
    """Return the part that ``ecp5-<size>[-<package>[-<speed>]]`` names, or ``None`` if the size is unknown.

    Raises
    ------
    InputError
        If the die is known, but not in that package or speed grade.

    >>> parse_device("ecp5-85f-cabga756-7").nextpnr_options
    ('--85k', '--package', 'CABGA756', '--speed', '7')
    """
    fields = name.lower().split("-")
    device = next((d for d in DEVICES if d.base_name == "-".join(fields[:2])), None)
    if device is None:
        return None
    package, speed, *rest = [*fields[2:], *(device.package, str(device.speed))[len(fields[2:]) :]]
    if package.upper() not in device.packages:
        raise InputError(
            f"{device.part} does not come in package {package!r}",
            where=name,
            remedy=f"choose one of {', '.join(p.lower() for p in device.packages)}",
        )
    if rest or speed not in map(str, SPEEDS):
        raise InputError(
            f"{'-'.join([speed, *rest])!r} is not a speed grade of {device.part}",
            where=name,
            remedy=f"choose one of {', '.join(map(str, SPEEDS))}",
        )
    return replace(device, package=package.upper(), speed=int(speed))
