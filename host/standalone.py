"""The driver as a program of its own, as a deploy bundle has it: ``python -m heddle_driver --port /dev/ttyUSB0``.

Exit status: 0 done, 1 refused or an output differs from what is expected, 2 bad arguments.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from heddle.errors import HeddleError
from heddle.gen.inputs import Outputs
from heddle.gen.samples import read_samples
from heddle.host.api import connect, expected_of

BUNDLE = Path(__file__).resolve().parents[2]
"""Where the package ``heddle_driver`` lies, and the manifest beside it."""
VECTORS = Path("vectors", "vectors.npz")


def main(arguments: Sequence[str] | None = None) -> int:
    """Predict, compare with what is expected, print both; return the exit status."""
    parser = argparse.ArgumentParser(prog="heddle_driver", description="Predict on the accelerator of this bundle.")
    parser.add_argument("--port", required=True, help="a serial port, as /dev/ttyUSB0 or COM3")
    parser.add_argument("--inputs", type=Path, help="samples, .npz; default: the test vectors")
    parser.add_argument("--samples", type=int, help="how many of them; default: all")
    parser.add_argument("--bundle", type=Path, default=BUNDLE, help="a folder with manifest.json; default: this one")
    parser.add_argument("--baud", type=int, help="default: the bitstream's")
    parser.add_argument("--timeout", type=float, help="seconds that a sample may take")
    parser.add_argument("--depth", type=int, help="requests under way at most; 1 waits for each reply")
    parser.add_argument("--json", action="store_true", help="print outputs and times as JSON")
    options = parser.parse_args(arguments)
    for name in ("samples", "baud"):
        if (value := getattr(options, name)) is not None and value < 1:
            parser.error(f"--{name} must be 1 or more")
    try:
        return _predict(options)
    except HeddleError as error:
        print(f"heddle_driver: {error}", file=sys.stderr)
        return 1


def _predict(options: argparse.Namespace) -> int:
    expected = expected_of(options.bundle)
    samples = read_samples(options.inputs or options.bundle / VECTORS, expected.host_part.network, options.samples)
    with connect(
        options.port, expected, baud=options.baud, timeout=options.timeout, depth=options.depth
    ) as accelerator:
        outputs = accelerator.predict(samples.inputs)
    difference, accuracy = samples.difference(outputs), samples.accuracy(outputs)
    if options.json:
        found = {"network": expected.name, "samples": len(samples), "accuracy": accuracy, "difference": difference}
        print(json.dumps({**found, **accelerator.to_json(outputs)}, indent=2))
    else:
        # Where it is known what they are to be, nobody reads the numbers.
        for name, values in {} if samples.expected else _by_name(outputs).items():
            for index, sample in enumerate(values):
                print(f"{name}[{index}]", *sample.ravel().tolist())
        print(f"predicted    {len(samples)} samples ({samples.source}) at {options.port}")
        print(f"latency      {accelerator.statistics.latency_ms()['median']:.3f} ms median")
        if accuracy is not None:
            print(f"accuracy     {accuracy:.2%}")
        if samples.expected and difference is None:
            print("as expected  every value")
    if difference is not None:
        print(f"heddle_driver: {samples.source}: {difference}", file=sys.stderr)
    return int(difference is not None)


def _by_name(outputs: Outputs) -> dict[str, np.ndarray]:
    return outputs if isinstance(outputs, dict) else {"output": outputs}
