"""The netlist that becomes a bitstream does what the RTL does: block RAMs, multipliers, carries, registers."""

import os
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import absent
import pytest
from amaranth.back import verilog
from amaranth.hdl import Cat, Elaboratable, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from heddle.boards import tools
from heddle.boards.harness import Port, read_ports
from heddle.errors import ToolError
from heddle.sim.netlist import netlist_verilog

CYCLES = 1500


class Sample(wiring.Component):
    """Memories with absorbable output registers, one written by bytes, one only read; others without; a multiplier."""

    i: Signal
    address: Signal
    write: Signal
    enable: Signal
    o: Signal

    def __init__(self) -> None:
        super().__init__({"i": In(32), "address": In(7), "write": In(4), "enable": In(1), "o": Out(64)})

    def elaborate(self, platform: object) -> Elaboratable:
        m = Module()
        rng = random.Random(3)
        m.submodules.wide = wide = self._memory(rng, bits=32, depth=128)
        m.submodules.rom = rom = self._memory(rng, bits=9, depth=2000)
        m.submodules.narrow = narrow = self._memory(rng, bits=4, depth=64)
        m.submodules.wide_rom = wide_rom = self._memory(rng, bits=32, depth=500)
        count, word, product = Signal(11), Signal(32, reset_less=True), Signal(signed(18))
        m.d.sync += count.eq(count + 1)
        bytes_in = wide.write_port(granularity=8)
        read = wide.read_port(domain="sync", transparent_for=())
        m.d.comb += [
            # Only upper halves are written: what lies below shows its initial content to the end.
            *(bytes_in.addr.eq(count | 64), bytes_in.data.eq(self.i), bytes_in.en.eq(self.write)),
            # A read of the word being written is undefined; this design never asks for it.
            *(
                read.addr.eq(Mux(self.address == bytes_in.addr, self.address ^ 1, self.address)),
                read.en.eq(self.enable),
            ),
        ]
        with m.If(self.enable):
            m.d.sync += word.eq(read.data)
        constant = rom.read_port(domain="sync", transparent_for=())
        m.d.comb += [constant.addr.eq(Mux(count < 2000, count, 0)), constant.en.eq(1)]
        nibble_in = narrow.write_port()
        nibble = narrow.read_port(domain="sync", transparent_for=())
        m.d.comb += [
            *(nibble_in.addr.eq(self.i[:6] | 32), nibble_in.data.eq(self.i[10:14]), nibble_in.en.eq(self.write[0])),
            *(nibble.addr.eq(Cat(~self.i[0], self.address[:5])), nibble.en.eq(1)),
        ]
        weights, stored = wide_rom.read_port(domain="sync", transparent_for=()), Signal(32, reset_less=True)
        m.d.comb += [weights.addr.eq(Mux(count[:9] < 500, count[:9], 0)), weights.en.eq(1)]
        m.d.sync += stored.eq(weights.data)
        m.d.sync += product.eq(word[:8].as_signed() * self.i[:8].as_signed())
        m.d.comb += self.o.eq(Cat(product, word[8:], constant.data, nibble.data) ^ count ^ (stored << 20))
        return m

    @staticmethod
    def _memory(rng: random.Random, *, bits: int, depth: int) -> Memory:
        attributes = {"no_rw_check": 1, "ram_style": "block"}
        return Memory(shape=bits, depth=depth, init=[rng.getrandbits(bits) for _ in range(depth)], attrs=attributes)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Synthesize anew: the user's cache may hold what an older Heddle made."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEDDLE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def design(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return RTL (module ``sample``) and netlist (module ``netlist``)."""
    folder = tmp_path_factory.mktemp("netlist")
    rtl = folder / "rtl.v"
    rtl.write_text(verilog.convert(Sample(), name="sample", strip_internal_attrs=True))
    return rtl, netlist_verilog(rtl, "sample", folder / "netlist.v", module="netlist")


def bench(ports: tuple[Port, ...]) -> str:
    """Drive RTL and netlist alike with random inputs, and print the first cycle in which an output differs."""
    declarations, drive, differ = [], [], []
    connections: dict[str, list[str]] = {"sample": [], "netlist": []}
    for port in ports:
        vector = f"[{port.width - 1}:0]"
        if port.direction == "output":
            declarations += [f"wire {vector} sample_{port.name}, netlist_{port.name};"]
            # Where the RTL is unknown (a memory never read), the netlist may be anything; elsewhere it must be known.
            rtl = f"sample_{port.name}"
            differ.append(f"({rtl} ^ netlist_{port.name}) !== ({rtl} ^ {rtl})")
        else:
            declarations += [f"reg {vector} {port.name} = 0;"]
            if port.name not in ("clk", "rst"):
                drive.append(f"{port.name} = $random(seed);")
        for module, nets in connections.items():
            nets.append(f".{port.name}({port.name if port.direction == 'input' else f'{module}_{port.name}'})")
    instances = [f"{module} {module}_i ({', '.join(nets)});" for module, nets in connections.items()]
    return "\n".join(
        [
            "/* verilator lint_off WIDTH */",
            "module bench;",
            *declarations,
            *instances,
            "integer seed = 1, cycle;",
            "initial begin",
            f"  for (cycle = 0; cycle < {CYCLES}; cycle = cycle + 1) begin",
            "    rst = cycle < 3 || cycle == 700;",
            *drive,
            "    #5 clk = 1; #5 clk = 0;",
            f"    if (cycle >= 3 && ({' || '.join(differ)})) begin",
            '      $display("DIFFERENT in cycle %0d", cycle); $finish;',
            "    end",
            "  end",
            '  $display("EQUAL"); $finish;',
            "end",
            "endmodule",
        ]
    )


def compare(rtl: Path, netlist: Path, simulator: str, folder: Path) -> str:
    """Return what the bench prints first: ``EQUAL``, or where the two differ."""
    try:
        tool = tools.find(simulator)
    except ToolError as missing:
        absent.skip(str(missing), required=absent.TOOLS)
    (folder / "bench.v").write_text(bench(read_ports(rtl.read_text(), "sample")))
    sources = [str(rtl), str(netlist), "bench.v"]
    arguments = {
        "iverilog": ["-g2012", "-o", "bench", *sources],
        "verilator": ["--binary", "--top-module", "bench", "-Mdir", ".", "-o", "bench", *sources],
    }[simulator]
    environment = {**os.environ, **tool.environment}
    if simulator == "verilator":
        arguments += [
            "-CFLAGS",
            "-O0 -std=c++20 -fcoroutines",
            "-MAKEFLAGS",
            "CFG_CXXFLAGS_PCH_I=-include CFG_LDLIBS_THREADS=-pthread",
        ]
    done = subprocess.run([*tool.command, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    command = ["vvp", "bench"] if simulator == "iverilog" else ["./bench"]
    output = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True).stdout
    return next(line for line in output.splitlines() if line.startswith(("EQUAL", "DIFFERENT")))


@pytest.mark.parametrize("simulator", ["iverilog", "verilator"])
def test_netlist_equals_rtl_under_random_inputs(design: tuple[Path, Path], simulator: str, tmp_path: Path) -> None:
    assert compare(*design, simulator, tmp_path) == "EQUAL"


def test_netlist_holds_block_rams_with_their_registers_and_a_multiplier(design: tuple[Path, Path]) -> None:
    text = design[1].read_text()
    assert len(re.findall(r"^ *DP16KD #\(", text, re.MULTILINE)) == 4
    assert len(re.findall(r"^ *MULT18X18D ", text, re.MULTILINE)) == 1
    assert text.count('.REGMODE_B("OUTREG")') == 2


@pytest.mark.parametrize("memory", range(4))
def test_one_flipped_bit_of_an_initial_content_is_seen(design: tuple[Path, Path], memory: int, tmp_path: Path) -> None:
    rtl, netlist = design
    lines = netlist.read_text().splitlines()
    contents = [index for index, line in enumerate(lines) if line.lstrip().startswith(".INITVAL_00(")]
    index = contents[memory]
    # The lowest bit of the digit that ends the first word.
    flipped = re.sub(r"([0-9a-f])\)", lambda match: f"{int(match[1], 16) ^ 1:x})", lines[index], count=1)
    assert flipped != lines[index]
    lines[index] = flipped
    damaged = tmp_path / "damaged.v"
    damaged.write_text("\n".join(lines))
    assert compare(rtl, damaged, "iverilog", tmp_path).startswith("DIFFERENT")


def test_netlist_shows_a_design_that_reads_the_word_it_writes(tmp_path: Path) -> None:
    text = """module sample (input clk, input rst, input [8:0] address, input [35:0] i, output reg [35:0] o);
        (* no_rw_check *) reg [35:0] memory [511:0];
        integer k; initial for (k = 0; k < 512; k = k + 1) memory[k] = k;
        always @(posedge clk) begin memory[address] <= i; o <= memory[address]; end
    endmodule"""
    rtl = tmp_path / "rtl.v"
    rtl.write_text(text)
    netlist = netlist_verilog(rtl, "sample", tmp_path / "netlist.v", module="netlist")
    assert compare(rtl, netlist, "iverilog", tmp_path).startswith("DIFFERENT")
