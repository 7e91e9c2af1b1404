"""COCO-format keypoint files, written as a stream."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from torch import Tensor

from pct.files.coco import AREA_SHARE
from pct.files.output import open_atomically
from pct.poses import Poses
from pct.skeleton import Skeleton


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
    filled = (
        {"category_id": 1, "iscrowd": 0, "num_keypoints": sum(v > 0 for v in a["keypoints"][2::3]), **a}
        for a in annotations
    )
    with open_atomically(path, force) as file:
        file.write(b'{"categories": [' + json.dumps(category).encode() + b'],\n"annotations": [')
        _write_items(file, path, filled)
        file.write(b'],\n"images": [')
        _write_items(file, path, images)
        file.write(b"]}\n")


def write_coco_poses(
    path: str | Path, batches: Iterable[Poses], *, decimals: int | None = None, force: bool = False
) -> None:
    """Write 2D poses, one batch at least, as a COCO file; known joints have visibility 2.

    Where the area is not known, 0.52 of the box area is written and ``area_estimated`` is true. Memory grows by 8 bytes
    an image beyond a batch.

    Args:
        path: JSON file.
        batches: The poses in pieces.
        decimals: Of the joints' coordinates; by default all, so that the file reads back as the same poses.
        force: Whether an existing file is replaced.
    """
    pieces, seen = iter(batches), np.zeros(0, np.int64)
    first = next(pieces)

    def annotations() -> Iterator[dict[str, Any]]:
        nonlocal seen
        for poses in chain([first], pieces):
            seen = np.union1d(seen, poses.image_ids.numpy())
            yield from _annotations(poses, decimals)

    images = ({"id": image_id} for _ in [0] for image_id in seen.tolist())
    write_coco_json(path, first.skeleton, images, annotations(), force=force)


def _annotations(poses: Poses, decimals: int | None) -> Iterator[dict[str, Any]]:
    xy, boxes, areas = poses.keypoints, _exact(poses.bbox), _exact(poses.area)
    joints = _exact(xy) if decimals is None else np.round(xy.double().numpy(), decimals)
    estimates = np.maximum(np.round(AREA_SHARE * boxes[:, 2] * boxes[:, 3], 2), 0.01)
    rows = (joints, poses.visible, boxes, areas, estimates, poses.image_ids, poses.annotation_ids)
    for joint, known, bbox, area, estimate, image_id, id_ in zip(*(column.tolist() for column in rows), strict=True):
        keypoints = [number for (x, y), seen in zip(joint, known, strict=True) for number in (x, y, 2 * seen)]
        annotation = {"id": id_, "image_id": image_id, "bbox": bbox, "area": area, "keypoints": keypoints}
        yield {**annotation, "area": estimate, "area_estimated": True} if math.isnan(area) else annotation


def _exact(column: Tensor) -> np.ndarray:
    """Return the shortest decimals that give the same float32: 53.1 stays 53.1."""
    return column.numpy().astype(str).astype(np.float64)


def _write_items(file: BinaryIO, path: str | Path, items: Iterable[Mapping[str, Any]]) -> None:
    for number, item in enumerate(items):
        try:
            text = json.dumps(item, allow_nan=False)
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: entry with id {item.get('id')} cannot be written as JSON: {error}") from None
        file.write((b",\n" if number else b"\n") + text.encode())
