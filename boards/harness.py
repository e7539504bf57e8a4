"""A design of many ports behind four pins: ``clk``, ``rst``, ``serial_in`` and ``serial_out``.

Every input of the design comes from one register of a chain that ``serial_in`` shifts through, and every output goes
into a register and from there into a signature that rotates out at ``serial_out``. So synthesis can remove nothing,
and every path that nextpnr times at the edge of the design starts or ends in a register beside it: the frequency it
reports is the design's own, and the same wrapper serves a bare part and a board. On a board the clock comes from the
oscillator through a PLL. The harness costs one flip-flop per input bit, two and a LUT per output bit.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from heddle.boards.pll import Pll
from heddle.errors import InputError

TOP = "test_harness"
"""Module name of the harness."""

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|\(\*.*?\*\)", re.DOTALL)
_DECLARATION = re.compile(
    r"\b(input|output|inout)\b((?:\s+(?:wire|reg|logic|signed))*)\s*(\[[^\]]*\])?\s*"
    r"((?:\\\S+\s|[A-Za-z_][\w$]*)(?:\s*,\s*(?!(?:input|output|inout)\b)(?:\\\S+\s|[A-Za-z_][\w$]*))*)"
)
_SPECIAL = {"clk": "clock", "rst": "reset[1]"}
"""Ports of the design that are neither driven by the chain nor observed, and what they are connected to."""

_RANGE = re.compile(r"\[\s*(\d+)\s*:\s*(\d+)\s*\]")


@dataclass(frozen=True, kw_only=True)
class Port:
    """A port of a Verilog module: ``width`` in bits."""

    name: str
    direction: Literal["input", "output"]
    width: int = 1


def read_ports(verilog: str, top: str) -> tuple[Port, ...]:
    """Return the ports of module ``top``, declared in its header or its body, with ranges of plain numbers.

    Raises
    ------
    InputError
        If there is no such module, or it has a port that a harness cannot drive.

    >>> [p.width for p in read_ports("module m(input clk, input [7:0] a, output reg b); endmodule", "m")]
    [1, 8, 1]
    """
    text = _COMMENT.sub(" ", verilog)
    module = re.search(rf"\bmodule\s+\\?{re.escape(top)}\s*[(;#](.*?)\bendmodule\b", text, re.DOTALL)
    if module is None:
        raise InputError(f"there is no module {top!r}", where="verilog", remedy="name the top module of the file")
    ports = []
    for direction, _, bounds, names in _DECLARATION.findall(module.group(1)):
        numbers = _RANGE.fullmatch(bounds) if bounds else None
        if direction == "inout" or (bounds and numbers is None):
            raise InputError(
                f"port {names.strip()} is {direction} {bounds}".rstrip(),
                where=top,
                remedy="use inputs and outputs whose ranges are plain numbers",
            )
        width = abs(int(numbers[1]) - int(numbers[2])) + 1 if numbers else 1
        ports += [Port(name=name.strip(), direction=direction, width=width) for name in names.split(",")]
    return tuple(ports)


@dataclass(frozen=True, kw_only=True)
class Harness:
    """The wrapper around module ``top``, whose clock and reset are called ``clk`` and ``rst``.

    Parameters
    ----------
    top, ports
        The design's module.
    pll
        Makes the design's clock from the pin ``clk``; ``None`` if the pin carries the design's clock itself.
    reset_inverted
        The pin ``rst`` is low in reset.

    Raises
    ------
    InputError
        If ``top`` has no input ``clk``.
    """

    top: str
    ports: tuple[Port, ...]
    pll: Pll | None = None
    reset_inverted: bool = False

    module: ClassVar[str] = TOP

    def __post_init__(self) -> None:
        if not any(port.name == "clk" and port.direction == "input" for port in self.ports):
            raise InputError("there is no input called clk", where=self.top, remedy="use one clock domain, clk and rst")

    @property
    def inputs(self) -> tuple[Port, ...]:
        """Inputs that the chain drives."""
        return tuple(port for port in self.ports if port.direction == "input" and port.name not in _SPECIAL)

    @property
    def outputs(self) -> tuple[Port, ...]:
        """Outputs that the signature observes."""
        return tuple(port for port in self.ports if port.direction == "output")

    @property
    def flipflops(self) -> int:
        """Flip-flops that the harness adds to the design."""
        return 2 + (sum(p.width for p in self.inputs) + 1) + 2 * (sum(p.width for p in self.outputs) + 1)

    @property
    def luts(self) -> int:
        """LUTs that the harness adds to the design: a bit of the signature each."""
        return sum(p.width for p in self.outputs) + 1

    @property
    def verilog(self) -> str:
        """Verilog of module :data:`TOP`; the design's own module is not in it."""
        driven, observed = sum(p.width for p in self.inputs), sum(p.width for p in self.outputs)
        names = {port.name for port in self.ports}
        connections = [f".{name} ({net})" for name, net in _SPECIAL.items() if name in names]
        connections += _slices(self.inputs, "drive") + _slices(self.outputs, "result")
        return "\n".join(
            [
                f"module {TOP} (input clk, input rst, input serial_in, output serial_out);",
                *(self.pll.instance() if self.pll is not None else ["  wire clock = clk;"]),
                # The reset pin is asynchronous to the clock.
                "  reg [1:0] reset = 2'b11;",
                f"  always @(posedge clock) reset <= {{reset[0], {'~' if self.reset_inverted else ''}rst}};",
                # One register more than there are inputs, so that a design without inputs still has a legal range.
                f"  reg [{driven}:0] drive = 0;",
                "  always @(posedge clock) drive <= {drive, serial_in};",
                f"  wire [{observed}:0] result;",
                f"  assign result[{observed}] = drive[{driven}];",
                f"  reg [{observed}:0] captured = 0, signature = 0;",
                "  always @(posedge clock) begin",
                "    captured <= result;",
                f"    signature <= {{signature, signature[{observed}]}} ^ captured;",
                "  end",
                f"  assign serial_out = signature[{observed}];",
                f"  {self.top} design (" + ", ".join(connections) + ");",
                "endmodule",
                "",
            ]
        )


def _slices(ports: Sequence[Port], vector: str) -> list[str]:
    """Connect ``ports`` to successive bits of ``vector``."""
    connections, offset = [], 0
    for port in ports:
        connections.append(f".{port.name} ({vector}[{offset + port.width - 1}:{offset}])")
        offset += port.width
    return connections
