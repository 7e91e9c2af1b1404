"""PoseTokens: the table of encoded poses and its file.

A token table is a Parquet file with one pose a row. ``pandas.read_parquet`` reads it::

    image_id  annotation_id  bbox                    area    tokens
    139       230831         [413, 158, 53.1, 138]   3421.0  [711, 12, 1003, ...]

and the model that made it stands as JSON in the file's metadata, under the key ``pct`` (:class:`TokenMetadata`).
Tables of 3D poses have a column ``root``, the root joint's position in millimetres, in place of ``bbox`` and ``area``.
A table of a model whose tokens are ordered may hold the first m tokens of each pose only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from pct.files.parquet import Column, ColumnReader, write_columns
from pct.tokens.metadata import METADATA_KEY, TokenFileError, TokenMetadata
from pct.tokens.text import check_ids

# Poses a row group: large enough that its description costs nothing, small enough to be held.
_ROW_GROUP = 16_384
# Columns of the file that have another name in a table.
_FIELDS = {
    **{"image_id": "image_ids", "annotation_id": "annotation_ids"},
    **{"bbox": "reference", "root": "reference", "tokens": "indices"},
}


@dataclass(frozen=True)
class PoseTokens:
    """N encoded poses.

    Attributes:
        indices: Tokens (N, M), or the first m of them (N, m), integers in [0, codebook_size).
        reference: What places the poses, float32: person boxes (N, 4) as x, y, width, height in image pixels, or of 3D
            poses the positions (N, 3) of their root joints in millimetres.
        image_ids, annotation_ids: Image and annotation of each pose (N,), int64.
        area: Segment area (N,) in square pixels, float32, NaN where it is not known; an empty one is NaN everywhere.
    """

    indices: np.ndarray
    reference: np.ndarray
    image_ids: np.ndarray
    annotation_ids: np.ndarray
    area: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))

    def __post_init__(self) -> None:
        if self.indices.ndim != 2 or self.indices.dtype.kind not in "iu":
            raise ValueError(f"indices must be integers (N, M); got {self.indices.dtype} of {self.indices.shape}")
        n = len(self.indices)
        if len(self.area) == 0:
            object.__setattr__(self, "area", np.full(n, np.nan, np.float32))
        width = 3 if self.is_3d else 4
        for name, shape in {"reference": (n, width), "image_ids": (n,), "annotation_ids": (n,), "area": (n,)}.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must have shape {shape}; got {getattr(self, name).shape}")

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def is_3d(self) -> bool:
        """Whether the poses are 3D."""
        return self.reference.shape[-1] == 3

    @property
    def bbox(self) -> np.ndarray:
        """The boxes (N, 4) of 2D poses; NaN for 3D poses."""
        return np.full((len(self), 4), np.nan, np.float32) if self.is_3d else self.reference

    @classmethod
    def concatenate(cls, tables: list[PoseTokens]) -> PoseTokens:
        """Put tables one after the other; there must be at least one, and all 2D or all 3D."""
        return cls(*(np.concatenate([getattr(table, f.name) for table in tables]) for f in fields(cls)))

    def first_tokens(self, length: int) -> PoseTokens:
        """Return the same poses with their first ``length`` tokens only."""
        return replace(self, indices=self.indices[:, :length])

    def with_indices(self, indices: np.ndarray) -> PoseTokens:
        """Return other tokens (n, M) with the places and ids of the first n rows."""
        return PoseTokens(indices, *(getattr(self, f.name)[: len(indices)] for f in fields(self)[1:]))


class TokenWriter(ExitStack):
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
        super().__init__()
        self.path, self.metadata, self.num_rows = Path(path), metadata, 0
        self._file = write_columns(path, _columns(metadata), {METADATA_KEY: metadata.to_json()}, force)
        self._pending: list[PoseTokens] = []

    def __enter__(self) -> TokenWriter:
        self._write = self.enter_context(self._file)
        self.push(self._finish)
        return self

    def write(self, tokens: PoseTokens) -> None:
        """Append poses.

        Raises:
            TokenFileError: On another number of tokens a pose, an id outside the codebook, or 3D poses for a table of
                2D ones.
        """
        if tokens.is_3d != self.metadata.is_3d:
            kinds = ("3D", "2D") if self.metadata.is_3d else ("2D", "3D")
            raise TokenFileError(f"{self.path}: the table is one of {kinds[0]} poses; it cannot take {kinds[1]} poses")
        _check_ids(tokens.indices, self.metadata, self.path, self.num_rows)
        self.num_rows += len(tokens)
        self._pending.append(tokens)
        if sum(map(len, self._pending)) >= _ROW_GROUP:
            self._flush()

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._flush()

    def _flush(self) -> None:
        if not self._pending:
            return
        tokens = PoseTokens.concatenate(self._pending)
        self._pending = []
        self._write({column: getattr(tokens, _FIELDS.get(column, column)) for column in _columns(self.metadata)})


class TokenReader(ExitStack):
    """Read the token table ``path``; a context manager.

    Attributes:
        metadata: What the file says about the model.

    Raises:
        ParquetError: If it is missing, empty, truncated, or no Parquet file.
        TokenFileError: If it is no token table, or of another version.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self._file = self.enter_context(ColumnReader(path))
        try:
            text = self._file.metadata.get(METADATA_KEY.encode())
            if text is None:
                raise TokenFileError(f"{path}: this Parquet file is no token table; `pct encode` makes one")
            self.metadata = TokenMetadata.from_json(text, path)
        except ValueError:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._file)

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
        _check_places(values, self.path, start)
        return PoseTokens(**{_FIELDS.get(name, name): array for name, array in values.items()})


def is_token_file(path: str | Path) -> bool:
    """Say whether ``path`` is a Parquet file that calls itself a token table."""
    if Path(path).suffix.lower() != ".parquet":
        return False
    with ColumnReader(path) as file:
        return METADATA_KEY.encode() in file.metadata


def _columns(metadata: TokenMetadata) -> dict[str, tuple[np.dtype[Any], int]]:
    ids = np.dtype(np.uint16 if metadata.codebook_size <= 2**16 else np.uint32)
    integer, real = np.dtype(np.int64), np.dtype(np.float32)
    places = {"root": (real, 3)} if metadata.is_3d else {"bbox": (real, 4), "area": (real, 0)}
    return {
        "image_id": (integer, 0),
        "annotation_id": (integer, 0),
        **places,
        "tokens": (ids, metadata.tokens_per_pose),
    }


def _check_ids(indices: np.ndarray, metadata: TokenMetadata, path: Path, start: int) -> None:
    m = metadata.tokens_per_pose
    if indices.shape[1] != m:
        has = "this model has" if metadata.prefix is None else "this table holds the first"
        raise TokenFileError(f"{path}: {indices.shape[1]} tokens a pose; {has} {m}")
    try:
        check_ids(indices, metadata.codebook_size, start)
    except ValueError as error:
        raise TokenFileError(f"{path}: {error}") from None


def _check_places(values: dict[str, np.ndarray], path: Path, start: int) -> None:
    """Check the numbers that place poses: root positions (N, 3), or boxes (N, 4)."""
    name, wanted = ("root", "it must be finite") if "root" in values else ("bbox", "its size must be positive")
    places = values[name]
    bad = ~(np.isfinite(places).all(axis=1) & ((places[:, 2:] > 0).all(axis=1) | (name == "root")))
    if bad.any():
        row = int(np.argmax(bad))
        raise TokenFileError(f"{path}: {name} of row {start + row} is {places[row].tolist()}; {wanted}")
