"""Fixed delays: the static pipeline keeps data and control together by delaying whichever is early."""

from typing import overload

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data


@overload
def delay(m: Module, value: Value, cycles: int, *, name: str, reset: bool = False) -> Value: ...


@overload
def delay(m: Module, value: data.View, cycles: int, *, name: str, reset: bool = False) -> data.View: ...


def delay(m: Module, value: Value | data.View, cycles: int, *, name: str, reset: bool = False) -> Value | data.View:
    """Return ``value`` as it was ``cycles`` cycles ago, in the ``sync`` domain.

    ``reset`` clears the registers on reset: for strobes. Data needs none, and costs less without.
    """
    for i in range(cycles):
        later = Signal.like(value, name=f"{name}_{i + 1}", reset_less=not reset)
        m.d.sync += later.eq(value)
        value = later
    return value
