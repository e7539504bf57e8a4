"""ECP5's EHXPLLL: dividers for a frequency, with the feedback taken from the output CLKOP.

``f_vco = f_in / input_divider * feedback_divider * output_divider`` and ``f_out = f_in / input_divider *
feedback_divider``. The ranges are those of Lattice FPGA-DS-02012 (sysCLOCK PLL timing) and of ecppll.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

from heddle.errors import InputError

INPUT_HZ = (8_000_000, 400_000_000)
PHASE_DETECTOR_HZ = (3_125_000, 400_000_000)
VCO_HZ = (400_000_000, 800_000_000)
OUTPUT_HZ = (3_125_000, 400_000_000)
DIVIDERS = range(1, 129)
FEEDBACK_DIVIDERS = range(1, 81)


@dataclass(frozen=True, kw_only=True)
class Pll:
    """Dividers of an EHXPLLL, all in range for an input of ``input_hz``."""

    input_hz: int
    input_divider: int
    feedback_divider: int
    output_divider: int

    @property
    def output_hz(self) -> Fraction:
        """Exact frequency of CLKOP."""
        return Fraction(self.input_hz * self.feedback_divider, self.input_divider)

    @property
    def vco_hz(self) -> Fraction:
        """Exact frequency of the oscillator inside."""
        return self.output_hz * self.output_divider

    @property
    def verilog_parameters(self) -> dict[str, int]:
        """Parameters of ``EHXPLLL``; the phase puts CLKOP's rising edge on the input's."""
        return {
            "CLKI_DIV": self.input_divider,
            "CLKFB_DIV": self.feedback_divider,
            "CLKOP_DIV": self.output_divider,
            "CLKOP_CPHASE": self.output_divider // 2,
        }

    def instance(self, *, locked: str | None = None) -> list[str]:
        """Return lines of Verilog that make the net ``clock`` from ``clk``, and ``locked`` if it is asked for."""
        parameters = ", ".join(f".{name}({value})" for name, value in self.verilog_parameters.items())
        # The loop filter settings are ecppll's.
        return [
            "  wire clock;",
            '  (* ICP_CURRENT="12", LPF_RESISTOR="8", MFG_ENABLE_FILTEROPAMP="1", MFG_GMCREF_SEL="2" *)',
            f'  EHXPLLL #({parameters}, .CLKOP_ENABLE("ENABLED"), .FEEDBK_PATH("CLKOP")) pll (',
            "    .CLKI(clk), .CLKFB(clock), .CLKOP(clock), .RST(1'b0), .STDBY(1'b0),",
            "    .PHASESEL0(1'b0), .PHASESEL1(1'b0),",
            *([f"    .LOCK({locked}),"] if locked else []),
            "    .PHASEDIR(1'b1), .PHASESTEP(1'b1), .PHASELOADREG(1'b1), .PLLWAKESYNC(1'b0), .ENCLKOP(1'b0));",
        ]

    def retune(self, config: str) -> str:
        """Return a routed design (nextpnr's ``--textcfg``) with these dividers in place of those of its PLL.

        Placement and routes do not depend on the dividers, so the result is what nextpnr would write for them.

        Raises
        ------
        ValueError
            If the design does not have exactly one PLL.
        """
        # The phase is stored as it is, a divider as the count it reloads.
        words = {
            name: value if name.endswith("CPHASE") else value - 1 for name, value in self.verilog_parameters.items()
        }
        for name, value in words.items():
            config, count = re.subn(
                rf"^word: {name} [01]{{7}}$", f"word: {name} {value:07b}", config, flags=re.MULTILINE
            )
            if count != 1:
                raise ValueError(f"config must have one PLL with {name}, not {count}")
        return config


def fastest_pll(input_hz: float, limit_hz: float) -> Pll:
    """Return the PLL of the highest output frequency that does not exceed ``limit_hz``.

    Of equal frequencies it is the one with the smallest input divider (least jitter), then the fastest oscillator.

    Raises
    ------
    InputError
        If the input is out of range, or no output frequency is that low.

    >>> float(fastest_pll(25e6, 101e6).output_hz)
    100000000.0
    """
    source = round(input_hz)
    if not INPUT_HZ[0] <= source <= INPUT_HZ[1]:
        raise InputError(
            f"{source / 1e6:g} MHz is not a clock an ECP5 PLL accepts",
            where="oscillator",
            remedy=f"use {INPUT_HZ[0] / 1e6:g} to {INPUT_HZ[1] / 1e6:g} MHz",
        )
    found = [
        pll
        for divider in DIVIDERS
        if PHASE_DETECTOR_HZ[0] <= Fraction(source, divider) <= PHASE_DETECTOR_HZ[1]
        for feedback in FEEDBACK_DIVIDERS
        if (pll := _with_output_divider(source, divider, feedback, limit_hz)) is not None
    ]
    if not found:
        raise InputError(
            f"{limit_hz / 1e6:g} MHz is below what an ECP5 PLL gives from {source / 1e6:g} MHz",
            where="frequency",
            remedy=f"ask for {OUTPUT_HZ[0] / 1e6:g} MHz or more",
        )
    return max(found, key=lambda pll: (pll.output_hz, -pll.input_divider, pll.vco_hz))


def _with_output_divider(source: int, divider: int, feedback: int, limit_hz: float) -> Pll | None:
    """Complete two dividers by the third, or return ``None`` if a frequency would be out of range."""
    output = Fraction(source * feedback, divider)
    if not OUTPUT_HZ[0] <= output <= min(OUTPUT_HZ[1], limit_hz):
        return None
    output_divider = min(int(VCO_HZ[1] / output), DIVIDERS[-1])
    if output * output_divider < VCO_HZ[0]:
        return None
    return Pll(input_hz=source, input_divider=divider, feedback_divider=feedback, output_divider=output_divider)
