"""Output that is there whole or not at all: files and folders are written beside their place and then renamed."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from heddle.errors import InputError
from heddle.link.manifest import MANIFEST

MARKER = MANIFEST
"""The file by which Heddle knows a folder it made."""


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that another process sees the old content or the new one, never a part."""
    data = content.encode() if isinstance(content, str) else content
    work = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        work.write_bytes(data)
        work.replace(path)
    except BaseException:
        work.unlink(missing_ok=True)
        raise


@contextmanager
def output_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield an empty folder to fill; it becomes ``path`` when the block ends, and vanishes if the block raises.

    A folder at ``path`` that Heddle made (it holds :data:`MARKER`) or that is empty is replaced as a whole.

    Parameters
    ----------
    overwrite
        Replace ``path`` whatever it holds.

    Raises
    ------
    InputError
        If ``path`` is a file, or a folder that Heddle did not make.
    """
    path = Path(path).absolute()
    _check_replaceable(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    _sweep(path)
    work = Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{_prefix(path)}{os.getpid()}-"))
    new, old = work / "new", work / "old"
    new.mkdir()
    try:
        yield new
        if path.exists():
            path.rename(old)
        try:
            new.rename(path)
        except OSError:
            if old.exists():
                old.rename(path)
            raise
    finally:
        shutil.rmtree(work)


def _check_replaceable(path: Path, *, overwrite: bool) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        raise InputError("the output is a file, not a folder", where=str(path), remedy="choose another folder")
    if not overwrite and any(path.iterdir()) and not (path / MARKER).is_file():
        raise InputError(
            f"the folder has files but no {MARKER}, so Heddle did not make it",
            where=str(path),
            remedy="choose another folder, or ask to overwrite it",
        )


def _prefix(path: Path) -> str:
    return f".{path.name}.heddle-"


def _sweep(path: Path) -> None:
    """Remove what processes that were killed left beside ``path``."""
    for left in path.parent.glob(f"{_prefix(path)}*"):
        owner = left.name.removeprefix(_prefix(path)).split("-")[0]
        if owner.isdigit() and not _alive(int(owner)):
            old = left / "old"
            # Killed between the two renames: the folder that was there before is still whole.
            if old.exists() and not path.exists():
                old.rename(path)
            shutil.rmtree(left)


def _alive(pid: int) -> bool:
    with suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return False
    return True
