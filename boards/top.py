"""A design with its host link on a board: the pins ``clk``, ``rst``, ``serial_in`` and ``serial_out``, and the clock.

The serial line runs on the oscillator's clock, so that its rate does not depend on the design's: a PLL's, chosen after
routing, or the oscillator itself. What is not of one vendor lies in the design's shell (:mod:`heddle.hdl.shell`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from heddle.boards.pll import Pll
from heddle.errors import InputError
from heddle.hdl.frames import BYTE_CYCLES
from heddle.hdl.uart import LEAST_CLOCKS, SerialRate
from heddle.link.protocol import BITS_PER_BYTE

TOP = "board_top"
"""Module name of the top: no accelerator has it, for theirs begin with ``heddle_``."""


@dataclass(frozen=True, kw_only=True)
class Link:
    """The host link that a build puts around a design.

    Parameters
    ----------
    module
        Name of the shell's module.
    verilog
        Gives the shell's Verilog for a rate.
    baud
        Bits a second on the serial line.
    facts
        What the manifest says of it.
    """

    module: str
    verilog: Callable[[SerialRate], str]
    baud: int
    facts: dict[str, Any]

    def rate(self, oscillator_hz: float) -> SerialRate:
        """Return the rate on a board with that oscillator.

        Raises
        ------
        InputError
            The line cannot be that fast.
        """
        try:
            return SerialRate(clock_hz=oscillator_hz, baud=self.baud)
        except ValueError:
            raise InputError(
                f"{self.baud:,} baud is out of range with an oscillator of {oscillator_hz / 1e6:g} MHz",
                where="baud",
                remedy=f"ask for 1 to {int(oscillator_hz / LEAST_CLOCKS):,}",
            ) from None

    def check_clock(self, clock_hz: float) -> None:
        """See that an accelerator clocked so keeps up with the line.

        Raises
        ------
        InputError
            It does not: bytes would be lost.
        """
        least = self.baud / BITS_PER_BYTE * BYTE_CYCLES
        if clock_hz < least:
            raise InputError(
                f"at {clock_hz / 1e6:.2f} MHz the host link cannot take {self.baud:,} baud",
                where="baud",
                remedy=f"ask for {int(clock_hz / BYTE_CYCLES * BITS_PER_BYTE):,} or less, or for another frequency",
            )


@dataclass(frozen=True, kw_only=True)
class Top:
    """The shell ``link_module`` on a board's pins.

    Parameters
    ----------
    pll
        Makes the design's clock; ``None`` where the oscillator is it, and the shell resets itself after configuration.
    reset_inverted
        Low at the pin ``rst`` resets.
    """

    link_module: str
    pll: Pll | None
    reset_inverted: bool = False

    module: ClassVar[str] = TOP
    flipflops: ClassVar[int] = 0
    """None that a build reports as not the design's: a design with its link is what runs."""
    luts: ClassVar[int] = 0

    @property
    def verilog(self) -> str:
        """Verilog of module :data:`TOP`; the shell is not in it."""
        reset = "~rst" if self.reset_inverted else "rst"
        lines = ["  wire clock = clk;"]
        if self.pll is not None:
            lines = ["  wire locked;", *self.pll.instance(locked="locked")]
            # Until the PLL has locked, its clock is not one.
            reset += " | ~locked"
        return "\n".join(
            [
                f"module {TOP} (input clk, input rst, input serial_in, output serial_out);",
                *lines,
                f"  {self.link_module} shell (.clk(clock), .link_clk(clk), .rst({reset}),",
                "    .rx(serial_in), .tx(serial_out));",
                "endmodule",
                "",
            ]
        )
