"""NumPy ``.npz`` archives, read and written in rows so that memory does not depend on their length; never pickles."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

import numpy as np

from pct.files.output import atomic_output, check_output

# What is read at once: a file of few bytes can unpack to more than there is memory.
_LARGEST_PIECE = 256 << 20
# Larger arrays than that hold no poses if so little is left of them when packed.
_MOST_PACKED = 200
# What may lie between the arrays of an archive: sizes that are written after them.
_GAP = 24
# What zipfile and NumPy were seen to raise on members and headers that are damaged.
_DAMAGED = (
    *(KeyError, ValueError, TypeError, OverflowError, SyntaxError, NotImplementedError, RuntimeError, EOFError),
    *(MemoryError, OSError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
_OPENERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class NpzError(ValueError):
    """An ``.npz`` archive is missing, broken, or holds what is not read."""


def check_file(path: Path, error: type[ValueError]) -> None:
    """Raise ``error`` if a path is no file that something could be read from."""
    if not path.is_file():
        raise error(f"{path}: {'this is a folder' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise error(f"{path}: the file is empty")


class NpzReader(ExitStack):
    """Read the arrays of an ``.npz`` archive row by row; a context manager.

    Attributes:
        names: Names of the arrays.

    Args:
        path: The archive, as ``numpy.savez`` or ``numpy.savez_compressed`` writes it.

    Raises:
        NpzError: If it is missing, empty, truncated, or no such archive.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        check_file(self.path, NpzError)
        try:
            self._zip = self.enter_context(zipfile.ZipFile(self.path))
        except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError, OSError, ValueError):
            raise NpzError(f"{path}: truncated, or no .npz archive (pickled files are refused)") from None
        try:
            self._check_members()
        except NpzError:
            self.close()
            raise
        self.names = [name.removesuffix(".npy") for name in self._zip.namelist()]

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array without reading it."""
        with ExitStack() as stack:
            return self._open(name, stack)[0]

    def array(self, name: str) -> np.ndarray:
        """Return a whole array, a single value too.

        Raises:
            NpzError: If the array is missing, truncated, or holds Python objects.
        """
        with ExitStack() as stack:
            shape, fortran, dtype, file = self._open(name, stack)
            if fortran:
                return self._read(name, file, shape[::-1], dtype).transpose().copy()
            return self._read(name, file, shape, dtype).copy()

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a whole array of one dimension as texts.

        Raises:
            NpzError: As :meth:`array`, or if a text is damaged.
        """
        try:
            return tuple(str(text) for part in self.rows(name, 4096) for text in part)
        except (UnicodeError, SystemError) as error:
            raise NpzError(f"{self.path}: array {name!r} holds no text: {error}") from None

    def rows(self, name: str, batch_size: int) -> Iterator[np.ndarray]:
        """Yield an array's rows in order, at most ``batch_size`` at a time.

        Raises:
            NpzError: If the array is missing, truncated, or holds Python objects.
        """
        with ExitStack() as stack:
            shape, fortran, dtype, file = self._open(name, stack)
            if not shape:
                raise NpzError(f"{self.path}: array {name!r} is a single value; it must have a row a pose")
            if fortran and len(shape) > 1:
                # Rows of a Fortran-ordered array lie scattered over the file: it can only be read whole.
                whole = self._read(name, file, shape[::-1], dtype).transpose()
                yield from (whole[i : i + batch_size] for i in range(0, len(whole), batch_size))
                return
            for start in range(0, shape[0], batch_size):
                yield self._read(name, file, (min(batch_size, shape[0] - start), *shape[1:]), dtype)

    def _check_members(self) -> None:
        """Refuse what NumPy does not write, before anything is unpacked, and a directory that lacks an array."""
        members, end = sorted(self._zip.infolist(), key=lambda member: member.header_offset), 0
        for member in members:
            name = member.filename.removesuffix(".npy")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise NpzError(f"{self.path}: array {name!r} is packed in a way that NumPy does not use; save it anew")
            if member.file_size > max(_LARGEST_PIECE, _MOST_PACKED * member.compress_size):
                raise NpzError(
                    f"{self.path}: array {name!r} unpacks from {member.compress_size:,} to {member.file_size:,} bytes, "
                    "as no poses do"
                )
            if abs(member.header_offset - end) > _GAP:
                break
            with self.path.open("rb") as file:
                file.seek(member.header_offset + 26)
                lengths = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
            end = member.header_offset + 30 + lengths + member.compress_size
        if abs(self._zip.start_dir - end) > _GAP:
            raise NpzError(f"{self.path}: damaged: the directory of the archive does not list all that is in it")

    def _open(self, name: str, stack: ExitStack) -> tuple[tuple[int, ...], bool, np.dtype[Any], IO[bytes]]:
        if name not in self.names:
            raise NpzError(f"{self.path}: no array {name!r}; the file has {', '.join(self.names) or 'none'}")
        try:
            file = stack.enter_context(self._zip.open(f"{name}.npy"))
            version = np.lib.format.read_magic(file)
            if version not in _OPENERS:
                raise NpzError(
                    f"{self.path}: array {name!r} has version {version} of the npy format; save it as numbers"
                )
            shape, fortran, dtype = _OPENERS[version](file)
        except _DAMAGED as error:
            if isinstance(error, NpzError):
                raise
            raise NpzError(f"{self.path}: array {name!r} is damaged: {error}") from None
        if dtype.hasobject:
            raise NpzError(
                f"{self.path}: array {name!r} holds Python objects, that is a pickle, which is refused; "
                "save it as an array of numbers"
            )
        return shape, fortran, dtype, file

    def _read(self, name: str, file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        size = math.prod(shape) * dtype.itemsize
        if size > _LARGEST_PIECE:
            raise NpzError(
                f"{self.path}: array {name!r} needs {size / 2**20:,.0f} MB of memory at once; at most "
                f"{_LARGEST_PIECE >> 20} are read (large arrays row by row, if they are in C order)"
            )
        try:
            data = file.read(size)
        except _DAMAGED as error:
            raise NpzError(f"{self.path}: array {name!r} is damaged: {error}") from None
        if len(data) != size:
            raise NpzError(f"{self.path}: array {name!r} is truncated")
        return np.frombuffer(data, dtype).reshape(shape)


def check_shapes(path: str | Path, arrays: Mapping[str, np.ndarray], wanted: Mapping[str, tuple[object, ...]]) -> None:
    """Check shapes and types of arrays of a file.

    Args:
        path: The file.
        arrays: Its arrays.
        wanted: The shape that each must have; a text stands for any length, the same wherever it is used. Names that
            begin with ``text:`` are of arrays of text, the others of numbers.

    Raises:
        NpzError: If one has another.
    """
    lengths: dict[object, int] = {}
    for key, shape in wanted.items():
        name, array = key.removeprefix("text:"), arrays[key.removeprefix("text:")]
        fits = len(shape) == array.ndim and array.dtype.kind in ("US" if key != name else "biuf")
        if not fits or any(
            found != (lengths.setdefault(side, found) if isinstance(side, str) else side)
            for found, side in zip(array.shape, shape, strict=True)
        ):
            expected = ", ".join(f"{side} = {lengths[side]}" if side in lengths else str(side) for side in shape)
            what = "text" if key != name else "numbers"
            raise NpzError(
                f"{path}: {name} holds {array.dtype} of shape {array.shape}; it must hold {what} of shape ({expected})"
            )


def write_npz(
    path: str | Path, arrays: Mapping[str, np.ndarray | tuple[int, Iterable[np.ndarray]]], force: bool = False
) -> None:
    """Write an ``.npz`` archive whose arrays may come in pieces; it appears under its name only when it is whole.

    Args:
        path: The archive.
        arrays: Each array, or how many rows it has, one at least, and its rows in pieces; the pieces of one are used up
            before the next.
        force: Whether an existing file is replaced.

    Raises:
        OutputError: If the file cannot be written.
        FileExistsError: If the file exists and ``force`` is not set.
        ValueError: If the pieces of an array do not make so many rows, or are not all of one type and shape.
    """
    checked = check_output(path, (".npz",), force)
    with atomic_output(checked, force) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                if isinstance(array, np.ndarray):
                    np.lib.format.write_array(file, array, allow_pickle=False)
                    continue
                length, rows = array[0], 0
                dtype, shape = np.dtype(np.float32), tuple[int, ...]()
                for piece in array[1]:
                    if not len(piece):
                        continue  # the header is written with the first rows
                    if rows == 0:
                        header = np.lib.format.header_data_from_array_1_0(piece)
                        dtype, shape = piece.dtype, piece.shape[1:]
                        header |= {"fortran_order": False, "shape": (length, *shape)}
                        np.lib.format.write_array_header_1_0(file, header)
                    if (piece.dtype, piece.shape[1:]) != (dtype, shape):
                        raise ValueError(
                            f"{path}: array {name!r} got rows of {piece.dtype} of shape {piece.shape[1:]} after row "
                            f"{rows - 1}; all must be {dtype} of shape {shape}"
                        )
                    rows += len(piece)
                    file.write(np.ascontiguousarray(piece).tobytes())
            if rows != length:
                raise ValueError(f"{path}: array {name!r} got {rows} rows; it must have {length}")
