"""The exported top: a core behind plain AXI4-Stream ports."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from heddle.hdl.core import Core
from heddle.hdl.worklist import WorklistCore


class Accelerator(wiring.Component):
    """A core with the port names of the AXI4-Stream specification: ``s_axis_*`` in, ``m_axis_*`` out, ``clk``, ``rst``.

    ``tready`` may fall at any time on either side. Several inputs or outputs are consecutive packets in the manifest's
    order. An input packet that ends too early is dropped whole; of one that is too long the excess is dropped. Where a
    network has several inputs, the packet after a dropped one is taken in its place and all later ones shift by one:
    reset after such an error.
    """

    s_axis_tdata: Signal
    s_axis_tvalid: Signal
    s_axis_tready: Signal
    s_axis_tlast: Signal
    m_axis_tdata: Signal
    m_axis_tvalid: Signal
    m_axis_tready: Signal
    m_axis_tlast: Signal

    def __init__(self, core: Core | WorklistCore) -> None:
        self.core = core
        bits = 8 * core.config.array.stream_bytes
        super().__init__(
            {
                "s_axis_tdata": In(unsigned(bits)),
                "s_axis_tvalid": In(1),
                "s_axis_tready": Out(1),
                "s_axis_tlast": In(1),
                "m_axis_tdata": Out(unsigned(bits)),
                "m_axis_tvalid": Out(1),
                "m_axis_tready": In(1),
                "m_axis_tlast": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.core = core = self.core
        m.d.comb += [
            core.s_axis.tdata.eq(self.s_axis_tdata),
            core.s_axis.tvalid.eq(self.s_axis_tvalid),
            core.s_axis.tlast.eq(self.s_axis_tlast),
            self.s_axis_tready.eq(core.s_axis.tready),
            self.m_axis_tdata.eq(core.m_axis.tdata),
            self.m_axis_tvalid.eq(core.m_axis.tvalid),
            self.m_axis_tlast.eq(core.m_axis.tlast),
            core.m_axis.tready.eq(self.m_axis_tready),
        ]
        return m
