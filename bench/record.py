"""What measurements share: what they record of themselves, where networks and results are, digits compiled."""

import argparse
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import heddle
from heddle.gen.api import CompiledDesign

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
DIGITS = ROOT / "examples" / "digits"
RESULTS = ROOT / "bench" / "results"


def stamp(script: str, tools: Sequence[str]) -> dict[str, Any]:
    """Return the command that runs now, the date, and the versions of ``tools`` (Python distributions)."""
    return {
        "command": " ".join(["python", f"bench/{script}", *sys.argv[1:]]),
        "date": date.today().isoformat(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in tools},
    }


def compile_digits(name: str, array: str | None) -> CompiledDesign:
    """Compile digits for the board called ``name``, for its own array or for another."""
    # A whole array, or its requantizers and streams would be the large board's.
    narrow = 1 if array else None
    network = heddle.load(str(DIGITS / "digits.tflite"))
    return heddle.compile(network, board=name, array=array, requantizers=narrow, stream_bytes=narrow)


def add_networks(parser: argparse.ArgumentParser, known: Mapping[str, str]) -> None:
    """Let the command line choose among ``known`` reference networks; all if it chooses none."""
    names = ", ".join(known)
    parser.add_argument("networks", nargs="*", metavar="NETWORK", help=f"of {names}; default: all")


def chosen_networks(
    parser: argparse.ArgumentParser, options: argparse.Namespace, known: Mapping[str, str]
) -> Iterator[tuple[str, Path]]:
    """Yield name and path of each network chosen; one that is not here is said to be left out.

    Ends the program with the parser's message where a name is none of ``known``, whose values are files.
    """
    if unknown := set(options.networks) - set(known):
        parser.error(f"no network {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    for name in options.networks or known:
        path = SHARED / "networks" / known[name]
        if path.exists():
            yield name, path
        else:
            print(f"{name}: left out, {path} is not here", file=sys.stderr)


def rewrite(page: Path, script: str, text: str) -> None:
    """Put ``text`` in place of what a page has between the marks of a script."""
    begin, end = f"<!-- made by bench/{script} -->\n", f"<!-- end of bench/{script} -->"
    before, marked, rest = page.read_text().partition(begin)
    if not marked or end not in rest:
        raise ValueError(f"{page} has no place for bench/{script}")
    page.write_text(before + begin + text + end + rest.partition(end)[2])
