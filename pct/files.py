"""Output files: checked before work starts, written under a temporary name, renamed when they are whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


class OutputError(ValueError):
    """An output file cannot or must not be written."""


def check_output(path: str | Path, suffixes: Sequence[str] = (), force: bool = False) -> Path:
    """Check that a file can be written, before any work is done for it.

    Args:
        path: The file to be written.
        suffixes: Allowed suffixes with their dot; empty allows all.
        force: Whether an existing file may be replaced.

    Raises:
        OutputError: If the suffix is unknown, the folder is missing, or the path is a folder.
        FileExistsError: If the file exists and ``force`` is not set.
    """
    path = Path(path)
    if suffixes and path.suffix.lower() not in suffixes:
        raise OutputError(f"output {path} has suffix {path.suffix!r}; it must be one of {', '.join(suffixes)}")
    if path.is_dir():
        raise OutputError(f"output {path} is a folder; give the name of a file")
    if not path.parent.is_dir():
        raise OutputError(f"output folder {path.parent} does not exist; make it first")
    if not os.access(path.parent, os.W_OK):
        raise OutputError(f"output folder {path.parent} is not writable")
    # A link that points to nothing, or at itself, does not "exist", but it would be replaced too.
    if (path.exists() or path.is_symlink()) and not force:
        raise FileExistsError(f"output {path} exists; give --force (force=True) to replace it")
    return path


@contextmanager
def atomic_output(path: Path) -> Iterator[Path]:
    """Give a temporary name beside ``path``; rename it to ``path`` when the block ends well, else remove it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def open_atomically(path: str | Path, force: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing bytes; it appears under its name, whole and on disk, when the block ends well.

    Raises:
        OutputError: If the folder is missing or the path is a folder.
        FileExistsError: If the file exists and ``force`` is not set.
    """
    with atomic_output(check_output(path, force=force)) as temporary, temporary.open("wb") as file:
        yield file


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file, replacing an older one: a crash at any moment leaves the old or the new one."""
    with atomic_output(path) as temporary:
        temporary.write_bytes(data)
