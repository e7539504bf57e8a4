"""Parts: what each holds, and how nextpnr is told which one is meant.

The counts are those that nextpnr 0.11.1 reports as available. The 12F is sold as 12k LUTs but is a 25F die with
another IDCODE; the open tools place on all of it, and so does Heddle.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from heddle.boards.family import ECP5, GOWIN, ICE40, Family
from heddle.errors import InputError

SPEEDS = (6, 7, 8)
"""Speed grades nextpnr knows; 6 is the slowest."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One part in one package and speed grade.

    Parameters
    ----------
    part
        The vendor's name, for example ``"LFE5U-85F"``.
    family
        What its cells and tools are.
    size
        nextpnr's name of the die, for example ``"85k"``.
    luts, flipflops
        LUT4s and flip-flops.
    multipliers, block_rams
        Sites of the family's multipliers and block RAMs.
    lut_rams
        ECP5's ``TRELLIS_DPR16X4`` sites of 64 bits; each takes the place of six LUT4s. Else 0.
    idcode
        What an ECP5 answers over JTAG, and ecppack writes into the bitstream; 0 where the bitstream has none.
    packages
        Packages this die is sold in, as nextpnr spells them.
    package, speed
        The chosen package and speed grade.
    """

    part: str
    family: Family = ECP5
    size: str
    luts: int
    flipflops: int
    multipliers: int
    block_rams: int
    lut_rams: int = 0
    idcode: int = 0
    packages: tuple[str, ...]
    package: str = "CABGA381"
    speed: int = 6

    @property
    def name(self) -> str:
        """The full name as a target: ``ecp5-85f-cabga381-6``."""
        speed = f"-{self.speed}" if self.speed else ""
        return f"{self.base_name}-{self.package.lower()}{speed}"

    @property
    def base_name(self) -> str:
        """The name as a target without package and speed: ``ecp5-85f``."""
        return f"{self.family.name}-{self.part.removeprefix('LFE5U-').removeprefix('iCE40').lower()}"

    @property
    def block_ram_bits(self) -> int:
        """All block RAM, in bits, the ninth bit of every byte included."""
        return self.block_rams * self.family.block_ram_bits

    @property
    def nextpnr_options(self) -> tuple[str, ...]:
        """Command-line options that choose this part."""
        if self.family is GOWIN:
            return ("--device", self.size, "--vopt", f"family={GOWIN_CHIP}")
        speed = ("--speed", str(self.speed)) if self.speed else ()
        return (f"--{self.size}", "--package", self.package, *speed)

    @property
    def capacity(self) -> Mapping[str, int]:
        """Sites by nextpnr's name of the cell."""
        family = self.family
        return {
            family.luts: self.luts,
            **({family.flipflops: self.flipflops} if family.flipflops else {}),
            family.multipliers: self.multipliers,
            family.block_rams: self.block_rams,
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


UP5K = Device(
    part="iCE40UP5K",
    family=ICE40,
    size="up5k",
    luts=5280,
    flipflops=5280,
    multipliers=8,
    block_rams=30,
    packages=("sg48",),
    package="sg48",
    speed=0,
)
GOWIN_CHIP = "GW2A-18C"
"""What nextpnr and gowin_pack call the die of :data:`GW2AR18`."""
GW2AR18 = Device(
    part="GW2AR-18",
    family=GOWIN,
    size="GW2AR-LV18QN88C8/I7",
    luts=20736,
    flipflops=15552,
    multipliers=96,
    block_rams=46,
    packages=("QN88",),
    package="QN88",
    speed=0,
)
ALL_DEVICES = (*DEVICES, UP5K, GW2AR18)
"""Those of boards of other families, too, which are no targets by themselves."""


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
