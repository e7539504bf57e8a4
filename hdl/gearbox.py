"""A gearbox between streams of different widths: chunks of bytes in, chunks of other sizes out.

The buffer is a row of small memories, its columns: byte ``n`` of the stream lies in column ``n mod columns``. A barrel
before them brings a chunk's first byte to the column that is next, another one behind them brings the column that is
next to a chunk's first byte. Each column counts its own reads and writes, so only the barrels and one level depend on
how much a chunk holds, and of these only the level is in a loop: all else is a pipeline. It never stalls: a queue at
its end has room for every chunk that is under way, so whoever takes the chunks is known to the queue alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import C, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from heddle.hdl.multiplier import Primitive

LEAST_ROWS = 16
"""Depth of the smallest distributed RAM, and of the queue of chunks."""
MOST_CHUNKS = LEAST_ROWS - 1
"""In the queue and under way to it: one less than it has rows, so that equal pointers mean an empty one."""


def rotate(items: Sequence[Value], amount: Value, *, left: bool) -> list[Value]:
    """Rotate ``items``, a power of two of them; ``left``: place ``i`` gets item ``i + amount``, else ``i - amount``."""
    result = list(items)
    for stage in range(len(amount)):
        by = 1 << stage if left else -1 << stage
        result = [Mux(amount[stage], result[(i + by) % len(result)], result[i]) for i in range(len(result))]
    return result


def up_to(last: Value, count: int) -> Value:
    """Return ``count`` bits of which 0 to ``last`` are set: as tables, which are faster than comparisons so narrow."""
    values = range(1 << len(last))
    return Cat(
        C(sum(1 << value for value in values if value >= i), len(values)).bit_select(last, 1) for i in range(count)
    )


@dataclass(frozen=True, kw_only=True)
class Buffer:
    """How much a gearbox holds.

    Parameters
    ----------
    width
        Bytes of the widest chunk, rounded up to a power of two.
    rows
        Words of ``width`` bytes, a power of two.
    margin
        Bytes that may still be pushed once ``full`` is seen.
    """

    width: int
    rows: int
    margin: int

    @property
    def full_rows(self) -> int:
        """Rows that are filled when ``full`` follows."""
        # A chunk's bytes leave the level two cycles before they leave the columns, and reach it one before them.
        return self.rows - 1 - -(-self.margin // self.width)


class Gearbox(wiring.Component):
    """Bytes pass in order, in chunks of up to ``width`` bytes on either side, all multiples of ``grain``.

    Throughput one chunk a cycle on either side. A chunk that the buffer can complete is offered :attr:`LATENCY` cycles
    after its last bytes were pushed. When the final chunk has come in and less is left than is wanted, a chunk marked
    ``o_final`` goes out, and nothing more until ``clear``. With ``cut`` it holds what is left, filled with zeros, or is
    the chunk that leaves nothing; without, it is void.

    Parameters
    ----------
    buffer
        Its size.
    grain
        Power of two that divides the size of every chunk but those that end the stream.
    primitive
        Of the family: where there are no small memories, a block RAM holds the queue. It does not change results.

    Members
    -------
    clear : In(1)
        Drop everything that was pushed before. Must be set while the domain is reset: nothing else is reset then.
    i_push, i_data, i_tail, i_final : In
        A chunk comes in: its bytes, its last grain, and whether the stream ends with it.
    full : Out(1)
        No more than the buffer's ``margin`` may come.
    pauses, hold : In(1), Out(1)
        ``hold`` is ``full`` where ``pauses``: a register of its own, for a path that has no time for another gate.
    o_tail : In
        Last grain of the next chunk wanted; must be the next one's in the cycle after ``taken``.
    cut : In(1)
        The last chunk may be short.
    taken : Out(1)
        The next chunk, as large as ``o_tail`` says, is under way to the output.
    o_valid, o_ready, o_data, o_final
        The stream of chunks.
    """

    LATENCY = 6

    clear: Signal
    i_push: Signal
    i_data: Signal
    i_tail: Signal
    i_final: Signal
    full: Signal
    pauses: Signal
    hold: Signal
    o_tail: Signal
    cut: Signal
    taken: Signal
    o_valid: Signal
    o_ready: Signal
    o_data: Signal
    o_final: Signal

    def __init__(self, buffer: Buffer, *, grain: int, primitive: Primitive = "generic") -> None:
        self.width, self.rows, self.grain = buffer.width, buffer.rows, grain
        self.primitive: Primitive = primitive
        self.columns = self.width // grain
        self.full_rows = buffer.full_rows
        if self.full_rows < 1:
            raise ValueError(f"rows must be more than {self.rows} for a margin of {buffer.margin} bytes")
        width = self.width
        tail = unsigned((self.columns - 1).bit_length())
        super().__init__(
            {
                # The stubs still call `init` what it was in Amaranth 0.4.
                "clear": In(1, init=1),  # pyright: ignore[reportCallIssue]
                "i_push": In(1),
                "i_data": In(unsigned(8 * width)),
                "i_tail": In(tail),
                "i_final": In(1),
                "full": Out(1),
                "pauses": In(1),
                "hold": Out(1),
                "o_tail": In(tail),
                "cut": In(1),
                "taken": Out(1),
                "o_valid": Out(1),
                "o_ready": In(1),
                "o_data": Out(unsigned(8 * width)),
                "o_final": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        writes, placed, count, final = self._place(m)
        leaves = Signal()
        m.d.comb += leaves.eq(self.o_valid & self.o_ready)
        ends, left = self._level(m, count, final, leaves)
        reads, push, chunk = self._take(m, ends, left)
        self._queue(m, push, chunk, leaves)
        for c in range(self.columns):
            # What is wanted of a column was written at least a cycle before. The stubs know attributes of text only.
            attributes: Any = {"no_rw_check": 1}
            m.submodules[f"column{c}"] = memory = Memory(
                shape=unsigned(8 * self.grain), depth=self.rows, init=[], attrs=attributes
            )
            write, read = memory.write_port(), memory.read_port(domain="comb")
            m.d.comb += [write.en.eq(writes[c]), write.data.eq(placed[c])]
            m.d.comb += reads[c][1].eq(read.data)
            for address, step in ((write.addr, writes[c]), (read.addr, reads[c][0])):
                row = Signal.like(address, reset_less=True)
                m.d.comb += address.eq(row)
                m.d.sync += row.eq(Mux(self.clear, 0, row + step))
        return m

    def _place(self, m: Module) -> tuple[Signal, list[Signal], Signal, Signal]:
        """Bring a chunk to its columns: write strobes and data; and the grains of the chunk a cycle before, if any."""
        bits = 8 * self.grain
        chunk = Signal(8 * self.width, reset_less=True)
        used, count = Signal(self.columns, reset_less=True), Signal(range(self.columns + 1), reset_less=True)
        final, place = Signal(reset_less=True), Signal((self.columns - 1).bit_length(), reset_less=True)
        m.d.sync += [
            chunk.eq(self.i_data),
            used.eq(Mux(self.i_push, up_to(self.i_tail, self.columns), 0)),
            count.eq(Mux(self.i_push, self.i_tail + 1, 0)),
            final.eq(self.i_push & self.i_final),
            place.eq(Mux(self.clear, 0, place + count)),
        ]
        writes = Signal(self.columns, reset_less=True)
        placed = [Signal(bits, name=f"placed{c}", reset_less=True) for c in range(self.columns)]
        grains = [Cat(used[c], chunk.word_select(c, bits)) for c in range(self.columns)]
        for c, grain in enumerate(rotate(grains, place, left=False)):
            m.d.sync += [writes[c].eq(grain[0] & ~self.clear), placed[c].eq(grain[1:])]
        return writes, placed, count, final

    def _level(self, m: Module, count: Signal, final: Signal, leaves: Signal) -> tuple[Signal, Value]:
        """Decide in which cycle a chunk is taken; return whether it ends the stream, and how many grains were left."""
        low = (self.columns - 1).bit_length()
        level = Signal(range(self.rows * self.columns + 1), reset_less=True)
        ended, closed = Signal(reset_less=True), Signal(reset_less=True)
        enough, ends, filled = Signal(), Signal(), Signal()
        # Chunks taken that have not left. `opened`: the stream has not ended, and there is room for one more chunk
        # beside one that the count does not know of yet: all that `taken` asks for beside bytes, in a register.
        under_way, opened = Signal(range(MOST_CHUNKS + 1), reset_less=True), Signal(reset_less=True)
        with m.If(self.taken & ~leaves):
            m.d.sync += under_way.eq(under_way + 1)
        with m.Elif(leaves & ~self.taken):
            m.d.sync += under_way.eq(under_way - 1)
        m.d.comb += [
            enough.eq(level[low:].any() | ~up_to(self.o_tail, self.columns).bit_select(level[:low], 1)),
            ends.eq(ended & (~enough | (self.cut & (level == self.o_tail + 1)))),
            self.taken.eq((enough | ended) & opened),
            # Whatever the level is after the last chunk.
            filled.eq((level[low:] >= self.full_rows) & ~closed),
        ]
        # Both sums are ready when `taken` is. -1 - n is ~n.
        gone = Cat(~self.o_tail, C(-1, len(level) - len(self.o_tail)))
        m.d.sync += [
            opened.eq((under_way <= MOST_CHUNKS - 2) & ~(closed | (self.taken & ends))),
            level.eq(Mux(self.taken, level + (count + gone), level + count)),
            self.full.eq(filled),
            self.hold.eq(filled & self.pauses),
            ended.eq(ended | final),
            closed.eq(closed | (self.taken & ends)),
        ]
        with m.If(self.clear):
            m.d.sync += [
                level.eq(0), self.full.eq(0), self.hold.eq(0), ended.eq(0), closed.eq(0), under_way.eq(0), opened.eq(1)
            ]  # fmt: skip
        return ends, level[: low + 1]

    def _take(self, m: Module, ends: Signal, left: Value) -> tuple[list[tuple[Signal, Signal]], Signal, Value]:
        """Bring columns to a chunk.

        Return for each column whether it is read, and the signal for what it holds; the chunk's strobe; and its bytes,
        with a bit whether it ends the stream.
        """
        bits, columns = 8 * self.grain, self.columns
        place = Signal((columns - 1).bit_length(), reset_less=True)
        # What was taken: a register of its own, since columns and level lie far apart; then where it lies; then what
        # the columns hold; then the chunk.
        goes, tail = Signal(reset_less=True), Signal.like(self.o_tail, reset_less=True)
        goes_ends, goes_left = Signal(reset_less=True), Signal.like(left, reset_less=True, name="goes_left")
        m.d.sync += [goes.eq(self.taken), tail.eq(self.o_tail), goes_ends.eq(ends), goes_left.eq(left)]
        with m.If(goes):
            m.d.sync += place.eq(place + tail + 1)
        wanted, wanted_place = Signal(columns, reset_less=True), Signal.like(place)
        wanted_left = Signal.like(left, reset_less=True, name="wanted_left")
        held, held_place = Signal(8 * self.width, reset_less=True), Signal.like(place)
        kept = Signal(columns, reset_less=True)
        valid, final = Signal(2, reset_less=True), Signal(2, reset_less=True)
        read = [Signal(name=f"read{c}") for c in range(columns)]
        heads = [Signal(bits, name=f"head{c}") for c in range(columns)]
        for c, bit in enumerate(rotate(list(wanted), wanted_place, left=False)):
            m.d.comb += read[c].eq(bit & valid[0])
        grains = rotate([held.word_select(c, bits) for c in range(columns)], held_place, left=True)
        m.d.sync += [
            wanted.eq(up_to(tail, columns)),
            wanted_place.eq(place),
            wanted_left.eq(goes_left),
            held.eq(Cat(heads)),
            held_place.eq(wanted_place),
            kept.eq(Mux(final[0], up_to(wanted_left, columns + 1)[1:], -1)),
            valid.eq(Cat(goes, valid)),
            final.eq(Cat(goes_ends, final)),
        ]
        with m.If(self.clear):
            m.d.sync += [goes.eq(0), place.eq(0), valid.eq(0)]
        chunk = Cat(*(Mux(kept[c], grain, 0) for c, grain in enumerate(grains)), final[1])
        push = Signal()
        m.d.comb += push.eq(valid[1])
        return list(zip(read, heads, strict=True)), push, chunk

    def _queue(self, m: Module, push: Signal, chunk: Value, leaves: Signal) -> None:
        """Keep the chunks that have not been taken from the output."""
        head, tail, following = (Signal(range(LEAST_ROWS), name=n, reset_less=True) for n in ("head", "tail", "next"))
        m.d.comb += following.eq(Mux(self.clear, 0, head + leaves))
        m.d.sync += [tail.eq(Mux(self.clear, 0, tail + push)), head.eq(following)]
        # The bit beside the bytes would take a block RAM of its own.
        for name, pushed, out in (("queue", chunk[:-1], self.o_data), ("ends", chunk[-1:], self.o_final)):
            in_block_ram = self.primitive == "sb_mac16" and name == "queue"
            attributes = {"ram_style": "block"} if in_block_ram else {}
            m.submodules[name] = memory = Memory(shape=unsigned(len(out)), depth=LEAST_ROWS, init=[], attrs=attributes)
            write = memory.write_port()
            m.d.comb += [write.en.eq(push), write.addr.eq(tail), write.data.eq(pushed)]
            if in_block_ram:
                # As below, the address a cycle before: a block RAM has a register behind it.
                read = memory.read_port(domain="sync", transparent_for=[write])
                m.d.comb += read.addr.eq(following)
            else:
                read = memory.read_port(domain="comb")
                m.d.comb += read.addr.eq(head)
            m.d.comb += out.eq(read.data)
        # Never full: `_level` sees to that. No register: who takes a chunk is known late.
        m.d.comb += self.o_valid.eq(tail != head)
