"""Requests to a device and its replies, whatever happens on the line between.

A request is sent again, under a new number, when it or its reply is known to be lost: a reply to a later one came, the
device refused it as damaged, or nothing came for a while. That is safe, since all requests can be repeated. What is not
a reply to a request that waits for one is passed over, so nothing on the line can become a result but a whole reply.

A device works on one request at a time, and a later one replaces it. Requests can still follow each other without
waiting for replies: each is followed by as many flags, which mean nothing, as the line takes to send while the device
works and replies. So the time that a reply takes to arrive costs nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from heddle.errors import LinkError
from heddle.host.stream import ByteStream
from heddle.link.protocol import CHECK_BYTES, FLAG, HEADER_BYTES, REFUSED, REPLY, Decoder, Frame, Kind, Refusal

FRESH = 200
"""So many requests may be sent without any reply: all numbers have not been used then, and none means two requests."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """How requests follow each other.

    Parameters
    ----------
    depth
        How many may be under way.
    flags
        How many flags follow each where more than one may be.
    """

    depth: int = 1
    flags: int = 0


@dataclass(eq=False)
class _Pending:
    index: int
    payload: bytes
    sent_at: float = 0.0
    sequences: list[int] = field(default_factory=list)


@dataclass(kw_only=True)
class Counts:
    """What happened on the line: requests that were sent again, and frames that were damaged, by who noticed."""

    repeated: int = 0
    damaged_requests: int = 0
    damaged_replies: int = 0


class Session:
    """The host's side of the link.

    Parameters
    ----------
    stream
        The line.
    limit
        Bytes of the longest reply's payload.
    seconds
        How long a request may take from when all before it are answered, repetitions and all.
    patience
        Seconds without any reply after which what is under way is sent again: more than a reply can take.
    """

    def __init__(self, stream: ByteStream, *, limit: int, seconds: float, patience: float) -> None:
        self.stream, self.seconds, self.patience, self.counts = stream, seconds, patience, Counts()
        self._decoder, self._sequence = Decoder(limit), 0
        self._heard = 0

    def expect(self, limit: int) -> None:
        """Take replies of up to ``limit`` bytes from now on."""
        self._decoder.limit = HEADER_BYTES + limit + CHECK_BYTES

    def ask(self, kind: Kind, payload: bytes = b"") -> bytes:
        """Return the reply to one request.

        Raises
        ------
        LinkError
            There is none in time, the device refuses, or the line is gone.
        """
        ((_, reply, _),) = self.ask_all(kind, [payload], Flow())
        return reply

    def ask_all(self, kind: Kind, payloads: Sequence[bytes], flow: Flow) -> Iterator[tuple[int, bytes, float]]:
        """Yield the replies to requests in their order: index, payload, and seconds from when it was sent last.

        Raises
        ------
        LinkError
            As :meth:`ask`.
        """
        queue = iter([_Pending(index, payload) for index, payload in enumerate(payloads)])
        # In the order in which they were sent; those that are to be sent again come before new ones.
        waiting: list[_Pending] = []
        again: list[_Pending] = []
        answers: dict[int, tuple[bytes, float]] = {}
        allowed, unanswered = flow.depth, 0
        since = alive = self.stream.now()
        for index in range(len(payloads)):
            since = max(since, alive)
            heard, damaged = self._heard, self.counts.damaged_requests + self.counts.damaged_replies
            while index not in answers:
                while len(waiting) < allowed and (pending := _next(again, queue)) is not None:
                    if not waiting:
                        alive = self.stream.now()
                    unanswered += 1
                    if unanswered > FRESH:
                        raise self._silent(heard, damaged)
                    self._send(kind, pending, flow, waiting)
                    waiting.append(pending)
                end = min(since + self.seconds, alive + self.patience)
                frames = self._receive(end)
                for frame in frames:
                    lost, done = self._judge(frame, kind, waiting)
                    if done is not None:
                        now = alive = self.stream.now()
                        unanswered, allowed = 0, min(flow.depth, allowed + 1)
                        waiting.remove(done)
                        answers[done.index] = (frame.payload, now - done.sent_at)
                    if lost:
                        again, waiting = lost + again, [p for p in waiting if p not in lost]
                        self.counts.repeated += len(lost)
                        allowed = 1
                now = self.stream.now()
                if index not in answers and now >= since + self.seconds:
                    raise self._silent(heard, damaged)
                if waiting and now >= alive + self.patience:
                    # None of them will be answered any more, or too late.
                    self.counts.repeated += len(waiting)
                    again, waiting, allowed, alive = waiting + again, [], 1, now
            yield index, *answers.pop(index)

    def _send(self, kind: Kind, pending: _Pending, flow: Flow, waiting: Sequence[_Pending]) -> None:
        taken = {sequence for other in waiting for sequence in other.sequences}
        self._sequence = (self._sequence + 1) % 256
        while self._sequence in taken:
            self._sequence = (self._sequence + 1) % 256
        pending.sequences.append(self._sequence)
        frame = Frame(kind=kind, sequence=self._sequence, payload=pending.payload).encode()
        pending.sent_at = self.stream.now()
        self.stream.write(frame + bytes((FLAG,)) * (flow.flags if flow.depth > 1 else 0))

    def _receive(self, end: float) -> list[Frame]:
        data = self.stream.read(max(0.0, end - self.stream.now()))
        self._heard += len(data)
        frames = list(self._decoder.feed(data))
        self.counts.damaged_replies += self._decoder.damaged
        self._decoder.damaged = 0
        return frames

    def _judge(self, frame: Frame, kind: Kind, waiting: Sequence[_Pending]) -> tuple[list[_Pending], _Pending | None]:
        """Return which requests ``frame`` says are lost, and which one it answers."""
        at = next((i for i, pending in enumerate(waiting) if frame.sequence in pending.sequences), None)
        refused = frame.kind == REFUSED and len(frame.payload) == 1
        if refused and frame.payload[0] == Refusal.DAMAGED:
            self.counts.damaged_requests += 1
            return ([] if at is None else [waiting[at]]), None
        if at is None:
            return [], None
        if refused:
            reason = frame.payload[0]
            name = Refusal(reason).name.lower() if reason in list(Refusal) else f"reason {reason}"
            raise LinkError(
                f"the device refuses a request of {len(waiting[at].payload)} bytes ({kind.name.lower()}): {name}",
                where=self.stream.where,
                remedy="flash the board with a bitstream of this network and this version of Heddle",
            )
        if frame.kind != kind | REPLY:
            return [], None
        # Replies come in the order of requests: those to what was sent before will not come any more.
        last = frame.sequence == waiting[at].sequences[-1]
        return list(waiting[:at]) if last else [], waiting[at]

    def _silent(self, heard: int, damaged: int) -> LinkError:
        """Return what is to be said of a request without a reply, by what came instead of it."""
        heard = self._heard - heard
        damaged = self.counts.damaged_requests + self.counts.damaged_replies - damaged
        if not heard:
            fact, remedy = "nothing came back", "check the port, the cable, and that the board is flashed and has power"
        elif damaged:
            fact = f"{damaged} frames were damaged on the way"
            remedy = "check the cable and the baud rate, which is that of the bitstream's manifest"
        else:
            fact, remedy = f"{heard} bytes came back, but no answer", "check the port, the baud rate and the timeout"
        return LinkError(f"no answer within {self.seconds:g} s: {fact}", where=self.stream.where, remedy=remedy)


def _next(again: list[_Pending], queue: Iterator[_Pending]) -> _Pending | None:
    return again.pop(0) if again else next(queue, None)
