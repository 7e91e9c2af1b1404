"""Poses from the results of other libraries: supervision, COCO results, Ultralytics, MediaPipe; imports none of them.

The functions go by the attributes of what they are given. Joints are brought to the wanted skeleton by their names;
those that the source lacks are unknown, and a tokenizer fills them in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pct.files.pose_checks import RawPoses, check_poses
from pct.files.pose_files import join_batches, read_poses
from pct.poses import Poses
from pct.skeleton import COCO17, Skeleton

# MediaPipe's pose landmarks in their order, by the names that COCO has for seventeen of them.
MEDIAPIPE33 = (
    *("nose", "left_eye_inner", "left_eye", "left_eye_outer", "right_eye_inner", "right_eye", "right_eye_outer"),
    *("left_ear", "right_ear", "mouth_left", "mouth_right", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_pinky", "right_pinky", "left_index", "right_index"),
    *("left_thumb", "right_thumb", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle"),
    *("left_heel", "right_heel", "left_foot_index", "right_foot_index"),
)


def as_poses(found: Any, skeleton: Skeleton = COCO17, image_size: tuple[float, float] | None = None) -> Poses:
    """Return the poses of any result that a function of this module takes, or of a list of them, one a photo.

    Args:
        found: The result; a path is a file of COCO results or annotations.
        skeleton: Whose joints the poses get.
        image_size: Width and height of the photo in pixels, which MediaPipe's landmarks need.

    Raises:
        ValueError: If it is none of these, or a pose is bad; the message names its row.
    """
    if isinstance(found, Poses) and found.skeleton.keypoint_names == skeleton.keypoint_names:
        return found
    if isinstance(found, (str, Path)) or (isinstance(found, list) and all(isinstance(e, Mapping) for e in found)):
        return from_coco(found, skeleton)
    if isinstance(found, (list, tuple)) and found and not np.isscalar(found[0]):
        tables = [as_poses(result, skeleton, image_size) for result in found]
        numbered = [replace(t, image_ids=torch.full_like(t.image_ids, i)) for i, t in enumerate(tables, 1)]
        table = Poses.concatenate(numbered)
        return replace(table, annotation_ids=torch.arange(1, len(table) + 1))
    if hasattr(found, "pose_landmarks"):
        if image_size is None:
            raise ValueError(
                "MediaPipe's landmarks are shares of the photo; give pct.adapters.from_mediapipe its width and height"
            )
        return from_mediapipe(found, image_size, skeleton)
    if hasattr(found, "keypoints") and hasattr(found, "boxes"):
        return from_ultralytics(found, skeleton)
    if hasattr(found, "xy") and hasattr(found, "class_id"):
        return from_supervision(found, skeleton)
    raise ValueError(
        f"poses are read from supervision.KeyPoints, COCO results, results of Ultralytics and of MediaPipe; "
        f"got {type(found).__name__}"
    )


def from_supervision(
    keypoints: Any, skeleton: Skeleton = COCO17, names: Sequence[str] | None = None, min_conf: float = 0.0
) -> Poses:
    """Return the poses of ``supervision.KeyPoints``; their boxes are made from the joints.

    Args:
        keypoints: ``xy`` (N, k, 2) in image pixels; ``keypoint_confidence`` (in older releases ``confidence``) (N, k)
            and ``visible`` (N, k), if there are any. Joints at exactly (0, 0) are unknown.
        skeleton: Whose joints the poses get.
        names: Of the k joints; by default COCO's for 17, MediaPipe's for 33, else those of ``skeleton``.
        min_conf: Joints are unknown unless their confidence is above it.

    Raises:
        ValueError: If a name is unknown (it is named), there are not as many names as joints, or a pose is bad.
    """
    name = "keypoint_confidence" if hasattr(keypoints, "keypoint_confidence") else "confidence"
    conf = getattr(keypoints, name, None)
    visible = getattr(keypoints, "visible", None)
    if visible is not None:
        conf = _array(visible) * (1.0 if conf is None else _array(conf))
    return _table(keypoints.xy, conf, None, skeleton, names, min_conf)


def from_ultralytics(
    result: Any, skeleton: Skeleton = COCO17, names: Sequence[str] | None = None, min_conf: float = 0.0
) -> Poses:
    """Return the poses of one photo's result of Ultralytics, or of :class:`pct.PoseEstimator`.

    Args:
        result: ``keypoints.xy`` (N, k, 2) and ``keypoints.conf`` (N, k) or None, ``boxes.xyxy`` (N, 4), in pixels.
        skeleton: As for :func:`from_supervision`.
        names: As for :func:`from_supervision`.
        min_conf: As for :func:`from_supervision`.

    Raises:
        ValueError: As for :func:`from_supervision`.
    """
    own = getattr(result, "skeleton", None)
    names = own.keypoint_names if names is None and own is not None else names
    corners = _array(result.boxes.xyxy).reshape(-1, 4)
    boxes = np.concatenate([corners[:, :2], corners[:, 2:] - corners[:, :2]], axis=1)
    return _table(result.keypoints.xy, result.keypoints.conf, boxes, skeleton, names, min_conf)


def from_mediapipe(
    result: Any, image_size: tuple[float, float], skeleton: Skeleton = COCO17, min_conf: float = 0.0
) -> Poses:
    """Return the poses of MediaPipe's pose landmarks, 33 for each person; their boxes are made from the joints.

    Args:
        result: ``pose_landmarks`` of the Tasks API (a list of persons), or of the older one (one person or None), each
            landmark with ``x``, ``y`` as shares of the photo and ``visibility``.
        image_size: Width and height of the photo in pixels.
        skeleton: As for :func:`from_supervision`.
        min_conf: Joints are unknown unless their visibility is above it.

    Raises:
        ValueError: As for :func:`from_supervision`.
    """
    persons = result.pose_landmarks or []
    persons = [persons.landmark] if hasattr(persons, "landmark") else persons
    rows = [[(p.x, p.y, 1.0 if p.visibility is None else p.visibility) for p in person] for person in persons]
    found = np.array(rows, np.float64).reshape(len(rows), -1 if rows else len(MEDIAPIPE33), 3)
    return _table(found[..., :2] * np.asarray(image_size), found[..., 2], None, skeleton, MEDIAPIPE33, min_conf)


def from_coco(results: str | Path | Sequence[Mapping[str, Any]], skeleton: Skeleton = COCO17) -> Poses:
    """Return the poses of COCO results.

    Args:
        results: Objects with ``keypoints`` (x, y, confidence of each joint), ``bbox`` if all have one, and ``image_id``
            and ``id`` if there are any; or a file that `pct encode` reads, results or annotations.
        skeleton: As for :func:`from_supervision`; a file's joints must be these.

    Raises:
        ValueError: If a pose is bad or the file cannot be read.
    """
    if isinstance(results, (str, Path)):
        return join_batches(results, read_poses(results, skeleton)).poses
    lengths = {len(entry.get("keypoints") or ()) for entry in results}
    if len(lengths) > 1 or any(length == 0 or length % 3 for length in lengths):
        raise ValueError(f"COCO results need keypoints of one length, x, y, confidence a joint; got {sorted(lengths)}")
    joints = np.array([entry["keypoints"] for entry in results], np.float64)
    joints = joints.reshape(len(results), -1 if len(results) else skeleton.num_keypoints, 3)
    boxed = all("bbox" in entry for entry in results)
    boxes = np.array([entry["bbox"] for entry in results], np.float64).reshape(-1, 4) if boxed else None
    table = _table(joints[..., :2], joints[..., 2], boxes, skeleton, None, 0.0)
    images, own = (
        torch.tensor([entry.get(key, i) for i, entry in enumerate(results, 1)], dtype=torch.int64)
        for key in ("image_id", "id")
    )
    return replace(table, image_ids=images, annotation_ids=own)


def _table(
    xy: Any, conf: Any, boxes: np.ndarray | None, skeleton: Skeleton, names: Sequence[str] | None, min_conf: float
) -> Poses:
    """Bring joints (N, k, 2) to a skeleton, check the poses, and return them."""
    points = _array(xy)
    if points.size == 0:
        points, boxes, names, conf = np.zeros((0, skeleton.num_keypoints, 2)), None, skeleton.keypoint_names, None
    if points.ndim != 3 or points.shape[2] != 2:
        raise ValueError(f"joints must be (N, k, 2) in image pixels; got shape {points.shape}")
    columns = _find_columns(points.shape[1], names, skeleton)
    known = np.ones(points.shape[:2]) if conf is None else (_array(conf).reshape(points.shape[:2]) > min_conf) * 1.0
    known[(points == 0).all(axis=-1) | ~np.isfinite(points).all(axis=-1)] = 0
    # A last joint that is never known stands for those that the source lacks.
    points = np.concatenate([points, np.zeros_like(points[:, :1])], axis=1)[:, columns]
    known = np.concatenate([known, np.zeros_like(known[:, :1])], axis=1)[:, columns]
    numbers = np.arange(1, len(points) + 1)
    batch = check_poses(
        RawPoses(
            skeleton=skeleton,
            keypoints=points,
            rows=numbers,
            where=[f"pose {number - 1}" for number in numbers],
            visible=known,
            bbox=boxes,
            image_ids=np.ones_like(numbers),
        )
    )
    if batch.faults:
        raise ValueError(str(batch.faults[0]))
    return batch.poses


def _find_columns(count: int, names: Sequence[str] | None, skeleton: Skeleton) -> list[int]:
    """Return where each joint of a skeleton is among ``count`` joints; -1 for those that are not."""
    usual = {skeleton.num_keypoints: skeleton.keypoint_names, 17: COCO17.keypoint_names, 33: MEDIAPIPE33}
    found = list(usual.get(count, ()) if names is None else names)
    if len(found) != count:
        told = "give their names" if names is None else f"{len(found)} names are given"
        raise ValueError(f"each pose has {count} joints, and {skeleton.name} has {skeleton.num_keypoints}; {told}")
    unknown = [name for name in found if name not in skeleton.keypoint_names and name not in MEDIAPIPE33]
    if unknown:
        raise ValueError(f"skeleton {skeleton.name} has no joints named {', '.join(unknown)}")
    columns = [found.index(name) if name in found else -1 for name in skeleton.keypoint_names]
    if max(columns) < 0:
        raise ValueError(f"none of the joints {', '.join(found[:5])}, ... is of skeleton {skeleton.name}")
    return columns


def _array(values: Any) -> np.ndarray:
    """Return numbers of numpy, torch (on any device) or lists as float64."""
    return torch.as_tensor(values).detach().cpu().numpy().astype(np.float64)
