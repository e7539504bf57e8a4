"""What a device is expected to hold, as the manifest of the folder that Heddle wrote says."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heddle.errors import FileFormatError, InputError
from heddle.gen.host_part import HostPart
from heddle.link.manifest import FORMAT, MANIFEST
from heddle.link.protocol import Identity, Packet


@dataclass(frozen=True, kw_only=True, eq=False)
class Expected:
    """A network on an accelerator, as far as its driver is concerned.

    Parameters
    ----------
    name
        Of the accelerator's top module.
    host_part
        What the driver computes itself.
    design
        SHA-256 of the accelerator's Verilog.
    width_bytes
        Of the accelerator's streams.
    cycles
        Of an inference.
    clock_hz
        At which the bitstream clocks the accelerator; ``None`` if it is not known.
    board
        The target's name.
    one_clock
        Whether the accelerator's clock is the serial line's, too.
    baud
        Of the bitstream's host link; ``None`` if there is no bitstream.
    verilog
        The accelerator's Verilog.
    """

    name: str
    host_part: HostPart
    design: bytes
    width_bytes: int
    cycles: int
    clock_hz: float | None
    board: str
    one_clock: bool
    baud: int | None
    verilog: Path | str

    @property
    def network(self) -> bytes:
        """SHA-256 of the network file."""
        return bytes.fromhex(self.host_part.network.sha256).ljust(32, b"\0")

    @property
    def inputs(self) -> tuple[Packet, ...]:
        """Packets of a request."""
        return tuple(map(self._packet, self.host_part.inputs))

    @property
    def outputs(self) -> tuple[Packet, ...]:
        """Packets of a reply."""
        return tuple(map(self._packet, self.host_part.outputs))

    @property
    def compute_seconds(self) -> float:
        """How long the accelerator works on a sample; 0 if that is not known."""
        return self.cycles / self.clock_hz if self.clock_hz else 0.0

    @property
    def identity(self) -> Identity:
        """What the device says of itself."""
        return Identity(network=self.network, design=self.design, inputs=self.inputs, outputs=self.outputs)

    def read_verilog(self) -> str:
        """Return the accelerator's Verilog.

        Raises
        ------
        FileFormatError
            The file is not the one that the manifest names.
        """
        if isinstance(self.verilog, str):
            return self.verilog
        try:
            content = self.verilog.read_bytes()
        except (OSError, ValueError) as error:
            raise FileFormatError(f"cannot be read ({error})", where=str(self.verilog), remedy=_ANEW) from error
        if hashlib.sha256(content).digest() != self.design:
            raise FileFormatError("is not the file that the manifest names", where=str(self.verilog), remedy=_ANEW)
        return content.decode()

    def _packet(self, name: str) -> Packet:
        height, width, channels = self.host_part.network.tensors[name].hwc
        return Packet(height=height, width=width, channels=channels)


def expected_of_folder(folder: Path) -> Expected:
    """Read what the bitstream, or the Verilog, in an output folder holds.

    Raises
    ------
    InputError
        ``folder`` has no manifest.
    FileFormatError
        Its manifest is not one, is of another version of Heddle, or is not of the files beside it.
    """
    path = folder / MANIFEST
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"has no {MANIFEST}", where=str(folder), remedy="name a folder that heddle generate or heddle build wrote"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise FileFormatError(f"cannot be read ({error})", where=str(path), remedy=_ANEW) from error
    if not isinstance(data, dict) or data.get("format") != FORMAT or "host" not in data:
        raise FileFormatError("is not a manifest of this version of Heddle", where=str(path), remedy=_ANEW)
    try:
        return _read(data, folder, str(path))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FileFormatError(
            f"is not a manifest of this version of Heddle ({error!r})", where=str(path), remedy=_ANEW
        ) from error


MAX_MHZ = 1e6
"""Of any clock: beyond it a manifest is wrong."""
_ANEW = "write the folder anew with heddle generate or heddle build"


def _read(data: dict[str, Any], folder: Path, where: str) -> Expected:
    network, verilog, build = data["network"], data["files"]["verilog"], data.get("build") or {}
    link, clock_mhz = build.get("link") or {}, build.get("clock_mhz")
    if len(bytes.fromhex(network["sha256"])) not in (0, 32) or len(bytes.fromhex(verilog["sha256"])) != 32:
        raise ValueError("a hash has another length")
    if clock_mhz is not None and not 0 < float(clock_mhz) < MAX_MHZ:
        raise ValueError(f"a clock of {clock_mhz} MHz")
    # A name may not lead out of the folder.
    file = folder / Path(verilog["name"]).name
    return Expected(
        name=str(data["top"]),
        host_part=HostPart.from_json(data["host"], name=network["name"], sha256=network["sha256"], where=where),
        design=bytes.fromhex(verilog["sha256"]),
        width_bytes=_positive(data["streams"]["bytes"]),
        cycles=_positive(data["cycles"]),
        clock_hz=None if clock_mhz is None else 1e6 * float(clock_mhz),
        board=str(data["board"]["name"]),
        one_clock=data["board"]["one_clock"] is True,
        baud=_positive(link["baud"]) if link else None,
        verilog=file,
    )


def _positive(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(f"{value!r} is no number above 0")
    return value
