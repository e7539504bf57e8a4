"""The accelerator and its host link behind a serial line: what is the same on every board, whatever makes its clocks.

A board adds its PLL and its pins (:mod:`heddle.boards.top`), a simulation two clocks (:mod:`heddle.sim.virtual`).
"""

from amaranth.hdl import ClockDomain, ClockSignal, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out

from heddle.hdl.link import SerialLink
from heddle.hdl.uart import SerialRate
from heddle.link.protocol import Identity


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

    Members
    -------
    clk, link_clk : In(1)
        Clocks of the accelerator and of the serial line; neither need know of the other.
    rst : In(1)
        Resets all of it; asynchronous.
    rx, tx : In(1), Out(1)
        The serial line; idle is high.
    """

    clk: Signal
    link_clk: Signal
    rst: Signal
    rx: Signal
    tx: Signal

    def __init__(self, top: str, identity: Identity, rate: SerialRate, *, width_bytes: int) -> None:
        self.top, self.identity, self.rate, self.width_bytes = top, identity, rate, width_bytes
        super().__init__({"clk": In(1), "link_clk": In(1), "rst": In(1), "rx": In(1), "tx": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        for name, clock in (("sync", self.clk), ("link", self.link_clk)):
            m.domains += ClockDomain(name)
            m.d.comb += ClockSignal(name).eq(clock)
            m.submodules[f"{name}_reset"] = ResetSynchronizer(self.rst, domain=name)
        m.submodules.link = link = SerialLink(self.identity, self.rate, width_bytes=self.width_bytes)
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
