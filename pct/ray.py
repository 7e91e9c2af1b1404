"""Tokens of photo archives and pose files on Ray Data, on one machine or many: what ``map_batches`` takes.

Example:
    >>> photos = pct.ray.read_photos("photos.tar", done=pct.ray.done_ids("parts"))
    >>> options = pct.ray.actors(2, out="parts")
    >>> for rows in photos.map_batches(pct.ray.EncodePhotos, batch_size=32, **options).iter_batches():
    ...     print(len(rows["id"]))
    >>> print(pct.ray.join_parts("parts", "tokens.parquet", tokenizer))
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from pct.bulk.encode import EncodePhotos, EncodePoses
from pct.bulk.parts import done_ids, join_parts
from pct.bulk.photo_rows import find_photo_rows
from pct.packages import explain_missing

with explain_missing():
    import ray.data
    from ray.data import ActorPoolStrategy, Dataset

__all__ = ["EncodePhotos", "EncodePoses", "actors", "done_ids", "join_parts", "read_photos", "read_poses"]


def read_photos(source: str | Path, done: Collection[Any] = (), blocks: int | None = None) -> Dataset:
    """Return the photos of an archive as rows for :class:`EncodePhotos`.

    Of a folder or a tar file the rows say where the bytes lie, so all machines must see the archive under this path.
    A Parquet file, or a folder of them, has ``id`` and the photos' encoded ``bytes``.

    Args:
        source: Folder of photos, uncompressed tar, or Parquet.
        done: Ids that are left out (:func:`done_ids`).
        blocks: Into how many pieces of work the rows are cut; Ray's choice by default.

    Raises:
        ValueError: If there is no such archive, or nothing in it is left to do.
    """
    if _is_parquet(Path(source)):
        return read_poses(source, done, blocks)
    rows = find_photo_rows(source, done)
    if not rows:
        raise ValueError(f"{source}: all of its photos are done")
    return ray.data.from_items(rows, override_num_blocks=min(blocks or max(16, len(rows) // 32), len(rows)))


def read_poses(source: str | Path, done: Collection[Any] = (), blocks: int | None = None) -> Dataset:
    """Return the rows of a Parquet file or a folder of them, for :class:`EncodePoses`; arguments as above."""
    rows = ray.data.read_parquet(str(source), override_num_blocks=blocks)
    if "id" not in rows.columns():
        raise ValueError(f"{source}: no column 'id'; the file has {', '.join(rows.columns())}")
    known = frozenset(done)
    return rows.filter(lambda row: row["id"] not in known) if known else rows


def actors(count: int, gpus: float = 0, **options: Any) -> dict[str, Any]:
    """Return what ``map_batches`` takes for so many actors, each with one model on one CPU or a share of a GPU.

    Args:
        count: Actors.
        gpus: Of each actor; 0 computes on the CPU.
        options: Arguments of :class:`EncodePhotos` or :class:`EncodePoses`.
    """
    device = "cuda" if gpus else "cpu"
    return {
        "compute": ActorPoolStrategy(size=count),
        "fn_constructor_kwargs": {"device": device, "threads": 1, **options},
        "num_cpus": 1,
        **({"num_gpus": gpus} if gpus else {}),
        "batch_format": "numpy",
    }


def _is_parquet(source: Path) -> bool:
    return source.suffix.lower() == ".parquet" or (source.is_dir() and next(source.glob("*.parquet"), None) is not None)
