"""The host link's wire format: the one definition, which the gateware and whatever drives it follow.

Bytes are framed as in RFC 1662 (PPP in HDLC-like framing): :data:`FLAG` before and after each frame, :data:`ESCAPE`
before a byte of a frame that equals either, which is then sent with :data:`FLIP` inverted. A frame holds a kind, a
sequence number, a payload, and the CRC-32 of these (IEEE 802.3, low byte first). All numbers are little-endian.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from enum import IntEnum
from zlib import crc32

VERSION = 1
"""Rises when an older driver could misunderstand a newer device, or the other way round."""

BITS_PER_BYTE = 10
"""On a serial line: start, eight of data, stop."""
DEFAULT_BAUD = 1_000_000
"""Bits a second on a serial line: every USB bridge of the boards has this rate exactly."""

FLAG, ESCAPE, FLIP = 0x7E, 0x7D, 0x20
HEADER_BYTES, CHECK_BYTES = 2, 4
REPLY = 0x80
"""Set in the kind of what a device sends."""


class Kind(IntEnum):
    """What a host asks for; a device answers with the same number and :data:`REPLY`, or with :data:`REFUSED`."""

    IDENTIFY = 1
    """What the device is; answered with an :class:`Identity`."""
    INFER = 2
    """Run the network. Payload: the input packets, one behind another; the reply's: the output packets."""
    COUNTERS = 3
    """Cycles and counts so far; answered with :class:`Counters`."""
    RESET = 4
    """Drop what is under way, and set all counters to zero."""


REFUSED = 0xFF
"""Kind of a reply whose payload is a :class:`Refusal`."""


class Refusal(IntEnum):
    """Why a device does not do what it was asked."""

    DAMAGED = 1
    """The frame's CRC is wrong, or it is too short to have one."""
    KIND = 2
    """There is no such request."""
    LENGTH = 3
    """The payload is too short or too long for the request."""


MAGIC = b"HDDL"
_IDENTITY = struct.Struct("<4sBBBB32s32s")
_PACKET = struct.Struct("<IIII")
IDENTITY_BYTES, PACKET_BYTES = _IDENTITY.size, _PACKET.size


@dataclass(frozen=True, kw_only=True)
class Packet:
    """A tensor as it goes over the link: int8, row by row, a pixel's channels together."""

    height: int
    width: int
    channels: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.height * self.width * self.channels


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What a device says of itself.

    Parameters
    ----------
    network
        SHA-256 of the network file.
    design
        SHA-256 of the accelerator's Verilog.
    inputs, outputs
        Packets of a request and of its reply, in their order.
    version
        Of the protocol.
    """

    network: bytes
    design: bytes
    inputs: tuple[Packet, ...]
    outputs: tuple[Packet, ...]
    version: int = VERSION

    def pack(self) -> bytes:
        """Return the payload."""
        head = _IDENTITY.pack(MAGIC, self.version, len(self.inputs), len(self.outputs), 0, self.network, self.design)
        packets = (*self.inputs, *self.outputs)
        return head + b"".join(_PACKET.pack(p.size, p.height, p.width, p.channels) for p in packets)

    @classmethod
    def unpack(cls, payload: bytes) -> "Identity":
        """Read a payload.

        Raises
        ------
        ValueError
            It is none: not Heddle's, or of another length than it says.
        """
        if len(payload) < _IDENTITY.size or payload[: len(MAGIC)] != MAGIC:
            raise ValueError(f"{payload[:8].hex(' ')}... is not how a Heddle accelerator identifies itself")
        _, version, inputs, outputs, _, network, design = _IDENTITY.unpack_from(payload)
        if len(payload) != _IDENTITY.size + (inputs + outputs) * _PACKET.size:
            raise ValueError(f"{inputs} inputs and {outputs} outputs do not make {len(payload)} bytes")
        packets = []
        for size, height, width, channels in _PACKET.iter_unpack(payload[_IDENTITY.size :]):
            packet = Packet(height=height, width=width, channels=channels)
            if packet.size != size:
                raise ValueError(f"a packet of {height} x {width} x {channels} does not have {size} bytes")
            packets.append(packet)
        return cls(
            network=network,
            design=design,
            inputs=tuple(packets[:inputs]),
            outputs=tuple(packets[inputs:]),
            version=version,
        )


_COUNTERS = struct.Struct("<IIIII")


@dataclass(frozen=True, kw_only=True)
class Counters:
    """What a device counts, each modulo 2**32, all zero after a reset.

    Parameters
    ----------
    cycles
        Of the accelerator's clock, of the last whole inference: from the first input beat taken to the last output beat
        taken. The link is in it.
    busy_cycles
        Of these, from the last input beat taken to the first output beat offered: none of the link's but what overlaps.
    inferences
        Replies to INFER that were given whole.
    damaged
        Frames whose CRC was wrong.
    abandoned
        Inferences that a later request, or a damaged frame, cut short.
    """

    cycles: int
    busy_cycles: int
    inferences: int
    damaged: int
    abandoned: int

    def pack(self) -> bytes:
        """Return the payload."""
        return _COUNTERS.pack(*astuple(self))

    @classmethod
    def unpack(cls, payload: bytes) -> "Counters":
        """Read a payload.

        Raises
        ------
        ValueError
            It is of another length.
        """
        if len(payload) != _COUNTERS.size:
            raise ValueError(f"counters take {_COUNTERS.size} bytes, not {len(payload)}")
        return cls(**dict(zip((field.name for field in fields(cls)), _COUNTERS.unpack(payload), strict=True)))


COUNTERS_BYTES = _COUNTERS.size


@dataclass(frozen=True, kw_only=True)
class Frame:
    """A frame without its CRC."""

    kind: int
    sequence: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """Return the frame as it is sent, flags included."""
        body = bytes((self.kind, self.sequence)) + self.payload
        body += crc32(body).to_bytes(CHECK_BYTES, "little")
        escaped = bytearray()
        for byte in body:
            escaped += bytes((ESCAPE, byte ^ FLIP)) if byte in (FLAG, ESCAPE) else bytes((byte,))
        return bytes((FLAG, *escaped, FLAG))


class Decoder:
    """Finds frames in a stream of bytes, whatever lies between them.

    Attributes
    ----------
    damaged
        How many frames were dropped since their CRC was wrong or they were too short or too long.

    Parameters
    ----------
    limit
        Bytes of the longest payload to expect.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.damaged = HEADER_BYTES + limit + CHECK_BYTES, 0
        self._body, self._escaped = bytearray(), False

    def feed(self, data: Sequence[int]) -> Iterator[Frame]:
        """Yield the frames that ``data`` (bytes) completes."""
        for byte in data:
            if byte == FLAG:
                if self._body or self._escaped:
                    if (frame := self._frame()) is not None:
                        yield frame
                    else:
                        self.damaged += 1
                self._body.clear()
                self._escaped = False
            elif byte == ESCAPE:
                self._escaped = True
            # One byte more than may be: enough to know.
            elif len(self._body) <= self.limit:
                self._body.append(byte ^ FLIP if self._escaped else byte)
                self._escaped = False

    def _frame(self) -> Frame | None:
        body, check = bytes(self._body[:-CHECK_BYTES]), bytes(self._body[-CHECK_BYTES:])
        whole = HEADER_BYTES <= len(body) <= self.limit - CHECK_BYTES and not self._escaped
        if not whole or crc32(body) != int.from_bytes(check, "little"):
            return None
        return Frame(kind=body[0], sequence=body[1], payload=body[HEADER_BYTES:])
