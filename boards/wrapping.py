"""What goes around a design so that it can be placed: a board's top with its host link, or a test harness."""

from collections.abc import Mapping
from pathlib import Path

from heddle.boards.board import Board
from heddle.boards.harness import Harness, read_ports
from heddle.boards.pll import fastest_pll
from heddle.boards.top import Link, Top
from heddle.errors import InputError


def read_verilog(path: Path) -> str:
    """Return the text of a Verilog file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error})", where=str(path), remedy="give a Verilog file") from error


def wrap(
    text: str, top: str, board: Board, target_hz: float, link: Link | None
) -> tuple[Harness | Top, dict[str, str]]:
    """Return what goes around module ``top`` of the Verilog ``text``, and all Verilog to synthesize by file name."""
    pll = None if board.oscillator_hz is None or board.one_clock else fastest_pll(board.oscillator_hz, target_hz)
    inverted = board.pins["rst"].inverted if "rst" in board.pins else False
    if link is not None and board.oscillator_hz is not None:
        wrapper = Top(link_module=link.module, pll=pll, reset_inverted=inverted)
        shell = link.verilog(link.rate(board.oscillator_hz))
        return wrapper, {"design.v": text, "shell.v": shell, "top.v": wrapper.verilog}
    harness = Harness(top=top, ports=read_ports(text, top), pll=pll, reset_inverted=inverted)
    return harness, {"design.v": text, "harness.v": harness.verilog}


def around(wrapper: Harness | Top, sources: Mapping[str, str], board: Board) -> dict[str, tuple[str, str]]:
    """Return what is around the design in its bitstream, the PLL as it was set: names and contents by role."""
    pins = f"{wrapper.module}{Path(board.device.family.pins_file).suffix}"
    return {
        "top": (f"{wrapper.module}.v", wrapper.verilog),
        **({"shell": (f"{wrapper.link_module}.v", sources["shell.v"])} if isinstance(wrapper, Top) else {}),
        **({"constraints": (pins, board.constraints)} if board.pins else {}),
    }
