"""MPII Human Pose annotations in the JSON layout of the HRNet line of work."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pct.files.json_stream import is_json_list, iter_json_list
from pct.files.pose_checks import LARGEST_PIXEL
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
    """

    table: Poses
    head_size: Tensor
    image_names: tuple[str, ...]


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


def load_mpii_poses(path: str | Path) -> MpiiPoses:
    """Read an MPII JSON file: a list of persons with ``image``, ``joints``, ``joints_vis``, ``center``, ``scale``.

    MPII counts pixels from 1; 1 is taken off. The box is the square with the person's height (200 pixels times
    scale) as its side, its centre 15 pixels times scale below MPII's, so that padding it by 1.25 gives the crop that
    published MPII results use. Some files hold ``center`` and ``scale`` with this shift and enlargement done already
    (those made from the stacked-hourglass h5 files); they are told by centres that are not whole numbers, which
    MPII's own always are. The area is an estimate, 0.2 of the square.

    Raises:
        ValueError: If the file is malformed or empty, or a person lacks a field or has a wrong or non-finite value.
    """
    persons = _read_persons(path)
    joints = torch.tensor([p["joints"] for p in persons], dtype=torch.float64)
    visible = torch.tensor([p["joints_vis"] for p in persons]) > 0
    center = torch.tensor([p["center"] for p in persons], dtype=torch.float64)
    scale = torch.tensor([p["scale"] for p in persons], dtype=torch.float64)
    if bool((center - center.round()).abs().amax() > 1e-6):
        scale = scale / _ENLARGE
    else:
        center = center + torch.stack([torch.zeros_like(scale), _SHIFT * scale], dim=1)
    side = (_PIXELS_PER_SCALE * scale)[:, None]
    names = tuple(dict.fromkeys(str(p["image"]) for p in persons))
    number = {name: i for i, name in enumerate(names)}
    table = Poses(
        skeleton=MPII16,
        keypoints=torch.where(visible[..., None], joints - 1.0, 0.0).float(),
        visible=visible,
        bbox=torch.cat([center - 1.0 - side / 2, side, side], dim=1).float(),
        area=(_AREA_SHARE * side[:, 0] ** 2).float(),
        image_ids=torch.tensor([number[str(p["image"])] for p in persons]),
        annotation_ids=torch.arange(len(persons)),
    )
    return MpiiPoses(table, torch.tensor([p.get("head_size", math.nan) for p in persons]), names)


def _read_persons(path: str | Path) -> list[Mapping[str, Any]]:
    persons = list(iter_json_list(path))
    if not persons:
        raise ValueError(f"{path}: expected a JSON list of persons (MPII annotations), and at least one")
    for row, person in enumerate(persons):
        fault = _find_fault(person)
        if fault is not None:
            raise ValueError(f"{path}: person {row} (counted from 0): {fault}")
    return persons


def _find_fault(person: Any) -> str | None:
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
    if not any(v > 0 for v in person["joints_vis"]):
        return "no joint is annotated (joints_vis is 0 everywhere)"
    if not _are_numbers(person["center"], 2):
        return f"center is {person['center']!r}; it must be 2 finite numbers"
    for name in ("scale", "head_size"):
        if name in person and not (_are_numbers([person[name]], 1) and person[name] > 0):
            return f"{name} is {person[name]!r}; it must be a positive number"
    return None


def _are_numbers(values: Any, count: int) -> bool:
    if not isinstance(values, list) or len(values) != count:
        return False
    return all(type(v) in (int, float) and abs(v) < LARGEST_PIXEL for v in values)
