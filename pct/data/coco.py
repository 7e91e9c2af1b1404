"""COCO-format keypoint files: read them as a stream or as a PoseTable, and write them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch

from pct.data.json_stream import iter_json_items
from pct.data.poses import PoseTable
from pct.files import open_atomically
from pct.skeleton import Skeleton

# The median of segment area over box area on 3,247 COCO annotations; used where an annotation has no `area`.
AREA_SHARE = 0.52

# Pixel coordinates from here on are taken for errors: float32 has no sub-pixel digits left there.
_LARGEST = 1e6


@dataclass(frozen=True)
class CocoCategory:
    """Which annotations of a COCO file are read, and whose joints they have.

    Attributes:
        skeleton: The joints, in the order of ``keypoints``.
        category_id: Annotations of other categories are left out; None takes all.
    """

    skeleton: Skeleton
    category_id: int | None


def load_coco_poses(
    path: str | Path,
    skeleton: Skeleton | None = None,
    *,
    category: str | None = None,
    report: Callable[[str], None] | None = None,
) -> PoseTable:
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
        if not is_labelled_person(annotation, category.category_id):
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


def annotations_to_table(annotations: Sequence[Mapping[str, Any]], skeleton: Skeleton) -> PoseTable:
    """Turn COCO annotations in which :func:`find_fault` finds nothing into a PoseTable, in their order."""
    n, k = len(annotations), skeleton.num_keypoints
    triplets = np.array([a["keypoints"] for a in annotations], dtype=np.float64).reshape(n, k, 3)
    bbox = np.array([a["bbox"] for a in annotations], dtype=np.float64).reshape(n, 4)
    areas = [math.nan if a.get("area") is None else a["area"] for a in annotations]
    area = np.array(areas, dtype=np.float64)
    area = np.where(np.isnan(area), AREA_SHARE * bbox[:, 2] * bbox[:, 3], area)
    visible = triplets[:, :, 2] > 0
    keypoints = np.where(visible[:, :, None], triplets[:, :, :2], 0.0)
    return PoseTable(
        skeleton=skeleton,
        keypoints=torch.from_numpy(keypoints).float(),
        visible=torch.from_numpy(visible),
        bbox=torch.from_numpy(bbox).float(),
        area=torch.from_numpy(area).float(),
        image_ids=torch.tensor([a["image_id"] for a in annotations], dtype=torch.int64),
        annotation_ids=torch.tensor([a["id"] for a in annotations], dtype=torch.int64),
    )


def is_labelled_person(annotation: Any, category_id: int | None = None) -> bool:
    """Whether an annotation is a single person of the category with a labelled joint; broken ones count as such."""
    if not isinstance(annotation, Mapping):
        return True
    if category_id is not None and annotation.get("category_id", category_id) != category_id:
        return False
    if annotation.get("iscrowd"):
        return False
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
        if not isinstance(value, int) or isinstance(value, bool):
            return f"{name} is {value!r}; it must be an integer"
    keypoints = annotation.get("keypoints")
    if not isinstance(keypoints, list) or len(keypoints) != 3 * num_keypoints:
        found = f"{len(keypoints)} numbers" if isinstance(keypoints, list) else repr(keypoints)
        return f"keypoints is {found}; {num_keypoints} joints need {3 * num_keypoints} numbers (x, y, visibility each)"
    if not _are_pixels(keypoints):
        return f"keypoints must be finite numbers below {_LARGEST:.0f}"
    bbox = annotation.get("bbox")
    if not isinstance(bbox, list) or len(bbox) != 4 or not _are_pixels(bbox):
        return f"bbox is {bbox!r}; it must be 4 finite numbers (x, y, width, height)"
    if not (bbox[2] > 0 and bbox[3] > 0):
        return f"bbox is {bbox!r}; width and height must be positive"
    area = annotation.get("area")
    if area is not None and not (isinstance(area, (int, float)) and 0 < area < math.inf):
        return f"area is {area!r}; it must be a positive number, or be left out"
    return None


def find_category(path: str | Path, skeleton: Skeleton | None = None, category: str | None = None) -> CocoCategory:
    """Choose what of a COCO file is read, from its ``categories``.

    Args:
        path: COCO-format file.
        skeleton: Joints of the file; by default those of its keypoint category. Needed where that names no joints.
        category: Name of the category, for files with several keypoint categories.

    Raises:
        ValueError: If no category or several fit, or the file's joints are not those of ``skeleton``.
    """
    found = read_coco_categories(path)
    if category is not None:
        found = [c for c in found if c.get("name") == category] or _refuse_category(path, found, category)
    with_joints = [c for c in found if c.get("keypoints")]
    if skeleton is not None and len(with_joints) > 1:
        with_joints = [c for c in with_joints if tuple(c["keypoints"]) == skeleton.keypoint_names] or with_joints
    if len(with_joints) > 1:
        names = ", ".join(str(c.get("name")) for c in with_joints)
        raise ValueError(f"{path}: several categories have keypoints ({names}); name one of them as category")
    if not with_joints:
        if skeleton is None:
            raise ValueError(f"{path}: no category names its keypoints; add them to `categories`, or give a skeleton")
        return CocoCategory(skeleton, found[0].get("id") if len(found) == 1 else None)
    chosen = with_joints[0]
    if skeleton is None:
        skeleton = Skeleton.from_coco_category(chosen)
    elif tuple(chosen["keypoints"]) != skeleton.keypoint_names:
        raise ValueError(
            f"{path}: the joints of category {chosen.get('name')!r} are {', '.join(map(str, chosen['keypoints']))}; "
            f"skeleton {skeleton.name} has {', '.join(skeleton.keypoint_names)}"
        )
    return CocoCategory(skeleton, chosen.get("id"))


def read_coco_categories(path: str | Path) -> list[dict[str, Any]]:
    """Return the ``categories`` of a COCO-format file without holding the rest in memory; none is an empty list."""
    return [c for c in iter_json_items(path, "categories", required=False) if isinstance(c, dict)]


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


def write_coco_poses(path: str | Path, poses: PoseTable, *, force: bool = False) -> None:
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
        return all(map(math.isfinite, values)) and min(values) > -_LARGEST and max(values) < _LARGEST
    except TypeError:
        return False


def _refuse_category(path: str | Path, found: list[dict[str, Any]], category: str) -> Any:
    names = ", ".join(repr(c.get("name")) for c in found) or "none"
    raise ValueError(f"{path}: no category is named {category!r}; the file has {names}")
