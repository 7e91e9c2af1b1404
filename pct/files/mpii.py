"""MPII Human Pose annotations in the JSON layout of the HRNet line of work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pct.files.json_stream import iter_json
from pct.files.pose_checks import (
    LARGEST_PIXEL,
    Fault,
    PoseFileError,
    PoseQuery,
    RawPoses,
    are_numbers,
    explain_mismatch,
)
from pct.skeleton import MPII16

# Published loaders move the centre down by 15 pixels per unit of scale and enlarge the scale by 1.25.
_SHIFT, _ENLARGE = 15.0, 1.25
_PIXELS_PER_SCALE = 200.0

# Area of a person over the square of its height. MPII has no segments: the box of all 16 joints is 0.29 of the square
# (median of the fully annotated persons), and on COCO a person covers 0.7 of the box of its joints.
_AREA_SHARE = 0.2


def read_mpii(path: Path, query: PoseQuery) -> Iterator[RawPoses]:
    """Yield the persons of an MPII JSON file, a list of objects with ``image``, ``joints``, ``center``, ``scale``, ...

    MPII counts pixels from 1; 1 is taken off. The box is the square with the person's height (200 pixels times
    scale) as its side, its centre 15 pixels times scale below MPII's, so that padding it by 1.25 gives the crop that
    published MPII results use. Some files hold ``center`` and ``scale`` with this shift and enlargement done already
    (those made from the stacked-hourglass h5 files); they are told by centres that are not whole numbers, which
    MPII's own always are. The area is an estimate, 0.2 of the square. Image ids count the images, annotation ids the
    rows of the file, which is read whole before the first are yielded.
    """
    if query.skeleton.keypoint_names != MPII16.keypoint_names:
        raise PoseFileError(explain_mismatch(path, "the MPII file", MPII16.keypoint_names, query.skeleton))
    entries = list(iter_json(path))
    found = [_find_fault(person) for person in entries]
    good = [person for person, fault in zip(entries, found, strict=True) if fault is None]
    images = {name: i for i, name in enumerate(dict.fromkeys(str(p["image"]) for p in good))}
    shifted = any(abs(value - round(value)) > 1e-6 for p in good for value in p["center"])
    for start in range(0, len(entries), query.batch_size):
        every = range(start, min(start + query.batch_size, len(entries)))
        rows = [row for row in every if found[row] is None]
        persons = [entries[row] for row in rows]
        center, scale, joints, visible = (
            np.array([p[name] for p in persons], np.float64).reshape(-1, *shape)
            for name, shape in (("center", (2,)), ("scale", ()), ("joints", (16, 2)), ("joints_vis", (16,)))
        )
        scale = scale / _ENLARGE if shifted else scale
        center[:, 1] += 0 if shifted else _SHIFT * scale
        side = _PIXELS_PER_SCALE * scale[:, None]
        yield RawPoses(
            skeleton=MPII16,
            keypoints=joints - 1,
            rows=np.array(rows, np.int64),
            where=[_name(row) for row in rows],
            visible=visible,
            bbox=np.concatenate([center - 1 - side / 2, side, side], axis=1),
            area=_AREA_SHARE * side[:, 0] ** 2,
            image_ids=np.array([images[str(p["image"])] for p in persons], np.int64),
            entries=persons,
            faults=[Fault(_name(row), "bad person", fault) for row in every if (fault := found[row]) is not None],
        )


def _name(row: int) -> str:
    return f"person {row} (counted from 0)"


def _find_fault(person: Any) -> str | None:
    """Find what keeps a person from becoming a row of numbers."""
    if not isinstance(person, Mapping):
        return f"expected an object with joints, joints_vis, center and scale; got {str(person)[:40]!r}"
    missing = [name for name in ("image", "joints", "joints_vis", "center", "scale") if name not in person]
    if missing:
        return f"no {', '.join(missing)}"
    for name, shape, right in (
        ("joints", (16, 2), f"16 pairs of finite numbers below {LARGEST_PIXEL:.0f}"),
        ("joints_vis", (16,), "16 numbers, 1 where annotated and 0 elsewhere"),
        ("center", (2,), "2 finite numbers"),
        ("scale", (), "a positive number"),
        ("head_size", (), "a positive number"),
    ):
        value = person.get(name, 1)
        if not are_numbers(value, *shape) or not (shape or value > 0):
            return f"{name} is {repr(value)[:60]}; it must be {right}"
    return None
