"""A compiled design's figures, in the form its reader wants: text, data, manifest or page."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from heddle.boards import Board
from heddle.gen.choice import KINDS, LayerChoice, layer_choices
from heddle.gen.console import PIPE_WIDTH, table
from heddle.gen.design import CoreDesign, LayerReport
from heddle.gen.fitting import describe
from heddle.gen.manifest import manifest, summarize
from heddle.gen.resources import Resources

MANY_ZEROS = 0.9
"""From this density down a layer's zeros are worth a table."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """What there is to know of ``design`` on ``board``; ``str()`` gives it as text."""

    design: CoreDesign
    board: Board
    resources: Resources
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        out = io.StringIO()
        console = Console(file=out, width=PIPE_WIDTH, color_system=None, markup=False, highlight=False)
        console.print(self.layer_table())
        if self.shows_selection:
            console.print(self.selection_table())
        for line in self.lines():
            console.print(line, soft_wrap=True)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    __repr__ = __str__

    def lines(self) -> list[str]:
        """Headline figures, a line each."""
        design, device = self.design, self.board.device
        peak = design.array.macs_per_cycle
        need = self.resources
        dead = design.live_macs < design.macs
        return [
            f"board        {self.board.name} ({device.part}), array {describe(design.array)}",
            f"cycles       {design.cycles:,} per inference",
            f"MACs         {design.macs:,}; {design.utilisation:.1%} of {peak} per cycle",
            *([f"live MACs    {design.live_macs:,}; the others are of dead channels"] if dead else []),
            f"multipliers  {need.multipliers} of {device.multipliers}",
            f"block RAMs   {need.block_rams} of {device.block_rams}",
            *self._estimates(),
            *(f"note         {note}" for note in self.notes),
        ]

    def _estimates(self) -> list[str]:
        """LUTs and flip-flops, where something is known of them."""
        need, device = self.resources, self.board.device
        if not device.family.estimated:
            return [f"LUTs         not estimated for {device.part}; `heddle build` counts them"]
        return [
            f"LUTs         about {need.luts:,} of {device.luts:,} (estimate)",
            f"flip-flops   about {need.flipflops:,} of {device.flipflops:,} (estimate)",
        ]

    def layer_table(self, simulated: Mapping[str, int] | None = None) -> Table:
        """Cycles, utilisation and density by layer; with ``simulated`` cycles, also what the streams' pauses cost."""
        design = self.design
        columns = ["layer", "operator", "kind", "output", ">MACs", ">cycles", ">utilisation", ">non-zero", ">waiting"]
        result = table(*columns, *((">simulated", ">stalled") if simulated else ()))
        for layer in design.layers:
            shape = design.network.tensors[layer.output].hwc if layer.output else ()
            result.add_row(
                layer.name,
                layer.op,
                layer.kind,
                "x".join(map(str, shape)) or "stream",
                f"{layer.macs:,}" if layer.macs else "",
                f"{layer.cycles:,}",
                f"{layer.utilisation(design.array.macs_per_cycle):.1%}" if layer.macs else "",
                "" if layer.density is None else f"{layer.density:.1%}",
                f"{layer.bubbles:,}" if layer.bubbles else "",
                *_stalls(layer, simulated),
            )
        return result

    @property
    def shows_selection(self) -> bool:
        """Whether :meth:`selection_table` says more than that every layer is dense, or depthwise."""
        return any(choice.kind == "indexed" or choice.density < MANY_ZEROS for choice in self._choices)

    def selection_table(self) -> Table:
        """Return what was chosen for each layer with weights, of which cycles, and what its zeros give."""
        result = table(
            "layer", "kind", "of a block", ">non-zero", ">bits/weight", *(f">{kind}" for kind in KINDS),
            ">speed-up", ">of ideal",
        )  # fmt: skip
        for choice in self._choices:
            result.add_row(
                choice.name,
                choice.kind,
                choice.pattern,
                f"{choice.density:.1%}",
                f"{choice.bits_per_weight:.1f}",
                *(f"{choice.cycles[kind]:,}" if kind in choice.cycles else "" for kind in KINDS),
                f"{choice.speedup:.2f}",
                "" if choice.of_ideal is None else f"{choice.of_ideal:.1%}",
            )
        return result

    @cached_property
    def _choices(self) -> tuple[LayerChoice, ...]:
        return layer_choices(self.design)

    def simulated_cycles(self, slice_cycles: Sequence[int]) -> dict[str, int]:
        """Return cycles by layer from those of each slice, as a simulation counts them."""
        cycles = dict.fromkeys((layer.name for layer in self.design.layers), 0)
        # A simulation that was cut short has not seen every slice.
        for index, count in zip(self.design.slice_operation, slice_cycles, strict=False):
            cycles[self.design.plan.operations[index].layer] += count
        return cycles

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            **summarize(self.design),
            "board": self.board.name,
            "array": str(self.design.array),
            "requantizers": self.design.array.requantizers,
            "stream_bytes": self.design.array.stream_bytes,
            "estimated_resources": self.resources.to_json(),
            "notes": [*self.design.network.notes, *self.notes],
        }

    def to_manifest(
        self,
        files: Mapping[str, Path],
        build: Mapping[str, Any] | None = None,
        bundle: Mapping[str, Any] | None = None,
    ) -> str:
        """Return the text of ``manifest.json`` for a folder that holds ``files``; see :func:`manifest`."""
        data = manifest(
            self.design, self.board, self.resources, files=files, build=build, bundle=bundle, notes=self.notes
        )  # fmt: skip
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"

    def to_html(self, build: Mapping[str, Any] | None = None) -> str:
        """Return the page; see :func:`heddle.gen.report.render`."""
        # Charts take most of a second to import.
        from heddle.gen.report import render

        return render(self.design, self.board, self.resources, build=build, notes=self.notes)


def _stalls(layer: LayerReport, simulated: Mapping[str, int] | None) -> tuple[str, ...]:
    """Cells of the simulated cycles and of those beyond the prediction."""
    if not simulated:
        return ()
    cycles = simulated[layer.name]
    return (f"{cycles:,}", f"{cycles - layer.cycles:,}" if cycles != layer.cycles else "")
