"""Parquet files as columns of numpy arrays, read and written batch by batch (the one room that knows pyarrow)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from pct.files.npz import check_file
from pct.files.output import atomic_output, check_output

if TYPE_CHECKING:
    import pyarrow as pa


# Rows have some hundred numbers; so many of one are no pose, and few packed bytes can stand for gigabytes.
_MOST_A_ROW, _MOST_BYTES, _MOST_PACKED = 10_000, 256 << 20, 200


class ParquetError(ValueError):
    """A Parquet file is missing, empty, truncated, or lacks a column."""


class Column(NamedTuple):
    """One column of a batch of n rows.

    Attributes:
        values: All numbers of the rows one after the other, lists and lists of lists made flat. A missing number is
            NaN in a column of floats and makes a column of integers one of floats.
        counts: How many of the values each row has (n,); 0 where the row is missing.
    """

    values: np.ndarray
    counts: np.ndarray


@contextmanager
def _named(path: Path, what: str) -> Iterator[None]:
    """Say of which file what Arrow raises is."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ParquetError(f"{path}: {what}: {' '.join(str(error).split())[:200]}") from None


class ColumnReader(ExitStack):
    """Read columns of a Parquet file; a context manager.

    Attributes:
        metadata: Key and value of the file's own metadata.
        columns: Names of the columns.

    Args:
        path: The file.

    Raises:
        ParquetError: If it is missing, empty, truncated, or no Parquet file.
    """

    def __init__(self, path: str | Path) -> None:
        import pyarrow.parquet as pq

        super().__init__()
        self.path = check_file(path, ParquetError)
        with _named(self.path, "truncated, or no Parquet file"):
            self._file = self.enter_context(pq.ParquetFile(self.path, page_checksum_verification=True))
            schema = self._file.schema_arrow
            self.metadata: dict[bytes, bytes] = schema.metadata or {}
            self.columns: list[str] = schema.names

    def __len__(self) -> int:
        return self._file.metadata.num_rows

    def batches(self, names: Sequence[str], batch_size: int) -> Iterator[dict[str, Column]]:
        """Yield the columns ``names`` in order of rows, at most ``batch_size`` rows at a time.

        Raises:
            ParquetError: If a column is missing or holds no numbers, or the data is damaged.
        """
        missing = [name for name in names if name not in self.columns]
        if missing:
            raise ParquetError(f"{self.path}: no column {missing[0]!r}; the file has {', '.join(self.columns)}")
        with _named(self.path, "damaged data"):
            self._check_sizes(names)
            for batch in self._file.iter_batches(batch_size, columns=list(names)):
                yield {name: self._column(name, batch.column(name)) for name in names}

    def _check_sizes(self, names: Sequence[str]) -> None:
        """Refuse columns that unpack to more than their rows can need, before they are read."""
        for group in map(self._file.metadata.row_group, range(self._file.metadata.num_row_groups)):
            for column in map(group.column, range(group.num_columns)):
                name, values = column.path_in_schema.split(".")[0], column.num_values
                packed = 8 * values > max(_MOST_BYTES, _MOST_PACKED * column.total_compressed_size)
                if name in names and values > (100 if packed else _MOST_A_ROW) * group.num_rows:
                    found = f"{values:,} numbers in {group.num_rows:,} rows"
                    raise ParquetError(f"{self.path}: column {name!r} holds {found}; that is no table of poses")

    def _column(self, name: str, array: pa.Array) -> Column:
        import pyarrow as pa

        counts = np.where(array.is_null().to_numpy(zero_copy_only=False), 0, 1)
        array = array.drop_null()
        while pa.types.is_nested(array.type) and hasattr(array, "value_lengths"):
            ends = np.cumsum(counts)
            lengths = array.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
            total = np.concatenate([[0], np.cumsum(lengths)])
            counts = total[ends] - total[ends - counts]
            array = array.flatten()
        if not (pa.types.is_integer(array.type) or pa.types.is_floating(array.type) or pa.types.is_boolean(array.type)):
            wanted = "it must hold numbers or lists of them"
            raise ParquetError(f"{self.path}: column {name!r} holds {array.type}; {wanted}")
        return Column(array.to_numpy(zero_copy_only=False), counts)


@contextmanager
def write_columns(
    path: str | Path,
    columns: Mapping[str, tuple[np.dtype[Any], int]],
    metadata: Mapping[str, str],
    force: bool = False,
) -> Iterator[Callable[[Mapping[str, np.ndarray]], None]]:
    """Write columns to a Parquet file batch by batch; it appears under its name only when the block ends well.

    Args:
        path: The file, with suffix ``.parquet``; errors are those of :func:`pct.files.output.check_output`.
        columns: Name, type, and numbers a row (0: a plain column, else a list of fixed size) of each column.
        metadata: Kept in the file.
        force: Whether an existing file is replaced.

    Yields:
        What appends rows as one row group; NaN in a plain column of floats is written as a missing value.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = {name: pa.from_numpy_dtype(dtype) for name, (dtype, _) in columns.items()}
    fields = [(n, pa.list_(types[n], width) if width else types[n]) for n, (_, width) in columns.items()]
    schema = pa.schema(fields, metadata=dict(metadata))

    def write(values: Mapping[str, np.ndarray]) -> None:
        arrays = []
        for field in schema:
            dtype, width = columns[field.name]
            numbers = pa.array(values[field.name].astype(dtype).reshape(-1), from_pandas=width == 0)
            arrays.append(pa.FixedSizeListArray.from_arrays(numbers, type=field.type) if width else numbers)
        writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

    with (
        atomic_output(check_output(path, (".parquet",), force), force) as temporary,
        pq.ParquetWriter(temporary, schema, compression="zstd", write_page_checksum=True) as writer,
    ):
        yield write
