"""NumPy ``.npz`` archives, read and written in rows so that memory does not depend on their length; never pickles."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from pct.files.output import atomic_output, check_output

# What is read at once: a file of few bytes can unpack to more than there is memory.
_LARGEST_PIECE = 256 << 20
# Larger arrays than that hold no poses if so little is left of them when packed.
_MOST_PACKED = 200
# A text takes many times the memory that it has in the file.
_MOST_TEXTS = 1_000_000
# What may lie between the arrays of an archive: sizes that are written after them.
_GAP = 24
# What zipfile and NumPy were seen to raise on members and headers that are damaged.
_DAMAGED = (
    *(KeyError, ValueError, TypeError, OverflowError, SyntaxError, NotImplementedError, RuntimeError, EOFError),
    *(MemoryError, OSError, SystemError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)
_OPENERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class NpzError(ValueError):
    """An ``.npz`` archive is missing, broken, or holds what is not read."""


def check_file(path: str | Path, error: type[ValueError]) -> Path:
    """Return a path, or raise ``error`` if it is no file that something could be read from."""
    path = Path(path)
    if not path.is_file():
        raise error(f"{path}: {'this is a folder' if path.is_dir() else 'no such file'}")
    if path.stat().st_size == 0:
        raise error(f"{path}: the file is empty")
    return path


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
        self.path = check_file(path, NpzError)
        try:
            self._zip = self.enter_context(zipfile.ZipFile(self.path))
        except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError, OSError, ValueError):
            raise NpzError(f"{path}: truncated, or no .npz archive (pickled files are refused)") from None
        self.names = [name.removesuffix(".npy") for name in self._zip.namelist()]
        with ExitStack() as stack:
            stack.push(self)  # closed if a member is bad
            self._check_members()
            stack.pop_all()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array without reading it."""
        with self._open(name) as (_, shape, _, _):
            return shape

    def array(self, name: str) -> np.ndarray:
        """Return a whole array, a single value too.

        Raises:
            NpzError: If the array is missing, truncated, or holds Python objects or damaged texts.
        """
        with self._open(name) as (file, shape, fortran, dtype):
            values = self._take(name, file, shape[::-1] if fortran else shape, dtype)
        if dtype.kind in "US" and values.size > _MOST_TEXTS:
            raise NpzError(f"{self.path}: array {name!r} holds {values.size:,} texts; at most {_MOST_TEXTS:,} are read")
        try:
            values.tolist() if dtype.kind in "US" else None
        except (UnicodeError, SystemError) as error:
            raise NpzError(f"{self.path}: array {name!r} holds no text: {error}") from None
        return (values.transpose() if fortran else values).copy()

    def texts(self, name: str) -> tuple[str, ...]:
        """Return a whole array of texts one after the other; raises as :meth:`array`."""
        return tuple(map(str, self.array(name).ravel()))

    def rows(self, name: str, batch_size: int) -> Iterator[np.ndarray]:
        """Yield an array's rows in order, at most ``batch_size`` at a time; raises as :meth:`array`."""
        with self._open(name) as (file, shape, fortran, dtype):
            if not shape:
                raise NpzError(f"{self.path}: array {name!r} is a single value; it must have a row a pose")
            # Rows of a Fortran-ordered array lie scattered over the file: it can only be read whole.
            whole = self.array(name) if fortran and len(shape) > 1 else None
            for start in range(0, shape[0], batch_size):
                size = min(batch_size, shape[0] - start), *shape[1:]
                yield self._take(name, file, size, dtype) if whole is None else whole[start : start + batch_size]

    def arrays(self, wanted: Mapping[str, tuple[object, ...]]) -> dict[str, np.ndarray]:
        """Return several whole arrays.

        Args:
            wanted: The shape that each must have; a text stands for any length, the same wherever it is used. Names
                that begin with ``text:`` are of arrays of text, the others of numbers.

        Raises:
            NpzError: As :meth:`array`, or if one has another shape or kind.
        """
        missing = [name for name in (key.removeprefix("text:") for key in wanted) if name not in self.names]
        if missing:
            raise NpzError(f"{self.path}: no array {', '.join(missing)}; the file has {', '.join(self.names)}")
        arrays, lengths = dict[str, np.ndarray](), dict[object, int]()
        for key, shape in wanted.items():
            name, (what, kinds) = key.removeprefix("text:"), ("text", "US") if ":" in key else ("numbers", "biuf")
            array = arrays[name] = self.array(name)
            fits = len(shape) == array.ndim and array.dtype.kind in kinds
            sides = [
                lengths.setdefault(s, n) if isinstance(s, str) else s for s, n in zip(shape, array.shape, strict=False)
            ]
            if not fits or tuple(sides) != array.shape:
                expected = ", ".join(f"{side} = {lengths[side]}" if side in lengths else str(side) for side in shape)
                found = f"{array.dtype} of shape {array.shape}"
                raise NpzError(f"{self.path}: {name} holds {found}; it must hold {what} of shape ({expected})")
        return arrays

    def _check_members(self) -> None:
        """Refuse what NumPy does not write, before anything is unpacked, and a directory that lacks an array."""
        members, end = sorted(self._zip.infolist(), key=lambda member: member.header_offset), 0
        for member in members:
            where = f"{self.path}: array {member.filename.removesuffix('.npy')!r}"
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise NpzError(f"{where} is packed in a way that NumPy does not use; save it anew")
            packed, size = member.compress_size, member.file_size
            if size > max(_LARGEST_PIECE, _MOST_PACKED * packed):
                raise NpzError(f"{where} unpacks from {packed:,} to {size:,} bytes, as no poses do")
            if abs(member.header_offset - end) > _GAP:
                break
            with self.path.open("rb") as file:
                file.seek(member.header_offset + 26)
                # A directory that lies may point behind the end, where nothing is read.
                lengths = int.from_bytes(file.read(2), "little") + int.from_bytes(file.read(2), "little")
            end = member.header_offset + 30 + lengths + packed
        if abs(self._zip.start_dir - end) > _GAP:
            raise NpzError(f"{self.path}: damaged: the directory of the archive does not list all that is in it")

    @contextmanager
    def _open(self, name: str) -> Iterator[tuple[IO[bytes], tuple[int, ...], bool, np.dtype[Any]]]:
        """Give a file that stands at the numbers of an array, its shape, whether in Fortran's order, and type."""
        where = f"{self.path}: array {name!r}"
        if name not in self.names:
            raise NpzError(f"{self.path}: no array {name!r}; the file has {', '.join(self.names) or 'none'}")
        with ExitStack() as stack:
            try:
                file = stack.enter_context(self._zip.open(f"{name}.npy"))
                shape, fortran, dtype = _OPENERS[np.lib.format.read_magic(file)](file)
            except _DAMAGED as error:
                raise NpzError(f"{where} is damaged, or of a version that is not read: {error}") from None
            if dtype.hasobject:
                raise NpzError(f"{where} holds Python objects, that is a pickle, which is refused; save it as numbers")
            yield file, shape, fortran, dtype

    def _take(self, name: str, file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
        where, size = f"{self.path}: array {name!r}", math.prod(shape) * dtype.itemsize
        if size > _LARGEST_PIECE:
            most = f"at most {_LARGEST_PIECE >> 20} are read (large arrays row by row, if they are in C order)"
            raise NpzError(f"{where} needs {size / 2**20:,.0f} MB of memory at once; {most}")
        try:
            data = file.read(size)
        except _DAMAGED as error:
            raise NpzError(f"{where} is damaged: {error}") from None
        if len(data) != size:
            raise NpzError(f"{where} is truncated")
        return np.frombuffer(data, dtype).reshape(shape)


def write_npz(
    path: str | Path, arrays: Mapping[str, np.ndarray | tuple[int, Iterable[np.ndarray]]], force: bool = False
) -> None:
    """Write an ``.npz`` archive whose arrays may come in pieces; it appears under its name only when it is whole.

    Args:
        path: The archive.
        arrays: Each array, or how many rows it has, and these in one piece or more; the pieces of one are used up
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
            length, pieces = (len(array), [array]) if isinstance(array, np.ndarray) else array
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                rows, kind = 0, None
                for piece in pieces:
                    if kind is None:
                        kind = piece.dtype, piece.shape[1:]
                        header = np.lib.format.header_data_from_array_1_0(piece)
                        header |= {"fortran_order": False, "shape": (length, *piece.shape[1:])}
                        np.lib.format.write_array_header_1_0(file, header)
                    if (piece.dtype, piece.shape[1:]) != kind:
                        found = f"{piece.dtype} of shape {piece.shape[1:]} after row {rows - 1}"
                        wanted = f"{kind[0]} of shape {kind[1]}"
                        raise ValueError(f"{path}: array {name!r} got rows of {found}; all must be {wanted}")
                    rows += len(piece)
                    file.write(np.ascontiguousarray(piece).tobytes())
            if rows != length:
                raise ValueError(f"{path}: array {name!r} got {rows} rows; it must have {length}")
