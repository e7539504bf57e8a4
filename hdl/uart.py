"""A serial port, 8 data bits, no parity, one stop bit: bytes to a line and back, at any fraction of the clock.

Bit times come from a phase that overflows once a bit, so that the rate is met on average whatever the clock: an edge is
at most a cycle early or late, and errors do not add up over a byte.
"""

import math
from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

EXACT_BITS = 10
"""The phase advances by so many bits or one more each cycle: rounded, a rate is met within one in 2,000."""
LEAST_CLOCKS = 4
"""Cycles in the shortest bit."""
_BITS = 10
"""Start, eight of data, stop."""


@dataclass(frozen=True, kw_only=True)
class SerialRate:
    """Rates of a serial port, in Hz: of the clock, and of bits on the line.

    Raises
    ------
    ValueError
        If a bit is shorter than :data:`LEAST_CLOCKS` cycles.
    """

    clock_hz: float
    baud: float

    def __post_init__(self) -> None:
        if not 0 < LEAST_CLOCKS * self.baud <= self.clock_hz:
            raise ValueError(
                f"baud must be positive and at most {self.clock_hz / LEAST_CLOCKS:g}, a {LEAST_CLOCKS}th of the clock, "
                f"not {self.baud:g}"
            )

    @property
    def phase_bits(self) -> int:
        """The phase passes ``2 ** phase_bits`` in a bit."""
        return EXACT_BITS + math.ceil(math.log2(self.clock_hz / self.baud))

    @property
    def increment(self) -> int:
        """What the phase advances each cycle."""
        return round(self.baud / self.clock_hz * 2**self.phase_bits)


class _BitClock:
    """The phase within a bit, ``half`` in its middle; ``tick`` in the cycle in which it overflows."""

    def __init__(self, m: Module, rate: SerialRate) -> None:
        bits = rate.phase_bits
        self.phase, self.tick, advanced = Signal(bits), Signal(), Signal(bits)
        self.half = 1 << (bits - 1)
        m.d.comb += Cat(advanced, self.tick).eq(self.phase + Const(rate.increment, bits))
        m.d.sync += self.phase.eq(advanced)


class UartReceiver(wiring.Component):
    """Bytes from the line ``rx``. A byte whose stop bit is missing is dropped; one that nobody takes is overwritten.

    Members
    -------
    rx : In(1)
        The line, asynchronous; idle is high.
    o : Out(stream of 8 bits)
        Each byte is offered from the middle of its stop bit on, until the next has arrived.
    """

    rx: Signal
    o: stream.Interface

    def __init__(self, rate: SerialRate) -> None:
        self.rate = rate
        super().__init__({"rx": In(1), "o": Out(stream.Signature(unsigned(8)))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        line, idle, broken = Signal(init=1), Signal(init=1), Signal()
        m.submodules.synchronizer = FFSynchronizer(self.rx, line, init=1)
        clock = _BitClock(m, self.rate)
        count, bits = Signal(range(_BITS)), Signal(8)
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(broken):
            m.d.sync += broken.eq(~line)
        with m.Elif(idle):
            # The first sample is due half a bit after the start bit has begun.
            m.d.sync += [clock.phase.eq(clock.half), count.eq(0), idle.eq(line)]
        with m.Elif(clock.tick):
            m.d.sync += count.eq(count + 1)
            with m.If(count == 0):
                m.d.sync += idle.eq(line)
            with m.Elif(count == _BITS - 1):
                m.d.sync += [idle.eq(1), broken.eq(~line)]
                with m.If(line):
                    m.d.sync += [self.o.payload.eq(bits), self.o.valid.eq(1)]
            with m.Else():
                m.d.sync += bits.eq(Cat(bits[1:], line))
        return m


class UartTransmitter(wiring.Component):
    """Bytes to the line ``tx``, one behind another.

    Members
    -------
    i : In(stream of 8 bits)
        Taken when the byte before has left.
    tx : Out(1)
        The line, from a register; idle is high.
    """

    i: stream.Interface
    tx: Signal

    def __init__(self, rate: SerialRate) -> None:
        self.rate = rate
        super().__init__({"i": In(stream.Signature(unsigned(8))), "tx": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        clock = _BitClock(m, self.rate)
        # Bits still to be sent, the one on the line included.
        left, line = Signal(range(_BITS + 1)), Signal(_BITS, init=(1 << _BITS) - 1)
        m.d.comb += [self.tx.eq(line[0]), self.i.ready.eq(left == 0)]
        with m.If(self.i.ready):
            m.d.sync += clock.phase.eq(0)
            with m.If(self.i.valid):
                m.d.sync += [line.eq(Cat(Const(0, 1), self.i.payload, Const(1, 1))), left.eq(_BITS)]
        with m.Elif(clock.tick):
            m.d.sync += [line.eq(Cat(line[1:], Const(1, 1))), left.eq(left - 1)]
        return m
