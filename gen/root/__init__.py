"""Heddle: a quantized neural network becomes a systolic FPGA accelerator.

What ``import heddle`` gives. The stages themselves are the sub-packages ``heddle.gen`` (network file to Verilog),
``heddle.hdl`` (hardware components), ``heddle.sim`` (simulation), ``heddle.boards`` (place and route, boards) and
``heddle.host`` (driving a board).

>>> import heddle
>>> design = heddle.compile(heddle.load("kws.tflite"), board="ulx3s-85f")  # doctest: +SKIP
>>> design.cycles, design.utilisation  # doctest: +SKIP
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heddle.errors import HeddleError
    from heddle.gen.api import CompiledDesign, compile, load, plan
    from heddle.gen.ir import Network
    from heddle.gen.pruning.api import prune
    from heddle.hdl.config import ArrayConfig
    from heddle.hdl.worklist_config import WorklistShape
    from heddle.host.api import open

    __version__: str

__all__ = [
    "ArrayConfig",
    "CompiledDesign",
    "HeddleError",
    "Network",
    "WorklistShape",
    "__version__",
    "compile",
    "load",
    "open",
    "plan",
    "prune",
]

_HOMES = {
    "ArrayConfig": "heddle.hdl.config",
    "CompiledDesign": "heddle.gen.api",
    "HeddleError": "heddle.errors",
    "Network": "heddle.gen.ir",
    "WorklistShape": "heddle.hdl.worklist_config",
    "compile": "heddle.gen.api",
    "load": "heddle.gen.api",
    "open": "heddle.host.api",
    "plan": "heddle.gen.api",
    "prune": "heddle.gen.pruning.api",
}
_PACKAGES = ("boards", "gen", "hdl", "host", "sim")


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: the stages need each other, and a second to import."""
    if name == "__version__":
        return version("heddle-fpga")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _PACKAGES:
        return import_module(f"heddle.{name}")
    raise AttributeError(f"module 'heddle' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*__all__, *_PACKAGES, "errors"})
