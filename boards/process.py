"""Run external tools, several at once, none of them left behind."""

import os
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from heddle.boards.tools import Installed

POLL_SECONDS = 0.05


@dataclass(frozen=True, kw_only=True)
class Job:
    """A tool with its arguments, to run inside ``folder``; what it prints goes to the file ``log`` there.

    YoWASP's tools see little but the working directory: arguments must name files relative to ``folder``.
    """

    tool: Installed
    arguments: tuple[str, ...]
    folder: Path
    log: str


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a job ended: exit status, seconds of wall time, and what it printed."""

    status: int
    seconds: float
    text: str


def run_all(
    jobs: Sequence[Job], *, parallel: int = 1, finished: Callable[[int, Outcome], None] = lambda index, outcome: None
) -> list[Outcome]:
    """Run ``jobs``, at most ``parallel`` at a time, and return their outcomes in order.

    ``finished`` is called with a job's index as soon as it ends. If anything raises (an interrupt, too), the jobs still
    running are ended first.
    """
    waiting = list(range(len(jobs)))
    running: dict[int, tuple[subprocess.Popen[bytes], float]] = {}
    outcomes: dict[int, Outcome] = {}
    try:
        while waiting or running:
            while waiting and len(running) < parallel:
                index = waiting.pop(0)
                running[index] = (_start(jobs[index]), time.monotonic())
            for index in [index for index, (process, _) in running.items() if process.poll() is not None]:
                process, start = running.pop(index)
                text = (jobs[index].folder / jobs[index].log).read_text(errors="replace")
                outcomes[index] = Outcome(
                    status=process.returncode, seconds=round(time.monotonic() - start, 1), text=text
                )
                finished(index, outcomes[index])
            if running:
                time.sleep(POLL_SECONDS)
    finally:
        for process, _ in running.values():
            process.kill()
            process.wait()
    return [outcomes[index] for index in range(len(jobs))]


def _start(job: Job) -> subprocess.Popen[bytes]:
    # What a tool keeps in temporary files vanishes with the folder, even if the tool is ended.
    environment = {**os.environ, **job.tool.environment, "TMPDIR": str(job.folder)}
    with (job.folder / job.log).open("wb") as log:
        return subprocess.Popen(
            [*job.tool.command, *job.arguments],
            cwd=job.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
