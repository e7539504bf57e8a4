"""The JTAG side of an ECP5, and an XVC server before it: what openFPGALoader needs to load a bitstream.

The TAP follows IEEE 1149.1; the instructions and the status register are those of Lattice FPGA-TN-02039. The protocol
is Xilinx' Virtual Cable 1.0.
"""

import socket
import threading
from dataclasses import dataclass, field
from types import TracebackType
from typing import BinaryIO, cast

import numpy as np

Bits = np.ndarray
"""uint8, a bit each, the first first."""

# State: the next where TMS is 0, where it is 1.
STATES = {
    "reset": ("idle", "reset"),
    "idle": ("idle", "select-dr"),
    "select-dr": ("capture-dr", "select-ir"),
    "capture-dr": ("shift-dr", "exit1-dr"),
    "shift-dr": ("shift-dr", "exit1-dr"),
    "exit1-dr": ("pause-dr", "update-dr"),
    "pause-dr": ("pause-dr", "exit2-dr"),
    "exit2-dr": ("shift-dr", "update-dr"),
    "update-dr": ("idle", "select-dr"),
    "select-ir": ("capture-ir", "reset"),
    "capture-ir": ("shift-ir", "exit1-ir"),
    "shift-ir": ("shift-ir", "exit1-ir"),
    "exit1-ir": ("pause-ir", "update-ir"),
    "pause-ir": ("pause-ir", "exit2-ir"),
    "exit2-ir": ("shift-ir", "update-ir"),
    "update-ir": ("idle", "select-dr"),
}

IDCODE, STATUS, BUSY, ENABLE, ERASE, DISABLE = 0xE0, 0x3C, 0xF0, 0xC6, 0x0E, 0x26
INIT_ADDRESS, BURST, BYPASS = 0x46, 0x7A, 0xFF
DONE_BIT, ENABLED_BIT, ERROR_SHIFT = 1 << 8, 1 << 9, 23
"""Of the status register; from ERROR_SHIFT on the reason why a bitstream was not accepted: 1 for a wrong IDCODE."""
WRONG_IDCODE, NOT_READY = 1, 2
VERIFY_ID = b"\xe2\x00\x00\x00"


def bits_of(value: int, count: int) -> Bits:
    return np.array([value >> k & 1 for k in range(count)], np.uint8)


def value_of(bits: Bits) -> int:
    return sum(int(bit) << k for k, bit in enumerate(bits))


@dataclass
class Ecp5Tap:
    """One part in a chain of its own. ``received`` is what came in the last burst, a byte for eight bits."""

    idcode: int
    state: str = "reset"
    instruction: int = IDCODE
    enabled: bool = False
    erased: bool = False
    addressed: bool = False
    done: bool = False
    error: int = 0
    received: bytes = b""
    instructions: list[int] = field(default_factory=list)
    _register: Bits = field(default_factory=lambda: np.zeros(0, np.uint8))
    _shifted: list[Bits] = field(default_factory=list)

    def clock(self, tms: Bits, tdi: Bits) -> Bits:
        """Return TDO for each cycle of TCK."""
        tdo, at = np.zeros(len(tms), np.uint8), 0
        while at < len(tms):
            count = 1
            if self.state.startswith("shift"):
                # As far as TMS stays 0, and the cycle that leaves: it shifts, too.
                leaving = np.flatnonzero(tms[at:])
                count = int(leaving[0]) + 1 if len(leaving) else len(tms) - at
                tdo[at : at + count] = self._shift(tdi[at : at + count])
            self._move(int(tms[at + count - 1]))
            at += count
        return tdo

    def _shift(self, tdi: Bits) -> Bits:
        self._shifted.append(tdi)
        chain = np.concatenate([self._register, tdi])
        self._register = chain[len(tdi) :]
        return chain[: len(tdi)]

    def _move(self, tms: int) -> None:
        self.state = STATES[self.state][tms]
        if self.state == "reset":
            self.instruction = IDCODE
        elif self.state == "capture-dr":
            self._register, self._shifted = self._captured(), []
        elif self.state == "capture-ir":
            self._register, self._shifted = bits_of(1, 8), []
        elif self.state == "update-ir":
            self.instruction = value_of(self._register)
            self.instructions.append(self.instruction)
            self._begin()
        elif self.state == "update-dr":
            self._update(np.concatenate([np.zeros(0, np.uint8), *self._shifted]))

    def _captured(self) -> Bits:
        if self.instruction == IDCODE:
            return bits_of(self.idcode, 32)
        if self.instruction == STATUS:
            status = DONE_BIT * self.done | ENABLED_BIT * self.enabled | self.error << ERROR_SHIFT
            return bits_of(status, 32)
        if self.instruction == BURST:
            return np.zeros(0, np.uint8)
        return np.zeros({ENABLE: 8, ERASE: 8, BUSY: 8}.get(self.instruction, 1), np.uint8)

    def _begin(self) -> None:
        if self.instruction == DISABLE:
            self.enabled = self.erased = self.addressed = False
        elif self.instruction == INIT_ADDRESS:
            self.addressed = self.enabled

    def _update(self, shifted: Bits) -> None:
        if self.instruction == ENABLE:
            self.enabled, self.done, self.error = True, False, 0
        elif self.instruction == ERASE:
            self.erased = self.enabled
        elif self.instruction == BURST:
            # The bit that comes first is a byte's highest.
            self.received = np.packbits(shifted).tobytes()
            start = self.received.find(VERIFY_ID)
            wanted = self.received[start + 4 : start + 8]
            if not (self.enabled and self.erased and self.addressed):
                self.error = NOT_READY
            elif start < 0 or wanted != self.idcode.to_bytes(4, "big"):
                self.error = WRONG_IDCODE
            else:
                self.done = True


class XvcServer:
    """Serves ``tap`` on a port of this machine; a context manager."""

    BUFFER_BYTES = 4096

    def __init__(self, tap: Ecp5Tap) -> None:
        self.tap = tap
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> "XvcServer":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Wakes the thread where nobody came.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(timeout=10)
        self._listener.close()

    def _serve(self) -> None:
        try:
            client, _ = self._listener.accept()
        except OSError:
            return
        with client, client.makefile("rwb") as stream:
            while command := self._command(client, cast(BinaryIO, stream)):
                if command == b"getinfo:":
                    stream.write(b"xvcServer_v1.0:%d\n" % self.BUFFER_BYTES)
                elif command == b"settck:":
                    stream.write(stream.read(4))
                elif command == b"shift:":
                    stream.write(self._shift(cast(BinaryIO, stream)))
                stream.flush()

    @staticmethod
    def _command(client: socket.socket, stream: BinaryIO) -> bytes:
        # The client sends a command and its data apart, and waits for an acknowledgement between them: 40 ms otherwise.
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        command = b""
        while not command.endswith(b":"):
            byte = stream.read(1)
            if not byte:
                return b""
            command += byte
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return command

    def _shift(self, stream: BinaryIO) -> bytes:
        count = int.from_bytes(stream.read(4), "little")
        tms, tdi = (
            np.unpackbits(np.frombuffer(stream.read((count + 7) // 8), np.uint8), count=count, bitorder="little")
            for _ in range(2)
        )
        return np.packbits(self.tap.clock(tms, tdi), bitorder="little").tobytes()
