"""What the command line shows: results on standard output, progress and errors on standard error.

Colour and movement appear only in a terminal (and not with ``NO_COLOR``); a pipe gets plain lines.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.status import Status
from rich.table import Table

PIPE_WIDTH = 200
"""Columns where there is no terminal to fit."""


class Screen:
    """Standard output and standard error of one command.

    Parameters
    ----------
    json_only
        Standard output holds one JSON document and nothing else.
    """

    def __init__(self, *, json_only: bool = False) -> None:
        self.json_only = json_only
        self._out = Console(highlight=False, markup=False, soft_wrap=True)
        if not self._out.is_terminal:
            # In a pipe there is no width to fit, and nothing may be cut.
            self._out.width = PIPE_WIDTH
        self._err = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        self._status: Status | None = None

    def say(self, text: str = "", style: str | None = None) -> None:
        """Print a line of the result."""
        if not self.json_only:
            self._out.print(text, style=style)

    def show(self, table: Table) -> None:
        """Print a table, as wide as its content."""
        if not self.json_only:
            self._out.print(table, soft_wrap=False)

    def give(self, data: Mapping[str, Any]) -> None:
        """Print the result for machines, if that was asked for."""
        if self.json_only:
            self._out.out(json.dumps(data, indent=2))

    def warn(self, text: str) -> None:
        """Print a line that is no error but worth knowing."""
        self._err.print(text, style="yellow")

    def refuse(self, text: str) -> None:
        """Print an error."""
        self._err.print(f"heddle: {text}", style="red")

    @contextmanager
    def working(self, text: str) -> Iterator[None]:
        """Show ``text`` while something takes its time; :meth:`progress` replaces it."""
        if not self._err.is_terminal:
            self._err.print(f"{text} ...")
            yield
            return
        with self._err.status(f"{text} ...") as self._status:
            yield
        self._status = None

    def progress(self, text: str) -> None:
        """Say what is going on now."""
        if self._status is not None:
            self._status.update(f"{text} ...")
        else:
            self._err.print(text)


def table(*columns: str) -> Table:
    """Return an empty table without frames; a column named with a leading ``>`` is flush right."""
    result = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in columns:
        if name.startswith(">"):
            result.add_column(name[1:], justify="right", no_wrap=True)
        else:
            result.add_column(name, overflow="fold")
    return result
