"""Parts of a large token table: Parquet files in a folder, each of some rows, that one or many processes write.

A row has ``id`` (of the photo or pose), ``person`` (its number on the photo, from 0; -1 in a row without a pose),
``bbox`` as decoding needs it or ``root``, ``tokens``, ``score``, ``fingerprint`` of the model, and ``error``: what is
wrong with a photo or pose that has no tokens. A photo without a person has a row with neither. ``score`` ranks
persons over many photos: the mean confidence of the joints, each weighed by itself, times the score of the person's box
(1 where boxes are given), as `pct predict` writes it; rows of poses have none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pct.files.output import atomic_output
from pct.files.photo_inputs import PhotoInput, choose_image_ids
from pct.tokenizer import PoseTokenizer
from pct.tokens.codec import describe_model
from pct.tokens.metadata import TokenFileError
from pct.tokens.table import PoseTokens, TokenWriter

if TYPE_CHECKING:
    import pyarrow as pa

_PATTERN = "part-*.parquet"


@dataclass
class PartsSummary:
    """What :func:`join_parts` found: how many poses, ids, ids without a pose, rows seen twice; errors by id."""

    poses: int = 0
    ids: int = 0
    empty: int = 0
    repeated: int = 0
    errors: dict[Any, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return (
            f"{self.poses:,} poses of {self.ids:,} ids; {len(self.errors):,} could not be read, {self.empty:,} have no "
            f"pose; dropped {self.repeated:,} repeated rows"
        )


def make_rows(rows: Sequence[Mapping[str, Any]], place: str) -> pa.Table:
    """Return rows, which may lack all but ``id``, as an Arrow table whose types do not depend on what is in them.

    Args:
        rows: By the names of the columns.
        place: ``bbox`` or ``root``.
    """
    import pyarrow as pa

    types = {"id": pa.string() if any(isinstance(row["id"], str) for row in rows) else pa.int64(), "person": pa.int32()}
    types |= {place: pa.list_(pa.float32()), "tokens": pa.list_(pa.uint32()), "score": pa.float32()}
    types |= {"fingerprint": pa.string(), "error": pa.string()}
    return pa.Table.from_pylist(list(rows), pa.schema(list(types.items())))


def write_part(rows: pa.Table, folder: str | Path) -> Path:
    """Write rows as a part; it appears whole. The same ids have the same name: who writes them again replaces them."""
    import pyarrow.parquet as pq

    Path(folder).mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256("\n".join(map(str, rows["id"].to_pylist())).encode()).hexdigest()[:16]
    path = Path(folder) / f"part-{name}.parquet"
    with atomic_output(path) as temporary:
        pq.write_table(rows, temporary, compression="zstd", write_page_checksum=True)
    return path


def done_ids(folder: str | Path, fingerprint: str | None = None) -> set[Any]:
    """Return the ids that the parts in a folder hold: with tokens, without a person, or with an error.

    Args:
        folder: Of the parts; one that does not exist holds none.
        fingerprint: Of the model that goes on.

    Raises:
        TokenFileError: If a part was made by another model.
    """
    found: set[Any] = set()
    for rows in _read_parts(folder, ["id", "fingerprint"], fingerprint):
        found.update(rows["id"].to_pylist())
    return found


def join_parts(
    folder: str | Path, out: str | Path, tokenizer: PoseTokenizer, model_name: str = "", force: bool = False
) -> PartsSummary:
    """Put the parts in a folder together to one token table, each person once, in the order of ids.

    Integer ids are the table's ``image_id``; of names it is the number in them where all have one and they differ,
    else they are counted (as ``pct predict`` does). ``annotation_id`` counts the rows.

    Args:
        folder: Of the parts.
        out: The table, ``.parquet``.
        tokenizer: The model that made the parts.
        model_name: What the table calls it.
        force: Whether ``out`` is replaced.

    Raises:
        TokenFileError: If there is no pose, or a part is of another model.
        FileExistsError: If ``out`` exists and ``force`` is not set.
    """
    metadata, place = describe_model(tokenizer, model_name), tokenizer.space.reference_name
    summary, kept = PartsSummary(), {}
    columns = ["id", "person", place, "tokens", "error", "fingerprint"]
    for row in (row for rows in _read_parts(folder, columns, metadata.fingerprint) for row in rows.to_pylist()):
        summary.repeated += (row["id"], row["person"]) in kept
        kept[row["id"], row["person"]] = row
    summary.errors = {id_: row["error"] for (id_, _), row in kept.items() if row["error"] is not None}
    good = [kept[key] for key in sorted(kept) if kept[key]["tokens"] is not None]
    summary.poses, summary.ids = len(good), len({id_ for id_, _ in kept})
    summary.empty = summary.ids - len(summary.errors) - len({row["id"] for row in good})
    if not good:
        raise TokenFileError(f"{folder}: no poses in the parts there ({summary})")
    ids = [row["id"] for row in good]
    if isinstance(ids[0], str):
        numbers = choose_image_ids([PhotoInput(Path(name), name, False) for name in dict.fromkeys(ids)])
        ids = [numbers[name] for name in ids]
    indices = np.array([row["tokens"] for row in good], np.int64)
    places = np.array([row[place] for row in good], np.float32)
    with TokenWriter(out, metadata, force) as writer:
        writer.write(PoseTokens(indices, places, np.array(ids, np.int64), np.arange(1, len(good) + 1)))
    return summary


def _read_parts(folder: str | Path, columns: list[str], fingerprint: str | None) -> Iterator[pa.Table]:
    import pyarrow.parquet as pq

    for path in sorted(Path(folder).glob(_PATTERN)):
        rows = pq.read_table(path, columns=columns, page_checksum_verification=True)
        others = set(rows["fingerprint"].to_pylist()) - {fingerprint}
        if fingerprint is not None and others:
            whose = f"made by the model with fingerprint {others.pop()}, this one has {fingerprint}"
            raise TokenFileError(f"{path}: {whose}; use another folder")
        yield rows
