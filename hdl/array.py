"""The systolic array: output-stationary, R reduction lanes x C output channels x V pixels, pruning-aware elements.

Partial sums flow down the lanes, one lane a cycle; weights flow across the V pixel planes, one plane a cycle; a lane's
activation block is offered to all of its columns. Each weight meets one activation of the block: the ``n``-th where the
slice is dense, or the one that the weight's own index names (N:M sparsity: only the N non-zeros of each M are stored).

Times below are cycles after a lane's ``control`` arrives, lane ``r`` being ``r`` cycles behind lane 0:
0 weight address, 1 weight memory, 2 its register, 3 selection, 4-5 multiplier, 6 partial sum.
"""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from heddle.hdl.delay import delay
from heddle.hdl.multiplier import Multiplier, Primitive, multiplier_latency

_MEMORY_CYCLES, _WEIGHT_CYCLES = 2, 3
"""From a weight's address to the register behind its memory, and to the element."""


def control_layout(*, block: int, weight_words: int, pixels: int) -> data.StructLayout:
    """Return the layout of what accompanies each multiply cycle down the lanes.

    ``enable``: the cycle counts. ``load``: plane 0 takes a new block, and plane ``v`` its own ``v`` cycles later.
    ``first``/``last``: of the pixel's reduction. ``word``: weight address. ``inner``: cycle within the step, the dense
    selection. ``tile_end``: last pixel of a tile. ``spare``: planes beyond the end of the row.
    """
    return data.StructLayout(
        {
            "enable": unsigned(1),
            "load": unsigned(1),
            "first": unsigned(1),
            "last": unsigned(1),
            "tile_end": unsigned(1),
            "indexed": unsigned(1),
            "inner": unsigned((block - 1).bit_length()),
            "word": unsigned(max(1, (weight_words - 1).bit_length())),
            "spare": unsigned(max(1, (pixels - 1).bit_length())),
        }
    )


_STROBES = ("enable", "load")


def delay_control(m: Module, control: data.View, cycles: int, *, name: str) -> data.View:
    """Delay ``control`` by ``cycles``; only its strobes are reset, so that nothing moves after a reset."""
    layout = control.shape()
    fields = [
        Value.cast(delay(m, Value.cast(control[field]), cycles, name=f"{name}_{field}", reset=field in _STROBES))
        for field in layout.members
    ]
    return data.View(layout, Cat(fields))


class ProcessingElement(wiring.Component):
    """``psum_out = psum_in + weight * block[select]``: one multiply-accumulate with operand selection.

    ``psum_out`` follows ``weight``, ``block`` and ``select`` by :attr:`LATENCY` cycles and ``psum_in`` by one. int8
    products in 16 bits never overflow; the sum has the width of the lane (:func:`psum_bits`).
    """

    LATENCY = multiplier_latency(8, 8) + 1

    primitive: Primitive
    block: data.View
    select: Signal
    weight: Signal
    psum_in: Signal
    psum_out: Signal

    def __init__(self, *, block: int, psum_in_bits: int, psum_out_bits: int, primitive: Primitive) -> None:
        self.block_size, self.primitive = block, primitive
        super().__init__(
            {
                "block": In(data.ArrayLayout(signed(8), block)),
                "select": In(range(block)),
                "weight": In(signed(8)),
                "psum_in": In(signed(psum_in_bits)),
                "psum_out": Out(signed(psum_out_bits)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiplier = multiplier = Multiplier(8, 8, primitive=self.primitive)
        m.d.comb += [
            multiplier.a.eq(Array(self.block[i] for i in range(self.block_size))[self.select]),
            multiplier.b.eq(self.weight),
        ]
        psum = Signal.like(self.psum_out, name="psum", reset_less=True)
        m.d.sync += psum.eq(self.psum_in + multiplier.p)
        m.d.comb += self.psum_out.eq(psum)
        return m


def psum_bits(lane: int) -> int:
    """Return the bits of a sum of ``lane + 1`` products, the extreme being ``(-128)**2`` each.

    >>> [psum_bits(lane) for lane in (0, 1, 8)]
    [16, 17, 19]
    """
    return ((lane + 1) << 14).bit_length() + 1


class Lane(wiring.Component):
    """One reduction lane: its weight memory, its block register in each plane, and C x V processing elements.

    ``psums_out`` is valid :attr:`LATENCY` cycles after ``control`` in plane 0, and ``v`` cycles later in plane ``v``.

    Members
    -------
    control : In
        See :func:`control_layout`.
    block : In(8 * M bits)
        With ``control.load`` for plane 0; the block of plane ``v`` comes ``v`` cycles later.
    psums_in, psums_out : V x C signed
    """

    LATENCY = _WEIGHT_CYCLES + ProcessingElement.LATENCY

    primitive: Primitive
    control: data.View
    block: Signal
    psums_in: data.View
    psums_out: data.View

    def __init__(self, *, index: int, cols: int, pixels: int, block: int, weights: list[int], weight_words: int,
                 indices: list[int], index_words: int, primitive: Primitive) -> None:  # fmt: skip
        self.index, self.cols, self.pixels, self.block_size = index, cols, pixels, block
        self.weights, self.weight_words = weights, weight_words
        self.indices, self.index_words = indices, index_words
        self.primitive = primitive
        self.in_bits = psum_bits(index - 1) if index else 1
        super().__init__(
            {
                "control": In(control_layout(block=block, weight_words=weight_words, pixels=pixels)),
                "block": In(unsigned(8 * block)),
                "psums_in": In(data.ArrayLayout(signed(self.in_bits), cols * pixels)),
                "psums_out": Out(data.ArrayLayout(signed(psum_bits(index)), cols * pixels)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        weights = self._read(m, "weights", 8 * self.cols, self.weights, self.weight_words, self.control.word)
        select_bits = (self.block_size - 1).bit_length()
        later = delay(m, self.control, _MEMORY_CYCLES, name="control")
        selects = Cat([later.inner] * self.cols)
        if self.index_words:
            address = self.control.word[: max(1, (self.index_words - 1).bit_length())]
            indices = self._read(m, "indices", select_bits * self.cols, self.indices, self.index_words, address)
            selects = Mux(later.indexed, indices, selects)
        # Choosing the index and choosing the activation by it are a stage each.
        selects = delay(m, selects, _WEIGHT_CYCLES - _MEMORY_CYCLES, name="selects")
        weights = delay(m, weights, _WEIGHT_CYCLES - _MEMORY_CYCLES, name="weights")
        # A plane's block arrives with its own turn of the step, so the load strobe travels with the block.
        blocks_in = delay(m, self.block, _WEIGHT_CYCLES - 1, name="block_in")
        load = delay(m, self.control.load, _WEIGHT_CYCLES - 1, name="load", reset=True)
        for v in range(self.pixels):
            held = Signal(8 * self.block_size, name=f"block{v}", reset_less=True)
            with m.If(load):
                m.d.sync += held.eq(blocks_in)
            for c in range(self.cols):
                element = ProcessingElement(
                    block=self.block_size,
                    psum_in_bits=self.in_bits,
                    psum_out_bits=psum_bits(self.index),
                    primitive=self.primitive,
                )
                m.submodules[f"pe_{v}_{c}"] = element
                m.d.comb += [
                    element.block.as_value().eq(held),
                    element.select.eq(selects.word_select(c, select_bits)),
                    element.weight.eq(weights.word_select(c, 8)),
                    element.psum_in.eq(self.psums_in[v * self.cols + c]),
                    self.psums_out[v * self.cols + c].eq(element.psum_out),
                ]
            if v + 1 < self.pixels:
                weights = delay(m, weights, 1, name=f"weights_{v}")
                selects = delay(m, selects, 1, name=f"selects_{v}")
                load = delay(m, load, 1, name=f"load_{v}", reset=True)
        return m

    def _read(self, m: Module, name: str, width: int, image: list[int], words: int, address: Value) -> Value:
        memory = Memory(shape=unsigned(width), depth=words, init=image, attrs={"ram_style": "block"})
        m.submodules[name] = memory
        port = memory.read_port()
        m.d.comb += port.addr.eq(address)
        # A register behind the block RAM: its own clock-to-output is most of a cycle.
        return delay(m, port.data, _MEMORY_CYCLES - 1, name=f"{name}_out")


class SystolicArray(wiring.Component):
    """R lanes, and an accumulator at the foot of each column.

    ``sums[v * C + c]`` is ``sum(weight * activation)`` over the cycles from ``control.first`` to
    ``control.last``. ``done`` comes :attr:`latency` cycles after ``last`` enters; the sums of plane ``v`` change
    ``v + 1`` cycles after ``done``. Throughput R * C * V multiply-accumulates per cycle.

    Members
    -------
    control : In
        For lane 0; :func:`control_layout`.
    blocks : In(R x 8 * M bits)
        Blocks of all lanes, with ``control.load``.
    sums : Out(V * C x signed(acc_bits))
    done, tile_end, spare : Out
        For plane 0: a pixel group is complete; it was the last of its tile; planes beyond the row.
    """

    control: data.View
    blocks: data.View
    sums: data.View
    done: Signal
    tile_end: Signal
    spare: Signal

    def __init__(self, *, rows: int, cols: int, pixels: int, block: int, weights: list[list[int]], weight_words: int,
                 indices: list[list[int]], index_words: int, acc_bits: int, primitive: Primitive) -> None:  # fmt: skip
        self.rows, self.cols, self.pixels, self.block = rows, cols, pixels, block
        self.acc_bits = acc_bits
        self.lanes = [
            Lane(
                index=r, cols=cols, pixels=pixels, block=block, weights=weights[r], weight_words=weight_words,
                indices=indices[r] if index_words else [], index_words=index_words, primitive=primitive,
            )
            for r in range(rows)
        ]  # fmt: skip
        control = control_layout(block=block, weight_words=weight_words, pixels=pixels)
        super().__init__(
            {
                "control": In(control),
                "blocks": In(data.ArrayLayout(unsigned(8 * block), rows)),
                "sums": Out(data.ArrayLayout(signed(acc_bits), cols * pixels)),
                "done": Out(1),
                "tile_end": Out(1),
                "spare": Out(control["spare"].shape),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``control.last`` to ``done``."""
        return self.rows - 1 + Lane.LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        control = self.control
        psums: data.View | int = 0
        for r, lane in enumerate(self.lanes):
            m.submodules[f"lane{r}"] = lane
            m.d.comb += [
                lane.control.eq(control),
                lane.block.eq(delay(m, self.blocks[r], r, name=f"skew{r}")),
                lane.psums_in.eq(psums),
            ]
            psums = lane.psums_out
            control = delay_control(m, control, 1, name=f"control{r}")
        # `control` has already crossed the lanes; the foot waits for the last partial sum.
        foot = delay_control(m, control, Lane.LATENCY - 1, name="foot")
        for v in range(self.pixels):
            for c in range(self.cols):
                i = v * self.cols + c
                acc = Signal(signed(self.acc_bits), name=f"acc{i}", reset_less=True)
                done = Signal(signed(self.acc_bits), name=f"sum{i}", reset_less=True)
                total = Signal(signed(self.acc_bits), name=f"total{i}")
                m.d.comb += self.sums[i].eq(done)
                m.d.comb += total.eq(Mux(foot.first, 0, acc) + self.lanes[-1].psums_out[i])
                with m.If(foot.enable):
                    m.d.sync += acc.eq(total)
                with m.If(foot.enable & foot.last):
                    m.d.sync += done.eq(total)
            if v == 0:
                m.d.comb += [
                    self.done.eq(foot.enable & foot.last),
                    self.tile_end.eq(foot.tile_end),
                    self.spare.eq(foot.spare),
                ]
            if v + 1 < self.pixels:
                foot = delay_control(m, foot, 1, name=f"foot{v}")
        return m
