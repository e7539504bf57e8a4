"""What every measurement records of itself, and where networks and results are."""

import platform
import sys
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

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
