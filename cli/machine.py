"""Commands that look at what is supported and installed: ``boards`` and ``doctor``."""

from heddle.cli.app import app
from heddle.cli.options import Json
from heddle.gen.console import Screen, table


@app.command()
def boards(json: Json = False) -> None:
    """List boards and parts."""
    from heddle import boards as targets

    screen = Screen(json_only=json)
    listed = [targets.get(name) for name in targets.names()]
    shown = table("name", "device", ">LUTs", ">multipliers", ">block RAMs", "default array", "what")
    for board in listed:
        device, shape = board.device, board.array
        size = f"{shape.rows}x{shape.cols}x{shape.pixels}"
        numbers = (f"{count:,}" for count in (device.luts, device.multipliers, device.block_rams))
        shown.add_row(board.name, device.part, *numbers, size, board.title)
    screen.show(shown)
    screen.say("Parts in other packages and speed grades: ecp5-<size>-<package>-<speed>, as ecp5-85f-cabga756-7.")
    screen.give(
        {
            "boards": [
                {"name": b.name, "title": b.title, "device": b.device.name, **dict(b.device.capacity)} for b in listed
            ]
        }
    )


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
    screen.give({"checks": [check.to_json() for check in checks], "missing": missing})
