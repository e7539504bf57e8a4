"""A device on a line, both in Python and in time of their own: what the driver is tested against, faults and all."""

import random
from collections import deque
from collections.abc import Callable
from zlib import crc32

from heddle.errors import LinkError
from heddle.link.protocol import (
    CHECK_BYTES,
    ESCAPE,
    FLAG,
    FLIP,
    HEADER_BYTES,
    REFUSED,
    REPLY,
    Counters,
    Frame,
    Identity,
    Kind,
    Refusal,
)


class Device:
    """What :class:`heddle.hdl.link.HostLink` does, byte by byte; ``answer`` is its accelerator.

    A byte taken at some time gives bytes, each with the time at which it is sent.
    """

    def __init__(
        self, identity: Identity, answer: Callable[[bytes], bytes], *, compute_seconds: float, byte_seconds: float
    ) -> None:
        self.identity, self.answer = identity, answer
        self.compute_seconds, self.byte_seconds = compute_seconds, byte_seconds
        self.inferences = self.damaged = self.abandoned = 0
        self.sent: deque[tuple[float, int]] = deque()
        self._body, self._escaped = bytearray(), False
        self._infers_until = 0.0
        self._free_at = 0.0

    def take(self, byte: int, now: float) -> None:
        """Take a byte of the line."""
        if byte == FLAG:
            if self._body or self._escaped:
                self._end(bytes(self._body), now)
            self._body.clear()
            self._escaped = False
        elif byte == ESCAPE:
            self._escaped = True
        else:
            self._body.append(byte ^ FLIP if self._escaped else byte)
            self._escaped = False
            # Its header is known when the fourth byte behind it has come.
            if len(self._body) == HEADER_BYTES + CHECK_BYTES and self._body[0] == Kind.INFER:
                self._cut(now)

    def _end(self, body: bytes, now: float) -> None:
        good = len(body) >= HEADER_BYTES + CHECK_BYTES and not self._escaped
        good = good and crc32(body[:-CHECK_BYTES]) == int.from_bytes(body[-CHECK_BYTES:], "little")
        self.damaged += not good
        if len(body) < HEADER_BYTES + CHECK_BYTES:
            return
        kind, sequence, payload = body[0], body[1], body[HEADER_BYTES:-CHECK_BYTES]
        if not good:
            self._refuse(sequence, Refusal.DAMAGED, now)
        elif kind not in list(Kind):
            self._refuse(sequence, Refusal.KIND, now)
        elif len(payload) != (sum(p.size for p in self.identity.inputs) if kind == Kind.INFER else 0):
            self._refuse(sequence, Refusal.LENGTH, now)
        else:
            self._do(Kind(kind), sequence, payload, now)

    def _do(self, kind: Kind, sequence: int, payload: bytes, now: float) -> None:
        reply, ready = b"", now
        if kind == Kind.INFER:
            reply, ready = self.answer(payload), now + self.compute_seconds
            self.inferences += 1
        elif kind == Kind.IDENTIFY:
            reply = self.identity.pack()
        elif kind == Kind.COUNTERS:
            reply = Counters(
                cycles=2, busy_cycles=1, inferences=self.inferences, damaged=self.damaged, abandoned=self.abandoned
            ).pack()
        else:
            self._cut(now)
            self.inferences = self.damaged = self.abandoned = 0
        self._send(Frame(kind=kind | REPLY, sequence=sequence, payload=reply).encode(), ready)
        if kind == Kind.INFER:
            self._infers_until = self._free_at

    def _refuse(self, sequence: int, reason: Refusal, now: float) -> None:
        self._send(Frame(kind=REFUSED, sequence=sequence, payload=bytes((reason,))).encode(), now)

    def _send(self, data: bytes, ready: float) -> None:
        self._free_at = max(self._free_at, ready)
        for byte in data:
            self._free_at += self.byte_seconds
            self.sent.append((self._free_at, byte))

    def _cut(self, now: float) -> None:
        """Drop what is computed or being replied."""
        if now < self._infers_until:
            while self.sent and self.sent[-1][0] > now:
                self.sent.pop()
            self.abandoned += 1
            self.inferences -= 1
            self._free_at = self._infers_until = now
            self._send(bytes((ESCAPE, FLAG)), now)


class Line:
    """A :class:`heddle.host.stream.ByteStream` to a :class:`Device`, in simulated time.

    Parameters
    ----------
    rate
        Chance of a fault, of each byte and in either direction.
    latency_seconds
        How long a byte takes from the device to the reader, beyond its time on the line.
    """

    where = "line"

    def __init__(self, device: Device, *, seed: int = 0, rate: float = 0.0, latency_seconds: float = 0.0) -> None:
        self.device, self.rate, self.latency_seconds = device, rate, latency_seconds
        self.faults, self.closed, self.pulled = 0, False, False
        self._rng, self._time, self._arrival = random.Random(seed), 0.0, 0.0

    def now(self) -> float:
        return self._time

    def write(self, data: bytes) -> None:
        self._check()
        for byte in self._through(data):
            self._arrival = max(self._arrival, self._time) + self.device.byte_seconds
            self.device.take(byte, self._arrival)

    def read(self, seconds: float) -> bytes:
        self._check()
        end, sent = self._time + seconds, self.device.sent
        if not sent or sent[0][0] + self.latency_seconds > end:
            self._time = end
            return b""
        self._time = max(self._time, sent[0][0] + self.latency_seconds)
        data = bytearray()
        while sent and sent[0][0] + self.latency_seconds <= self._time:
            data.append(sent.popleft()[1])
        return self._through(bytes(data))

    def discard(self) -> None:
        self.device.sent.clear()

    def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        if self.pulled:
            raise LinkError("the connection broke", where=self.where, remedy="check the cable")

    def _through(self, data: bytes) -> bytes:
        """Return what arrives of ``data``."""
        if not self.rate:
            return data
        arrived = bytearray()
        for byte in data:
            arrived += self._faulty(byte) if self._rng.random() < self.rate else bytes((byte,))
        return bytes(arrived)

    def _faulty(self, byte: int) -> bytes:
        self.faults += 1
        rng = self._rng
        match rng.randrange(6):
            case 0:
                return b""
            case 1:
                return bytes((byte, byte))
            case 2:
                return bytes((byte ^ 1 << rng.randrange(8),))
            case 3:
                return rng.randbytes(1)
            case 4:
                return bytes((byte,)) + rng.randbytes(rng.randrange(1, 6))
            case _:
                return bytes(rng.choice((FLAG, ESCAPE, Kind.INFER, 0)) for _ in range(rng.randrange(1, 4)))
