"""The Python API: ``heddle.load``, ``heddle.compile``, and the compiled design for one board.

>>> network = load("kws.tflite")  # doctest: +SKIP
>>> design = compile(network, board="ulx3s-85f")  # doctest: +SKIP
>>> design.cycles, design.utilisation  # doctest: +SKIP
>>> design.simulate(x)  # the RTL's outputs, bit-exact  # doctest: +SKIP
>>> design.build("out/")  # doctest: +SKIP
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from heddle import boards
from heddle.boards import DEFAULT_BOARD, Board
from heddle.boards.artifacts import MARKER, output_folder
from heddle.errors import HeddleError, InputError
from heddle.gen import fitting, planner
from heddle.gen.design import CoreDesign, LayerReport
from heddle.gen.importers import load
from heddle.gen.inputs import Inputs, Outputs
from heddle.gen.ir import Network
from heddle.gen.objective import Objective
from heddle.gen.planner import Plan, Progress
from heddle.gen.resources import Resources
from heddle.gen.shapes import Space
from heddle.gen.summary import Report
from heddle.hdl.config import ArrayConfig
from heddle.hdl.worklist_config import WorklistShape
from heddle.link.protocol import DEFAULT_BAUD

if TYPE_CHECKING:
    from heddle.boards.build import BuildResult
    from heddle.sim.network import SimulationResult
    from heddle.sim.runner import Simulator

__all__ = ["DEFAULT_BOARD", "CompiledDesign", "DifferenceError", "compile", "load", "plan"]

REPORT = "report.html"
STABLE_ROLES = ("bitstream", "config", "constraints", "shell", "top")
"""Files of a build that are the same for the same network and options."""
NAME_LENGTH = 100
"""Of a network's name: with prefix and suffix it must still be a file's."""


class DifferenceError(HeddleError):
    """The simulated hardware differs from the golden model: a defect of Heddle, with its first place."""


def identifier(name: str) -> str:
    """Return ``name`` as part of a Verilog identifier.

    >>> identifier("my net-2.quant")
    'my_net_2_quant'
    """
    return re.sub(r"[^0-9A-Za-z_]", "_", name)[:NAME_LENGTH]


def compile(
    network: Network,
    board: str = DEFAULT_BOARD,
    array: ArrayConfig | WorklistShape | str | None = None,
    *,
    objective: str | None = None,
    max_ms: float | None = None,
    requantizers: int | None = None,
    stream_bytes: int | None = None,
    block: int | None = None,
    progress: Progress = lambda line: None,
) -> "CompiledDesign":
    """Compile ``network`` for ``board``.

    Parameters
    ----------
    board
        A name that ``heddle.boards.names()`` lists, or a part as ``ecp5-45f-cabga381-7``.
    array
        An :class:`heddle.ArrayConfig`, or a shape as ``"9x8x1"`` (rows, columns, pixels). Or a core of work lists, on
        which no zero weight costs a cycle: a :class:`heddle.WorklistShape`, or ``"worklist-4x32"`` (lanes, pixels).
        Default: the board's own array, or if that does not fit the fastest of its halves that does; ``notes`` says so.
    objective, max_ms
        Instead of ``array``: as :func:`plan`, which takes some seconds.
    requantizers, stream_bytes, block
        In place of the array's: results scaled per cycle, the width of both streams (1 to 16 bytes), and channels in a
        block; the board's if nothing says otherwise.
    progress
        Called with a line of text as planning goes on.

    Raises
    ------
    UnsupportedError
        A layer that the hardware cannot run exactly.
    CapacityError
        The network does not fit the board: how much of what is missing, and the remedy.
    InputError
        There is no such board or objective, ``array`` is no shape, both an array and an objective were given, or
        ``network`` is none.
    """
    if not isinstance(network, Network):
        raise InputError(f"{network!r} is no network", where="network", remedy="give what heddle.load returns")
    target, network = boards.get(board), network.named(identifier(network.name))
    given = _given(requantizers=requantizers, stream_bytes=stream_bytes, block=block)
    if objective is None and max_ms is not None:
        raise InputError("max_ms has no effect without an objective", where="max_ms", remedy="name an objective")
    if objective is None:
        shape = fitting.parse_array(array, target) if isinstance(array, str) else array
        fitted = planner.compile_for(network, target, shape, **given)
    elif array is not None:
        raise InputError("both an array and an objective were given", where="array", remedy="give one of them")
    else:
        chosen = plan(network, board, objective, max_ms=max_ms, progress=progress, **given)
        fitted = replace(chosen.fitted, notes=(chosen.note,))
    return CompiledDesign(design=fitted.design, board=target, resources=fitted.resources, notes=fitted.notes)


def plan(
    network: Network,
    board: str = DEFAULT_BOARD,
    objective: str = Objective.LATENCY,
    *,
    max_ms: float | None = None,
    requantizers: int | None = None,
    stream_bytes: int | None = None,
    block: int | None = None,
    progress: Progress = lambda line: None,
) -> Plan:
    """Choose the array for ``network`` on ``board``: :func:`heddle.gen.planner.plan`.

    Parameters
    ----------
    objective
        ``"latency"``, ``"throughput"`` or ``"area"``.
    max_ms
        Milliseconds that an inference may take at the estimated clock.
    requantizers, stream_bytes, block
        Fixed, where given; otherwise chosen, but for the streams: those are the board's.
    progress
        Called with a line of text as work goes on.

    Raises
    ------
    CapacityError, UnsupportedError
        As :func:`compile`; or no array is fast enough.
    InputError
        There is no such board or objective, or ``max_ms`` is not above 0.
    """
    if objective not in list(Objective):
        names = ", ".join(Objective)
        raise InputError(f"{objective!r} is no objective", where="objective", remedy=f"choose one of {names}")
    if max_ms is not None and not max_ms > 0:
        raise InputError(f"max_ms is {max_ms:g}", where="max_ms", remedy="allow more than 0")
    target = boards.get(board)
    given = _given(requantizers=requantizers, stream_bytes=stream_bytes, block=block)
    return planner.plan(
        network,
        target,
        Objective(objective),
        space=Space.full(fitting.default_array(target)).with_fixed(**given),
        max_seconds=None if max_ms is None else max_ms / 1e3,
        # They have no blocks.
        lists=block is None,
        list_requantizers=requantizers,
        progress=progress,
    )


def _given(**values: int | None) -> dict[str, int]:
    return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, kw_only=True, eq=False)
class CompiledDesign:
    """A network compiled for a board.

    Parameters
    ----------
    design
        The core, its program and images.
    resources
        What it takes: multipliers and block RAMs exactly, LUTs and flip-flops by an estimate.
    notes
        What was chosen that the caller may not expect.
    """

    design: CoreDesign
    board: Board
    resources: Resources
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The exported top module: ``heddle_<network>``."""
        return self.design.name

    @property
    def network(self) -> Network:
        """What was compiled."""
        return self.design.network

    @property
    def array(self) -> ArrayConfig | WorklistShape:
        """The core's shape."""
        return self.design.array

    @property
    def cycles(self) -> int:
        """From the first input beat accepted to the last output beat offered, streams never stalled from outside."""
        return self.design.cycles

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network's convolutions and fully-connected layers, as the file has them."""
        return self.design.macs

    @property
    def live_macs(self) -> int:
        """As :attr:`macs`, but for channels that are removed, since nothing depends on them."""
        return self.design.live_macs

    @property
    def utilisation(self) -> float:
        """``macs / cycles / peak``."""
        return self.design.utilisation

    @property
    def layers(self) -> tuple[LayerReport, ...]:
        """Cycles, kind and density by layer."""
        return self.design.layers

    def report(self) -> Report:
        """Return the design's figures: as text, as data, as a page."""
        return Report(design=self.design, board=self.board, resources=self.resources, notes=self.notes)

    def predict(self, x: Inputs) -> Outputs:
        """Return the outputs as the design's program gives them, without a simulator.

        Raises
        ------
        InputError
            Samples that do not match the network's inputs.
        """
        return self.design.predict(x)

    def verify(self, x: Inputs, **options: Any) -> "SimulationResult":
        """Run samples through the RTL and compare: :func:`heddle.sim.network.simulate` with its options."""
        from heddle.sim.network import simulate

        return simulate(self.design, x, **options)

    def simulate(self, x: Inputs, simulator: "Simulator" = "verilator", layers: bool = False) -> Outputs:
        """Return the RTL's outputs; ``layers`` compares every feature map on the way, not only the outputs.

        Raises
        ------
        InputError
            Samples that do not match the network's inputs.
        ToolError
            The simulator is missing or fails.
        DifferenceError
            An integer differs from the golden model.
        """
        result = self.verify(x, simulator=simulator, layers=layers)
        if result.first_difference is not None:
            raise DifferenceError(
                f"the simulation differs from the golden model: {result.first_difference}",
                where=self.name,
                remedy="please report this, with the network",
            )
        return result.outputs

    def write(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write Verilog, ``manifest.json`` and ``report.html``; the folder appears whole or not at all.

        Raises
        ------
        InputError
            ``folder`` is a file, or holds files that Heddle did not make (unless ``overwrite``).
        """
        folder = Path(folder)
        with output_folder(folder, overwrite=overwrite) as work:
            self._write(work, {"verilog": self._write_verilog(work), "report": work / REPORT})
        return folder

    def build(
        self,
        folder: str | Path,
        seeds: int = 1,
        *,
        frequency_hz: float | None = None,
        baud: int = DEFAULT_BAUD,
        inputs: Inputs | None = None,
        floorplan: bool | None = None,
        overwrite: bool = False,
        progress: Callable[[str], None] = lambda line: None,
    ) -> "BuildResult":
        """Do what :meth:`write` does, and synthesize, place, route and pack a bitstream, with the best of ``seeds``.

        On a board the bitstream has the host link, at ``baud`` bits a second; a bare part's has a harness. One more
        file, ``<top>.zip``, is the deploy bundle: what it takes to flash, run, check and rebuild it elsewhere.

        Parameters
        ----------
        inputs
            Samples: the first of them become test vectors of the bundle, beside random ones.
        floorplan
            Whether multipliers and block RAMs get their sites before the rest is placed; default: in large designs.

        Raises
        ------
        CapacityError
            It does not fit after all: in LUTs, which are only known after synthesis.
        ToolError
            A tool is missing or fails.
        InputError
            As :meth:`write`; or ``inputs`` do not match the network's; or ``floorplan`` is asked of another family than
            ECP5.
        """
        from heddle.boards.build import build
        from heddle.gen.shell import ShellSource
        from heddle.host.bundle import Vectors, make_bundle, read_licences

        # Whatever may be wrong with the bundle is found before anything is synthesized.
        folder, vectors, licences = Path(folder), Vectors.of(self.design, inputs), read_licences()
        with output_folder(folder, overwrite=overwrite) as work:
            verilog = self._write_verilog(work)
            link = ShellSource.of(self.design, verilog.read_text(), self.board).link(baud)
            result = build(
                verilog, self.name, self.board, work, seeds=seeds, frequency_hz=frequency_hz, link=link,
                floorplan=floorplan, progress=progress,
            )  # fmt: skip
            # Logs and wall times differ from run to run; what the manifest names does not.
            stable = {role: path for role, path in result.files.items() if role in STABLE_ROLES}
            facts = {key: value for key, value in result.to_json().items() if key not in ("seconds", "files")}
            files = {"verilog": verilog, **stable, "report": work / REPORT}
            bundle = make_bundle(self.design, self.board, result, files, vectors=vectors, licences=licences)
            self._write(work, files, facts, bundle.facts())
            written = {**result.files, "bundle": bundle.write(work)}
        return replace(result, files={role: folder / path.name for role, path in written.items()})

    def _write_verilog(self, work: Path) -> Path:
        path = work / f"{self.name}.v"
        path.write_text(self.design.verilog())
        return path

    def _write(
        self,
        work: Path,
        files: Mapping[str, Path],
        build: Mapping[str, Any] | None = None,
        bundle: Mapping[str, Any] | None = None,
    ) -> None:
        report = self.report()
        files["report"].write_text(report.to_html(build), encoding="utf-8")
        (work / MARKER).write_text(report.to_manifest(files, build, bundle), encoding="utf-8")
