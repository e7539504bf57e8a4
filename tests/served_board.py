"""``heddle serve-virtual`` in a process of its own, for whoever is to find a board at a port."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """Yield the port of a virtual board, which ``arguments`` describe, and see that it ends when it is told to."""
    command = [sys.executable, "-m", "heddle", "serve-virtual", *arguments, "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        text = ""
        while not text.rstrip().endswith("}"):
            line = process.stdout.readline()
            assert line, "it ended"
            text += line
        try:
            yield json.loads(text)["port"]
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(timeout=30)
        assert status == 0
