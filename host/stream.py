"""Byte streams to a device, through pyserial: serial ports, pseudo-terminals, ``socket://host:port``."""

import errno
import time
from typing import Any, Protocol

from heddle.errors import LinkError, ToolError

QUANTUM_SECONDS = 0.02
"""How long a read waits at a time: by so much a deadline may be missed."""


class ByteStream(Protocol):
    """What a session talks over. Every method may raise :class:`~heddle.errors.LinkError` where the line is gone."""

    where: str
    """What errors call it."""

    def now(self) -> float:
        """Return the time in seconds by the clock that counts here."""
        ...

    def read(self, seconds: float) -> bytes:
        """Return what has come, or nothing if nothing comes for so long."""
        ...

    def write(self, data: bytes) -> None:
        """Send ``data``."""
        ...

    def discard(self) -> None:
        """Forget what has come."""
        ...

    def close(self) -> None:
        """Give the line back."""
        ...


class SerialStream:
    """A port that pyserial opens, for this process alone.

    Parameters
    ----------
    port
        ``/dev/ttyUSB0``, ``COM3``, ``socket://localhost:4000``, or what else pyserial knows.
    baud
        Bits a second.
    write_seconds
        How long the port may refuse to take what is sent.

    Raises
    ------
    LinkError
        The port cannot be opened, or another program has it.
    ToolError
        pyserial is not installed.
    """

    def __init__(self, port: str, *, baud: int, write_seconds: float) -> None:
        try:
            import serial
        except ModuleNotFoundError:
            raise ToolError(
                "the Python package pyserial is not installed",
                where="pyserial",
                remedy="pip install pyserial",
            ) from None
        self.where, self._failures = port, (serial.SerialException, OSError, ValueError)
        try:
            self._port: Any = serial.serial_for_url(
                port, baudrate=baud, timeout=QUANTUM_SECONDS, write_timeout=write_seconds, exclusive=True
            )
        except self._failures as error:
            raise LinkError(f"cannot be opened ({error})", where=port, remedy=_remedy(error)) from error
        self._timeout = serial.SerialTimeoutException

    def now(self) -> float:
        """Return seconds of a clock that only rises."""
        return time.monotonic()

    def read(self, seconds: float) -> bytes:
        """Return what has come, or nothing if nothing comes for so long."""
        end = time.monotonic() + seconds
        try:
            while True:
                if data := self._port.read(1):
                    return data + self._port.read(self._port.in_waiting)
                if time.monotonic() >= end:
                    return b""
        except self._failures as error:
            raise self._broken(error) from error

    def write(self, data: bytes) -> None:
        """Send ``data``."""
        try:
            self._port.write(data)
        except self._timeout as error:
            raise LinkError(
                f"took none of what was sent for {self._port.write_timeout:g} s",
                where=self.where,
                remedy="check that a board is connected and running",
            ) from error
        except self._failures as error:
            raise self._broken(error) from error

    def discard(self) -> None:
        """Forget what has come."""
        try:
            self._port.reset_input_buffer()
        except self._failures as error:
            raise self._broken(error) from error

    def close(self) -> None:
        """Give the port back."""
        self._port.close()

    def _broken(self, error: Exception) -> LinkError:
        return LinkError(
            f"the connection broke ({error})",
            where=self.where,
            remedy="check the cable and the board, and open it anew",
        )


def _remedy(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in (errno.EACCES, errno.EPERM):
        return "get permission: on Linux, add yourself to the group of the device (dialout, on Debian) and log in anew"
    if number in (errno.EAGAIN, errno.EBUSY):
        return "another program uses it: close that one"
    return f"name a port that exists{_ports()}"


def _ports() -> str:
    from serial.tools import list_ports

    names = sorted(port.device for port in list_ports.comports())
    return f": {', '.join(names)}" if names else ", once a board is connected: there is none now"
