"""A compiled design's figures, in the form its reader wants: text, data, manifest or page."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from heddle.boards import Board
from heddle.gen.console import PIPE_WIDTH, table
from heddle.gen.design import Design
from heddle.gen.fitting import describe
from heddle.gen.manifest import manifest, summarize
from heddle.gen.resources import BLOCK_RAMS, LUTS, MULTIPLIERS, Resources


@dataclass(frozen=True, kw_only=True, eq=False)
class Report:
    """What there is to know of ``design`` on ``board``; ``str()`` gives it as text."""

    design: Design
    board: Board
    resources: Resources
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        out = io.StringIO()
        console = Console(file=out, width=PIPE_WIDTH, color_system=None, markup=False, highlight=False)
        console.print(self.layer_table())
        for line in self.lines():
            console.print(line, soft_wrap=True)
        return "\n".join(line.rstrip() for line in out.getvalue().splitlines())

    __repr__ = __str__

    def lines(self) -> list[str]:
        """Headline figures, a line each."""
        design, device = self.design, self.board.device
        peak = design.array.macs_per_cycle
        need = self.resources
        return [
            f"board        {self.board.name} ({device.part}), array {describe(design.array)}",
            f"cycles       {design.cycles:,} per inference",
            f"MACs         {design.macs:,}; {design.utilisation:.1%} of {peak} per cycle",
            f"multipliers  {need.multipliers} of {device.capacity[MULTIPLIERS]}",
            f"block RAMs   {need.block_rams} of {device.capacity[BLOCK_RAMS]}",
            f"LUTs         about {need.luts:,} of {device.capacity[LUTS]:,} (estimate)",
            *(f"note         {note}" for note in self.notes),
        ]

    def layer_table(self) -> Table:
        """Cycles, utilisation and density by layer."""
        design = self.design
        result = table(
            "layer", "operator", "kind", "output", ">MACs", ">cycles", ">utilisation", ">non-zero", ">waiting"
        )
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
            )
        return result

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

    def to_manifest(self, files: Mapping[str, Path], build: Mapping[str, Any] | None = None) -> str:
        """Return the text of ``manifest.json`` for a folder that holds ``files``; see :func:`manifest`."""
        data = manifest(self.design, self.board, self.resources, files=files, build=build, notes=self.notes)
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"

    def to_html(self, build: Mapping[str, Any] | None = None) -> str:
        """Return the page; see :func:`heddle.gen.report.render`."""
        # Charts take most of a second to import.
        from heddle.gen.report import render

        return render(self.design, self.board, self.resources, build=build, notes=self.notes)
