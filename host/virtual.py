"""A virtual board that holds what a folder or a design says: :class:`heddle.sim.virtual.VirtualBoard`."""

from dataclasses import replace

from heddle import boards
from heddle.gen.shell import ShellSource
from heddle.host.expected import Expected
from heddle.link.protocol import DEFAULT_BAUD
from heddle.sim.virtual import Gateware, VirtualBoard


def shell_of(expected: Expected) -> ShellSource:
    """Return what the shell of ``expected`` is made from."""
    return ShellSource(
        top=expected.name,
        identity=expected.identity,
        width_bytes=expected.width_bytes,
        one_clock=expected.one_clock,
    )


def start_virtual_board(expected: Expected, *, netlist: bool = False) -> tuple[VirtualBoard, Expected]:
    """Start a board with the Verilog of ``expected``; return it, and what it holds at the clock at which it counts.

    ``netlist``: with what synthesis makes of the board's top, its PLL and pins included, instead of the shell's RTL.

    Raises
    ------
    ToolError
        A tool is missing or fails, or the simulation does not start.
    InputError
        There is no netlist to simulate of that board.
    FileFormatError
        The Verilog is not the one that the manifest names.
    """
    source, verilog = shell_of(expected), expected.read_verilog()
    if netlist:
        baud = expected.baud or DEFAULT_BAUD
        gateware = Gateware.netlist(source, verilog, boards.get(expected.board), baud=baud)
    else:
        gateware = Gateware.rtl(source, verilog)
    board = VirtualBoard(gateware, cycles=expected.cycles)
    return board, replace(expected, clock_hz=gateware.clock_hz, baud=gateware.baud)
