"""Drivers of one stream port, AXI4-Stream or Amaranth, with seeded random stalls.

Both sides follow the one rule of such streams: ``valid``, once high, stays high with the same payload until
``ready``. A receiver with stalls checks that rule.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from cocotb.triggers import ClockCycles, RisingEdge

from heddle.sim.bench import cycle


class StreamPort:
    """One end of the stream ``name`` of ``dut``: :meth:`send` into an input, or :meth:`receive` from an output.

    Which signals the port has tells its kind: ``<name>_tdata/_tvalid/_tready/_tlast`` (AXI4-Stream) or
    ``<name>__payload/__valid/__ready`` (Amaranth). An unstalled beat costs one wake-up of Python, and waiting for
    the other side costs none.

    Parameters
    ----------
    rng
        Source of the stalls; needed if ``stall`` is not 0.
    stall
        Probability, each cycle, that this end does not offer (or accept) a beat. ``0 <= stall < 1``.
    signed
        Received payloads are two's complement.

    Attributes
    ----------
    first_cycle, last_cycle
        The cycles (:func:`heddle.sim.bench.cycle`) in which the first and the last beat passed; ``None`` before.
    """

    first_cycle: int | None
    last_cycle: int | None

    def __init__(
        self, dut: Any, name: str, *, rng: Random | None = None, stall: float = 0.0, signed: bool = False
    ) -> None:
        if not 0 <= stall < 1:
            raise ValueError(f"stall must be in [0, 1), not {stall}")
        if stall and rng is None:
            raise ValueError("rng must be given where stall is not 0")
        self.name, self._rng, self._stall, self._signed = name, rng or Random(0), stall, signed
        axi = hasattr(dut, f"{name}_tdata")
        prefix, payload = (f"{name}_t", "data") if axi else (f"{name}__", "payload")
        self._clock = dut.clk
        self._payload, self._valid, self._ready = (getattr(dut, prefix + s) for s in (payload, "valid", "ready"))
        self._last = getattr(dut, f"{name}_tlast") if axi else None
        self._edge, self._rises = RisingEdge(self._clock), {id(s): RisingEdge(s) for s in (self._valid, self._ready)}
        self.first_cycle = self.last_cycle = None

    def idle_sender(self) -> "StreamPort":
        """Drive an idle sender's levels; call before reset. Returns the port."""
        self._valid.value, self._payload.value = 0, 0
        if self._last is not None:
            self._last.value = 0
        return self

    def idle_receiver(self) -> "StreamPort":
        """Drive an idle receiver's levels; call before reset. Returns the port."""
        self._ready.value = 0
        return self

    async def send(self, payloads: Sequence[int]) -> None:
        """Send one packet: every payload in order, the last with ``tlast``."""
        for index, payload in enumerate(payloads):
            if pause := self._pause():
                self._valid.value = 0
                await ClockCycles(self._clock, pause)
            self._payload.value = payload
            if self._last is not None and index in (0, len(payloads) - 1):
                self._last.value = int(index == len(payloads) - 1)
            self._valid.value = 1
            await self._transfer(self._ready)
        self._valid.value = 0

    async def receive(self, count: int) -> list[int]:
        """Receive ``count`` beats, whatever ``tlast`` says; not ready afterwards."""
        payloads = [(await self._accept())[0] for _ in range(count)]
        self._ready.value = 0
        return payloads

    async def receive_packet(self, count: int) -> list[int]:
        """Receive one packet that must have ``count`` beats.

        Raises
        ------
        AssertionError
            ``tlast`` came early, or not with the last beat.
        """
        payloads = []
        for index in range(count):
            payload, last = await self._accept()
            payloads.append(payload)
            assert last == (index == count - 1), f"{self.name}: tlast is {int(last)} at beat {index} of {count}"
        self._ready.value = 0
        return payloads

    async def _accept(self) -> tuple[int, bool]:
        if pause := self._pause():
            self._ready.value = 0
            await self._watch(pause)
        self._ready.value = 1
        await self._transfer(self._valid)
        value = self._payload.value
        return value.to_signed() if self._signed else int(value), self._last is not None and bool(self._last.value)

    async def _transfer(self, other: Any) -> None:
        """Wait for the clock edge at which ``other`` is high, asleep while it is low."""
        await self._edge
        while not other.value:
            await self._rises[id(other)]
            await self._edge
        self.last_cycle = cycle()
        if self.first_cycle is None:
            self.first_cycle = self.last_cycle

    async def _watch(self, cycles: int) -> None:
        """Spend ``cycles`` not ready, checking that an offered beat stays as it is."""
        offered = None
        for _ in range(cycles):
            await self._edge
            now = int(self._payload.value) if self._valid.value else None
            assert offered is None or now == offered, f"{self.name}: offered {offered}, then {now} before ready"
            offered = now

    def _pause(self) -> int:
        """Draw for how many cycles to stall before the next beat."""
        pause = 0
        while self._stall and self._rng.random() < self._stall:
            pause += 1
        return pause
