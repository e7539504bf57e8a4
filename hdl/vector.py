"""The vector unit: element-wise work on blocks, without the array.

A slice gives it, for each output block, one block per step: the taps of a maximum pool, or the operands of a sum.
What a block becomes is then two table look-ups and the requantizer: ``requantize(table1[a] + table2[b])``. That
one form is TFLite's ADD (each table holds one operand's rescaled values), any function of one int8, and MAX_POOL (an
identity).
"""

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from heddle.hdl.delay import delay


class BlockUnit(wiring.Component):
    """Collects the blocks of one pixel: their element-wise maximum, or a first and a second operand.

    Its control comes a cycle before the block. ``done`` comes with the pixel's last block; ``a`` and ``b`` change in
    the next cycle and stay until the next pixel's ``last``. Throughput one block per cycle.

    Members
    -------
    enable, first, last, opens : In
        In the next cycle comes one of the pixel's blocks: the first, the last; the pixel is the slice's first.
    operands, paired : In(1)
        With the last block: it is operand ``b``, or ``second`` is where ``paired``; otherwise all blocks are taps of a
        maximum.
    block, second : In
    a, b : Out(M x signed(8))
    done, begins : Out(1)
        The pixel's last block is here; it is that of the slice's first pixel.
    """

    enable: Signal
    first: Signal
    last: Signal
    opens: Signal
    operands: Signal
    paired: Signal
    block: data.View
    second: data.View
    a: data.View
    b: data.View
    done: Signal
    begins: Signal

    def __init__(self, *, block: int, maximum: bool, second_operand: bool) -> None:
        self.block_size, self.maximum, self.second_operand = block, maximum, second_operand
        elements = data.ArrayLayout(signed(8), block)
        super().__init__(
            {
                "enable": In(1),
                "first": In(1),
                "last": In(1),
                "opens": In(1),
                "operands": In(1),
                "paired": In(1),
                "block": In(elements),
                "second": In(elements),
                "a": Out(elements),
                "b": Out(elements),
                "done": Out(1),
                "begins": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        running = Signal.like(self.a, name="running", reset_less=True)
        best = Signal.like(self.a, name="best")
        earlier = (self.operands & ~self.paired) if self.second_operand else 0
        enable, first = Signal(), Signal(reset_less=True)
        m.d.sync += [
            enable.eq(self.enable),
            first.eq(self.first),
            self.done.eq(self.enable & self.last),
            self.begins.eq(self.enable & self.last & self.opens),
        ]
        for i in range(self.block_size):
            keep = (running[i] > self.block[i]) & ~first if self.maximum else 0
            m.d.comb += best[i].eq(Mux(keep, running[i], self.block[i]))
        with m.If(enable):
            m.d.sync += running.eq(best)
        with m.If(self.done):
            m.d.sync += self.a.eq(Mux(earlier, running, best))
            if self.second_operand:
                m.d.sync += self.b.eq(Mux(self.paired, self.second, self.block))
        return m


class TableSum(wiring.Component):
    """``total[j] = table1[a[j]] + (table2[b[j]] if two else 0)`` for q elements at once.

    Latency :attr:`LATENCY` cycles, throughput q elements per cycle. Tables have 256 entries indexed by the int8 plus
    128 and lie at ``base`` in the first operand's memory and in the second's.

    Members
    -------
    base : In
        First word of the tables; a multiple of 256.
    two : In(1)
    a, b : In(q x signed(8))
    total : Out(q x signed(bits + 1))
    """

    LATENCY = 3

    base: Signal
    two: Signal
    a: data.View
    b: data.View
    total: data.View

    def __init__(self, *, lanes: int, bits: int, words: int, first: list[int], second: list[int] | None) -> None:
        self.lanes, self.bits, self.words = lanes, bits, words
        self.images = [first] if second is None else [first, second]
        elements = data.ArrayLayout(signed(8), lanes)
        super().__init__(
            {
                "base": In(unsigned(max(1, (words - 1).bit_length()))),
                "two": In(1),
                "a": In(elements),
                "b": In(elements),
                "total": Out(data.ArrayLayout(signed(bits + 1), lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        two = delay(m, self.two, 2, name="two")
        for lane in range(self.lanes):
            terms = []
            for k, (image, operand) in enumerate(zip(self.images, (self.a, self.b), strict=False)):
                memory = Memory(shape=signed(self.bits), depth=self.words, init=image, attrs={"ram_style": "block"})
                m.submodules[f"table{k}_{lane}"] = memory
                port = memory.read_port()
                # int8 + 128 is the int8 with its sign bit inverted.
                index = Cat(operand[lane][:7], ~operand[lane][7])
                m.d.comb += port.addr.eq(Cat(index, self.base[8:]))
                # A register behind the block RAM: its own clock-to-output is most of a cycle.
                terms.append(delay(m, port.data, 1, name=f"term{k}_{lane}"))
            total = terms[0] if len(terms) == 1 else terms[0] + Mux(two, terms[1], 0)
            result = Signal(signed(self.bits + 1), name=f"total{lane}", reset_less=True)
            m.d.sync += result.eq(total)
            m.d.comb += self.total[lane].eq(result)
        return m
