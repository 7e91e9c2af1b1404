"""MPII Human Pose annotations in the JSON layout of the HRNet line of work."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pct.files.json_stream import is_json_list, iter_json_list
from pct.files.pose_checks import LARGEST_PIXEL, Fault, PoseFileError, RawPoses, check_poses
from pct.poses import Poses
from pct.skeleton import MPII16

# Published loaders move the centre down by 15 pixels per unit of scale and enlarge the scale by 1.25.
_SHIFT, _ENLARGE = 15.0, 1.25
_PIXELS_PER_SCALE = 200.0

# Area of a person over the square of its height. MPII has no segments: the box of all 16 joints is 0.29 of the square
# (median of the fully annotated persons), and on COCO a person covers 0.7 of the box of its joints.
_AREA_SHARE = 0.2


@dataclass(frozen=True)
class MpiiPoses:
    """The persons of an MPII file.

    Attributes:
        table: Poses of skeleton ``mpii16``. ``image_ids`` count the images, ``annotation_ids`` the rows of the file.
        head_size: Head length (N,) in pixels, the normaliser of PCKh; NaN where the file has none.
        image_names: File name of each image, by image id.
        faults: Why the other persons of the file are bad.
    """

    table: Poses
    head_size: Tensor
    image_names: tuple[str, ...]
    faults: tuple[Fault, ...] = ()


def is_mpii_file(path: str | Path) -> bool:
    """Whether a JSON file is a list of persons as MPII's are; a list of COCO results, or an object, is not.

    Raises:
        ValueError: If there is no such file.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file; expected keypoints in COCO format or in the MPII JSON layout")
    if not is_json_list(path):
        return False
    first = next(iter_json_list(path), None)
    return isinstance(first, Mapping) and bool({"joints", "joints_vis"} & set(first))


def load_mpii_poses(path: str | Path, report: Callable[[str], None] | None = None) -> MpiiPoses:
    """Read an MPII JSON file: a list of persons with ``image``, ``joints``, ``joints_vis``, ``center``, ``scale``.

    MPII counts pixels from 1; 1 is taken off. The box is the square with the person's height (200 pixels times
    scale) as its side, its centre 15 pixels times scale below MPII's, so that padding it by 1.25 gives the crop that
    published MPII results use. Some files hold ``center`` and ``scale`` with this shift and enlargement done already
    (those made from the stacked-hourglass h5 files); they are told by centres that are not whole numbers, which
    MPII's own always are. The area is an estimate, 0.2 of the square.

    Args:
        path: The file.
        report: Called with a sentence for each bad person, who is then skipped; by default it is an error.

    Raises:
        ValueError: If the file is malformed or empty, or a person lacks a field or has a wrong or non-finite value and
            ``report`` is None.
    """
    found = read_mpii(path)
    for fault in found.faults:
        if report is None:
            raise PoseFileError(f"{path}: {fault}")
        report(f"{path}: {fault}")
    return found


def read_mpii(path: str | Path) -> MpiiPoses:
    """Read an MPII JSON file as :func:`load_mpii_poses` does; bad persons are in ``faults``."""
    entries = list(iter_json_list(path))
    if not entries:
        raise PoseFileError(f"{path}: expected a JSON list of persons (MPII annotations), and at least one")
    checked = [(row, person, _find_fault(person)) for row, person in enumerate(entries)]
    names = {row: f"person {row} (counted from 0)" for row, _, _ in checked}
    faults = [Fault(names[row], "bad person", fault) for row, _, fault in checked if fault is not None]
    rows = [row for row, _, fault in checked if fault is None]
    persons = [entries[row] for row in rows]
    images = tuple(dict.fromkeys(str(p["image"]) for p in persons))
    number = {name: i for i, name in enumerate(images)}
    center = np.array([p["center"] for p in persons], np.float64).reshape(-1, 2)
    scale = np.array([p["scale"] for p in persons], np.float64)
    if (np.abs(center - center.round()) > 1e-6).any():
        scale = scale / _ENLARGE
    else:
        center[:, 1] += _SHIFT * scale
    side = _PIXELS_PER_SCALE * scale[:, None]
    raw = RawPoses(
        where=[names[row] for row in rows],
        keypoints=np.array([p["joints"] for p in persons], np.float64).reshape(-1, MPII16.num_keypoints, 2) - 1,
        visibility=np.array([p["joints_vis"] for p in persons], np.float64).reshape(-1, MPII16.num_keypoints),
        bbox=np.concatenate([center - 1 - side / 2, side, side], axis=1),
        area=_AREA_SHARE * side[:, 0] ** 2,
        image_ids=np.array([number[str(p["image"])] for p in persons], np.int64),
        annotation_ids=np.array(rows, np.int64),
        entries=persons,
    )
    batch = check_poses(raw, MPII16, faults)
    head_size = torch.tensor([p.get("head_size", math.nan) for p in batch.entries])
    return MpiiPoses(batch.poses, head_size, images, batch.faults)


def _find_fault(person: Any) -> str | None:
    """Find what keeps a person from becoming a row of numbers."""
    if not isinstance(person, Mapping):
        return f"expected an object with joints, joints_vis, center and scale; got {str(person)[:40]!r}"
    k = MPII16.num_keypoints
    missing = [name for name in ("image", "joints", "joints_vis", "center", "scale") if name not in person]
    if missing:
        return f"no {', '.join(missing)}"
    joints = person["joints"]
    if not (isinstance(joints, list) and len(joints) == k and all(_are_numbers(xy, 2) for xy in joints)):
        return f"joints must be {k} pairs of finite numbers below {LARGEST_PIXEL:.0f}"
    if not _are_numbers(person["joints_vis"], k):
        return f"joints_vis must be {k} numbers, 1 where annotated and 0 elsewhere"
    if not _are_numbers(person["center"], 2):
        return f"center is {str(person['center'])[:60]}; it must be 2 finite numbers"
    for name in ("scale", "head_size"):
        if name in person and not (_are_numbers([person[name]], 1) and person[name] > 0):
            return f"{name} is {repr(person[name])[:60]}; it must be a positive number"
    return None


def _are_numbers(values: Any, count: int) -> bool:
    if not isinstance(values, list) or len(values) != count:
        return False
    return all(type(v) in (int, float) and abs(v) < LARGEST_PIXEL for v in values)
