"""COCO-format keypoint files: read them as a stream or as Poses, and write them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from pct.files.coco_categories import CocoCategory, find_category, show_id
from pct.files.json_stream import iter_json_items
from pct.files.output import open_atomically
from pct.files.pose_checks import LARGEST_PIXEL
from pct.poses import Poses
from pct.skeleton import Skeleton

# The median of segment area over box area on 3,247 COCO annotations; used where an annotation has no `area`.
AREA_SHARE = 0.52


def load_coco_poses(
    path: str | Path,
    skeleton: Skeleton | None = None,
    *,
    category: str | int | None = None,
    report: Callable[[str], None] | None = None,
) -> Poses:
    """Read the persons of a COCO-format keypoint file.

    Crowd annotations and those without a labelled joint are left out. A joint with visibility 1 or 2 is known.
    Where an annotation has no ``area``, 0.52 of its box area is taken (the median over COCO's own annotations).

    Args:
        path: Annotation file with ``categories`` and ``annotations``.
        skeleton: Joints of the file; by default those of its keypoint category.
        category: Name of the category, for files with several keypoint categories.
        report: Called with a sentence for each bad annotation, which is then skipped; by default it is an error.

    Returns:
        The persons in file order.

    Raises:
        ValueError: If the file is not such a file or has no usable person, or an annotation is bad (a box without
            area, coordinates that are not finite, a wrong number of keypoints, a repeated id) and ``report`` is None.
    """
    chosen = find_category(path, skeleton, category)
    persons = list(read_persons(path, chosen, report))
    if not persons:
        raise ValueError(f"{path}: no person with a labelled joint, so there is nothing to read")
    return annotations_to_table(persons, chosen.skeleton)


def read_persons(
    path: str | Path, category: CocoCategory, report: Callable[[str], None] | None = None
) -> Iterator[Mapping[str, Any]]:
    """Yield the annotations of :func:`load_coco_poses` as they are in the file; same checks, same ``report``."""
    seen: set[int] = set()
    for annotation in iter_coco_annotations(path):
        if not is_labelled_person(annotation, category):
            continue
        fault = find_fault(annotation, category.skeleton.num_keypoints)
        if fault is None and annotation["id"] in seen:
            fault = "another annotation has the same id; ids must differ"
        if fault is None:
            seen.add(annotation["id"])
            yield annotation
            continue
        name = annotation.get("id") if isinstance(annotation, Mapping) else None
        message = f"{path}: annotation {name}: {fault}"
        if report is None:
            raise ValueError(message)
        report(message)


def annotations_to_table(annotations: Sequence[Mapping[str, Any]], skeleton: Skeleton) -> Poses:
    """Turn COCO annotations in which :func:`find_fault` finds nothing into Poses, in their order."""
    n, k = len(annotations), skeleton.num_keypoints
    triplets = np.array([a["keypoints"] for a in annotations], dtype=np.float64).reshape(n, k, 3)
    bbox = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(n, 4)
    areas = [math.nan if a.get("area") is None else a["area"] for a in annotations]
    area = np.array(areas, dtype=np.float64)
    area = np.where(np.isnan(area) | (area == 0), AREA_SHARE * bbox[:, 2] * bbox[:, 3], area)
    visible = triplets[:, :, 2] > 0
    keypoints = np.where(visible[:, :, None], triplets[:, :, :2], 0.0)
    return Poses(
        skeleton=skeleton,
        keypoints=torch.from_numpy(keypoints).float(),
        visible=torch.from_numpy(visible),
        bbox=torch.from_numpy(bbox).float(),
        area=torch.from_numpy(area).float(),
        image_ids=torch.tensor([a["image_id"] for a in annotations], dtype=torch.int64),
        annotation_ids=torch.tensor([a["id"] for a in annotations], dtype=torch.int64),
    )


def is_labelled_person(annotation: Any, category: CocoCategory) -> bool:
    """Whether an annotation is a single person of the category with a labelled joint; broken ones count as such."""
    if category.find_other(annotation) is not None:
        return False
    if not isinstance(annotation, Mapping):
        return True
    keypoints = annotation.get("keypoints")
    if not isinstance(keypoints, list):
        return True
    try:
        return any(v > 0 for v in keypoints[2::3])
    except TypeError:
        return True


def find_fault(annotation: Any, num_keypoints: int) -> str | None:
    """Say what is wrong with a keypoint annotation and what would be right, or return None."""
    if not isinstance(annotation, Mapping):
        return f"{str(annotation)[:40]!r} is not an annotation; expected an object with id, image_id, bbox, keypoints"
    for name in ("id", "image_id"):
        value = annotation.get(name)
        if type(value) is not int or not -(2**63) <= value < 2**63:
            return f"{name} is {show_id(value)}; it must be an integer of 64 bits"
    keypoints = annotation.get("keypoints")
    if not isinstance(keypoints, list) or len(keypoints) != 3 * num_keypoints:
        found = f"{len(keypoints)} numbers" if isinstance(keypoints, list) else repr(keypoints)
        return f"keypoints is {found}; {num_keypoints} joints need {3 * num_keypoints} numbers (x, y, visibility each)"
    if not _are_pixels(keypoints):
        return f"keypoints must be finite numbers below {LARGEST_PIXEL:.0f}"
    bbox = annotation.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not _are_pixels(bbox):
        return f"bbox is {bbox!r}; it must be 4 finite numbers (x, y, width, height)"
    if not (bbox[2] > 0 and bbox[3] > 0):
        return f"bbox is {bbox!r}; width and height must be positive"
    area = annotation.get("area")
    if area is not None and not (isinstance(area, (int, float)) and 0 <= area < math.inf):
        return f"area is {area!r}; it must be a positive number, or be left out"
    return None


def iter_coco_annotations(path: str | Path) -> Iterator[Any]:
    """Yield the raw ``annotations`` of a COCO-format file in file order, one in memory at a time.

    Numbers that JSON does not have but Python writes (NaN, Infinity) come as None. What is yielded is not checked.

    Raises:
        ValueError: If the file is empty, malformed or truncated, is no COCO annotation file, or has no annotations.
    """
    return iter_json_items(path, "annotations", required=True)


def iter_coco_images(path: str | Path) -> Iterator[Any]:
    """Yield the raw ``images`` of a COCO-format file in file order, one in memory at a time."""
    return iter_json_items(path, "images", required=False)


def write_coco_json(
    path: str | Path,
    skeleton: Skeleton,
    images: Iterable[Mapping[str, Any]],
    annotations: Iterable[Mapping[str, Any]],
    *,
    force: bool = False,
) -> None:
    """Write a COCO keypoint file with one category ``person`` (id 1), as a stream and atomically.

    Annotations are written before images, so ``images`` may be a generator over what the annotations turned out to
    be. ``category_id``, ``iscrowd`` and ``num_keypoints`` are filled in where an annotation lacks them.

    Args:
        path: File to write.
        skeleton: Names and bones of the joints.
        images: COCO image entries (``id``, ``width``, ``height``, ``file_name`` as far as known).
        annotations: COCO annotations with ``id``, ``image_id``, ``bbox`` and flat ``keypoints``.
        force: Replace a file that is there.

    Raises:
        FileExistsError: If the file exists and ``force`` is not set.
        ValueError: If a value is not finite or not JSON; nothing is written then.
    """
    category = {
        "id": 1,
        "name": "person",
        "supercategory": "person",
        "keypoints": list(skeleton.keypoint_names),
        "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges],
    }
    with open_atomically(path, force) as file:
        file.write(b'{"categories": [' + json.dumps(category).encode() + b'],\n"annotations": [')
        _write_items(file, path, (_complete(a) for a in annotations))
        file.write(b'],\n"images": [')
        _write_items(file, path, images)
        file.write(b"]}\n")


def write_coco_poses(path: str | Path, poses: Poses, *, force: bool = False) -> None:
    """Write 2D poses as a COCO file that :func:`load_coco_poses` reads back; known joints have visibility 2."""
    images = [{"id": i, "file_name": f"{i}.jpg"} for i in torch.unique(poses.image_ids).tolist()]
    flat = torch.cat([poses.keypoints.double(), 2.0 * poses.visible[..., None]], dim=-1).flatten(1)
    values = (flat, poses.bbox.double(), poses.area.double(), poses.image_ids, poses.annotation_ids)
    annotations = (
        {"id": id_, "image_id": image_id, "bbox": bbox, "area": area, "keypoints": keypoints}
        for keypoints, bbox, area, image_id, id_ in zip(*(v.tolist() for v in values), strict=True)
    )
    write_coco_json(path, poses.skeleton, images, annotations, force=force)


def _complete(annotation: Mapping[str, Any]) -> dict[str, Any]:
    num_keypoints = sum(v > 0 for v in annotation["keypoints"][2::3])
    return {"category_id": 1, "iscrowd": 0, "num_keypoints": num_keypoints, **annotation}


def _write_items(file: BinaryIO, path: str | Path, items: Iterable[Mapping[str, Any]]) -> None:
    separator = b"\n"
    for item in items:
        try:
            text = json.dumps(item, allow_nan=False)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: entry with id {item.get('id')} cannot be written as JSON: {error}") from None
        file.write(separator + text.encode())
        separator = b",\n"


def _are_pixels(values: list[Any]) -> bool:
    try:
        return all(map(math.isfinite, values)) and min(values) > -LARGEST_PIXEL and max(values) < LARGEST_PIXEL
    except TypeError:
        return False
