"""Results of slow tools, kept by the hash of everything they depend on.

The same tool with the same files, options and seed gives the same bytes, so a result may be taken from here. The folder
is ``$HEDDLE_CACHE``, else ``heddle`` in ``$XDG_CACHE_HOME`` or ``~/.cache``; ``HEDDLE_CACHE=off`` keeps nothing. It may
be deleted at any time.
"""

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

_WORK = "work-"
ABANDONED_SECONDS = 7 * 24 * 3600
"""A workspace in which nothing has been written for so long belongs to a process that was killed."""


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A store of folders under ``root``."""

    root: Path

    def find(self, key: str) -> Path | None:
        """Return the folder stored under ``key``, or ``None``. Its files must not be changed."""
        path = self._path(key)
        return path if path.is_dir() else None

    def workspace(self) -> Path:
        """Make a folder in which a result is built; pass it to :meth:`store`, or remove it."""
        self.root.mkdir(parents=True, exist_ok=True)
        self._sweep()
        return Path(tempfile.mkdtemp(dir=self.root, prefix=_WORK))

    def store(self, key: str, workspace: Path) -> Path:
        """Keep a workspace under ``key``. Of two processes that do so at once, the first wins."""
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            workspace.rename(path)
        except OSError:
            if not path.is_dir():
                raise
            shutil.rmtree(workspace)
        return path

    def _sweep(self) -> None:
        """Remove what killed processes have left."""
        long_ago = time.time() - ABANDONED_SECONDS
        for folder in self.root.glob(f"{_WORK}*"):
            # Another process may remove it at the same time.
            with suppress(OSError):
                if max(path.stat().st_mtime for path in (folder, *folder.iterdir())) < long_ago:
                    shutil.rmtree(folder, ignore_errors=True)

    def _path(self, key: str) -> Path:
        return self.root / key[:2] / key


@contextmanager
def open_cache(environ: Mapping[str, str] = os.environ) -> Iterator[Cache]:
    """Yield the user's cache; where it is switched off, one that vanishes at the end of the block."""
    setting = environ.get("HEDDLE_CACHE")
    if setting is not None and setting.lower() in ("", "0", "off", "no"):
        with tempfile.TemporaryDirectory(prefix="heddle-") as folder:
            yield Cache(root=Path(folder))
        return
    base = environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    yield Cache(root=Path(setting or Path(base) / "heddle").absolute())


def key_of(*parts: object) -> str:
    """Return the hash of plain data (text, numbers, lists, string-keyed mappings)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def digest(path: Path) -> str:
    """Return the hash of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
