"""Feature-map memory: B banks of M-byte blocks, read by all lanes at once, written a block or two a cycle.

Lane ``r`` reads the block at ``base + r + B * offset[r]``, which always lies in bank ``(base + r) mod B``: B lanes
never meet in a bank, whatever their offsets, and one rotation by ``base mod B`` brings every block to its lane.
Kernel shape, dilation and channel count only decide which tap the compiler gives to which lane.
"""

from typing import Any

from amaranth.hdl import Array, C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from heddle.hdl.addressing import add, add_carry, position_layout
from heddle.hdl.delay import delay

SPREAD_BITS = 2
"""Of the base-two logarithm of how many lanes share a block: up to 8."""


def rotation_stages(banks: int) -> int:
    """Two-way multiplexers between a bank and a lane."""
    return (banks - 1).bit_length()


def rotate(
    m: Module, items: list[Value], amount: Value, *, left: bool, name: str, per_register: int
) -> tuple[list[Value], int]:
    """Rotate ``items`` by ``amount`` places through a pipelined barrel; return them and the cycles it takes.

    ``left``: place ``i`` gets item ``i + amount`` (mod length); otherwise item ``i - amount``.
    """
    count, stages, cycles = len(items), rotation_stages(len(items)), 0
    for stage in range(stages):
        by = (1 << stage) % count * (1 if left else -1)
        items = [Mux(amount[stage], items[(i + by) % count], items[i]) for i in range(count)]
        if stage % per_register == per_register - 1 or stage == stages - 1:
            items = [delay(m, item, 1, name=f"{name}{stage}_{i}") for i, item in enumerate(items)]
            amount = delay(m, amount, 1, name=f"{name}{stage}_amount")
            cycles += 1
    return items, cycles


class Scratchpad(wiring.Component):
    """B banks of ``words`` blocks; one read of B blocks and one write of a block per cycle, never in conflict.

    Where a load is followed, its blocks are a second write per cycle, to any other bank: the first takes precedence.

    Reads have latency :attr:`latency`, one per cycle. A bank takes a write :data:`WRITE_CYCLES` after its strobe. A
    read of a block in that cycle is undefined: the allocator keeps the maps that a slice reads and writes apart, and
    ``gap`` a slice's reads behind the writes of the slice before.

    Members
    -------
    base_bank : In(unsigned)
        Bank of lane 0's block, ``base mod B``.
    rows : In(B x unsigned)
        Row of lane ``r``'s block in its bank.
    blocks : Out(B x 8 * M bits)
        Lane ``r``'s block.
    write_strobe, write_at, write_data, write_bytes : In
        A block to write, and which of its bytes.
    load_strobe, load_at, load_data, load_taken : In, In, In, Out
        The second one: its first bytes, those beyond being arbitrary, and whether it is written in this cycle.
    """

    # Address register, memory, output register.
    _MEMORY_CYCLES = 2

    WRITE_CYCLES = 1
    """From a strobe to the cycle in which the bank takes the block: a register beside each bank, as they lie all over a
    device."""

    base_bank: Signal
    rows: data.View
    blocks: data.View
    write_strobe: Signal
    write_at: data.View
    write_data: Signal
    write_bytes: Signal
    load_strobe: Signal
    load_at: data.View
    load_data: Signal
    load_taken: Signal

    def __init__(self, *, banks: int, words: int, block: int, byte_writes: bool, load_bytes: int = 0) -> None:
        self.banks, self.words, self.block, self.byte_writes = banks, words, block, byte_writes
        self.load_bytes = load_bytes
        address_bits = max(1, (words - 1).bit_length())
        position = position_layout(address_bits, banks)
        super().__init__(
            {
                "base_bank": In(position["bank"].shape),
                "rows": In(data.ArrayLayout(unsigned(address_bits), banks)),
                "blocks": Out(data.ArrayLayout(unsigned(8 * block), banks)),
                "write_strobe": In(1),
                "write_at": In(position),
                "write_data": In(unsigned(8 * block)),
                "write_bytes": In(unsigned(block)),
                "load_strobe": In(1),
                "load_at": In(position),
                "load_data": In(unsigned(8 * load_bytes)),
                "load_taken": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from ``rows`` to ``blocks``."""
        return self.latency_of(self.banks)

    @classmethod
    def latency_of(cls, banks: int) -> int:
        """Latency of a scratchpad of that many banks."""
        stages = rotation_stages(banks)
        return cls.read_cycles(banks) + cls._MEMORY_CYCLES + -(-stages // 2)

    @staticmethod
    def read_cycles(banks: int) -> int:
        """Cycles from ``rows`` to the one in which the banks take the addresses."""
        return -(-rotation_stages(banks) // 4)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes = [self.rows[r] for r in range(self.banks)]
        # Addresses are narrow, so all their multiplexers fit between two registers; data takes a register every two.
        addresses, cycles = rotate(m, lanes, self.base_bank, left=False, name="row", per_register=4)
        outputs = []
        for bank, address in enumerate(addresses):
            # Of a block that is being written nobody cares what is read: without this, yosys would add logic for it.
            attributes = {"ram_style": "block", "no_rw_check": 1}
            memory = Memory(shape=unsigned(8 * self.block), depth=self.words, init=[], attrs=attributes)
            m.submodules[f"bank{bank}"] = memory
            read = memory.read_port()
            write = memory.write_port(granularity=8 if self.byte_writes else None)
            m.d.comb += read.addr.eq(address)
            self._write(m, bank, write)
            outputs.append(delay(m, read.data, self._MEMORY_CYCLES - 1, name=f"bank{bank}_out"))
        m.d.comb += self.load_taken.eq(
            self.load_strobe & ~(self.write_strobe & (self.write_at.bank == self.load_at.bank))
        )
        amount = delay(m, self.base_bank, cycles + self._MEMORY_CYCLES, name="rotation")
        blocks, _ = rotate(m, outputs, amount, left=True, name="data", per_register=2)
        m.d.comb += self.blocks.as_value().eq(Cat(blocks))
        return m

    def _write(self, m: Module, bank: int, port: Any) -> None:
        """Give the bank what is written to it, or else what is loaded."""
        selected = Signal(name=f"selected{bank}")
        address = Signal.like(port.addr, name=f"write_row{bank}", reset_less=True)
        block = Signal.like(port.data, name=f"write_block{bank}", reset_less=True)
        enable = Signal.like(port.en, name=f"write_enable{bank}")
        m.d.comb += [
            selected.eq(self.write_strobe & (self.write_at.bank == bank)),
            port.addr.eq(address),
            port.data.eq(block),
            port.en.eq(enable),
        ]
        m.d.sync += [
            address.eq(self.write_at.row),
            block.eq(self.write_data),
            enable.eq(Mux(selected, self.write_bytes, 0) if self.byte_writes else selected),
        ]
        if self.load_bytes:
            loaded = self.load_strobe & (self.load_at.bank == bank)
            with m.If(~selected):
                m.d.sync += [
                    address.eq(self.load_at.row),
                    block[: 8 * self.load_bytes].eq(self.load_data),
                    enable.eq(loaded.replicate(len(enable))),
                ]


class Fetch(wiring.Component):
    """From a window's origin and a step to the R blocks of that step, padding included.

    For lane ``r``: ``row = (origin + common + r) div B + offset[r]`` and, where the tap ``(y + dy[r], x + dx[r])`` lies
    outside the map or the lane has none in this step, ``pad_value`` in every byte instead. Then lane ``r`` gets what
    was read for lane ``r >> spread``. Latency :attr:`latency`, one step per cycle, no stalls.

    Members
    -------
    step : In(unsigned)
        Entry of the step table: per lane ``used``, ``offset``, ``dy``, ``dx``, and one ``common`` position.
    origin, y, x : In
        Position, row and column of the window's origin.
    start, height, width, pad_value, spread : In
        A slice's values, from its ``start``, which comes with its first step, for :attr:`latency` cycles: after that
        the next slice's may come. ``spread`` has no effect where no slice uses it.
    blocks : Out(R x 8 * M bits)
    """

    step: Signal
    origin: data.View
    y: Signal
    x: Signal
    start: Signal
    height: Signal
    width: Signal
    pad_value: Signal
    spread: Signal
    blocks: data.View
    base_bank: Signal
    rows: data.View
    read_blocks: data.View

    def __init__(self, *, banks: int, block: int, address_bits: int, coordinate_bits: int, step_bits: int,
                 steps: list[int], step_words: int, scratchpad_latency: int, spreads: bool) -> None:  # fmt: skip
        self.spreads = spreads
        self.banks, self.block, self.address_bits = banks, block, address_bits
        self.steps, self.step_words = steps, step_words
        self.step_layout = step_layout(banks=banks, address_bits=address_bits, step_bits=step_bits)
        self.scratchpad_latency = scratchpad_latency
        position = position_layout(address_bits, banks)
        super().__init__(
            {
                "step": In(unsigned(max(1, (step_words - 1).bit_length()))),
                "origin": In(position),
                "y": In(signed(coordinate_bits)),
                "x": In(signed(coordinate_bits)),
                "start": In(1),
                "height": In(signed(coordinate_bits)),
                "width": In(signed(coordinate_bits)),
                "pad_value": In(signed(8)),
                "spread": In(unsigned(SPREAD_BITS)),
                "blocks": Out(data.ArrayLayout(unsigned(8 * block), banks)),
                "base_bank": Out(position["bank"].shape),
                "rows": Out(data.ArrayLayout(unsigned(address_bits), banks)),
                "read_blocks": In(data.ArrayLayout(unsigned(8 * block), banks)),
            }
        )

    # Step table (memory and register), common offset, lane rows; then the scratchpad; then padding, spreading.
    _BEFORE, _AFTER = 4, 2

    @property
    def latency(self) -> int:
        """Cycles from ``step`` to ``blocks``."""
        return self.latency_of(self.scratchpad_latency)

    @classmethod
    def latency_of(cls, scratchpad_latency: int) -> int:
        """Latency over a scratchpad of that latency."""
        return cls._BEFORE + scratchpad_latency + cls._AFTER

    @classmethod
    def read_cycles(cls, banks: int) -> int:
        """Cycles from ``step`` to the one in which the banks of the scratchpad take the addresses."""
        return cls._BEFORE + Scratchpad.read_cycles(banks)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.table = table = Memory(
            shape=unsigned(self.step_layout.size), depth=self.step_words, init=self.steps, attrs={"ram_style": "block"}
        )
        read = table.read_port()
        m.d.comb += read.addr.eq(self.step)
        entry = data.View(self.step_layout, delay(m, read.data, 1, name="entry"))
        origin = delay(m, self.origin, 2, name="origin")
        y, x = delay(m, self.y, 2, name="y"), delay(m, self.x, 2, name="x")

        start = Signal.like(origin, name="start", reset_less=True)
        m.d.sync += add(origin, entry.common, banks=self.banks).assign(start)
        lanes = delay(m, entry.lanes, 1, name="lanes")
        m.d.comb += self.base_bank.eq(delay(m, start.bank, 1, name="base_bank"))
        height, width = (self._held(m, value, self._BEFORE - 1) for value in (self.height, self.width))
        outside = Signal(self.banks, reset_less=True)
        rows = [Signal(self.address_bits, name=f"row{r}", reset_less=True) for r in range(self.banks)]
        blocks = [Signal(8 * self.block, name=f"block{r}", reset_less=True) for r in range(self.banks)]
        m.d.comb += self.rows.as_value().eq(Cat(rows))
        # Of few bits, a table of them: a comparison would be a carry chain in front of another.
        wraps = [
            Array(C(int(bank + r >= self.banks), 1) for bank in range(self.banks))[start.bank]
            for r in range(self.banks)
        ]
        for r in range(self.banks):
            tap_y = Signal(signed(len(self.y) + 1), name=f"tap_y{r}", reset_less=True)
            tap_x = Signal(signed(len(self.x) + 1), name=f"tap_x{r}", reset_less=True)
            m.d.sync += [
                rows[r].eq(add_carry(start.row, lanes[r].offset, wraps[r])),
                tap_y.eq(y + entry.lanes[r].dy),
                tap_x.eq(x + entry.lanes[r].dx),
                outside[r].eq(~lanes[r].used | (tap_y < 0) | (tap_y >= height) | (tap_x < 0) | (tap_x >= width)),
            ]
        hidden = delay(m, outside, self.scratchpad_latency, name="hidden")
        padding = Cat([self._held(m, self.pad_value, self.latency - self._AFTER)] * self.block)
        for r in range(self.banks):
            m.d.sync += blocks[r].eq(Mux(hidden[r], padding, self.read_blocks[r]))
        spread = Signal(8 * self.block * self.banks, reset_less=True)
        m.d.comb += self.blocks.as_value().eq(spread)
        shared = [Cat(blocks[r >> s] for r in range(self.banks)) for s in range(1 << SPREAD_BITS)]
        m.d.sync += spread.eq(
            Array(shared)[self._held(m, self.spread, self.latency - 1)] if self.spreads else shared[0]
        )
        return m

    def _held(self, m: Module, value: Signal, cycles: int) -> Signal:
        """Return the slice's ``value`` for the stage that a step reaches after ``cycles``."""
        held = Signal.like(value, name=f"held_{value.name}", reset_less=True)
        with m.If(delay(m, self.start, cycles - 1, name=f"take_{value.name}", reset=True)):
            m.d.sync += held.eq(value)
        return held


def step_layout(*, banks: int, address_bits: int, step_bits: int) -> data.StructLayout:
    """Return the layout of a step: the position added for all lanes, and each lane's use, row offset and tap."""
    lane = data.StructLayout(
        {"used": unsigned(1), "offset": unsigned(address_bits), "dy": signed(step_bits), "dx": signed(step_bits)}
    )
    return data.StructLayout({"common": position_layout(address_bits, banks), "lanes": data.ArrayLayout(lane, banks)})
