"""Program a board with the bitstream of a build, through openFPGALoader.

Before anything is started, the bitstream must be the one that the folder's manifest names (by its hash), of the board
that is meant (by its name), and for that board's part (by the IDCODE that is in it).
"""

import hashlib
import json
import os
import re
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heddle import boards
from heddle.boards import tools
from heddle.boards.artifacts import MARKER
from heddle.boards.board import Board, Programmer
from heddle.boards.tools import Installed
from heddle.errors import InputError, ToolError

LOADER = "openFPGALoader"
TIMEOUT_SECONDS = 900
"""More than the largest bitstream takes into flash memory over the slowest cable here, the ULX3S's FT231X."""

_VERIFY_ID = b"\xe2\x00\x00\x00"
"""ECP5's configuration command that is followed by the IDCODE (LSC_VERIFY_ID, Lattice FPGA-TN-02039)."""

_FAILURES = (
    (
        r"not enabled at compile time",
        "this openFPGALoader was built without that board's cable",
        "install another build of it (Debian's has all cables), and name it in the variable OPENFPGALOADER",
    ),
    (r"cannot find board", "this openFPGALoader does not know the board", "install version {version} or later"),
    (
        r"mismatch between target's idcode",
        "the part on the cable is not the one that the bitstream is for",
        "check which board is plugged in, and build for it",
    ),
    (
        r"ftdi device: -4|[Pp]ermission|LIBUSB_ERROR_ACCESS|[Aa]ccess denied|insufficient permissions",
        "the cable may not be opened",
        "install openFPGALoader's udev rules (99-openfpgaloader.rules), join the group plugdev and plug it in again",
    ),
    (
        r"ftdi device: -[56]|LIBUSB_ERROR_BUSY|[Rr]esource busy",
        "the cable is in use",
        "end whatever has it open: a terminal, or another openFPGALoader",
    ),
    (
        r"device not found|No device found|No DFU compatible|Failed to claim cable|connection failure|Connection error",
        "there is no board at the cable",
        "{before}plug it in, with a cable that carries data, and see that it has power",
    ),
)
"""What openFPGALoader prints, what that means, and what to do; the first that matches is told."""

_FAILED = re.compile(r"\bFAIL(?:ED)?\b|^Error\b|init failed|\bmismatch\b", re.MULTILINE | re.IGNORECASE)
"""It ends with status 0 after some failures."""

_MOTION = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|[^\n]*\r(?!\n)")
"""What a terminal would not show in the end: colours, and lines that are written over."""


@dataclass(frozen=True, kw_only=True)
class Bitstream:
    """A bitstream that is what its manifest says, for ``board``."""

    path: Path
    board: Board
    sha256: str

    @property
    def programmer(self) -> Programmer:
        """How it gets onto its board."""
        assert self.board.programmer is not None
        return self.board.programmer


def read_bitstream(folder: Path, board: str | None = None) -> Bitstream:
    """Return the bitstream in ``folder``, which a build has written.

    Parameters
    ----------
    board
        The name of the board that is meant; default: the one it was built for.

    Raises
    ------
    InputError
        If there is no bitstream, or it is not the one of the manifest, of ``board``, or of that board's part.
    """
    manifest = _manifest(folder)
    name, entry = _text(manifest, "board", "name"), manifest.get("files", {}).get("bitstream")
    if entry is None:
        raise InputError(
            "there is no bitstream, only what `heddle generate` writes", where=str(folder), remedy="run `heddle build`"
        )
    target = boards.get(name)
    if board is not None and boards.get(board).name != target.name:
        raise InputError(
            f"the bitstream is for {target.name}, not for {boards.get(board).name}",
            where=str(folder),
            remedy=f"build with --board {boards.get(board).name}, or flash with --board {target.name}",
        )
    if target.programmer is None:
        raise InputError(
            f"{target.name} is a part, not a board: nextpnr chose the bitstream's pins",
            where=str(folder),
            remedy="build for a board of `heddle boards`",
        )
    path = folder / Path(_text(manifest, "files", "bitstream", "name")).name
    data, sha256 = _read(path), _text(manifest, "files", "bitstream", "sha256")
    if hashlib.sha256(data).hexdigest() != sha256:
        raise InputError(
            f"it is not the bitstream that {MARKER} names: its hash differs", where=str(path), remedy="build again"
        )
    _check_idcode(data, target, path)
    return Bitstream(path=path, board=target, sha256=sha256)


def _manifest(folder: Path) -> Mapping[str, Any]:
    path = folder / MARKER
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot be read ({error})", where=str(path), remedy="give a folder that `heddle build` has written"
        ) from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("files"), dict):
        raise InputError("is no manifest of Heddle's", where=str(path), remedy="build again")
    return manifest


def _text(manifest: Mapping[str, Any], *keys: str) -> str:
    """Return the string at ``keys``."""
    value: Any = manifest
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    if not isinstance(value, str):
        raise InputError(f"has no {'.'.join(keys)}", where=MARKER, remedy="build again")
    return value


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", where=str(path), remedy="build again") from error


def _check_idcode(data: bytes, board: Board, path: Path) -> None:
    """Refuse a bitstream that asks for the IDCODE of another part."""
    if not board.device.idcode:
        return
    start = data.find(_VERIFY_ID)
    found = data[start + 4 : start + 8] if start >= 0 else b""
    if found != board.device.idcode.to_bytes(4, "big"):
        raise InputError(
            f"the bitstream is for a part with IDCODE 0x{found.hex() or '?'}, "
            f"{board.device.part} has 0x{board.device.idcode:08x}",
            where=str(path),
            remedy="build again, for the board that is plugged in",
        )


@dataclass(frozen=True, kw_only=True)
class Cable:
    """A cable in place of the board's own: openFPGALoader's name, and the address if it is reached over a network."""

    name: str
    host: str = ""
    port: int = 0

    @property
    def options(self) -> tuple[str, ...]:
        """Options that choose it."""
        network = ("--ip", self.host, "--port", str(self.port)) if self.host else ()
        return ("-c", self.name, *network)


def parse_cable(text: str) -> Cable:
    """Return the cable that ``NAME`` or ``NAME:HOST:PORT`` describes.

    Raises
    ------
    InputError
        If ``text`` is neither.

    >>> parse_cable("xvc-client:127.0.0.1:2542").options
    ('-c', 'xvc-client', '--ip', '127.0.0.1', '--port', '2542')
    """
    match = re.fullmatch(r"([\w.+-]+)(?::([\w.-]+):(\d{1,5}))?", text)
    if match is None:
        raise InputError(
            f"{text!r} is not a cable",
            where="cable",
            remedy="give NAME or NAME:HOST:PORT, as xvc-client:127.0.0.1:2542",
        )
    name, host, port = match.groups()
    return Cable(name=name, host=host or "", port=int(port or 0))


def find_loader(environ: Mapping[str, str] = os.environ) -> Installed:
    """Return how to start openFPGALoader.

    Raises
    ------
    ToolError
        If it is not installed, or does not start.
    """
    return tools.find(LOADER, environ)


def version_of(loader: Installed) -> tuple[int, int, int]:
    """Return the version of openFPGALoader; zeros if it does not tell."""
    match = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", loader.version)
    major, minor, patch = match.groups("0") if match else ("0", "0", "0")
    return int(major), int(minor), int(patch)


def unknown_boards(loader: Installed) -> list[Board]:
    """Return the boards that are newer than ``loader``."""
    listed = [boards.get(name) for name in boards.names()]
    return [b for b in listed if b.programmer is not None and version_of(loader) < b.programmer.version]


def command_line(
    bitstream: Bitstream, loader: Sequence[str], *, persist: bool = False, cable: Cable | None = None
) -> list[str]:
    """Return the words that program ``bitstream``'s board; ``persist``: into flash memory."""
    options = list(bitstream.programmer.options(persist=persist))
    if cable is not None:
        # The board's name stands for its cable and the way there.
        options[:2] = cable.options
    return [*loader, *options, str(bitstream.path)]


def check_version(bitstream: Bitstream, loader: Installed) -> None:
    """Raise :class:`ToolError` if ``loader`` is too old for the board."""
    need = bitstream.programmer
    if version_of(loader) < need.version:
        raise ToolError(
            f"{loader.version} is too old for {bitstream.board.name}, which it knows from {need.release} on",
            where=LOADER,
            remedy=f"{tools.LOADER_REMEDY}, or name a newer one in the variable OPENFPGALOADER",
        )


def program(bitstream: Bitstream, command: Sequence[str], loader: Installed) -> float:
    """Run ``command`` and return the seconds it took.

    Raises
    ------
    ToolError
        If it fails: what openFPGALoader said, what it means, and the remedy.
    """
    start = time.monotonic()
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT_SECONDS,
            env={**os.environ, **loader.environment},
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(
            f"it did not end within {TIMEOUT_SECONDS} s", where=LOADER, remedy="unplug the board and try again"
        ) from error
    # As bytes: Python would take a carriage return for the end of a line.
    said = _MOTION.sub("", (done.stdout + b"\n" + done.stderr).decode(errors="replace"))
    if done.returncode or _FAILED.search(said):
        raise _failure(said, done.returncode, bitstream)
    return round(time.monotonic() - start, 1)


def _failure(said: str, status: int, bitstream: Bitstream) -> ToolError:
    """Say what openFPGALoader's output means."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    quote = next((line for line in reversed(lines) if _FAILED.search(line)), None)
    quote = quote or (lines[-1] if lines else f"it ended with status {status}")
    need = bitstream.programmer
    for pattern, fact, remedy in _FAILURES:
        if found := re.search(rf"^.*(?:{pattern}).*$", said, re.MULTILINE):
            before = f"{need.before}; " if need.before else ""
            return ToolError(
                f"{fact} ({found[0].strip()})",
                where=LOADER,
                remedy=remedy.format(version=need.release, before=before),
            )
    return ToolError(quote, where=LOADER, remedy="run the command of --dry-run with -v, which tells more")
