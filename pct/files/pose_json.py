"""Poses in JSON files: COCO annotations, COCO results and the MPII layout, told apart by how they begin."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pct.files.coco import iter_coco_annotations
from pct.files.coco_categories import CocoCategory, explain_mismatch, find_category, show_id
from pct.files.json_stream import is_json_list, iter_json_list
from pct.files.mpii import is_mpii_file, read_mpii
from pct.files.pose_checks import Fault, PoseBatch, PoseFileError, RawPoses, check_poses
from pct.skeleton import MPII16, Skeleton

_NUMBER_TYPES = frozenset({int, float, type(None)})


def read_pose_json(
    path: Path, skeleton: Skeleton, batch_size: int, category: str | int | None, need_names: bool
) -> Iterator[PoseBatch]:
    """Yield the poses of a JSON file; see :func:`pct.files.pose_files.read_poses`."""
    if not is_json_list(path):
        return read_annotations(path, find_category(path, skeleton, category, need_names), batch_size)
    if is_mpii_file(path):
        return _read_mpii(path, skeleton, batch_size, category)
    return _read_results(path, skeleton, batch_size, category)


def read_annotations(
    path: str | Path, category: CocoCategory, batch_size: int = 4096, *, all_of: Iterable[int] | None = None
) -> Iterator[PoseBatch]:
    """Yield the persons of a COCO annotation file with their annotations, in file order.

    Args:
        path: The file.
        category: Which annotations are read.
        batch_size: Annotations at a time.
        all_of: Read only the persons on these images, but crowds and those without a labelled joint too.
    """
    images = None if all_of is None else set(all_of)
    annotations = enumerate(iter_coco_annotations(path))
    while chunk := list(islice(annotations, batch_size)):
        if images is not None:
            chunk = [(row, a) for row, a in chunk if isinstance(a, Mapping) and a.get("image_id") in images]
        kinds = [category.find_other(annotation, all_persons=images is not None) for _, annotation in chunk]
        wanted = [entry for entry, kind in zip(chunk, kinds, strict=True) if kind is None]
        left_out = Counter(kind for kind in kinds if kind is not None)
        yield _check_annotations(wanted, category.skeleton, True, left_out, unlabelled=images is not None)


def _read_results(path: Path, skeleton: Skeleton, batch_size: int, category: str | int | None) -> Iterator[PoseBatch]:
    """Read what detectors of poses and `pct predict` write; rows become ids where an entry has none, and without a box
    in the first entry boxes are made from the joints."""
    first = next(iter_json_list(path), None)
    if first is None:
        raise PoseFileError(f"{path}: no poses; the list is empty")
    if category is not None and not str(category).lstrip("-").isdecimal():
        raise PoseFileError(f"{path}: COCO results name no categories; choose {category!r} by its id")
    chosen = CocoCategory(skeleton, None if category is None else frozenset([int(category)]))
    boxed = isinstance(first, Mapping) and "bbox" in first
    entries = enumerate(iter_json_list(path))
    while chunk := list(islice(entries, batch_size)):
        kinds = [chosen.find_other(entry, all_persons=True) for _, entry in chunk]
        named = [
            (row, {"id": row, **e} if isinstance(e, Mapping) else e)
            for (row, e), kind in zip(chunk, kinds, strict=True)
            if kind is None
        ]
        yield _check_annotations(named, skeleton, boxed, Counter(kind for kind in kinds if kind is not None))


def _read_mpii(path: Path, skeleton: Skeleton, batch_size: int, category: str | int | None) -> Iterator[PoseBatch]:
    if category is not None:
        raise PoseFileError(f"{path}: MPII files have no categories; leave {category!r} out")
    if skeleton.keypoint_names != MPII16.keypoint_names:
        raise PoseFileError(explain_mismatch(path, "the MPII file", MPII16.keypoint_names, skeleton))
    found = read_mpii(path)
    for start in range(0, max(len(found.table), 1), batch_size):
        rows = torch.arange(start, min(start + batch_size, len(found.table)))
        yield PoseBatch(found.table.select(rows), () if start else found.faults)


def _check_annotations(
    entries: Sequence[tuple[int, Any]],
    skeleton: Skeleton,
    boxed: bool,
    left_out: Counter[str],
    unlabelled: bool = False,
) -> PoseBatch:
    """Check annotations with their rows in the file; boxes are made from the joints where ``boxed`` is not set."""
    k = skeleton.num_keypoints
    faults, rows = [], []
    for row, entry in entries:
        if unlabelled and not entry.get("keypoints"):
            entry = {**entry, "keypoints": [0] * 3 * k}
        fault = _find_structure_fault(entry, row, k, boxed)
        if fault is None:
            rows.append(entry)
        else:
            faults.append(fault)
    triplets = np.array([a["keypoints"] for a in rows], dtype=np.float64).reshape(-1, k, 3)
    raw = RawPoses(
        where=[f"annotation {a['id']}" for a in rows],
        keypoints=triplets[..., :2],
        visibility=triplets[..., 2],
        bbox=np.array([a["bbox"] for a in rows], dtype=np.float64).reshape(-1, 4) if boxed else None,
        # Tools that draw no outline write 0.
        area=np.array([a.get("area") or None for a in rows], dtype=np.float64),
        image_ids=np.array([a["image_id"] for a in rows], dtype=np.int64),
        annotation_ids=np.array([a["id"] for a in rows], dtype=np.int64),
        entries=rows,
    )
    return check_poses(raw, skeleton, faults, left_out, unlabelled)


def _find_structure_fault(annotation: Any, row: int, num_keypoints: int, boxed: bool) -> Fault | None:
    """Find what keeps an annotation from becoming a row of numbers: missing fields, wrong lengths, wrong types."""
    where = f"annotation in row {row}"
    if not isinstance(annotation, Mapping):
        return Fault(where, "no annotation", f"{str(annotation)[:40]!r} is not an object with id, image_id, ...")
    for name in ("id", "image_id"):
        value = annotation.get(name)
        if name not in annotation:
            return Fault(where, "missing field", f"no {name}; every annotation needs one")
        if type(value) is not int or not -(2**63) <= value < 2**63:
            return Fault(where, "bad id", f"{name} is {show_id(value)}; it must be an integer of 64 bits")
        where = f"annotation {annotation['id']}"
    for name, right in (("category_id", "an integer"), ("iscrowd", "0 or 1")):
        value = annotation.get(name)
        if type(value) is not int and not (value is None or (name == "iscrowd" and isinstance(value, bool))):
            return Fault(where, f"bad {name}", f"{name} is {repr(value)[:40]}; it must be {right}")
    for name, length, right in (
        ("keypoints", 3 * num_keypoints, f"{num_keypoints} joints times x, y, visibility"),
        ("bbox", 4, "x, y, width, height"),
    ):
        if name == "keypoints" or boxed:
            fault = _find_list_fault(annotation, name, length, right, where)
            if fault is not None:
                return fault
    area = annotation.get("area")
    if area is not None and (_find_no_number([area]) is not None or not 0 <= area < math.inf):
        return Fault(where, "bad area", f"area is {repr(area)[:40]}; it must be a positive number, or be left out")
    return None


def _find_list_fault(annotation: Mapping[str, Any], name: str, length: int, right: str, where: str) -> Fault | None:
    values = annotation.get(name)
    if name not in annotation:
        return Fault(where, "missing field", f"no {name}; it must hold {length} numbers ({right})")
    if not isinstance(values, list) or len(values) != length:
        found = f"{len(values)} values" if isinstance(values, list) else repr(values)[:40]
        kind = "wrong number of joints" if name == "keypoints" else "box without 4 numbers"
        return Fault(where, kind, f"{name} has {found}; it must have {length} ({right})")
    odd = _find_no_number(values)
    if odd is not None:
        return Fault(where, "not a number", f"{name} holds {odd}; it must hold {length} numbers ({right})")
    return None


def _find_no_number(values: list[Any]) -> str | None:
    if _NUMBER_TYPES.issuperset(map(type, values)):
        return None
    return repr(next(v for v in values if type(v) not in _NUMBER_TYPES))[:40]
