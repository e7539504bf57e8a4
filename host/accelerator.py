"""An accelerator behind a byte stream: predictions, counters, and how long they took.

>>> with heddle.open("/dev/ttyUSB0", "out/") as accelerator:  # doctest: +SKIP
...     y = accelerator.predict(x)
"""

from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import Any, Self

import numpy as np

from heddle.errors import InputError, LinkError
from heddle.gen import host
from heddle.gen.host_part import HostPart
from heddle.gen.inputs import Inputs, Outputs
from heddle.gen.ir import Dequantize, Network, Quantize, Tensor
from heddle.host.expected import Expected
from heddle.host.session import Flow, Session
from heddle.host.statistics import Statistics
from heddle.host.stream import ByteStream
from heddle.link.protocol import (
    BITS_PER_BYTE,
    CHECK_BYTES,
    COUNTERS_BYTES,
    FLAG,
    HEADER_BYTES,
    VERSION,
    Counters,
    Identity,
    Kind,
)

IDENTITY_LIMIT = 64 + 16 * 255
"""Bytes: more than the longest identity of a network that can be made."""
DEFAULT_SECONDS = 3.0
DEFAULT_DEPTH = 16
BUFFERED_BYTES = 4096
"""What may be under way: an operating system takes so much at once."""
MARGIN = 1.05
"""By how much longer a device is waited for than it should take: clocks differ, and not by 5 %."""
ATTEMPTS = 10
"""How often a request is sent at most, where nothing comes back."""

Progress = Callable[[int], None]


class Accelerator:
    """A device that holds a network; use it as a context manager, or :meth:`close` it.

    Parameters
    ----------
    stream
        The line; it is closed if anything here raises.
    expected
        The network that the device is to hold. Without one it may hold any, and takes and gives int8 arrays in the
        shapes of its packets.
    baud
        Of the line: how long transfers take.
    seconds
        How long a request may take, repetitions and all: a call ends, with a result or an error, within so much for
        each sample.
    depth
        How many requests are under way at most; 1 waits for each reply.

    Attributes
    ----------
    identity
        What the device says of itself.
    statistics
        Of all predictions so far.

    Raises
    ------
    LinkError
        Nothing answers, what answers is no accelerator, or it holds another network or speaks another version.
    """

    def __init__(
        self,
        stream: ByteStream,
        expected: Expected | None = None,
        *,
        baud: int,
        seconds: float = DEFAULT_SECONDS,
        depth: int = DEFAULT_DEPTH,
    ) -> None:
        if not seconds > 0 or depth < 1:
            stream.close()
            raise InputError(
                f"timeout {seconds:g} and depth {depth}",
                where=stream.where,
                remedy="give more than 0 seconds, and 1 or more",
            )
        self._stream, self._baud = stream, baud
        self._session = Session(stream, limit=IDENTITY_LIMIT, seconds=seconds, patience=seconds / ATTEMPTS)
        try:
            self.identity = self._identify()
            if expected is not None:
                self._check(expected)
            self.host_part = _as_it_is(self.identity) if expected is None else expected.host_part
            sent, replied = (sum(p.size for p in packets) for packets in (self.identity.inputs, self.identity.outputs))
            self._session.expect(max(replied, COUNTERS_BYTES, len(self.identity.pack())))
            self.expected, self.statistics = expected, Statistics(self._session.counts)
            compute_seconds = 0.0 if expected is None else expected.compute_seconds
            # With as many escapes as can be.
            most = [self._line_seconds(2 * (size + HEADER_BYTES + CHECK_BYTES) + 2) for size in (sent, replied)]
            self._session.patience = max(seconds / ATTEMPTS, 2 * (sum(most) + compute_seconds))
            self._flow = self._choose_flow(sent, most[1], depth)
        except BaseException:
            stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the line back."""
        self._stream.close()

    @property
    def depth(self) -> int:
        """How many requests are under way at most."""
        return self._flow.depth

    def predict(self, x: Inputs, *, progress: Progress = lambda done: None) -> Outputs:
        """Return the network's outputs, integers as its file has them, for samples as ``Network.predict`` takes them.

        Parameters
        ----------
        progress
            Called with the number of samples that are done.

        Raises
        ------
        InputError
            Samples that do not match the network's inputs.
        LinkError
            A sample is not answered in time, or the line is gone.
        """
        return self.host_part.run(x, lambda packets: self._infer(packets, progress))

    def predict_real(self, x: Inputs, *, progress: Progress = lambda done: None) -> Outputs:
        """Return the network's outputs as float32 for real-valued inputs, through the scales of its file.

        Raises
        ------
        InputError, LinkError
            As :meth:`predict`; or a tensor has no scale, as all without a network to expect.
        """
        network = self.host_part.network
        given = x if isinstance(x, Mapping) else {network.inputs[0]: x}
        integers = {name: _quantized(network, name, np.asarray(value)) for name, value in given.items()}
        y = self.predict(integers, progress=progress)
        outputs = y if isinstance(y, dict) else {network.outputs[0]: y}
        real = {name: _dequantized(network, name, value) for name, value in outputs.items()}
        return real if isinstance(y, dict) else real[network.outputs[0]]

    def to_json(self, outputs: Outputs) -> dict[str, Any]:
        """Return ``outputs``, and how long they and all before them took, as plain data."""
        plain = {k: v.tolist() for k, v in outputs.items()} if isinstance(outputs, dict) else outputs.tolist()
        return {"outputs": plain, "depth": self.depth, **self.statistics.to_json()}

    def counters(self) -> Counters:
        """Return what the device has counted since its reset.

        Raises
        ------
        LinkError
            It does not answer, or not with counters.
        """
        try:
            return Counters.unpack(self._session.ask(Kind.COUNTERS))
        except ValueError as error:
            raise self._other(str(error)) from error

    def reset(self) -> None:
        """Drop what the device is doing, and set its counters to zero.

        Raises
        ------
        LinkError
            It does not answer.
        """
        self._session.ask(Kind.RESET)

    def _identify(self) -> Identity:
        # What a program before left on the line is no frame of ours.
        self._stream.discard()
        self._stream.write(bytes((FLAG, FLAG)))
        payload = self._session.ask(Kind.IDENTIFY)
        try:
            identity = Identity.unpack(payload)
        except ValueError as error:
            raise self._other(str(error)) from error
        if identity.version != VERSION:
            raise self._other(f"the device speaks version {identity.version} of the host link, this Heddle {VERSION}")
        if not identity.inputs or not identity.outputs:
            raise self._other("the device has no inputs or no outputs")
        return identity

    def _other(self, fact: str) -> LinkError:
        return LinkError(fact, where=self._stream.where, remedy="flash the board with a bitstream of this Heddle")

    def _check(self, expected: Expected) -> None:
        """Refuse a device with another network, or another shape of it."""
        identity = self.identity
        if identity.network != expected.network:
            raise LinkError(
                f"the device holds another network ({identity.network.hex()[:12]}) than "
                f"{expected.name} ({expected.network.hex()[:12]})",
                where=self._stream.where,
                remedy="flash the board with the bitstream of this network, or name the network that it holds",
            )
        if (identity.inputs, identity.outputs) != (expected.inputs, expected.outputs):
            raise LinkError(
                f"the device takes and gives other packets than {expected.name} as it was compiled here",
                where=self._stream.where,
                remedy="flash the board with the bitstream that was made with this manifest",
            )

    def _line_seconds(self, count: int) -> float:
        """Return how long ``count`` bytes take."""
        return count * BITS_PER_BYTE / self._baud

    def _choose_flow(self, sent: int, reply_seconds: float, depth: int) -> Flow:
        """Let requests follow each other where it is known how long the device works."""
        expected = self.expected
        # The same network in another design takes other cycles.
        if depth == 1 or expected is None or not expected.compute_seconds or self.identity.design != expected.design:
            return Flow()
        flags = ceil(MARGIN * (expected.compute_seconds + reply_seconds) / self._line_seconds(1)) + 8
        return Flow(depth=min(depth, max(2, BUFFERED_BYTES // (sent + flags))), flags=flags)

    def _infer(self, packets: Sequence[np.ndarray], progress: Progress) -> list[np.ndarray]:
        """Return the output packets of all samples."""
        count, sizes = len(packets[0]), [packet.size for packet in self.identity.outputs]
        payloads = [b"".join(packet[index].tobytes() for packet in packets) for index in range(count)]
        result = np.empty((count, sum(sizes)), np.uint8)
        start = self._stream.now()
        for index, reply, seconds in self._session.ask_all(Kind.INFER, payloads, self._flow):
            if len(reply) != sum(sizes):
                raise self._other(f"the device replied with {len(reply)} bytes, not {sum(sizes)}")
            result[index] = np.frombuffer(reply, np.uint8)
            self.statistics.add(seconds)
            progress(index + 1)
        self.statistics.seconds += self._stream.now() - start
        return np.split(result, np.cumsum(sizes)[:-1], axis=1)


def _as_it_is(identity: Identity) -> HostPart:
    """Return the host's part of a network of which only the packets are known."""
    packets = {"input": identity.inputs, "output": identity.outputs}
    tensors = [
        Tensor(name=f"{role}{index}", shape=(1, packet.height, packet.width, packet.channels))
        for role, group in packets.items()
        for index, packet in enumerate(group)
    ]
    inputs, outputs = (tuple(t.name for t in tensors if t.name.startswith(role)) for role in packets)
    network = Network(
        name="device", tensors={t.name: t for t in tensors}, nodes=(), inputs=inputs, outputs=outputs,
        sha256=identity.network.hex(),
    )  # fmt: skip
    return HostPart(network=network, inputs=inputs, outputs=outputs)


def _quantized(network: Network, name: str, x: np.ndarray) -> np.ndarray:
    tensor = network.tensors.get(name)
    # An unknown name is refused with the samples.
    if tensor is None or tensor.dtype == "float32":
        return x
    if x.dtype.kind not in "fiu" or not np.isfinite(x).all():
        raise InputError(f"{x.dtype} values that are not finite numbers", where=name, remedy="pass finite numbers")
    real = Tensor(name=name, shape=tensor.shape, dtype="float32")
    node = Quantize(name=name, op="QUANTIZE", inputs=(name,), output=name)
    return host.execute(node, x.astype(np.float32), real, _scaled(tensor))


def _dequantized(network: Network, name: str, y: np.ndarray) -> np.ndarray:
    tensor = network.tensors[name]
    if tensor.dtype not in ("int8", "uint8"):
        return y.astype(np.float32)
    real = Tensor(name=name, shape=tensor.shape, dtype="float32")
    node = Dequantize(name=name, op="DEQUANTIZE", inputs=(name,), output=name)
    return host.execute(node, y, _scaled(tensor), real)


def _scaled(tensor: Tensor) -> Tensor:
    if not tensor.scale > 0:
        raise InputError("has no scale", where=tensor.name, remedy="open the device with its network, or pass integers")
    return tensor
