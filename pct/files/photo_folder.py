"""The photos of a COCO-format file: by image id, checked against what the file says of them, the last few kept."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from pct.files.json_stream import find_bad_id, iter_json
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
        self.folder, self.faults = Path(image_folder), list[str]()
        self._images, twice = dict[int, Mapping[str, Any]](), set[int]()
        for image in iter_json(annotations_path, "images") if images is None else images:
            fault = _find_fault(image)
            if fault is None:
                kept = {name: image.get(name) for name in ("file_name", "width", "height", "camera")}
                if self._images.setdefault(image["id"], kept) != kept:
                    fault = f"image {image['id']} is there twice, and the entries differ"
                    twice.add(image["id"])
            if fault is not None:
                self.faults.append(f"{annotations_path}: {fault}")
        self._images = {image_id: image for image_id, image in self._images.items() if image_id not in twice}
        self._cache, self._bytes, self._decoded = cache, dict[Path, bytes](), dict[int, np.ndarray]()

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
                found |= {image_id} if self.path(image_id).is_file() else set()
        return found

    def path(self, image_id: int) -> Path:
        """Return where the photo is or should be.

        Raises:
            PhotoError: If no image has the id, or it is outside the folder.
        """
        if image_id not in self._images:
            raise PhotoError(f"image {image_id} has no entry in the annotation file")
        return locate_photo(self.folder, self._images[image_id]["file_name"])

    def size(self, image_id: int) -> tuple[int, int]:
        """Return width and height: as the annotation file states, or else as the photo's header does.

        Raises:
            PhotoError: If neither says.
        """
        return self._stated_size(image_id) or photo_size(self.path(image_id))

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
        data = self._bytes.get(path) or read_bytes(path)
        if self._cache:
            self._bytes[path] = data
        image, stated = decode_photo(data, path), self._stated_size(image_id)
        found = image.shape[1::-1]
        if stated not in (None, found):
            sizes = "the photo has {}x{} pixels; the annotation file says {}x{}".format(*found, *stated)
            raise PhotoError(f"{path}: {sizes}")
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
    inside, plain = folder.resolve(), name.replace("\\", "/")
    spellings = [name]
    for text in (plain, unicodedata.normalize("NFC", plain), unicodedata.normalize("NFD", plain)):
        stem, dot, ending = text.rpartition(".")
        spellings += [text, stem + dot + ending.lower(), stem + dot + ending.upper()]
    for path in (folder / spelling for spelling in spellings):
        # A drive of Windows is not in the folder; a file whose name has a colon may be.
        if not path.resolve().is_relative_to(inside) or (PureWindowsPath(name).drive and not path.is_file()):
            raise PhotoError(f"{folder}: file_name {name!r} leaves the folder of the photos, so it is not read")
        if path.is_file():
            return path
    return folder / name


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
    sizes, missing = dict[int, tuple[int, int]](), dict[int, str]()
    for image_id in dict.fromkeys(image_ids):
        try:
            if image_id not in photos:
                missing[image_id] = f"image {image_id} without an entry"
            elif not photos.path(image_id).is_file():
                missing[image_id] = photos.path(image_id).name
            else:
                sizes[image_id] = photos.size(image_id)
        except PhotoError as error:
            report(f"{error}; its persons are skipped")
    if missing:
        listed = ", ".join([*missing.values()][:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        lost = sum(image_id in missing for image_id in image_ids)
        report(f"{photos.folder}: {len(missing)} photos are missing ({listed}); their {lost} persons are skipped")
    usable = np.zeros(len(image_ids), bool)
    for row, (image_id, box) in enumerate(zip(image_ids, bbox, strict=True)):
        if image_id in sizes:
            (x, y, width, height), (right, bottom) = box, sizes[image_id]
            usable[row] = x < right and y < bottom and x + width > 0 and y + height > 0
            if not usable[row]:
                outside = f"lies outside image {image_id} of {right}x{bottom} pixels"
                report(f"{names[row]}: bbox {list(box)} {outside}; it is skipped")
    return usable


def _find_fault(image: Any) -> str | None:
    if not isinstance(image, Mapping) or find_bad_id("id", image.get("id")):
        return f"image entry {str(image)[:60]!r}; expected an object with an integer id and a file_name"
    if not _is_file_name(image.get("file_name")):
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


def _is_file_name(name: Any) -> bool:
    """Whether a disk can have a file of a name; JSON can also hold halves of characters."""
    try:
        return isinstance(name, str) and name != "" and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:
        return False
