"""One lane of a work-list core: its list, its copy of the feature maps, and V accumulators.

V neighbouring places lie in V banks, whatever the first one is: bank ``b`` reads row ``p div V``, or the one after it
where ``b < p mod V``, and one rotation brings every byte to its pixel. Any activation of any channel can meet a weight,
so any order of items is free of conflicts. Where a window leaves the map, a mask puts padding in its place.
"""

from collections.abc import Sequence

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from heddle.hdl.delay import delay
from heddle.hdl.multiplier import Multiplier, multiplier_dsps, multiplier_latency
from heddle.hdl.products import PairMultiplier
from heddle.hdl.scratchpad import rotate, rotation_stages
from heddle.hdl.worklist_config import HIGH_SHIFT, WorklistConfig, bits_for

ROM_CYCLES = 2
"""From the address of a read-only memory to its word: the memory and a register."""


def rotation_cycles(pixels: int) -> int:
    """Cycles of a rotation of ``pixels`` bytes."""
    return -(-rotation_stages(pixels) // 2)


def read_only(m: Module, name: str, layout: data.StructLayout, words: Sequence[int], address: Value) -> data.View:
    """Return the word at ``address``, :data:`ROM_CYCLES` later."""
    memory = Memory(shape=unsigned(layout.size), depth=len(words), init=words, attrs={"ram_style": "block"})
    m.submodules[name] = memory
    port = memory.read_port()
    m.d.comb += port.addr.eq(address)
    return data.View(layout, delay(m, port.data, ROM_CYCLES - 1, name=f"{name}_out"))


def bank_rows(
    m: Module, name: str, position: Value, bank_bits: int, *, apart: Value | None = None
) -> tuple[list[Signal], Value]:
    """Return the row of each bank that holds one of V places from ``position`` on, 2 cycles later, and the first bank.

    The first bank comes with the rows. The second half of the places lies ``apart`` rows further on.
    """
    row, bank = position[bank_bits:], position[:bank_bits]
    first = delay(m, bank, 1, name=f"{name}_first")
    ahead = {"this": row, "next": row + 1}
    if apart is not None:
        ahead |= {"this_apart": row + apart, "next_apart": row + (apart + 1)[: len(row)]}
    at = {which: Signal(len(row), name=f"{name}_{which}") for which in ahead}
    m.d.sync += [at[which].eq(value) for which, value in ahead.items()]
    rows = [Signal(len(row), name=f"{name}_row{b}", reset_less=True) for b in range(1 << bank_bits)]
    for b, own in enumerate(rows):
        chosen = Mux(first > b, at["next"], at["this"])
        if apart is not None:
            second_half = (b - first)[bank_bits - 1]
            chosen = Mux(second_half, Mux(first > b, at["next_apart"], at["this_apart"]), chosen)
        m.d.sync += own.eq(chosen)
    return rows, delay(m, first, 1, name=f"{name}_bank")


def place_bits(config: WorklistConfig) -> tuple[int, int]:
    """Return the widths of a channel and of a plane, as signed numbers of at least two bits."""
    return config.field_bits["channel"] + 1, config.field_bits["plane"] + 1


class Lane(wiring.Component):
    """``sums[v] = sum(weight * activation[base + taps[tap] + channel * plane + v])`` over items up to one that ends.

    It is ``pad`` instead of that activation where the group has ``beyond`` set and bit ``v`` of the mask is, too, which
    is ``masks[group.masks + tap]``. A ``high`` item's product counts ``2**HIGH_SHIFT`` times. One item per cycle;
    ``sums`` hold from :meth:`latency` cycles after the address of the item that ends, until the next one's. A static
    pipeline.

    Parameters
    ----------
    items
        The list, one integer per word of ``config.item_layout``.
    taps, masks
        The tables that the slices' windows are described by; the first begins at ``record.tap_base``.
    lane
        Which lane it is.

    Members
    -------
    address, valid : In
        Of an item; without ``valid`` it is not issued.
    record : In(config.record_layout)
        The slice's.
    group : In(config.base_layout)
        The group's, :data:`ROM_CYCLES` after the address.
    write : In(config.write_layout())
        A word for the feature maps. Reading a place in the cycle it is written is undefined.
    sums : Out(V x signed(acc_bits))
    byte : Out(8)
        The first activation, :meth:`byte_latency` cycles after the address.
    drain : Out(1)
        The item's, :data:`ROM_CYCLES` after the address; 0 of lanes other than 0.
    """

    address: Signal
    valid: Signal
    record: data.View
    group: data.View
    write: data.View
    sums: data.View
    byte: Signal
    drain: Signal

    def __init__(
        self, config: WorklistConfig, items: Sequence[int], *, taps: Sequence[int], masks: Sequence[int], lane: int
    ) -> None:
        self.config, self.items, self.taps, self.masks = config, items, taps, masks
        self.layout = config.item_layout(lane)
        super().__init__(
            {
                "address": In(unsigned(bits_for(config.item_words))),
                "valid": In(1),
                "record": In(config.record_layout),
                "group": In(config.base_layout),
                "write": In(config.write_layout()),
                "sums": Out(data.ArrayLayout(signed(config.acc_bits), config.array.pixels)),
                "byte": Out(8),
                "drain": Out(1),
            }
        )

    @staticmethod
    def dsps(config: WorklistConfig) -> int:
        """DSPs that places take, beside those of the products."""
        return multiplier_dsps(*place_bits(config), config.array.primitive)

    @staticmethod
    def _position_cycles(config: WorklistConfig) -> int:
        """From an item to its position: the tap's address and word, or the channel's product and the group's base."""
        return max(1 + ROM_CYCLES, multiplier_latency(*place_bits(config), config.array.primitive) + 1) + 1

    @classmethod
    def byte_latency(cls, config: WorklistConfig) -> int:
        """Cycles from an item's address to its activations: position, rows (2), memory, register, rotation, mask."""
        return ROM_CYCLES + cls._position_cycles(config) + 4 + rotation_cycles(config.array.pixels) + 1

    @classmethod
    def latency(cls, config: WorklistConfig) -> int:
        """Cycles from an item's address to the sums it ends."""
        return cls.byte_latency(config) + PairMultiplier.latency + 1

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, pixels = self.config, self.config.array.pixels
        item = read_only(m, "items", self.layout, self.items, self.address)
        valid = delay(m, self.valid, ROM_CYCLES, name="valid", reset=True)
        if "drain" in self.layout.members:
            m.d.comb += self.drain.eq(item.drain & valid)
        turned = self._read(m, self._position(m, item))
        arrival = self.byte_latency(config) - ROM_CYCLES
        activations = self._masked(m, item, turned, arrival)
        m.d.comb += self.byte.eq(activations[0])
        weight = delay(m, Mux(valid, item.weight, 0), arrival, name="weight")
        end = delay(m, item.end & valid, arrival + PairMultiplier.latency, name="end", reset=True)
        high = delay(m, item.high, arrival + PairMultiplier.latency, name="high")
        # Between slices, too: what is read there is arbitrary, and unknown to a simulator.
        issued = delay(m, valid, arrival + PairMultiplier.latency, name="issued", reset=True)
        fresh = Signal(init=1)
        m.d.sync += fresh.eq(end | ~issued)
        sums = []
        for v in range(0, pixels, 2):
            m.submodules[f"products{v}"] = pair = PairMultiplier(primitive=config.array.primitive)
            m.d.comb += [pair.y.eq(weight), pair.x0.eq(activations[v]), pair.x1.eq(activations[v + 1])]
            sums += [self._accumulate(m, v + i, p, high, fresh, end) for i, p in enumerate((pair.p0, pair.p1))]
        m.d.comb += self.sums.as_value().eq(Cat(sums))
        return m

    def _position(self, m: Module, item: data.View) -> Signal:
        """Return the place of the first pixel's activation."""
        config, cycles = self.config, self._position_cycles(self.config)
        m.submodules.channels = product = Multiplier(*place_bits(config), primitive=config.array.primitive)
        m.d.comb += [
            product.a.eq(Cat(item.channel, C(0, 1)).as_signed()),
            product.b.eq(Cat(self.record.plane, C(0, 1)).as_signed()),
        ]
        tap_at = Signal.like(self.record.tap_base, name="tap_at", reset_less=True)
        m.d.sync += tap_at.eq(self.record.tap_base + item.tap)
        layout = data.StructLayout({"place": unsigned(config.position_bits)})
        tap = read_only(m, "taps", layout, self.taps, tap_at)
        origin, position = (Signal(config.position_bits, name=name, reset_less=True) for name in ("origin", "position"))
        base = delay(m, self.group.base, product.latency, name="base")
        m.d.sync += [
            origin.eq(base + product.p),
            position.eq(
                delay(m, origin, cycles - product.latency - 2, name="origin")
                + delay(m, tap.place, cycles - ROM_CYCLES - 2, name="tap")
            ),
        ]
        return position

    def _read(self, m: Module, position: Signal) -> list[Value]:
        """Return V activations from ``position`` on."""
        config = self.config
        rows, first = bank_rows(m, "read", position, config.bank_bits)
        banks = []
        for b, row in enumerate(rows):
            # Nobody reads what is being written: without this, yosys would add logic for it.
            attributes = {"ram_style": "block", "no_rw_check": 1}
            memory = Memory(shape=unsigned(8), depth=config.words, init=[], attrs=attributes)
            m.submodules[f"bank{b}"] = memory
            read, write = memory.read_port(), memory.write_port()
            m.d.comb += [
                read.addr.eq(row),
                write.addr.eq(self.write.rows[b]),
                write.data.eq(self.write.bytes[b]),
                write.en.eq(self.write.strobes[b]),
            ]
            banks.append(delay(m, read.data, 1, name=f"bank{b}_out"))
        amount = delay(m, first, 2, name="rotation")
        turned, _ = rotate(m, banks, amount, left=True, name="turn", per_register=2)
        return turned

    def _masked(self, m: Module, item: data.View, turned: Sequence[Value], arrival: int) -> list[Signal]:
        """Return the activations, padding where they lie beyond the map; ``turned`` come a cycle before."""
        # The address waits rather than the mask: it has fewer bits.
        mask_at = Signal.like(self.group.masks, name="mask_at", reset_less=True)
        m.d.sync += mask_at.eq(self.group.masks + item.tap)
        layout = data.StructLayout({"mask": unsigned(len(turned))})
        late = delay(m, mask_at, arrival - ROM_CYCLES - 2, name="mask_at")
        mask = read_only(m, "masks", layout, self.masks, late).mask
        beyond = delay(m, self.group.beyond, arrival - 1, name="beyond")
        activations = []
        for v, byte in enumerate(turned):
            activation = Signal(signed(8), name=f"activation{v}", reset_less=True)
            m.d.sync += activation.eq(Mux(beyond & mask[v], self.record.pad, byte.as_signed()))
            activations.append(activation)
        return activations

    def _accumulate(self, m: Module, v: int, product: Signal, high: Value, fresh: Signal, end: Value) -> Signal:
        acc, shadow, total = (
            Signal(signed(self.config.acc_bits), name=f"{name}{v}", reset_less=True)
            for name in ("acc", "shadow", "total")
        )
        m.d.comb += total.eq(Mux(fresh, 0, acc) + Mux(high, product << HIGH_SHIFT, product))
        m.d.sync += acc.eq(total)
        with m.If(end):
            m.d.sync += shadow.eq(total)
        return shadow
