"""Commands that drive an accelerator: ``run`` and ``serve-virtual``."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heddle.cli.app import app
from heddle.cli.options import (
    REFUSED,
    ArrayShape,
    Block,
    Json,
    Reference,
    Requantizers,
    SampleCount,
    StreamBytes,
    compile_network,
    read_or_make_samples,
)
from heddle.errors import InputError
from heddle.gen.console import Screen

if TYPE_CHECKING:
    from heddle.gen.samples import Samples
    from heddle.host.expected import Expected
    from heddle.sim.virtual import VirtualBoard

VIRTUAL_SECONDS = 600.0
"""What a sample may take on a virtual board, which nothing but the machine's own load makes slow."""
PROGRESS_SECONDS = 2.0

Source = Annotated[
    Path,
    typer.Argument(metavar="DIR|NETWORK", help="What heddle generate or build wrote; or a .tflite, with --virtual."),
]
MaybeBoard = Annotated[
    str | None, typer.Option("--board", "-b", help="Where a NETWORK is to run; see `heddle boards`.")
]
Netlist = Annotated[
    bool, typer.Option("--netlist", help="The simulated board runs what synthesis makes of its top, not the RTL.")
]
RunInputs = Annotated[Path | None, typer.Option("--inputs", help="Samples, .npz: an array per input, or x; and label.")]


@app.command()
def run(
    source: Source,
    inputs: RunInputs = None,
    samples: SampleCount = None,
    port: Annotated[str | None, typer.Option("--port", help="A serial port, as /dev/ttyUSB0 or COM3.")] = None,
    virtual: Annotated[bool, typer.Option("--virtual", help="On a simulated board.")] = False,
    netlist: Netlist = False,
    baud: Annotated[int | None, typer.Option("--baud", min=1, help="Default: the bitstream's.")] = None,
    timeout: Annotated[
        float | None, typer.Option("--timeout", min=0.01, help="Seconds that a sample may take.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option("--depth", min=1, help="Requests under way at most; 1 measures the latency of one.")
    ] = None,
    board: MaybeBoard = None,
    array: ArrayShape = None,
    requantizers: Requantizers = None,
    stream_bytes: StreamBytes = None,
    block: Block = None,
    json: Json = False,
) -> None:
    """Predict on a board, or on a simulated one: outputs, accuracy, latency."""
    screen = Screen(json_only=json)
    if (port is None) == (not virtual):
        raise InputError(
            "both --port and --virtual were given" if virtual else "neither --port nor --virtual was given",
            where="port", remedy="name the board's serial port, or ask for a virtual board",
        )  # fmt: skip
    if virtual and baud is not None:
        raise InputError("a virtual board has a rate of its own", where="baud", remedy="leave it out")
    if netlist and not virtual:
        raise InputError("a real board runs its bitstream", where="netlist", remedy="add --virtual, or leave it out")
    expected = _expected(
        screen, source, board, array=array, requantizers=requantizers, stream_bytes=stream_bytes, block=block
    )
    chosen = read_or_make_samples(screen, expected.host_part.network, inputs, samples, seed=1, default=1)
    if virtual:
        with _virtual(screen, expected, netlist=netlist) as (started, known):
            _predict(screen, started.port, known, chosen, baud=None, timeout=timeout or VIRTUAL_SECONDS, depth=depth)
    else:
        _predict(screen, str(port), expected, chosen, baud=baud, timeout=timeout, depth=depth)


@app.command()
def serve_virtual(
    source: Source,
    netlist: Netlist = False,
    board: MaybeBoard = None,
    array: ArrayShape = None,
    requantizers: Requantizers = None,
    stream_bytes: StreamBytes = None,
    block: Block = None,
    json: Json = False,
) -> None:
    """Run a simulated board until interrupted, and print the port at which it answers."""
    screen = Screen(json_only=json)
    expected = _expected(
        screen, source, board, array=array, requantizers=requantizers, stream_bytes=stream_bytes, block=block
    )
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    with _virtual(screen, expected, netlist=netlist) as (started, _):
        screen.give({"port": started.port, "network": expected.name})
        screen.say(f"port         {started.port}; one program at a time; ends with an interrupt")
        while started.running and not ended.wait(timeout=0.2):
            pass


def _expected(screen: Screen, source: Path, board: str | None, **choice: Any) -> "Expected":
    """Return what the device is to hold: of a folder, or of a network compiled for ``board``."""
    from heddle.boards import DEFAULT_BOARD
    from heddle.host import api

    given = [name for name, value in {"board": board, **choice}.items() if value is not None]
    if source.is_dir():
        if given:
            raise InputError(
                "a folder was made for one board and array",
                where=given[0],
                remedy="give a network file, or leave it out",
            )
        return api.expected_of(source)
    return api.expected_of(compile_network(screen, source, board or DEFAULT_BOARD, Reference.TFLM, **choice))


@contextmanager
def _virtual(screen: Screen, expected: "Expected", *, netlist: bool) -> "Iterator[tuple[VirtualBoard, Expected]]":
    """Yield a virtual board and what it holds, at the clock at which it counts."""
    from heddle.host.virtual import start_virtual_board

    with screen.working(f"building a virtual board for {expected.name} (the first time takes a minute or more)"):
        started, known = start_virtual_board(expected, netlist=netlist)
    with started:
        yield started, known


def _predict(
    screen: Screen,
    port: str,
    expected: "Expected",
    samples: "Samples",
    *,
    baud: int | None,
    timeout: float | None,
    depth: int | None,
) -> None:
    """Run the samples, and say what came of it."""
    from heddle.host import api

    with (
        screen.working(f"{len(samples)} samples on {port}"),
        api.connect(port, expected, baud=baud, timeout=timeout, depth=depth) as accelerator,
    ):
        outputs = accelerator.predict(samples.inputs, progress=_progress(screen, len(samples)))
        counters = accelerator.counters()
    accuracy, data = samples.accuracy(outputs), accelerator.to_json(outputs)
    times, difference = accelerator.statistics.latency_ms(), samples.difference(outputs)
    screen.say(f"predicted    {len(samples)} samples ({samples.source}) at {port}")
    if accuracy is not None:
        screen.say(f"accuracy     {accuracy:.2%}")
    screen.say(
        f"latency      {times['median']:.3f} ms median, {times['p95']:.3f} at 95 %, {times['max']:.3f} at most; "
    )
    screen.say(
        f"             up to {accelerator.depth} requests under way, {data['samples_per_second']:g} samples a second"
    )
    screen.say(f"cycles       {counters.cycles:,} of the last sample, the link's included; {expected.cycles:,} its own")
    if any(data["line"].values()):
        screen.warn("note: " + ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in data["line"].items()))
    screen.give(
        {
            "network": expected.name,
            "port": port,
            "samples": len(samples),
            "accuracy": accuracy,
            "difference": difference,
            **data,
            "counters": {"cycles": counters.cycles, "busy_cycles": counters.busy_cycles},
        }
    )
    if difference is not None:
        screen.refuse(f"{samples.source}: {difference}")
        raise typer.Exit(REFUSED)


def _progress(screen: Screen, count: int) -> Any:
    """Return what says now and then how many samples are done."""
    import time

    last = time.monotonic()

    def done(number: int) -> None:
        nonlocal last
        if time.monotonic() - last >= PROGRESS_SECONDS:
            last = time.monotonic()
            screen.progress(f"{number} of {count} samples")

    return done
