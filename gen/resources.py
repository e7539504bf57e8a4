"""What a core takes of an ECP5 before synthesis: multipliers and block RAMs exactly, LUTs and flip-flops estimated."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from heddle.boards import Device
from heddle.gen.area import Area, core_area, products_area
from heddle.gen.memories import MemoryUse, memories
from heddle.gen.selectors import selections
from heddle.hdl.config import CoreConfig
from heddle.hdl.core import CoreImages

TOLERANCE = 1.1
"""How far an estimate may be off, by ``bench/estimates.py``; so far beyond a device one is believed."""

MULTIPLIERS, BLOCK_RAMS, LUTS, FLIPFLOPS = "MULT18X18D", "DP16KD", "TRELLIS_COMB", "TRELLIS_FF"


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a core takes, the harness of a build (:mod:`heddle.boards.harness`) left out.

    Parameters
    ----------
    multipliers
        ``MULT18X18D``: those of the array's products that are not in LUTs, and those of the requantizers.
    products, lut_products
        The array's products in multipliers, and in LUTs.
    memories
        Everything that lies in block RAM.
    parts
        Estimates of LUTs and flip-flops by part: see :func:`heddle.gen.area.core_area`.
    """

    multipliers: int
    products: int
    lut_products: int
    memories: tuple[MemoryUse, ...]
    parts: Mapping[str, Area]

    @property
    def block_rams(self) -> int:
        """``DP16KD`` of all memories."""
        return sum(memory.block_rams for memory in self.memories)

    @property
    def luts(self) -> int:
        """``TRELLIS_COMB``, estimated."""
        return round(sum(area.luts for area in self.parts.values()))

    @property
    def flipflops(self) -> int:
        """``TRELLIS_FF``, estimated."""
        return round(sum(area.flipflops for area in self.parts.values()))

    @property
    def exact(self) -> Mapping[str, int]:
        """Counts that synthesis will find, by nextpnr's name of the cell."""
        return {MULTIPLIERS: self.multipliers, BLOCK_RAMS: self.block_rams}

    @property
    def estimated(self) -> Mapping[str, int]:
        """Counts that synthesis will come near to, likewise."""
        return {LUTS: self.luts, FLIPFLOPS: self.flipflops}

    def on(self, device: Device) -> "Resources":
        """Return what it takes there: products for which there are no multipliers are made of LUTs."""
        moved = min(max(0, self.multipliers - device.multipliers), self.products)
        return replace(
            self,
            multipliers=self.multipliers - moved,
            products=self.products - moved,
            lut_products=self.lut_products + moved,
            parts={**self.parts, "products": products_area(self.products - moved, self.lut_products + moved)},
        )

    def shortfall(self, device: Device) -> Mapping[str, int]:
        """Sites that ``device`` lacks, by cell; empty where the core fits.

        Of what is estimated something is missing only where the estimate is far beyond what there is.
        """
        here = self.on(device)
        missing = {cell: count - device.capacity[cell] for cell, count in here.exact.items()}
        missing |= {cell: round(count / TOLERANCE) - device.capacity[cell] for cell, count in here.estimated.items()}
        return {cell: count for cell, count in missing.items() if count > 0}

    def share(self, device: Device) -> Mapping[str, float]:
        """Return the fraction of ``device`` that it takes, by cell."""
        here = self.on(device)
        return {cell: count / device.capacity[cell] for cell, count in {**here.exact, **here.estimated}.items()}

    def to_json(self) -> dict[str, object]:
        """Return plain data."""
        return {
            **self.exact,
            **{f"{cell}_estimate": count for cell, count in self.estimated.items()},
            "memories": [
                {"name": m.name, "width": m.width, "depth": m.depth, "copies": m.copies, BLOCK_RAMS: m.block_rams}
                for m in self.memories
            ],
        }


def resources(config: CoreConfig, images: CoreImages) -> Resources:
    """Return what a core with those initial contents takes."""
    array = config.array
    kept = memories(config, images)
    return Resources(
        multipliers=array.macs_per_cycle - array.lut_products + array.requantizers * config.requantize.dsps,
        products=array.macs_per_cycle - array.lut_products,
        lut_products=array.lut_products,
        memories=kept,
        parts=core_area(
            config, selections(array, [lane.indices for lane in images.lanes], diagonal=config.diagonal), kept
        ),
    )
