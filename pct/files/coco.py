"""COCO-format keypoint files: their entries as a stream, and new ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch

from pct.files.json_stream import iter_json_items
from pct.files.output import open_atomically
from pct.poses import Poses
from pct.skeleton import Skeleton

# The median of segment area over box area on 3,247 COCO annotations; used where an annotation has no `area`.
AREA_SHARE = 0.52


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
    """Write 2D poses as a COCO file that reads back as the same poses; known joints have visibility 2."""
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
