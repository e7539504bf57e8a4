"""Amaranth component to Verilog text."""

from amaranth.back import verilog
from amaranth.lib import wiring


def to_verilog(component: wiring.Component, name: str) -> str:
    """Return the Verilog of ``component`` as module ``name``, its submodules named ``name.<path>``.

    The same component gives the same text, byte for byte: paths and line numbers of the Python sources are left out
    (memories keep theirs even with ``strip_internal_attrs``, hence ``emit_src``). Only the first line differs
    between releases of Yosys, which it names.
    """
    return verilog.convert(component, name=name, emit_src=False, strip_internal_attrs=True)
