"""The harness of a build: which ports it drives, by which pins."""

import pytest

from heddle.boards.harness import TOP, Harness, Port, read_ports
from heddle.boards.pll import fastest_pll
from heddle.errors import InputError


def test_ports_are_read_from_header_or_body_and_never_from_comments() -> None:
    header = "module m /* input no */ (input wire clk, rst, input [7:0] a, b, // output c\n output reg signed [0:3] o);"
    body = "module m(clk, \\odd+name , o); input clk; wire clk; input [1:0] \\odd+name ;\n output [2:0] o; endmodule"
    assert [(p.name, p.width) for p in read_ports(header + " endmodule", "m")] == [
        ("clk", 1),
        ("rst", 1),
        ("a", 8),
        ("b", 8),
        ("o", 4),
    ]
    assert [(p.name, p.direction, p.width) for p in read_ports(body, "m")] == [
        ("clk", "input", 1),
        ("\\odd+name", "input", 2),
        ("o", "output", 3),
    ]


@pytest.mark.parametrize(
    "text",
    [
        "module other (input clk); endmodule",
        "module m (inout clk); endmodule",
        "module m #(parameter N = 1) (input clk, input [N:0] a); endmodule",
    ],
)
def test_ports_a_harness_cannot_drive_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        read_ports(text, "m")


def test_design_without_a_clock_is_refused() -> None:
    with pytest.raises(InputError, match="clk"):
        Harness(top="m", ports=(Port(name="a", direction="input"),))


def test_harness_has_four_pins_and_counts_its_registers() -> None:
    ports = (
        Port(name="clk", direction="input"),
        Port(name="i", direction="input", width=8),
        Port(name="o", direction="output", width=4),
    )
    harness = Harness(top="m", ports=ports)
    assert harness.flipflops == 2 + 9 + 10
    pins = read_ports(harness.verilog, TOP)
    assert [(p.name, p.width) for p in pins] == [("clk", 1), ("rst", 1), ("serial_in", 1), ("serial_out", 1)]
    assert ".i (drive[7:0])" in harness.verilog
    assert ".rst" not in harness.verilog.split("m design")[1]
    assert "EHXPLLL" in Harness(top="m", ports=ports, pll=fastest_pll(25e6, 1e8)).verilog
