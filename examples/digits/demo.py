"""Digits, from the network file to a bitstream: what ``make demo`` runs.

Compiles ``digits.tflite`` for a small ECP5, simulates its RTL on held-out samples against the golden model,
synthesizes, places, routes and packs it, and prints accuracy, cycles, resources, clock and latency. Exit status:
0 done, 1 refused or some integer differs.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

import heddle
from heddle.errors import HeddleError

HERE = Path(__file__).parent


def main() -> int:
    """Parse the options, run, and return the exit status."""
    parser = argparse.ArgumentParser(description="Digits, from the network file to a bitstream.")
    parser.add_argument("--output", type=Path, default=Path("build/demo"), help="default: %(default)s")
    parser.add_argument("--board", default="ecp5-25f", help="see `heddle boards`; default: %(default)s")
    parser.add_argument("--samples", type=int, default=50, help="how many to simulate; default: %(default)s")
    parser.add_argument("--no-build", action="store_true", help="stop after the simulation")
    options = parser.parse_args()
    try:
        return run(options)
    except HeddleError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def run(options: argparse.Namespace) -> int:
    """Do what the options say; return the exit status."""
    with np.load(HERE / "samples.npz") as samples:
        x, label = samples["x"], samples["label"]
    network = heddle.load(HERE / "digits.tflite")
    expected = np.asarray(network.predict(x))
    right = expected.argmax(axis=-1) == label
    print(f"accuracy    {right.mean():.2%} ({right.sum()} of {len(x)} held-out samples, golden model)")

    design = heddle.compile(network, board=options.board)
    print(
        f"cycles      {design.cycles} per inference, {design.macs} MACs, {design.utilisation:.0%} of the array's peak"
    )
    for layer in design.layers:
        print(f"  {layer.op:<20}{layer.cycles:>7} cycles")

    count = min(options.samples, len(x))
    print(f"simulating {count} samples (Verilator) ...", flush=True)
    simulated = np.asarray(design.simulate(x[:count]))
    wrong = np.argwhere(simulated != expected[:count])
    if len(wrong):
        print(
            f"simulation  {len(wrong)} integers differ, first at sample {wrong[0][0]}, output {wrong[0][1:].tolist()}"
        )
        return 1
    print(f"simulation  all {simulated.size} integers equal the golden model's")
    if options.no_build:
        return 0

    print(f"building for {options.board} (yosys, nextpnr; the first time they compile themselves) ...", flush=True)
    result = design.build(options.output)
    for usage in result.resources:
        print(f"  {usage.cell:<20}{usage.used:>7} of {usage.available}")
    microseconds = design.cycles / result.median_hz * 1e6
    print(f"clock       {result.median_hz / 1e6:.1f} MHz after routing")
    print(f"latency     {microseconds:.1f} us per inference")
    print(f"written     {options.output}: Verilog, manifest, report, bitstream")
    return 0


if __name__ == "__main__":
    sys.exit(main())
