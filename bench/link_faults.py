"""Seeded faults on the host link: bytes lost, doubled, changed, made up. None may give a wrong result or a hang.

    python bench/link_faults.py                    # 10,000 faults on a model of the device, in time of its own
    python bench/link_faults.py --faults 1000

The result goes to ``bench/results/link_faults.json``; exit status 1 if a call was wrong or took longer than its time.
"""

import argparse
import json
import sys
import time
from typing import Any

from record import RESULTS, ROOT, stamp

sys.path.insert(0, str(ROOT / "tests"))  # the model of the device is the tests'
from test_host import soak

RATES = (0.001, 0.003, 0.01, 0.03)
"""Chances of a fault, of each byte and in either direction."""


def main() -> int:
    """Run the soak at each rate, and record it."""
    parser = argparse.ArgumentParser(description="Faults on the host link.")
    parser.add_argument("--faults", type=int, default=10_000, help="default: %(default)s")
    options = parser.parse_args()
    share, start = -(-options.faults // len(RATES)), time.monotonic()
    rows: list[dict[str, Any]] = []
    for seed, rate in enumerate(RATES):
        result = soak(share, seed=seed, rate=rate)
        rows.append({"rate": rate, **result.to_json()})
        print(f"{rate:g} a byte: {result}", flush=True)
    facts = {
        **stamp("link_faults.py", ("heddle-fpga", "numpy")),
        "faults": sum(row["faults"] for row in rows),
        "undetected": sum(row["wrong"] for row in rows),
        "by_rate": rows,
        "seconds": round(time.monotonic() - start, 1),
    }
    (RESULTS / "link_faults.json").write_text(json.dumps(facts, indent=1) + "\n")
    return int(facts["undetected"] > 0)


if __name__ == "__main__":
    sys.exit(main())
