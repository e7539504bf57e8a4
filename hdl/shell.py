"""The accelerator and its host link behind a serial line: what is the same on every board, whatever makes its clocks.

A board adds its PLL, if it has one, and its pins (:mod:`heddle.boards.top`), a simulation the clocks
(:mod:`heddle.sim.virtual`).
"""

import math

from amaranth.hdl import ClockDomain, ClockSignal, Instance, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from heddle.hdl.link import SerialLink
from heddle.hdl.uart import SerialRate
from heddle.link.protocol import Identity

POWER_ON_SECONDS = 10e-6
"""How long a device with one clock resets itself: block RAMs of iCE40 can be read 3 us after configuration."""


class Shell(wiring.Component):
    """The exported top :class:`~heddle.hdl.accelerator.Accelerator`, as a module of its own, and its host link.

    Parameters
    ----------
    top
        Name of the accelerator's module; its Verilog is not in this one's.
    identity
        What the device says of itself.
    rate
        Of the serial line, in ticks of ``link_clk``.
    width_bytes
        Of the accelerator's streams.
    one_clock
        ``link_clk`` is not used: ``clk`` is both, and runs when the device has been configured. So it resets itself for
        the first :data:`POWER_ON_SECONDS`; with two clocks ``rst`` has to, for as long as one of them is none yet.

    Members
    -------
    clk, link_clk : In(1)
        Clocks of the accelerator and of the serial line; neither need know of the other.
    rst : In(1)
        Resets all of it; asynchronous, and needs no length.
    rx, tx : In(1), Out(1)
        The serial line; idle is high.
    """

    clk: Signal
    link_clk: Signal
    rst: Signal
    rx: Signal
    tx: Signal

    def __init__(
        self, top: str, identity: Identity, rate: SerialRate, *, width_bytes: int, one_clock: bool = False
    ) -> None:
        self.top, self.identity, self.rate, self.width_bytes = top, identity, rate, width_bytes
        self.one_clock = one_clock
        super().__init__({"clk": In(1), "link_clk": In(1), "rst": In(1), "rx": In(1), "tx": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clocks = {"sync": self.clk} if self.one_clock else {"sync": self.clk, "link": self.link_clk}
        resets = self._after_power_on(m) if self.one_clock else self.rst
        for name, clock in clocks.items():
            m.domains += ClockDomain(name)
            m.d.comb += ClockSignal(name).eq(clock)
            m.submodules[f"{name}_reset"] = ResetSynchronizer(resets, domain=name)
        m.submodules.link = link = SerialLink(
            self.identity, self.rate, width_bytes=self.width_bytes, one_clock=self.one_clock
        )
        # A register for a wire that goes everywhere. A cycle later is early enough: no beat is there yet.
        reset = Signal(init=1)
        m.d.sync += reset.eq(link.clear)
        into, out = link.m_axis, link.s_axis
        m.submodules.accelerator = Instance(
            self.top,
            i_clk=ClockSignal(),
            i_rst=reset,
            i_s_axis_tdata=into.tdata,
            i_s_axis_tvalid=into.tvalid,
            i_s_axis_tlast=into.tlast,
            o_s_axis_tready=into.tready,
            o_m_axis_tdata=out.tdata,
            o_m_axis_tvalid=out.tvalid,
            o_m_axis_tlast=out.tlast,
            i_m_axis_tready=out.tready,
        )
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]
        return m

    def _after_power_on(self, m: Module) -> Value:
        """Return ``rst``, and the reset of a device that has just been configured."""
        m.domains += ClockDomain("power_on", reset_less=True)
        # Configuration sets registers to their initial values; the highest bit ends the reset, and stays.
        count = Signal(math.ceil(math.log2(POWER_ON_SECONDS * self.rate.clock_hz)) + 1)
        m.d.comb += ClockSignal("power_on").eq(self.clk)
        with m.If(~count[-1]):
            m.d.power_on += count.eq(count + 1)
        return self.rst | ~count[-1]
