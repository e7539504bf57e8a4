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
    """A package pin: where it is, and its electrical attributes in the LPF's spelling."""

    site: str
    attributes: Mapping[str, str] = field(default_factory=dict)


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
        Where ``clk``, ``rst``, ``serial_in`` and ``serial_out`` of the harness go; empty for a bare part.
    """

    name: str
    title: str
    device: Device
    array: ArrayShape
    oscillator_hz: float | None = None
    pins: Mapping[str, Pin] = field(default_factory=dict)

    @property
    def lpf(self) -> str:
        """Pin constraints for nextpnr; empty for a bare part."""
        lines = []
        for port, pin in self.pins.items():
            attributes = " ".join(f"{key}={value}" for key, value in pin.attributes.items())
            lines += [f'LOCATE COMP "{port}" SITE "{pin.site}";', f'IOBUF PORT "{port}" {attributes};']
        return "".join(line + "\n" for line in lines)
