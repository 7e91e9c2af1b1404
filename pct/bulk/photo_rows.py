"""Photos of a folder or a tar archive as rows that say where their bytes lie: nothing large travels."""

from __future__ import annotations

import tarfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pct.files.photo import PhotoError
from pct.files.photo_inputs import PHOTO_SUFFIXES, find_photos


def find_photo_rows(source: str | Path, done: Collection[str] = ()) -> list[dict[str, Any]]:
    """List the photos of an archive.

    Args:
        source: A folder (all photos in it and below) or an uncompressed tar file.
        done: Ids that are left out.

    Returns:
        Of each photo ``id`` (its path within the archive), ``file``, and ``offset`` and ``size`` of its bytes there.

    Raises:
        ValueError: If there is no such archive, it holds no photo, or the tar is compressed or damaged.
    """
    source = Path(source)
    if source.is_dir():
        photos = [photo for photo in find_photos([source]) if not photo.is_video]
        rows = [{"id": p.name, "file": str(p.path), "offset": 0, "size": p.path.stat().st_size} for p in photos]
    else:
        rows = _tar_rows(source)
    if not rows:
        raise ValueError(f"{source}: no photo in this archive; their suffixes are {', '.join(PHOTO_SUFFIXES)}")
    return [row for row in rows if row["id"] not in done]


def photo_bytes(batch: Mapping[str, Any], row: int) -> bytes:
    """Return the encoded bytes of a photo of a batch: its ``bytes``, or those that ``file`` has at ``offset``.

    Raises:
        PhotoError: If they cannot be read.
    """
    if "bytes" in batch:
        return bytes(batch["bytes"][row] or b"")
    path, offset, size = str(batch["file"][row]), int(batch["offset"][row]), int(batch["size"][row])
    try:
        with open(path, "rb") as file:
            file.seek(offset)
            return file.read(size)
    except OSError as error:
        raise PhotoError(f"{path}: the photo cannot be opened: {error.strerror or error}") from None


def _tar_rows(path: Path) -> list[dict[str, Any]]:
    try:
        with tarfile.open(path, "r:") as archive:
            # As of an unpacked archive, the last file of a name counts.
            rows = {
                member.name: {"id": member.name, "file": str(path), "offset": member.offset_data, "size": member.size}
                for member in archive
                if member.isfile() and Path(member.name).suffix.lower() in PHOTO_SUFFIXES
            }
    except FileNotFoundError:
        raise ValueError(f"{path}: no such folder or archive") from None
    except tarfile.TarError as error:
        raise ValueError(f"{path}: no folder, and no uncompressed tar file: {error}") from None
    return list(rows.values())
