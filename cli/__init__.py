"""The ``heddle`` command. Exit status: 0 done, 1 input refused, 2 bad arguments, 130 interrupted.

A traceback is always our bug. Each module has the commands of one subject; modules that take long to import are
imported by the command that needs them.
"""

import sys
from collections.abc import Sequence

from heddle.cli import designs, devices, flash, machine, networks, prune
from heddle.cli.app import app
from heddle.cli.options import DONE, INTERRUPTED, REFUSED
from heddle.errors import HeddleError
from heddle.gen.console import Screen

__all__ = ["designs", "devices", "flash", "machine", "main", "networks", "prune"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status."""
    arguments = sys.argv[1:] if argv is None else list(argv)
    try:
        # Always ends with SystemExit: 2 after a usage error, 130 after an interrupt, else what the command said.
        app(arguments, prog_name="heddle")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else DONE
    except HeddleError as error:
        Screen().refuse(str(error))
        return REFUSED
    except OSError as error:
        Screen().refuse(f"{error.filename or 'system'}: {error.strerror or error}; check the path and its permissions")
        return REFUSED
    except KeyboardInterrupt:
        # Before a command runs; while one does, typer answers it with the same status.
        return INTERRUPTED
    return DONE
