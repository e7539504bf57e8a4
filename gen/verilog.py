"""Amaranth component to Verilog text."""

from collections.abc import Mapping
from types import MappingProxyType

from amaranth.back import verilog
from amaranth.lib import wiring


def to_verilog(
    component: wiring.Component, name: str, *, library: Mapping[str, wiring.Component] = MappingProxyType({})
) -> str:
    """Return the Verilog of ``component`` as module ``name``, its submodules named ``name.<path>``.

    The same component gives the same text, byte for byte: paths and line numbers of the Python sources are left out
    (memories keep theirs even with ``strip_internal_attrs``, hence ``emit_src``). Only the first line differs
    between releases of Yosys, which it names.

    Parameters
    ----------
    library
        Components that ``component`` instantiates by name; their modules follow it.
    """
    parts = {name: component, **library}
    texts = [
        verilog.convert(part, name=module, emit_src=False, strip_internal_attrs=True) for module, part in parts.items()
    ]
    # The first line of each names Yosys.
    return texts[0] + "".join(text.split("\n", 1)[1] for text in texts[1:])
