"""What lies in a deploy bundle, and where.

Unpacked, it is an output folder of Heddle: what the manifest names lies beside it under the same names, so that
``heddle flash``, ``run`` and ``serve-virtual`` take either. Drivers go along where there is a host link to drive.
"""

import hashlib
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import distribution
from importlib.resources import files as resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from heddle.boards.artifacts import MARKER, write_atomically
from heddle.boards.board import Board
from heddle.boards.build import BuildResult
from heddle.boards.flash import LOADER, Bitstream, command_line
from heddle.errors import ToolError
from heddle.gen.design import CoreDesign
from heddle.host.bundle.archive import zip_bytes
from heddle.host.bundle.core_file import core_file
from heddle.host.bundle.driver import PACKAGE, driver_package
from heddle.host.bundle.vectors import Vectors
from heddle.link.reference import HEADER

DISTRIBUTION = "heddle-fpga"
C_HOST, C_DESIGN = "heddle_run.c", "heddle_design.h"


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle:
    """A zip to be: what is made for it alone, and what it takes from its folder.

    Parameters
    ----------
    name
        Of the zip.
    made
        Contents by path in it.
    taken
        Names of files that lie in the output folder, and in the zip under the same names.
    """

    name: str
    made: Mapping[str, bytes]
    taken: tuple[str, ...]

    def facts(self) -> dict[str, object]:
        """Return what the manifest says of it: the zip's own hash is not in it, since the manifest is in the zip."""
        hashes = {path: hashlib.sha256(content).hexdigest() for path, content in sorted(self.made.items())}
        return {"name": self.name, "files": hashes}

    def write(self, folder: Path) -> Path:
        """Write the zip into ``folder``, which is complete but for it, and return where it is."""
        members = {**self.made, **{name: (folder / name).read_bytes() for name in (*self.taken, MARKER)}}
        write_atomically(folder / self.name, zip_bytes(members))
        return folder / self.name


def make_bundle(
    design: CoreDesign,
    board: Board,
    built: BuildResult,
    files: Mapping[str, Path],
    *,
    vectors: Vectors,
    licences: Mapping[str, bytes],
) -> Bundle:
    """Return the bundle of a build.

    Parameters
    ----------
    files
        Those that the manifest names, by role.
    licences
        What :func:`read_licences` gives.
    """
    names = {role: path.name for role, path in files.items()}
    parts = _Parts(design=design, board=board, built=built, files=names, verilog=files["verilog"].read_text())
    made = {f"vectors/{name}": content for name, content in vectors.files().items()}
    made |= {f"models/{name}": content for name, content in parts.models.items()}
    made[f"{design.name}.core"] = parts.core.encode()
    made |= licences
    if built.link is not None:
        made |= driver_package()
        link = resources("heddle.link")
        made |= {f"c/{name}": (link / name).read_bytes() for name in (C_HOST, HEADER)}
        made[f"c/{C_DESIGN}"] = parts.c_design.encode()
    made["README.md"] = parts.readme(vectors).encode()
    return Bundle(name=f"{design.name}.zip", made=made, taken=tuple(parts.files.values()))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Parts:
    """Files that are text made for one build."""

    design: CoreDesign
    board: Board
    built: BuildResult
    files: Mapping[str, str]
    verilog: str

    @cached_property
    def models(self) -> dict[str, bytes]:
        """For a simulator: the primitives that the design instantiates, by file name."""
        folder = resources("heddle.sim") / "models"
        paths = sorted((path for path in folder.iterdir() if path.name.endswith(".v")), key=lambda path: path.name)
        return {path.name: path.read_bytes() for path in paths if self._names(path.name.removesuffix(".v"))}

    def _names(self, module: str) -> bool:
        return re.search(rf"\b{module}\b", self.verilog) is not None

    @property
    def core(self) -> str:
        models = [f"models/{name}" for name in self.models]
        version = distribution(DISTRIBUTION).version
        return core_file(self.design.name, version, self.board, self.files, models, self.built.clock_hz)

    @property
    def c_design(self) -> str:
        """What ``heddle_run.c`` is compiled for."""
        assert self.built.link is not None
        part, tensors = self.design.host_part, self.design.network.tensors
        network = ", ".join(f"0x{byte:02x}" for byte in bytes.fromhex(str(self.built.link["network"])))
        sent, replied = (sum(tensors[name].size for name in names) for names in (part.inputs, part.outputs))
        return "\n".join(
            [
                "/* One accelerator, as its driver has to know it. Made by Heddle with its bitstream. */",
                "#ifndef HEDDLE_DESIGN_H",
                "#define HEDDLE_DESIGN_H",
                "",
                f'#define HEDDLE_DESIGN_NAME "{self.design.name}"',
                f"#define HEDDLE_DESIGN_BAUD {self.built.link['baud']}",
                f"#define HEDDLE_DESIGN_NETWORK {{{network}}} /* SHA-256 of the network file */",
                f"#define HEDDLE_DESIGN_INPUT_BYTES {sent}u /* all input packets of a sample */",
                f"#define HEDDLE_DESIGN_OUTPUT_BYTES {replied}u",
                "",
                "#endif",
                "",
            ]
        )

    def readme(self, vectors: Vectors) -> str:
        """Return the page for whoever unpacks it."""
        environment = Environment(
            loader=PackageLoader("heddle.host.bundle"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
            keep_trailing_newline=True, autoescape=False,
        )  # fmt: skip
        names = self.design.network.tensors
        return environment.get_template("README.md.j2").render(
            name=self.design.name,
            board=self.board,
            built=self.built,
            files=self.files,
            flash=self._flash(),
            loader=LOADER,
            package=PACKAGE,
            vectors=len(vectors),
            inputs=[names[name] for name in self.design.network.inputs],
            outputs=[names[name] for name in self.design.network.outputs],
            version=distribution(DISTRIBUTION).version,
        )

    def _flash(self) -> str:
        """Return the command that programs the board; nothing for a bare part."""
        if self.board.programmer is None:
            return ""
        bitstream = Bitstream(path=Path(self.files["bitstream"]), board=self.board, sha256="")
        return shlex.join(command_line(bitstream, (LOADER,)))


def read_licences() -> dict[str, bytes]:
    """Return the licence and the notice of this installation, by file name.

    Raises
    ------
    ToolError
        They are not there.
    """
    found = {name: distribution(DISTRIBUTION).read_text(f"licenses/{name}") for name in ("LICENSE", "NOTICE")}
    if missing := [name for name, text in found.items() if text is None]:
        raise ToolError(
            f"the installation lacks {' and '.join(missing)}", where=DISTRIBUTION, remedy=f"install {DISTRIBUTION} anew"
        )
    return {name: text.encode() for name, text in found.items() if text is not None}
