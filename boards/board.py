"""What Heddle knows of a board: its part, its clock, its pins, and the array that suits it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from heddle.boards.device import Device


@dataclass(frozen=True, kw_only=True)
class ArrayShape:
    """Default parameters of the array on a target; the planner may choose others.

    Parameters
    ----------
    rows, cols, pixels
        R reduction lanes by V planes of C columns: a product each, in a ``MULT18X18D`` as far as there are any, and in
        LUTs beyond.
    block
        M, the bytes in a lane's activation block.
    requantizers
        Requantization units: results a cycle.
    stream_bytes
        Width of both streams: what a DMA engine of the part's size would drive.
    """

    rows: int
    cols: int
    pixels: int
    block: int
    requantizers: int
    stream_bytes: int = 1


@dataclass(frozen=True, kw_only=True)
class Pin:
    """A package pin: its site, its electrical attributes in the constraint file's spelling, whether low is active."""

    site: str
    attributes: Mapping[str, str] = field(default_factory=dict)
    inverted: bool = False


@dataclass(frozen=True, kw_only=True)
class Programmer:
    """How openFPGALoader programs a board.

    Parameters
    ----------
    board
        What openFPGALoader calls it.
    version
        Of openFPGALoader, the oldest release known to know the board.
    sram
        A bitstream can be loaded for as long as the board has power; else it goes to flash memory always.
    flash_options
        Options by which it goes to flash memory.
    before
        What a person has to do first, as an imperative; empty if nothing.
    """

    board: str
    version: tuple[int, int, int]
    sram: bool = True
    flash_options: tuple[str, ...] = ("-f",)
    before: str = ""

    @property
    def release(self) -> str:
        """The version as text: ``0.10.0``."""
        return ".".join(map(str, self.version))

    def options(self, *, persist: bool) -> tuple[str, ...]:
        """Return the options before the bitstream's name; ``persist``: into flash memory.

        >>> Programmer(board="ulx3s", version=(0, 10, 0)).options(persist=True)
        ('-b', 'ulx3s', '-f')
        """
        memory = self.flash_options if persist or not self.sram else ("-m",)
        return ("-b", self.board, *memory)


@dataclass(frozen=True, kw_only=True)
class Board:
    """A target: a board, or a bare part, which has neither oscillator nor pins.

    Parameters
    ----------
    name
        What ``--board`` takes.
    title
        One line for a person.
    device
        The FPGA.
    array
        The array that suits it.
    oscillator_hz
        Frequency at the clock pin; ``None`` for a bare part, whose clock pin carries the design's clock itself.
    pins
        Where ``clk``, ``rst``, ``serial_in`` and ``serial_out`` go; empty for a bare part.
    reset
        What a person presses for ``rst``.
    link
        Where ``serial_in`` and ``serial_out`` come out: the host link.
    programmer
        How a bitstream gets there; ``None`` for a bare part.
    pack_options
        Options of the packer that the board needs.
    """

    name: str
    title: str
    device: Device
    array: ArrayShape
    oscillator_hz: float | None = None
    pins: Mapping[str, Pin] = field(default_factory=dict)
    reset: str = ""
    link: str = ""
    programmer: Programmer | None = None
    pack_options: tuple[str, ...] = ()

    @property
    def one_clock(self) -> bool:
        """Whether the oscillator clocks a design itself, and not through a PLL."""
        return self.oscillator_hz is not None and not self.device.family.retunable

    @property
    def constraints(self) -> str:
        """Pins for nextpnr, in the family's format; empty for a bare part."""
        describe = _FORMATS[self.device.family.name]
        return "".join(f"{line}\n" for port, pin in self.pins.items() for line in describe(port, pin))


def _lpf(port: str, pin: Pin) -> list[str]:
    attributes = " ".join(f"{key}={value}" for key, value in pin.attributes.items())
    return [f'LOCATE COMP "{port}" SITE "{pin.site}";', f'IOBUF PORT "{port}" {attributes};']


def _pcf(port: str, pin: Pin) -> list[str]:
    pullup = "-pullup yes " if pin.attributes.get("PULLUP") == "1" else ""
    return [f"set_io {pullup}{port} {pin.site}"]


def _cst(port: str, pin: Pin) -> list[str]:
    attributes = " ".join(f"{key}={value}" for key, value in pin.attributes.items())
    return [f'IO_LOC "{port}" {pin.site};', f'IO_PORT "{port}" {attributes};']


_FORMATS = {"ecp5": _lpf, "ice40": _pcf, "gowin": _cst}
"""What describes a pin, by family."""
