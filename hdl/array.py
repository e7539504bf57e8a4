"""The systolic array: output-stationary, R reduction lanes x V planes of C columns, pruning-aware elements.

Partial sums flow down the lanes, one lane a cycle. A slice uses the planes in one of two ways:

- *narrow*: a plane is a pixel. Weights flow across the planes, one plane a cycle; each plane has a block of its own.
- *wide*: a plane is C more output channels of the one pixel. The block flows across; each plane has weights of its own.

A lane's activation block is offered to all columns of a plane. Each weight meets one activation of the block
(:class:`heddle.hdl.program.Selection`): the one that the cycle names where the slice is dense, the column's own where
it is diagonal, or the one that the weight's own index names (N:M sparsity: only the N non-zeros of each M are stored).
Where no slice is indexed, the columns of a plane share one selector. Where a slice *spreads* its blocks,
``2 ** spread`` neighbouring lanes hold the same block, and the ``n``-th dense cycle selects channel
``n << spread | lane mod 2 ** spread``: reductions of few blocks then use all lanes.

Times below are cycles after a lane's ``control`` arrives, lane ``r`` being ``r`` cycles behind lane 0: 2 block and
index, 3 which activation, 4 the activation and its weight, 5-7 product, 8 partial sum.
"""

from dataclasses import dataclass

from amaranth.hdl import Array, C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from heddle.hdl.carry import PLUS_UNLESS, Cell, chain
from heddle.hdl.delay import delay
from heddle.hdl.element import ElementLibrary, ProcessingElement, Selector
from heddle.hdl.multiplier import ECP5
from heddle.hdl.products import ProductPrimitive
from heddle.hdl.scratchpad import SPREAD_BITS

_MEMORY_CYCLES, _SELECT_CYCLES, _WEIGHT_CYCLES = 2, 3, 4
"""From an address to the register behind its memory; from a control to its selection, and to its weight."""


def control_layout(*, block: int, weight_words: int, pixels: int) -> data.StructLayout:
    """Return the layout of what accompanies each multiply cycle down the lanes.

    ``enable``: the cycle counts. ``load``: plane 0 takes a new block, and plane ``v`` its own ``v`` cycles later.
    ``first``/``last``: of the pixel's reduction. ``word``: weight address. ``inner``: cycle within the step, the dense
    selection. ``tile_end``: last pixel of a tile. ``spare``: planes beyond the end of the row. ``opens``: of the
    slice's first pixel group. ``indexed``, ``diagonal``, ``wide``, ``spread``: how the slice uses the array.
    """
    return data.StructLayout(
        {
            "enable": unsigned(1),
            "load": unsigned(1),
            "first": unsigned(1),
            "last": unsigned(1),
            "tile_end": unsigned(1),
            "opens": unsigned(1),
            "indexed": unsigned(1),
            "diagonal": unsigned(1),
            "wide": unsigned(1),
            "spread": unsigned(SPREAD_BITS),
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


def psum_bits(lane: int) -> int:
    """Return the bits of a sum of ``lane + 1`` products, the extreme being ``(-128)**2`` each.

    >>> [psum_bits(lane) for lane in (0, 1, 8)]
    [16, 17, 19]
    """
    return ((lane + 1) << 14).bit_length() + 1


@dataclass(frozen=True, kw_only=True)
class LaneImages:
    """Initial contents of the memories beside one lane: for each plane, words of C entries, column 0 in the low bits.

    Planes beyond the first have words for *wide* slices only, at the same addresses; ``indices`` cover the first words.
    """

    weights: list[list[int]]
    indices: list[list[int]]


class Lane(wiring.Component):
    """One reduction lane: its weight memories, its block register in each plane, and V x C processing elements.

    ``psums_out`` is valid :attr:`LATENCY` cycles after ``control`` in plane 0, and ``v`` cycles later in plane ``v``.

    Members
    -------
    control : In
        See :func:`control_layout`.
    block : In(8 * M bits)
        :attr:`LEAD` cycles after ``control.load`` for plane 0; the block of plane ``v`` comes ``v`` cycles later.
    psums_in, psums_out : V x C signed
    """

    LEAD = _SELECT_CYCLES - 1
    LATENCY = _SELECT_CYCLES + Selector.LATENCY + ProcessingElement.LATENCY + 1

    control: data.View
    block: Signal
    psums_in: data.View
    psums_out: data.View

    def __init__(
        self, *, index: int, cols: int, library: ElementLibrary, images: LaneImages, diagonal: bool,
        primitives: list[ProductPrimitive],
    ) -> None:  # fmt: skip
        block = library.block
        self.library, self.diagonal = library, diagonal
        self.index, self.cols, self.pixels, self.block_size = index, cols, len(images.weights), block
        self.images, self.primitives = images, primitives
        self.in_bits = psum_bits(index - 1) if index else 1
        columns = cols * self.pixels
        super().__init__(
            {
                "control": In(control_layout(block=block, weight_words=len(images.weights[0]), pixels=self.pixels)),
                "block": In(unsigned(8 * block)),
                "psums_in": In(data.ArrayLayout(signed(self.in_bits), columns)),
                "psums_out": Out(data.ArrayLayout(signed(psum_bits(index)), columns)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # For each memory an address as late as its words are wanted: cheaper than words that wait.
        waits = max(1, _WEIGHT_CYCLES - _MEMORY_CYCLES) + self.pixels
        self._controls = [self.control]
        for wait in range(waits):
            self._controls.append(delay_control(m, self._controls[-1], 1, name=f"control{wait}"))
        weights, selects = self._weights(m), self._selects(m)
        # A plane's block arrives with its own turn of the step, so the load strobe travels with the block.
        load, wide = self._controls[self.LEAD].load, self._controls[self.LEAD].wide
        before = self.block
        for v in range(self.pixels):
            held = Signal(8 * self.block_size, name=f"block{v}", reset_less=True)
            with m.If(load):
                m.d.sync += held.eq(Mux(wide, before, self.block))
            activations = self._activations(m, v, held, selects[v])
            for c in range(self.cols):
                i = v * self.cols + c
                p, psum = (
                    Signal(signed(16), name=f"p{i}"),
                    Signal.like(self.psums_out[i], name=f"psum{i}", reset_less=True),
                )
                m.submodules[f"pe_{v}_{c}"] = self.library.multiply(
                    self.primitives[i], activation=activations[c], weight=weights[v].word_select(c, 8), p=p
                )
                m.d.sync += psum.eq(self.psums_in[i] + p)
                m.d.comb += self.psums_out[i].eq(psum)
            if v + 1 < self.pixels:
                before = held
                load = delay(m, load, 1, name=f"load_{v}", reset=True)
                wide = delay(m, wide, 1, name=f"wide_{v}")
        return m

    def _activations(self, m: Module, v: int, block: Value, selects: Value) -> list[Signal]:
        """Return what each column of plane ``v`` multiplies, a cycle after its selection."""
        chosen = [Signal(signed(8), name=f"activation{v}_{c}") for c in range(self.cols)]
        if self.diagonal and not self._indexed:
            own = Signal(data.ArrayLayout(signed(8), self.block_size), name=f"activations{v}")
            m.submodules[f"select_{v}"] = self.library.select_plane(
                block=block, select=selects[: self._select_bits], diagonal=self._controls[_SELECT_CYCLES + v].diagonal,
                activations=own.as_value(),
            )  # fmt: skip
            m.d.comb += [activation.eq(own[c % self.block_size]) for c, activation in enumerate(chosen)]
            return chosen
        # An index is a column's own.
        count = self.cols if self._indexed else 1
        for c, activation in enumerate(chosen[:count]):
            m.submodules[f"select_{v}_{c}"] = self.library.select(
                block=block, select=selects.word_select(c, self._select_bits), activation=activation
            )
        return chosen[:count] * (self.cols // count)

    @property
    def _indexed(self) -> bool:
        """Whether there are indices; the planes without a memory of them take those of plane 0."""
        return bool(self.images.indices[0])

    @property
    def _select_bits(self) -> int:
        return (self.block_size - 1).bit_length()

    def _weights(self, m: Module) -> list[Value]:
        """Return each plane's weights, ``_WEIGHT_CYCLES + v`` after the control."""
        planes: list[Value] = []
        for v, image in enumerate(self.images.weights):
            chosen = planes[-1] if planes else Value.cast(0)
            # Each plane has a register, to which the words of its memory come in time.
            ready = _WEIGHT_CYCLES + v - 1
            if image:
                own = self._read(m, f"weights{v}", 8 * self.cols, image, ready)
                chosen = Mux(self._controls[ready].wide, own, chosen) if planes else own
            planes.append(delay(m, chosen, 1, name=f"plane_weights{v}"))
        return planes

    def _selects(self, m: Module) -> list[Value]:
        """Return each plane's selections, ``_SELECT_CYCLES + v`` after the control."""
        bits = self._select_bits
        planes: list[Value] = []
        for v, image in enumerate(self.images.indices):
            ready = _SELECT_CYCLES + v - 1
            control = self._controls[ready]
            if planes:
                chosen, indexed = planes[-1], control.indexed & control.wide
            else:
                # Lanes that share a block take its channels in turn.
                choices = [Cat(C(self.index % (1 << s), s), control.inner)[:bits] for s in range(min(bits, 3) + 1)]
                dense = Array(choices + [choices[-1]] * ((1 << SPREAD_BITS) - len(choices)))[control.spread]
                chosen, indexed = Cat([dense] * self.cols), control.indexed
                if self.diagonal and self._indexed:
                    own = Cat(C(c % self.block_size, bits) for c in range(self.cols))
                    chosen = Mux(control.diagonal, own, chosen)
            if image:
                chosen = Mux(indexed, self._read(m, f"indices{v}", bits * self.cols, image, ready), chosen)
            # Choosing the index and choosing the activation by it are a stage each.
            planes.append(delay(m, chosen, 1, name=f"selects{v}"))
        return planes

    def _read(self, m: Module, name: str, width: int, image: list[int], ready: int) -> Value:
        """Return the words of a memory, ``ready`` cycles after the control."""
        memory = Memory(shape=unsigned(width), depth=len(image), init=image, attrs={"ram_style": "block"})
        m.submodules[name] = memory
        port = memory.read_port()
        word = self._controls[ready - _MEMORY_CYCLES].word
        m.d.comb += port.addr.eq(word[: max(1, (len(image) - 1).bit_length())])
        # A register behind the block RAM: its own clock-to-output is most of a cycle.
        return delay(m, port.data, _MEMORY_CYCLES - 1, name=f"{name}_out")


class SystolicArray(wiring.Component):
    """R lanes, and an accumulator at the foot of each column.

    ``sums[v * C + c]`` is ``sum(weight * activation)`` over the cycles from ``control.first`` to
    ``control.last``. ``done`` comes :attr:`latency` cycles after ``last`` enters; the sums of plane ``v`` change
    ``v + 1`` cycles after ``done``. Throughput R * C * V multiply-accumulates per cycle.

    Parameters
    ----------
    library
        Where the elements' modules come from; they are not part of what this elaborates to.
    images
        Of each lane.
    diagonal
        Columns can each select their own channel.
    primitives
        What makes each element's product: lane by lane, plane by plane, column by column.

    Members
    -------
    control : In
        For lane 0; :func:`control_layout`.
    blocks : In(R x 8 * M bits)
        Blocks of all lanes, :attr:`Lane.LEAD` cycles after ``control.load``.
    sums : Out(V * C x signed(acc_bits))
    done, opens : Out(1)
        For plane 0: a pixel group is complete; it is the slice's first that is.
    tile_end, spare : Out
        With ``done``: the group was the last of its tile; planes beyond the row.
    """

    control: data.View
    blocks: data.View
    sums: data.View
    done: Signal
    tile_end: Signal
    spare: Signal
    opens: Signal

    def __init__(
        self, *, cols: int, library: ElementLibrary, images: list[LaneImages], diagonal: bool, acc_bits: int,
        primitives: list[ProductPrimitive],
    ) -> None:  # fmt: skip
        self.rows, self.cols, self.pixels, block = len(images), cols, len(images[0].weights), library.block
        self.library = library
        self.acc_bits = acc_bits
        rows, pixels, elements = self.rows, self.pixels, cols * self.pixels
        self.lanes = [
            Lane(
                index=r,
                cols=cols,
                library=library,
                images=lane,
                diagonal=diagonal,
                primitives=primitives[r * elements : (r + 1) * elements],
            )
            for r, lane in enumerate(images)
        ]
        weight_words = len(images[0].weights[0])
        control = control_layout(block=block, weight_words=weight_words, pixels=pixels)
        super().__init__(
            {
                "control": In(control),
                "blocks": In(data.ArrayLayout(unsigned(8 * block), rows)),
                "sums": Out(data.ArrayLayout(signed(acc_bits), cols * pixels)),
                "done": Out(1),
                "tile_end": Out(1),
                "spare": Out(control["spare"].shape),
                "opens": Out(1),
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
        # `control` has already crossed the lanes; the foot waits for the last partial sum, a register short of it.
        foot = delay_control(m, control, Lane.LATENCY - 2, name="foot")
        m.d.sync += [
            self.done.eq(foot.enable & foot.last),
            self.opens.eq(foot.enable & foot.last & foot.opens),
            self.tile_end.eq(foot.tile_end),
            self.spare.eq(foot.spare),
        ]
        for v in range(self.pixels):
            if v:
                foot = delay_control(m, foot, 1, name=f"foot{v}")
            first, enable = Signal(name=f"first{v}", reset_less=True), Signal(name=f"enable{v}")
            # Not reset as `done` is: yosys would make one register of the two, far from the one or the other.
            finish = Signal(name=f"finish{v}", reset_less=True)
            m.d.sync += [first.eq(foot.first), enable.eq(foot.enable), finish.eq(foot.enable & foot.last)]
            for c in range(self.cols):
                i = v * self.cols + c
                acc = Signal(signed(self.acc_bits), name=f"acc{i}", reset_less=True)
                done = Signal(signed(self.acc_bits), name=f"sum{i}", reset_less=True)
                total = self._total(m, f"total{i}", self.lanes[-1].psums_out[i], acc, first)
                m.d.comb += self.sums[i].eq(done)
                with m.If(enable):
                    m.d.sync += acc.eq(total)
                with m.If(finish):
                    m.d.sync += done.eq(total)
        return m

    def _total(self, m: Module, name: str, psum: Value, acc: Signal, first: Signal) -> Value:
        """Return ``psum + acc``, or ``psum`` alone where ``first``: in the one LUT a bit that the sum takes anyway."""
        if self.library.primitive != ECP5:
            return (psum + Mux(first, 0, acc))[: self.acc_bits].as_signed()
        extended = Cat(psum, psum[-1].replicate(max(0, self.acc_bits - len(psum))))[: self.acc_bits]
        cells = [Cell(PLUS_UNLESS, psum_bit, acc_bit, first) for psum_bit, acc_bit in zip(extended, acc, strict=True)]
        return chain(m, name, cells, 0).as_signed()
