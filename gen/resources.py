"""What a core takes before synthesis: multipliers and block RAMs exactly, LUTs and flip-flops estimated for ECP5."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from heddle.boards import Device
from heddle.boards.family import ECP5, GOWIN, Family, gowin_places
from heddle.gen.area import Area, core_area, products_area
from heddle.gen.memories import MemoryUse, memories
from heddle.gen.selectors import selections
from heddle.hdl.config import CoreConfig
from heddle.hdl.core import CoreImages

TOLERANCE = 1.1
"""How far an estimate may be off, by ``bench/estimates.py``; so far beyond a device one is believed."""

LUTS, FLIPFLOPS = ECP5.luts, ECP5.flipflops


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What a core takes, the harness of a build (:mod:`heddle.boards.harness`) left out.

    Parameters
    ----------
    multipliers
        Places of the family's multipliers: those of the array's products that are not in LUTs, and those of the
        requantizers.
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
    family: Family = ECP5

    @property
    def block_rams(self) -> int:
        """Block RAMs of all memories."""
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
        return {self.family.multipliers: self.multipliers, self.family.block_rams: self.block_rams}

    @property
    def estimated(self) -> Mapping[str, int]:
        """Counts that synthesis will come near to, likewise; none for a family of which nothing was measured."""
        return {} if not self.family.estimated else {LUTS: self.luts, FLIPFLOPS: self.flipflops}

    def on(self, device: Device) -> "Resources":
        """Return what it takes there: products for which there are no multipliers are made of LUTs."""
        if not device.family.products_in_luts:
            return self
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
                {
                    "name": m.name,
                    "width": m.width,
                    "depth": m.depth,
                    "copies": m.copies,
                    self.family.block_rams: m.block_rams,
                }
                for m in self.memories
            ],
        }


def resources(config: CoreConfig, images: CoreImages, family: Family = ECP5) -> Resources:
    """Return what a core with those initial contents takes on a part of ``family``."""
    array, unit = config.array, config.requantize
    kept = memories(config, images, family)
    scaling = gowin_places(unit.x_bits, unit.multiplier_bits + 1) if family is GOWIN else unit.dsps
    return Resources(
        multipliers=array.macs_per_cycle - array.lut_products + array.requantizers * scaling,
        products=array.macs_per_cycle - array.lut_products,
        lut_products=array.lut_products,
        memories=kept,
        parts=core_area(
            config, selections(array, [lane.indices for lane in images.lanes], diagonal=config.diagonal), kept
        ),
        family=family,
    )
