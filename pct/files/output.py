"""Output files: checked before work starts, written under a temporary name, renamed when they are whole."""

from __future__ import annotations

import errno
import glob
import hashlib
import os
import secrets
import shutil
import signal
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows has no such locks: there a file that is open cannot be removed
    fcntl = None  # type: ignore[assignment]

# Errors of a file system that is full, or whose user may write no more.
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
# Signals that end a process: Ctrl-C, the system's end, and the end of a terminal, which Windows has not.
_ENDING = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


class OutputError(ValueError):
    """An output file cannot or must not be written."""


def check_output(path: str | Path, suffixes: Sequence[str] = (), force: bool = False) -> Path:
    """Check that a file can be written, before any work is done for it.

    Args:
        path: The file to be written.
        suffixes: Allowed suffixes with their dot; empty allows all.
        force: Whether an existing file may be replaced.

    Raises:
        OutputError: If the suffix is unknown, the folder is missing, or the path is a folder, a link or a device.
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
    check_names(path.parent, [path.name], force)
    return path


def check_names(folder: Path, names: Sequence[str], force: bool) -> None:
    """Check that outputs, files or folders, may be written.

    Raises:
        FileExistsError: If one exists and ``force`` is not set.
        OutputError: If one is a link or a device.
    """
    # A link that points to nothing, or at itself, does not "exist", but it would be replaced too.
    for path in (folder / name for name in names if os.path.lexists(folder / name)):
        if not force:
            raise _exists(path)
        if not (stat.S_ISREG(os.lstat(path).st_mode) or stat.S_ISDIR(os.lstat(path).st_mode)):
            raise OutputError(f"output {path} is no plain file (a link or a device), so it is not replaced")


@contextmanager
def atomic_output(path: Path, force: bool = True, ending: str = ".tmp") -> Iterator[Path]:
    """Give a temporary file beside ``path``; rename it to ``path`` when the block ends well, else remove it.

    The temporary name cannot be foreseen, and its file is made here and by nobody else. What a killed process left of
    the same output is removed. A replaced file hands on its mode.

    Args:
        path: The output.
        force: Whether it is replaced if it exists when the block ends, whoever made it.
        ending: Of the temporary name, for writers that go by it.

    Raises:
        FileExistsError: If it exists then and ``force`` is not set.
        OutputError: If the disk is full.
    """
    remove_left_behind(path.parent, _prefix(path), ending, stat.S_ISREG)
    temporary, descriptor = path, -1
    try:
        with naming_full_disk(path):
            with undisturbed():
                temporary, descriptor = _make_temporary(path, ending)
            yield temporary
            with temporary.open("r+b") as file:
                os.fsync(file.fileno())
            _publish(temporary, path, force)
    finally:
        with undisturbed():
            if temporary != path:
                temporary.unlink(missing_ok=True)
            if descriptor >= 0:
                os.close(descriptor)


def _make_temporary(path: Path, ending: str) -> tuple[Path, int]:
    """Make a temporary file that nobody could foresee; a lock on it says as long as this process lives that it does."""
    while True:
        temporary = path.with_name(f"{_prefix(path)}{secrets.token_hex(8)}{ending}")
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0), 0o666)
        if fcntl is None:
            os.close(descriptor)  # Windows renames and removes no file that is open
            return temporary, -1
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink:
            return temporary, descriptor
        os.close(descriptor)  # another process took it for one left behind before it was locked


def _publish(temporary: Path, path: Path, force: bool) -> None:
    """Give a whole file its name; two processes that must not replace one another cannot both succeed."""
    if force:
        with suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(os.lstat(path).st_mode))
        temporary.replace(path)
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:
        # A file system without hard links: whoever makes the file first may fill it.
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            raise _exists(path) from None
        temporary.replace(path)


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(f"output {path} exists; give --force (force=True) to replace it")


def _prefix(path: Path) -> str:
    """Return how the temporary names of an output begin; those of no other output do so."""
    name = path.name if len(os.fsencode(path.name)) < 200 else hashlib.sha256(os.fsencode(path.name)).hexdigest()
    return f".{name}."


def remove_left_behind(folder: Path, prefix: str, ending: str, is_ours: Callable[[int], bool]) -> None:
    """Remove temporary files or folders, told by their mode and their names, whose writers are dead."""
    for left in folder.glob(f"{glob.escape(prefix)}{'[0-9a-f]' * 16}{ending}"):
        # Left alone are links, what is somebody else's or gone by now, and what somebody is writing.
        with suppress(OSError):
            if is_ours(os.lstat(left).st_mode):
                with locked(left, wait=False):
                    shutil.rmtree(left, ignore_errors=True) if left.is_dir() else left.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, alone: bool = True, wait: bool = True) -> Iterator[None]:
    """Lock a file or folder, where there are locks: shared by who writes it, alone by who would remove it.

    Raises:
        BlockingIOError: If somebody else holds the other kind of lock and ``wait`` is not set.
    """
    if fcntl is None:
        yield
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)


@contextmanager
def naming_full_disk(path: Path) -> Iterator[None]:
    """Name the output where the disk is full, or the user may write no more.

    Raises:
        OutputError: Then.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise OutputError(f"output {path} cannot be written: {os.strerror(error.errno or 0)}") from error


@contextmanager
def open_atomically(path: str | Path, force: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing bytes; it appears under its name, whole and on disk, when the block ends well.

    Raises:
        OutputError: If the folder is missing, the path is no plain file, or the disk is full.
        FileExistsError: If the file exists and ``force`` is not set.
    """
    with atomic_output(check_output(path, force=force), force) as temporary, temporary.open("wb") as file:
        yield file


def write_atomically(path: Path, data: bytes) -> None:
    """Write a whole file, replacing an older one: a crash at any moment leaves the old or the new one."""
    with atomic_output(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let signals that end this process wait until the block is done, which is short and must not be half done."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled in the main thread alone
        return
    waiting = list[int]()
    # A handler that was not set by Python could not be given back, so it stays.
    ours = [number for number in _ENDING if signal.getsignal(number) is not None]
    handlers = {number: signal.signal(number, lambda n, _: waiting.append(n)) for number in ours}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        if waiting:
            signal.raise_signal(signal.Signals(waiting[0]))


def stop_in_order() -> None:
    """Let SIGTERM and SIGHUP end this process as Ctrl-C does: what is half written is removed first."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread():
        for number in _ENDING[1:]:
            # Who ignores the end of a session (nohup) goes on doing so.
            if signal.getsignal(number) == signal.SIG_DFL:
                signal.signal(number, stop)
