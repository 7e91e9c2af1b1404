"""PoseTokens: the table of encoded poses and its file.

A token table is a Parquet file with one pose a row. ``pandas.read_parquet`` reads it::

    image_id  annotation_id  bbox                    area    tokens
    139       230831         [413, 158, 53.1, 138]   3421.0  [711, 12, 1003, ...]

and the model that made it stands as JSON in the file's metadata, under the key ``pct`` (:class:`TokenMetadata`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from pct.parquet import Column, ColumnReader, ColumnWriter
from pct.skeleton import Skeleton

FORMAT_VERSION = 1
_KEY = "pct"
# Poses a row group: large enough that its description costs nothing, small enough to be held.
_ROW_GROUP = 16_384
_MOST_IDS = 2**24


class TokenFileError(ValueError):
    """A token table is broken, of another version, or does not fit the model."""


@dataclass(frozen=True)
class TokenMetadata:
    """What a token table says about the model that made it.

    Attributes:
        model: Name or folder of the model, for people to read.
        fingerprint: :meth:`pct.PoseTokenizer.fingerprint` of the model; decoding needs the same one.
        skeleton: Whose joints the poses have.
        space: The pose space as plain values (crop padding among them).
        codebook_size: Number of ids V.
        num_tokens: Tokens M a pose.
        format_version: Version of the file format.
    """

    model: str
    fingerprint: str
    skeleton: Skeleton
    space: dict[str, Any]
    codebook_size: int
    num_tokens: int
    format_version: int = FORMAT_VERSION

    def to_json(self) -> str:
        """Return the JSON text that stands in the file."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str | bytes, path: str | Path) -> TokenMetadata:
        """Read the JSON text of the file ``path``.

        Raises:
            TokenFileError: If it is no such JSON, of another version, or has a missing, unknown or bad value.
        """
        try:
            values = json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise TokenFileError(f"{path}: the metadata under the key {_KEY!r} is not valid JSON: {error}") from None
        version = values.get("format_version") if isinstance(values, dict) else None
        if version != FORMAT_VERSION:
            raise TokenFileError(
                f"{path}: token table of format version {version!r}; this version of pct reads {FORMAT_VERSION}"
            )
        names = {f.name for f in fields(cls)}
        if set(values) != names:
            raise TokenFileError(f"{path}: metadata has the keys {sorted(values)}; it must have {sorted(names)}")
        for name in ("codebook_size", "num_tokens"):
            # Readers count the use of every id: an absurd number here must not take all memory there.
            if not isinstance(values[name], int) or not 0 < values[name] <= _MOST_IDS:
                raise TokenFileError(
                    f"{path}: metadata gives {name} as {values[name]!r}; it must be an integer from 1 to {_MOST_IDS}"
                )
        try:
            values["skeleton"] = Skeleton.from_dict(values["skeleton"])
        except (ValueError, TypeError, KeyError) as error:
            raise TokenFileError(f"{path}: metadata holds no skeleton: {error}") from None
        return cls(**values)


@dataclass(frozen=True)
class PoseTokens:
    """N encoded poses.

    Attributes:
        indices: Tokens (N, M), integers in [0, codebook_size).
        bbox: Person boxes (N, 4) as x, y, width, height in image pixels, float32.
        image_ids, annotation_ids: Image and annotation of each pose (N,), int64.
        area: Segment area (N,) in square pixels, float32, NaN where it is not known.
    """

    indices: np.ndarray
    bbox: np.ndarray
    image_ids: np.ndarray
    annotation_ids: np.ndarray
    area: np.ndarray

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.dtype.kind not in "iu":
            raise ValueError(f"indices must be integers (N, M); got {self.indices.dtype} of {self.indices.shape}")
        n = len(self.indices)
        shapes = {"bbox": (n, 4), "image_ids": (n,), "annotation_ids": (n,), "area": (n,)}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape {shape}; got {getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.indices)

    @classmethod
    def concatenate(cls, tables: list[PoseTokens]) -> PoseTokens:
        """Put tables one after the other; there must be at least one."""
        return cls(*(np.concatenate([getattr(t, f.name) for t in tables]) for f in fields(cls)))


class TokenWriter:
    """Write a token table batch by batch; a context manager.

    The file appears under its name only when the block ends without an error.

    Args:
        path: The file, with suffix ``.parquet``.
        metadata: What the file says about the model.
        force: Whether an existing file is replaced.

    Raises:
        OutputError: If the file cannot be written.
        FileExistsError: If the file exists and ``force`` is not set.
    """

    def __init__(self, path: str | Path, metadata: TokenMetadata, force: bool = False) -> None:
        self.path, self.metadata, self.num_rows = Path(path), metadata, 0
        self._writer = ColumnWriter(path, _columns(metadata), {_KEY: metadata.to_json()}, force)
        self._pending: list[PoseTokens] = []
        self._stack = ExitStack()

    def __enter__(self) -> TokenWriter:
        self._stack.enter_context(self._writer)
        self._stack.push(self._finish)
        return self

    def write(self, tokens: PoseTokens) -> None:
        """Append poses.

        Raises:
            TokenFileError: On another number of tokens a pose or an id outside the codebook.
        """
        _check_ids(tokens.indices, self.metadata, self.path, self.num_rows)
        self.num_rows += len(tokens)
        self._pending.append(tokens)
        if sum(map(len, self._pending)) >= _ROW_GROUP:
            self._flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        tokens = PoseTokens.concatenate(self._pending)
        self._pending = []
        names = ("image_ids", "annotation_ids", "bbox", "area", "indices")
        self._writer.write({c: getattr(tokens, n) for c, n in zip(_columns(self.metadata), names, strict=True)})


class TokenReader:
    """Read the token table ``path``; a context manager.

    Attributes:
        metadata: What the file says about the model.

    Raises:
        ParquetError: If it is missing, empty, truncated, or no Parquet file.
        TokenFileError: If it is no token table, or of another version.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._file = ColumnReader(path)
        try:
            text = self._file.metadata.get(_KEY.encode())
            if text is None:
                raise TokenFileError(f"{path}: this Parquet file is no token table; `pct encode` makes one")
            self.metadata = TokenMetadata.from_json(text, path)
        except ValueError:
            self.close()
            raise

    def __enter__(self) -> TokenReader:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._file)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def batches(self, batch_size: int = 4096) -> Iterator[PoseTokens]:
        """Yield the poses in order, at most ``batch_size`` at a time.

        Raises:
            ParquetError: If a column is missing or the data is damaged.
            TokenFileError: On an id outside the codebook, or a missing value; it names the row.
        """
        start = 0
        for batch in self._file.batches(list(_columns(self.metadata)), batch_size):
            tokens = self._convert(batch, start)
            start += len(tokens)
            yield tokens

    def read(self) -> PoseTokens:
        """Return all poses at once."""
        none = {name: Column(np.zeros(0, dtype), np.zeros(0)) for name, (dtype, _) in _columns(self.metadata).items()}
        return PoseTokens.concatenate([self._convert(none, 0), *self.batches()])

    def _convert(self, batch: dict[str, Column], start: int) -> PoseTokens:
        values = {}
        for name, (dtype, width) in _columns(self.metadata).items():
            column, array = batch[name], batch[name].values
            if name == "area":
                array = np.full(len(column.counts), np.nan)
                array[column.counts == 1] = column.values
            elif (column.counts != max(width, 1)).any():
                row = int(np.argmax(column.counts != max(width, 1)))
                raise TokenFileError(
                    f"{self.path}: row {start + row} has {column.counts[row]} numbers in {name}; "
                    f"it must have {max(width, 1)}"
                )
            elif dtype.kind in "iu" and array.dtype.kind not in "iu":
                raise TokenFileError(f"{self.path}: column {name} holds {array.dtype}; it must hold integers")
            # Ids are widened first: as the type of the file a negative one would come out as a large one.
            array = array.astype(np.int64 if dtype.kind in "iu" else dtype)
            values[name] = array.reshape(-1, width) if width else array
        _check_ids(values["tokens"], self.metadata, self.path, start)
        _check_boxes(values["bbox"], self.path, start)
        return PoseTokens(values["tokens"], values["bbox"], values["image_id"], values["annotation_id"], values["area"])


def is_token_file(path: str | Path) -> bool:
    """Say whether ``path`` is a Parquet file that calls itself a token table."""
    if Path(path).suffix.lower() != ".parquet":
        return False
    with ColumnReader(path) as file:
        return _KEY.encode() in file.metadata


def _columns(metadata: TokenMetadata) -> dict[str, tuple[np.dtype[Any], int]]:
    ids = np.dtype(np.uint16 if metadata.codebook_size <= 2**16 else np.uint32)
    integer, real = np.dtype(np.int64), np.dtype(np.float32)
    return {
        "image_id": (integer, 0),
        "annotation_id": (integer, 0),
        "bbox": (real, 4),
        "area": (real, 0),
        "tokens": (ids, metadata.num_tokens),
    }


def _check_ids(indices: np.ndarray, metadata: TokenMetadata, path: Path, start: int) -> None:
    m, v = metadata.num_tokens, metadata.codebook_size
    if indices.shape[1] != m:
        raise TokenFileError(f"{path}: {indices.shape[1]} tokens a pose; this model has {m}")
    bad = (indices < 0) | (indices >= v)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise TokenFileError(
            f"{path}: token {column} of row {start + row} is {int(indices[row, column])}; "
            f"ids of this codebook go from 0 to {v - 1}"
        )


def _check_boxes(bbox: np.ndarray, path: Path, start: int) -> None:
    bad = ~(np.isfinite(bbox).all(axis=1) & (bbox[:, 2:] > 0).all(axis=1))
    if bad.any():
        row = int(np.argmax(bad))
        raise TokenFileError(f"{path}: bbox of row {start + row} is {bbox[row].tolist()}; its size must be positive")
