"""The photos of a COCO-format file: by image id, checked against what the file says of them, the last few kept."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from pct.files.json_stream import iter_json
from pct.files.photo import PhotoError, decode_photo, photo_size, read_bytes
from pct.files.pose_checks import are_numbers

# Decoded photos that are kept: several persons of one photo follow each other in a file.
_DECODED = 4
# What files of generated people say of the camera of a photo.
_CAMERA = ("fx", "fy", "cx", "cy")
# Of faults of one kind.
_SHOWN = 5


class PhotoFolder:
    """Photos by image id.

    Args:
        annotations_path: COCO-format file with ``images``.
        image_folder: Where their ``file_name`` is looked for.
        cache: Keep the encoded bytes of every photo that was read in memory; for sets of a few thousand small ones.
        images: Their entries, where the file has no ``images`` as COCO's have.

    Attributes:
        faults: What is wrong with image entries of the file, a sentence each; they count as not there. Of two that
            have the same id and differ, none counts.
    """

    def __init__(
        self,
        annotations_path: str | Path,
        image_folder: str | Path,
        cache: bool = False,
        images: Iterable[Any] | None = None,
    ) -> None:
        self.folder = Path(image_folder)
        self._images: dict[int, Mapping[str, Any]] = {}
        self.faults: list[str] = []
        twice = set[int]()
        for image in iter_json(annotations_path, "images") if images is None else images:
            fault = _find_fault(image)
            if fault is None:
                kept = {name: image.get(name) for name in ("file_name", "width", "height", "camera")}
                if self._images.setdefault(image["id"], kept) != kept:
                    fault = f"image {image['id']} is there twice, and the entries differ"
                    twice.add(image["id"])
            if fault is not None:
                self.faults.append(f"{annotations_path}: {fault}")
        for image_id in twice:
            del self._images[image_id]
        self._bytes: dict[Path, bytes] | None = {} if cache else None
        self._decoded: dict[int, np.ndarray] = {}

    def __contains__(self, image_id: object) -> bool:
        """Whether there is a good entry with the id."""
        return type(image_id) is int and image_id in self._images

    @property
    def image_ids(self) -> set[int]:
        """Ids of all good entries, whether their photos are there or not."""
        return set(self._images)

    def present(self) -> set[int]:
        """Return the ids of the photos that are there; those outside the folder count as not there."""
        found = set()
        for image_id in self._images:
            with suppress(PhotoError):
                path = self.path(image_id)
                if path is not None and path.is_file():
                    found.add(image_id)
        return found

    def path(self, image_id: int) -> Path | None:
        """Return where the photo is or should be, or None if no image has the id.

        Raises:
            PhotoError: If it is outside the folder.
        """
        image = self._images.get(image_id)
        return None if image is None else locate_photo(self.folder, image["file_name"])

    def size(self, image_id: int) -> tuple[int, int]:
        """Return width and height: as the annotation file states, or else as the photo's header does.

        Raises:
            PhotoError: If neither says.
        """
        stated = self._stated_size(image_id)
        return photo_size(locate_photo(self.folder, self._images[image_id]["file_name"])) if stated is None else stated

    def intrinsics(self, image_id: int) -> np.ndarray | None:
        """Return the camera's fx, fy, cx, cy (4,) in pixels, float32; None where the file does not say."""
        camera = self._images.get(image_id, {}).get("camera")
        return None if camera is None else np.array([camera[name] for name in _CAMERA], np.float32)

    def read(self, image_id: int) -> np.ndarray:
        """Return a photo (H, W, 3), uint8 RGB, read-only.

        Raises:
            PhotoError: If it cannot be read, or has another size than the annotation file states: its labels would
                be at wrong places.
        """
        image = self._decoded.pop(image_id, None)
        self._decoded[image_id] = image = self._decode(image_id) if image is None else image
        if len(self._decoded) > _DECODED:
            self._decoded.pop(next(iter(self._decoded)))
        return image

    def _decode(self, image_id: int) -> np.ndarray:
        path = self.path(image_id)
        if path is None:
            raise PhotoError(f"image {image_id} has no entry in the annotation file")
        data = self._bytes.get(path) if self._bytes is not None else None
        if data is None:
            data = read_bytes(path)
            if self._bytes is not None:
                self._bytes[path] = data
        image = decode_photo(data, path)
        height, width = image.shape[:2]
        stated = self._stated_size(image_id)
        if stated is not None and stated != (width, height):
            raise PhotoError(
                f"{path}: the photo has {width}x{height} pixels; the annotation file says {stated[0]}x{stated[1]}"
            )
        image.setflags(write=False)
        return image

    def _stated_size(self, image_id: int) -> tuple[int, int] | None:
        width, height = (self._images[image_id][name] for name in ("width", "height"))
        return (width, height) if width and height else None


def locate_photo(folder: Path, name: str) -> Path:
    """Return where the photo that a file calls ``name`` is in a folder, or should be.

    Where there is no file of the very name, it is looked for with the separators of Windows, in both forms of Unicode,
    and with its ending in small or capital letters.

    Raises:
        PhotoError: If it is outside the folder: by ``..``, as an absolute path, or behind a link.
    """
    inside = folder.resolve()
    for spelling in _spellings(name):
        path = folder / spelling
        # A drive of Windows is not in the folder; a file whose name has a colon may be.
        if not path.resolve().is_relative_to(inside) or (PureWindowsPath(name).drive and not path.is_file()):
            raise PhotoError(f"{folder}: file_name {name!r} leaves the folder of the photos, so it is not read")
        if path.is_file():
            return path
    return folder / name


def _spellings(name: str) -> Iterator[str]:
    """Yield how a photo's name may be spelt on this disk."""
    yield name
    plain = name.replace("\\", "/")
    for text in (plain, unicodedata.normalize("NFC", plain), unicodedata.normalize("NFD", plain)):
        stem, dot, ending = text.rpartition(".")
        yield from (text, stem + dot + ending.lower(), stem + dot + ending.upper())


def find_usable(
    photos: PhotoFolder,
    image_ids: Sequence[int],
    bbox: Sequence[Sequence[float]],
    names: Sequence[str],
    report: Callable[[str], None],
) -> np.ndarray:
    """Return a mask (N,) of the persons whose photo is there and whose box lies on it, at least in part.

    Args:
        photos: The folder.
        image_ids: One a person.
        bbox: One a person: x, y, width, height in image pixels.
        names: What a report calls each person, such as ``annotation 7``.
        report: Called once for all missing photos, for each bad image entry (of many, the first few), once for each
            other photo that cannot be read and for each box.
    """
    for fault in photos.faults[:_SHOWN]:
        report(f"{fault}; its persons are skipped")
    if len(photos.faults) > _SHOWN:
        report(f"{photos.folder}: the persons of {len(photos.faults) - _SHOWN:,} more bad image entries are skipped")
    sizes = _sizes(photos, Counter(image_ids), report)
    usable = np.zeros(len(image_ids), bool)
    for row, (image_id, (x, y, width, height)) in enumerate(zip(image_ids, bbox, strict=True)):
        if image_id not in sizes:
            continue
        right, bottom = sizes[image_id]
        usable[row] = x < right and y < bottom and x + width > 0 and y + height > 0
        if not usable[row]:
            box = f"bbox {[x, y, width, height]}"
            report(f"{names[row]}: {box} lies outside image {image_id} of {right}x{bottom} pixels; it is skipped")
    return usable


def _sizes(photos: PhotoFolder, persons: Counter[int], report: Callable[[str], None]) -> dict[int, tuple[int, int]]:
    """Return the size of every photo that is there; ``persons`` counts those on each photo."""
    sizes, missing = {}, []
    for image_id in persons:
        try:
            path = photos.path(image_id)
            if path is None or not path.is_file():
                missing.append(image_id)
                continue
            sizes[image_id] = photos.size(image_id)
        except PhotoError as error:
            report(f"{error}; its persons are skipped")
    if missing:
        paths = [photos.path(image_id) for image_id in missing[:_SHOWN]]
        shown = [
            f"image {id_} without an entry" if p is None else p.name for id_, p in zip(missing, paths, strict=False)
        ]
        listed = ", ".join(shown) + (", ..." if len(missing) > _SHOWN else "")
        lost = sum(persons[image_id] for image_id in missing)
        report(f"{photos.folder}: {len(missing)} photos are missing ({listed}); their {lost} persons are skipped")
    return sizes


def _find_fault(image: Any) -> str | None:
    if not isinstance(image, Mapping) or type(image.get("id")) is not int:
        return f"image entry {str(image)[:60]!r}; expected an object with an integer id and a file_name"
    if not isinstance(image.get("file_name"), str) or not image["file_name"]:
        return f"image {image['id']} has file_name {image.get('file_name')!r}; expected the name of its photo"
    sizes = [image.get(name) for name in ("width", "height")]
    if not all(size is None or (type(size) is int and size >= 0) for size in sizes):
        return f"image {image['id']} has width and height {sizes}; expected whole numbers of pixels, or neither"
    camera = image.get("camera")
    values: list[Any] = [camera.get(name) for name in _CAMERA] if isinstance(camera, Mapping) else []
    if camera is not None and not (are_numbers(values, 4) and min(values[:2]) > 0):
        given = repr(camera)[:99]
        return f"image {image['id']}: camera is {given}; expected numbers fx, fy (positive), cx, cy in pixels"
    return None
