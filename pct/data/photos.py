"""Persons on photos: what a sample is (PersonPhoto), what gives samples (PersonSource), and COCO files with photos."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pct.data.coco import annotations_to_table, find_category, iter_coco_images, read_persons
from pct.data.photo_files import PhotoError, decode_photo, read_bytes
from pct.skeleton import Skeleton

# Decoded photos that are kept: several persons of one photo follow each other in a file.
_DECODED = 4


@dataclass(frozen=True)
class PersonPhoto:
    """A photo and one person on it.

    Image pixels are counted as in COCO and OpenCV: the centre of the first pixel is (0, 0), x right and y down.

    Attributes:
        image: The photo (H, W, 3), uint8 RGB. It may be shared between persons: not to be written to.
        bbox: Box (4,) as x, y, width, height in image pixels, float32.
        keypoints: Joints (K, 2) in image pixels, float32; 0 where unlabelled.
        visibility: COCO's labels (K,), int64: 0 not labelled, 1 labelled but hidden, 2 labelled and seen.
        area: Segment area in square pixels, the scale of OKS.
        image_id: Of the photo.
        annotation_id: Of the person.
    """

    image: np.ndarray
    bbox: np.ndarray
    keypoints: np.ndarray
    visibility: np.ndarray
    area: float
    image_id: int
    annotation_id: int


class PersonSource(Protocol):
    """Persons by number: the same number always gives the same sample, from any thread.

    ``__getitem__`` raises :class:`~pct.data.photo_files.PhotoError` where the person's photo cannot be read.
    """

    @property
    def skeleton(self) -> Skeleton: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> PersonPhoto: ...


class PhotoFolder:
    """The photos of a COCO-format file, by image id.

    Args:
        annotations_path: COCO-format file with ``images``.
        image_folder: Where their ``file_name`` is looked for.
        cache: Keep the encoded bytes of every photo that was read in memory; for sets of a few thousand small ones.

    Raises:
        ValueError: If an image entry is bad or two have the same id.
    """

    def __init__(self, annotations_path: str | Path, image_folder: str | Path, cache: bool = False) -> None:
        self.folder = Path(image_folder)
        self._images: dict[int, Mapping[str, Any]] = {}
        for image in iter_coco_images(annotations_path):
            fault = _find_image_fault(image)
            if fault is None and image["id"] in self._images:
                fault = f"image {image['id']} is there twice; ids must differ"
            if fault is not None:
                raise ValueError(f"{annotations_path}: {fault}")
            self._images[image["id"]] = {name: image.get(name) for name in ("file_name", "width", "height")}
        self._bytes: dict[Path, bytes] | None = {} if cache else None
        self._decode = lru_cache(_DECODED)(self._read)

    def path(self, image_id: int) -> Path | None:
        """Return where the photo should be, or None if no image has the id."""
        image = self._images.get(image_id)
        return None if image is None else self.folder / image["file_name"]

    def size(self, image_id: int) -> tuple[int, int] | None:
        """Return width and height that the annotation file states, or None where it does not."""
        width, height = (self._images[image_id][name] for name in ("width", "height"))
        return (width, height) if width and height else None

    def read(self, image_id: int) -> np.ndarray:
        """Return a photo (H, W, 3), uint8 RGB, read-only.

        Raises:
            PhotoError: If it cannot be read, or has another size than the annotation file states: its labels would
                be at wrong places.
        """
        return self._decode(image_id)

    def _read(self, image_id: int) -> np.ndarray:
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
        stated = self.size(image_id)
        if stated is not None and stated != (width, height):
            raise PhotoError(
                f"{path}: the photo has {width}x{height} pixels; the annotation file says {stated[0]}x{stated[1]}"
            )
        image.setflags(write=False)
        return image


class CocoPersons:
    """The labelled persons of a COCO-format file with its photos, a :class:`PersonSource` in file order.

    Persons whose photo is not there are left out, and reported in one sentence. A photo that is there and turns out
    to be broken raises :class:`~pct.data.photo_files.PhotoError` when it is read.

    Args:
        annotations_path: COCO-format keypoint file.
        image_folder: Folder of its photos.
        skeleton: Joints of the file; by default those of its keypoint category.
        min_keypoints: Persons with fewer labelled joints are left out.
        report: Called with a sentence for what is skipped; by default a warning.
        cache: Keep encoded photos in memory once read.

    Raises:
        ValueError: If the file is not such a file, or no person is left.
    """

    def __init__(
        self,
        annotations_path: str | Path,
        image_folder: str | Path,
        skeleton: Skeleton | None = None,
        *,
        min_keypoints: int = 1,
        report: Callable[[str], None] | None = None,
        cache: bool = False,
    ) -> None:
        report = report or warnings.warn
        self.photos = PhotoFolder(annotations_path, image_folder, cache)
        category = find_category(annotations_path, skeleton)
        persons = list(read_persons(annotations_path, category, report))
        there = find_photos(self.photos, (person["image_id"] for person in persons), report)
        persons = [p for p in persons if p["image_id"] in there]
        triplets = np.array([p["keypoints"] for p in persons], np.float64)
        triplets = triplets.reshape(len(persons), category.skeleton.num_keypoints, 3)
        # Whatever is neither "not labelled" nor "labelled but hidden" is a joint that is seen.
        visibility = np.where(triplets[..., 2] > 0, np.where(triplets[..., 2] == 1, 1, 2), 0).astype(np.int64)
        enough = (visibility > 0).sum(axis=1) >= min_keypoints
        if not enough.any():
            wanted = f"a photo in {image_folder} and at least {min_keypoints} labelled joints"
            raise ValueError(f"{annotations_path}: no person with {wanted}")
        self.skeleton = category.skeleton
        self.poses = annotations_to_table([p for p, keep in zip(persons, enough, strict=True) if keep], self.skeleton)
        self.visibility = visibility[enough]

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, index: int) -> PersonPhoto:
        poses, image_id = self.poses, int(self.poses.image_ids[index])
        return PersonPhoto(
            image=self.photos.read(image_id),
            bbox=poses.bbox[index].numpy(),
            keypoints=poses.keypoints[index].numpy(),
            visibility=self.visibility[index],
            area=float(poses.area[index]),
            image_id=image_id,
            annotation_id=int(poses.annotation_ids[index]),
        )


def find_photos(photos: PhotoFolder, image_ids: Iterable[int], report: Callable[[str], None]) -> set[int]:
    """Return the image ids whose photo is there; the others are reported in one sentence, with their persons counted.

    Args:
        photos: The folder.
        image_ids: One a person; ids repeat.
        report: Called if any is missing.
    """
    persons: dict[int, int] = {}
    for image_id in image_ids:
        persons[image_id] = persons.get(image_id, 0) + 1
    missing = []
    for image_id in persons:
        path = photos.path(image_id)
        if path is None or not path.is_file():
            missing.append((image_id, f"image {image_id} without an entry" if path is None else path.name))
    if missing:
        names = ", ".join(name for _, name in missing[:5]) + (", ..." if len(missing) > 5 else "")
        lost = sum(persons[image_id] for image_id, _ in missing)
        report(f"{photos.folder}: {len(missing)} photos are missing ({names}); their {lost} persons are left out")
    return set(persons) - {image_id for image_id, _ in missing}


def _find_image_fault(image: Any) -> str | None:
    if not isinstance(image, Mapping) or not isinstance(image.get("id"), int):
        return f"image entry {str(image)[:60]!r}; expected an object with an integer id and a file_name"
    if not isinstance(image.get("file_name"), str) or not image["file_name"]:
        return f"image {image['id']} has file_name {image.get('file_name')!r}; expected the name of its photo"
    return None
