"""The command that programs a board: ``flash``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from heddle.cli.app import app
from heddle.cli.options import Json
from heddle.gen.console import Screen


@app.command()
def flash(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `heddle build` has written.")],
    board: Annotated[
        str | None, typer.Option("--board", "-b", help="The board that is plugged in; default: the one of the build.")
    ] = None,
    persist: Annotated[
        bool, typer.Option("--persist", help="Into flash memory, so that it stays without power.")
    ] = False,
    cable: Annotated[
        str | None,
        typer.Option(
            "--cable", metavar="NAME[:HOST:PORT]", help="openFPGALoader's cable, in place of the board's own."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything and print the command only.")] = False,
    json: Json = False,
) -> None:
    """Program a board with the bitstream of a build."""
    from heddle.boards import flash as flashing
    from heddle.errors import ToolError

    screen = Screen(json_only=json)
    bitstream = flashing.read_bitstream(folder, board)
    target, way = bitstream.board, bitstream.programmer
    chosen = None if cable is None else flashing.parse_cable(cable)
    memory = "flash" if persist or not way.sram else "sram"
    loader = None
    try:
        loader = flashing.find_loader()
        flashing.check_version(bitstream, loader)
    except ToolError as error:
        if not dry_run:
            raise
        screen.warn(f"note: {error}")
    words = loader.command if loader else (flashing.LOADER,)
    command = flashing.command_line(bitstream, words, persist=persist, cable=chosen)
    if memory == "flash" and not persist:
        screen.warn(f"note: {target.name} keeps its bitstream in flash memory only; the one there is replaced")
    seconds = None
    if dry_run:
        screen.say(shlex.join(command))
    else:
        assert loader is not None
        if way.before:
            screen.warn(f"note: {way.before}")
        with screen.working(f"programming {target.name}"):
            seconds = flashing.program(bitstream, command, loader)
        kept = "flash memory" if memory == "flash" else "SRAM: until the power goes"
        screen.say(f"programmed   {target.name} with {bitstream.path.name}, into {kept}, in {seconds:.1f} s")
    screen.give(
        {
            "board": target.name,
            "device": target.device.name,
            "bitstream": str(bitstream.path),
            "sha256": bitstream.sha256,
            "memory": memory,
            "command": command,
            "loader": loader and {"version": loader.version, "source": loader.source},
            "programmed": not dry_run,
            "seconds": seconds,
        }
    )
