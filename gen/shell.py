"""A design with its host link, as Verilog: :class:`heddle.hdl.shell.Shell` for what a design says of itself."""

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from heddle.boards.board import Board
from heddle.boards.top import Link
from heddle.gen.design import CoreDesign
from heddle.gen.ir import Tensor
from heddle.gen.verilog import to_verilog
from heddle.hdl.shell import Shell
from heddle.hdl.uart import SerialRate
from heddle.link.protocol import Identity, Packet


@dataclass(frozen=True, kw_only=True)
class ShellSource:
    """What a shell is made from, but for the rate of its serial line.

    Parameters
    ----------
    top
        Name of the accelerator's module.
    identity
        What the device says of itself.
    width_bytes
        Of the accelerator's streams.
    one_clock
        The accelerator's clock is the serial line's: see :attr:`heddle.boards.board.Board.one_clock`.
    """

    top: str
    identity: Identity
    width_bytes: int
    one_clock: bool

    @classmethod
    def of(cls, design: CoreDesign, verilog: str, board: Board) -> Self:
        """Return that of ``design``, whose Verilog is ``verilog``, on ``board``."""
        return cls(
            top=design.name,
            identity=identity(design, verilog),
            width_bytes=design.array.stream_bytes,
            one_clock=board.one_clock,
        )

    @property
    def module(self) -> str:
        """Name of the shell's module."""
        return f"{self.top}_shell"

    def link(self, baud: int) -> Link:
        """Return what a build for a board takes."""
        facts = {
            "version": self.identity.version,
            "baud": baud,
            "network": self.identity.network.hex(),
            "design": self.identity.design.hex(),
        }
        return Link(module=self.module, verilog=self.verilog, baud=baud, facts=facts)

    def verilog(self, rate: SerialRate) -> str:
        """Verilog of the shell; the accelerator's own is not in it, and is the same whatever is around it."""
        return _verilog(self, rate)


@lru_cache(maxsize=4)
def _verilog(source: ShellSource, rate: SerialRate) -> str:
    """Return the same as :meth:`ShellSource.verilog`; making it takes seconds."""
    shell = Shell(source.top, source.identity, rate, width_bytes=source.width_bytes, one_clock=source.one_clock)
    return to_verilog(shell, source.module)


def identity(design: CoreDesign, verilog: str) -> Identity:
    """Return what a device with ``design``, whose Verilog is ``verilog``, says of itself."""
    tensors = design.network.tensors
    return Identity(
        # A network that was not read from a file has no hash.
        network=bytes.fromhex(design.network.sha256).ljust(32, b"\0"),
        design=hashlib.sha256(verilog.encode()).digest(),
        inputs=tuple(_packet(tensors[name]) for name in design.plan.inputs),
        outputs=tuple(_packet(tensors[name]) for name in design.plan.outputs),
    )


def _packet(tensor: Tensor) -> Packet:
    height, width, channels = tensor.hwc
    return Packet(height=height, width=width, channels=channels)
