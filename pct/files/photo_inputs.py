"""Photos and videos that a person names on a command line: files and folders to a list, each with a name and an id."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pct.files.video import VIDEO_SUFFIXES

PHOTO_SUFFIXES = (".jpg", ".jpeg", ".jfif", ".mpo", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")
# What phones and cameras write that is not read here.
UNREAD_SUFFIXES = (".heic", ".heif", ".avif", ".dng", ".raw", ".cr2", ".nef", ".3gp", ".mts", ".m2ts", ".wmv", ".flv")
_LARGEST_ID = 2**63 - 1


@dataclass(frozen=True)
class PhotoInput:
    """A photo or a video.

    Attributes:
        path: The file.
        name: Its path within the folder that was named, or the file's own name; unique among all.
        is_video: Whether it is a video.
    """

    path: Path
    name: str
    is_video: bool


def find_photos(
    paths: Sequence[str | Path], report: Callable[[str], None] | None = None, drawn: Path | None = None
) -> list[PhotoInput]:
    """Find the photos and videos in files and folders.

    Of a folder all files with a suffix of a photo or video are taken, those of folders in it too, in order of their
    names and without hidden ones; a file that is named itself is taken whatever its suffix.

    Args:
        paths: Files and folders.
        report: Called with a sentence if there are files in the folders that look like photos and are not read.
        drawn: Where results are drawn: what a folder has there is of an earlier run and no photo.

    Raises:
        ValueError: If a path does not exist, or a folder holds no photo or video.
    """
    found, unread = dict[Path, PhotoInput](), Counter[str]()
    taken, names = Counter[str](), set[str]()
    listed = [(file, name) for path in map(Path, paths) for file, name in _list_files(path, drawn, unread)]
    names.update(name for _, name in listed)
    for file, name in listed:
        if file.resolve() in found:
            continue
        # Files of the same name from several folders get _2, _3, ... behind it.
        taken[name] += 1
        base, own, number = Path(name), name, taken[name]
        while number > 1 and own in names:
            own, number = base.with_name(f"{base.stem}_{number}{base.suffix}").as_posix(), number + 1
        names.add(own)
        found[file.resolve()] = PhotoInput(file, own, file.suffix.lower() in VIDEO_SUFFIXES)
    if unread and report is not None:
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(unread.items()))
        report(f"left out {unread.total()} files that are not read ({kinds}); convert them to JPEG, PNG or MP4")
    return list(found.values())


def _list_files(path: Path, drawn: Path | None, unread: Counter[str]) -> list[tuple[Path, str]]:
    """Return the photos and videos of a path with their names, and count what looks like some and is not read."""
    if not path.is_dir():
        if not path.exists():
            raise ValueError(f"{path}: no such file or folder")
        return [(path, path.name)]
    files = []
    for file in sorted(path.rglob("*")):
        name, suffix = file.relative_to(path), file.suffix.lower()
        hidden = any(part.startswith(".") for part in name.parts)
        if drawn is not None and not path.resolve().is_relative_to(drawn.resolve()):
            hidden |= file.resolve().is_relative_to(drawn.resolve())
        if not hidden and file.is_file():
            files += [(file, name.as_posix())] if suffix in PHOTO_SUFFIXES + VIDEO_SUFFIXES else []
            unread.update([suffix] if suffix in UNREAD_SUFFIXES else [])
    if not files:
        suffixes = ", ".join(PHOTO_SUFFIXES + VIDEO_SUFFIXES)
        raise ValueError(f"{path}: no photo or video in this folder; their suffixes are {suffixes}")
    return files


def number_in_name(name: str) -> int | None:
    """Return the last number in a photo's file name, as in ``COCO_val2014_000000000042.jpg``, or None."""
    numbers = re.findall(r"\d+", Path(name).stem)
    return int(numbers[-1]) if numbers and int(numbers[-1]) <= _LARGEST_ID else None


def choose_image_ids(inputs: Sequence[PhotoInput]) -> dict[str, int]:
    """Return ids of photos by their names: the last numbers in these where all have one and they differ, else 1, 2, ...

    Videos have none: their frames are counted on from the largest.
    """
    names = [photo.name for photo in inputs if not photo.is_video]
    numbers = [number_in_name(name) for name in names]
    if None in numbers or len(set(numbers)) < len(numbers):
        return {name: i + 1 for i, name in enumerate(names)}
    return {name: number for name, number in zip(names, numbers, strict=True) if number is not None}
