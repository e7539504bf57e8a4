"""Commands that look at what is supported and installed: ``boards`` and ``doctor``."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from heddle.cli.app import app
from heddle.cli.options import Json
from heddle.gen.console import Screen, table

if TYPE_CHECKING:
    from heddle.boards import Board


@app.command()
def boards(json: Json = False) -> None:
    """List boards and parts."""
    from heddle import boards as targets

    screen = Screen(json_only=json)
    listed = [targets.get(name) for name in targets.names()]
    shown = table(
        "name", "device", ">LUTs", ">multipliers", ">block RAMs", ">clock", "default array", "host link", "programmer"
    )
    for board in listed:
        device, shape = board.device, board.array
        size = f"{shape.rows}x{shape.cols}x{shape.pixels}"
        numbers = (f"{count:,}" for count in (device.luts, device.multipliers, device.block_rams))
        clock = "" if board.oscillator_hz is None else f"{board.oscillator_hz / 1e6:g} MHz"
        programmer = board.programmer and f"openFPGALoader {board.programmer.release} -b {board.programmer.board}"
        shown.add_row(board.name, device.part, *numbers, clock, size, _link(board), programmer or "")
    screen.show(shown)
    screen.say("Parts in other packages and speed grades: ecp5-<size>-<package>-<speed>, as ecp5-85f-cabga756-7.")
    screen.give({"boards": [_board_data(board) for board in listed]})


def _link(board: "Board") -> str:
    """Say where the host link comes out: pins in and out of the part, then where they go."""
    if not board.pins:
        return ""
    return f"{board.pins['serial_in'].site}, {board.pins['serial_out'].site}: {board.link}"


def _board_data(board: "Board") -> dict[str, Any]:
    programmer = board.programmer
    return {
        "name": board.name,
        "title": board.title,
        "device": board.device.name,
        **dict(board.device.capacity),
        "clock_mhz": None if board.oscillator_hz is None else board.oscillator_hz / 1e6,
        "array": asdict(board.array),
        "pins": {port: pin.site for port, pin in board.pins.items()},
        "reset": board.reset or None,
        "link": board.link or None,
        "programmer": None if programmer is None else {**asdict(programmer), "version": programmer.release},
    }


@app.command()
def doctor(json: Json = False) -> None:
    """Show which tools are here, which are missing, and how to get them."""
    from heddle.boards import tools

    screen = Screen(json_only=json)
    with screen.working("looking for tools"):
        checks = tools.doctor()
    shown = table("", "tool", "version", "needed to", "where, or how to get it")
    for check in checks:
        mark, how = ("ok", check.source) if check.found else ("--", check.remedy)
        shown.add_row(mark, check.name, check.version or "", check.purpose, how)
    screen.show(shown)
    missing = [check.name for check in checks if not check.found]
    screen.say(f"missing: {', '.join(missing)}" if missing else "nothing is missing")
    newer = _newer_boards()
    for name, release in newer.items():
        screen.say(f"openFPGALoader is too old for {name}, which it knows from {release} on")
    screen.give({"checks": [check.to_json() for check in checks], "missing": missing, "loader_too_old_for": newer})


def _newer_boards() -> dict[str, str]:
    """Return the boards that this openFPGALoader does not know, and which release does."""
    from heddle.boards import flash
    from heddle.errors import ToolError

    try:
        unknown = flash.unknown_boards(flash.find_loader())
    except ToolError:
        return {}
    return {board.name: board.programmer.release for board in unknown if board.programmer is not None}
