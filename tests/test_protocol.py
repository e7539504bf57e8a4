"""The host link's wire format in Python: what is encoded is decoded, and nothing else is."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle.link.protocol import ESCAPE, FLAG, Counters, Decoder, Frame, Identity, Packet

LIMIT = 40
FRAMES = st.builds(
    Frame,
    kind=st.integers(0, 255),
    sequence=st.integers(0, 255),
    payload=st.lists(st.sampled_from([0, FLAG, ESCAPE, 0x5E, 0x5D, 255]) | st.integers(0, 255), max_size=LIMIT).map(
        bytes
    ),
)
IDENTITY = Identity(
    network=bytes(range(32)),
    design=bytes(32),
    inputs=(Packet(height=2, width=3, channels=4),),
    outputs=(Packet(height=1, width=1, channels=10), Packet(height=1, width=1, channels=1)),
)


@given(frames=st.lists(FRAMES, max_size=4), noise=st.binary(max_size=8), cut=st.integers(0, 100))
def test_frames_are_found_behind_any_noise_and_in_any_pieces(frames: list[Frame], noise: bytes, cut: int) -> None:
    data = b"".join(frame.encode() for frame in frames)
    assert list(Decoder(LIMIT).feed(data)) == frames
    decoder = Decoder(LIMIT)
    stream = noise + bytes((FLAG,)) + data
    found = [*decoder.feed(stream[:cut]), *decoder.feed(stream[cut:])]
    # Noise is a frame once in 2**32.
    assert found[len(found) - len(frames) :] == frames


@given(frame=FRAMES, at=st.integers(0, 1000), flip=st.integers(1, 255))
def test_a_frame_with_one_byte_changed_is_never_another_one(frame: Frame, at: int, flip: int) -> None:
    data = bytearray(frame.encode())
    data[at % len(data)] ^= flip
    decoder = Decoder(LIMIT)
    # Where a flag goes, the frame is not seen to begin or end, and may still be found by the next flag.
    assert set(decoder.feed(bytes(data) + bytes((FLAG,)))) <= {frame}


def test_dropped_frames_are_counted_and_too_long_ones_take_no_room() -> None:
    decoder, frame = Decoder(4), Frame(kind=1, sequence=2, payload=b"12345")
    assert list(decoder.feed(frame.encode())) == []
    assert list(decoder.feed(bytes(10_000) + bytes((FLAG,)))) == []
    assert list(decoder.feed(bytes((1, 2, FLAG, ESCAPE, FLAG)))) == []
    assert decoder.damaged == 4
    assert len(decoder._body) == 0
    list(decoder.feed(bytes(10_000)))
    assert len(decoder._body) <= decoder.limit + 1


def test_identity_and_counters_are_read_as_they_were_written() -> None:
    assert Identity.unpack(IDENTITY.pack()) == IDENTITY
    counters = Counters(cycles=1, busy_cycles=2, inferences=3, damaged=4, abandoned=2**32 - 1)
    assert Counters.unpack(counters.pack()) == counters
    assert struct.unpack("<5I", counters.pack()) == (1, 2, 3, 4, 2**32 - 1)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"HDDX" + IDENTITY.pack()[4:], "not how a Heddle accelerator identifies itself"),
        (IDENTITY.pack()[:40], "not how a Heddle accelerator identifies itself"),
        (IDENTITY.pack()[:-1], "1 inputs and 2 outputs do not make"),
        (IDENTITY.pack()[:-1] + b"\1", "a packet of 1 x 1 x 16777217 does not have 1 bytes"),
    ],
)
def test_what_is_no_identity_is_refused(payload: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Identity.unpack(payload)


def test_counters_of_another_length_are_refused() -> None:
    with pytest.raises(ValueError, match="20 bytes, not 3"):
        Counters.unpack(b"123")
