"""``heddle.open``: an accelerator at a port, and what it is to hold.

A part of the driver that goes into a deploy bundle, so nothing here needs the compiler when it runs.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from heddle.host.accelerator import DEFAULT_DEPTH, DEFAULT_SECONDS, Accelerator
from heddle.host.expected import Expected, expected_of_folder
from heddle.host.stream import SerialStream
from heddle.link.protocol import DEFAULT_BAUD

if TYPE_CHECKING:
    from heddle.boards import Board
    from heddle.gen.design import CoreDesign


class Compiled(Protocol):
    """What has a design: :class:`heddle.CompiledDesign`."""

    @property
    def design(self) -> "CoreDesign":
        """The core, its program and images."""
        ...

    @property
    def board(self) -> "Board":
        """What it was compiled for."""
        ...


def open(
    port: str,
    network: str | Path | Compiled | None = None,
    *,
    baud: int | None = None,
    timeout: float | None = None,
    depth: int | None = None,
) -> Accelerator:
    """Open the accelerator at ``port``: :class:`heddle.host.accelerator.Accelerator`.

    Parameters
    ----------
    port
        A serial port as pyserial names it: ``/dev/ttyUSB0``, ``COM3``, ``socket://localhost:4000``.
    network
        What it is to hold: a folder that ``CompiledDesign.build`` or ``heddle build`` wrote, an unpacked bundle, or a
        design. Without one it may hold any network, and takes and gives int8 arrays in the shapes of its packets.
    baud
        Bits a second; default the bitstream's, as its folder has it, or :data:`heddle.link.protocol.DEFAULT_BAUD`.
    timeout
        Seconds that a sample may take, repetitions and all.
    depth
        Requests under way at most; 1 waits for each reply.

    Raises
    ------
    LinkError
        The port cannot be opened, nothing answers there, or it is not what was expected.
    InputError, FileFormatError
        ``network`` is no such folder.
    ToolError
        pyserial is not installed.
    """
    return connect(port, None if network is None else expected_of(network), baud=baud, timeout=timeout, depth=depth)


def connect(
    port: str, expected: Expected | None, *, baud: int | None, timeout: float | None, depth: int | None
) -> Accelerator:
    """Open the accelerator at ``port``, which is to hold what is ``expected``: as :func:`open`."""
    rate = baud or (expected.baud if expected is not None else None) or DEFAULT_BAUD
    seconds = DEFAULT_SECONDS if timeout is None else timeout
    stream = SerialStream(port, baud=rate, write_seconds=max(seconds, 0.1))
    return Accelerator(stream, expected, baud=rate, seconds=seconds, depth=DEFAULT_DEPTH if depth is None else depth)


def expected_of(network: str | Path | Compiled) -> Expected:
    """Return what a device with ``network``, a folder or a design, holds.

    Raises
    ------
    InputError, FileFormatError
        ``network`` is no such folder.
    """
    if isinstance(network, str | Path):
        return expected_of_folder(Path(network))
    return expected_of_design(network.design, network.board)


def expected_of_design(design: "CoreDesign", board: "Board", clock_hz: float | None = None) -> Expected:
    """Return what ``board`` holds with ``design``, clocked with ``clock_hz`` if that is known."""
    verilog = design.verilog()
    return Expected(
        name=design.name,
        host_part=design.host_part,
        design=hashlib.sha256(verilog.encode()).digest(),
        width_bytes=design.array.stream_bytes,
        cycles=design.cycles,
        clock_hz=clock_hz,
        board=board.name,
        one_clock=board.one_clock,
        baud=None,
        verilog=verilog,
    )
