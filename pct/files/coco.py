"""COCO-format files of poses: which annotations are read, and annotations and results as poses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from pct.files.json_stream import find_bad_id, iter_json
from pct.files.pose_checks import Fault, PoseFileError, PoseQuery, RawPoses, explain_mismatch
from pct.skeleton import COCO17, Skeleton

# The median of segment area over box area on 3,247 COCO annotations; used where an annotation has no `area`.
AREA_SHARE = 0.52
_NUMBER_TYPES = frozenset({int, float, type(None)})


@dataclass(frozen=True)
class CocoCategory:
    """Which annotations of a COCO file are read, and whose joints they have.

    Attributes:
        skeleton: The joints, in the order of ``keypoints``.
        category_ids: Annotations of other categories are left out; None takes all.
        names: What the file calls its categories, by id.
    """

    skeleton: Skeleton
    category_ids: frozenset[int] | None
    names: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of_results(cls, path: str | Path, skeleton: Skeleton, category: str | int | None) -> CocoCategory:
        """Choose what of COCO results is read: the category of an id; all where it is None.

        Raises:
            PoseFileError: If it is a name.
        """
        if category is not None and not str(category).lstrip("-").isdecimal():
            raise PoseFileError(f"{path}: COCO results name no categories; choose {category!r} by its id")
        return cls(skeleton, None if category is None else frozenset([int(category)]))

    def find_other(self, annotation: Any, all_persons: bool = False) -> str | None:
        """Say what an annotation is that is no single person of these categories with a labelled joint.

        Broken ones count as persons, and with ``all_persons`` crowds and those without a labelled joint do too.
        """
        if not isinstance(annotation, Mapping):
            return None
        found, keypoints = annotation.get("category_id"), annotation.get("keypoints")
        if self.category_ids is not None and type(found) is int and found not in self.category_ids:
            return f"category {self.names.get(found, 'without a name')} (id {found})"
        if not all_persons and is_crowd(annotation):
            return "crowds"
        unlabelled = isinstance(keypoints, list) and keypoints[2::3] and all(v in (0, False) for v in keypoints[2::3])
        return "persons without a labelled joint" if unlabelled and not all_persons else None


def is_crowd(annotation: Any) -> bool:
    """Whether an annotation is of a crowd."""
    return isinstance(annotation, Mapping) and annotation.get("iscrowd") in (1, True)


def find_category(
    path: str | Path, skeleton: Skeleton | None = None, category: str | int | None = None, need_names: bool = False
) -> CocoCategory:
    """Choose what of a COCO file is read, from its ``categories``: all those that have the same joints.

    Args:
        path: COCO-format file.
        skeleton: Joints of the file; by default those of its keypoint categories. Needed where these name no joints.
        category: Name or id of the only category that is read.
        need_names: Whether a file that names no joints is refused though there is a skeleton, since that is not the
            word of somebody who knows the file.

    Raises:
        PoseFileError: If no category fits, the file's joints are not those of ``skeleton``, or without a skeleton its
            categories have different joints.
    """
    found, names = choose_categories(path, category)
    with_joints = [c for c in found if c.get("keypoints")]
    if not with_joints:
        if skeleton is not None and not need_names and category is None:
            return CocoCategory(skeleton, frozenset(names) or None, names)
        joints = ", or give a skeleton"
        if skeleton is not None:
            joints = f" (the model's are {', '.join(skeleton.keypoint_names)})"
        unknown = "no category names its keypoints, so the order of the joints is not known"
        raise PoseFileError(f"{path}: {unknown}; add them to `categories`{joints}")
    first = with_joints[0]
    if skeleton is None:
        if len({tuple(c["keypoints"]) for c in with_joints}) > 1:
            several = (
                f"several categories have different keypoints ({', '.join(str(c.get('name')) for c in with_joints)})"
            )
            raise PoseFileError(f"{path}: {several}; choose one (--category, in a training run data.category)")
        _check_bones(path, first)
        try:
            skeleton = Skeleton.from_coco_category(first)
        except ValueError as error:
            raise PoseFileError(f"{path}: {error}") from error
    chosen = frozenset(c["id"] for c in with_joints if tuple(c["keypoints"]) == skeleton.keypoint_names)
    if not chosen:
        raise PoseFileError(explain_mismatch(path, f"category {first.get('name')!r}", first["keypoints"], skeleton))
    return CocoCategory(skeleton, chosen, names)


def find_persons(path: str | Path, category: str | int | None = None) -> CocoCategory:
    """Choose whose boxes of a COCO file are of persons: the only category, or those with joints or named person.

    Raises:
        PoseFileError: If no category has the name or id ``category``.
    """
    found, names = choose_categories(path, category)
    persons = [c for c in found if c.get("keypoints") or c.get("name") == "person"]
    chosen = found if category is not None or len(found) == 1 else persons
    # A file whose categories are all others than persons has none; one without categories says nothing.
    return CocoCategory(COCO17, frozenset(c["id"] for c in chosen) if names else None, names)


def choose_categories(
    path: str | Path, category: str | int | None = None
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Return the categories of a file that have the name or id ``category``, or all, and the names of all by id.

    Raises:
        PoseFileError: If there is none of that name or id, one has no integer as its id or no names of joints, or two
            of one id have different joints.
    """
    listed = [c for c in iter_json(path, "categories") if isinstance(c, dict)]
    by_id: dict[int, Any] = {}
    for entry in listed:
        fault, joints = find_bad_id("id", entry.get("id")), entry.get("keypoints")
        if fault is not None:
            raise PoseFileError(f"{path}: category {entry.get('name')!r}: {fault}")
        if joints is not None and not (isinstance(joints, list) and all(isinstance(name, str) for name in joints)):
            raise PoseFileError(
                f"{path}: `keypoints` of category {entry['id']} is {str(joints)[:60]}; it must be a list of names"
            )
        if by_id.setdefault(entry["id"], joints) != joints:
            raise PoseFileError(f"{path}: two categories have the id {entry['id']} and different keypoints")
    names = {c["id"]: repr(c.get("name")) for c in listed}
    if category is None:
        return listed, names
    found = [c for c in listed if str(category) in (c.get("name"), str(c["id"]))]
    if not found:
        known = ", ".join(f"{name} (id {id_})" for id_, name in names.items()) or "none"
        raise PoseFileError(f"{path}: no category has the name or id {category!r}; the file has {known}")
    return found, names


def _check_bones(path: str | Path, category: Mapping[str, Any]) -> None:
    bones, count = category.get("skeleton") or [], len(category["keypoints"])
    for bone in bones if isinstance(bones, list) else [bones]:
        pair = isinstance(bone, list) and len(bone) == 2 and all(type(joint) is int for joint in bone)
        if not pair or bone[0] == bone[1] or not all(1 <= joint <= count for joint in bone):
            raise PoseFileError(
                f"{path}: category {category.get('name')}: bone {str(bone)[:60]} of `skeleton`; it must be two "
                f"different joints, counted from 1 to {count}"
            )


def read_coco(path: Path, query: PoseQuery) -> Iterator[RawPoses]:
    """Yield the persons of a COCO annotation file whose categories fit, with their annotations."""
    chosen, images = find_category(path, query.skeleton, query.category, query.need_names), query.all_of
    entries: Iterator[tuple[int, Any]] = enumerate(iter_json(path, "annotations", required=True))
    if images is not None:
        entries = ((row, a) for row, a in entries if isinstance(a, Mapping) and _image_of(a) in images)
    return _read(entries, chosen, query.batch_size, True, unlabelled=images is not None)


def _image_of(annotation: Mapping[str, Any]) -> int | None:
    image_id = annotation.get("image_id")
    return image_id if type(image_id) is int else None


def read_results(path: Path, query: PoseQuery) -> Iterator[RawPoses]:
    """Read what detectors of poses and `pct predict` write; rows become ids where an entry has none, and without a box
    in the first entry boxes are made from the joints."""
    chosen = CocoCategory.of_results(path, query.skeleton, query.category)
    first = next(iter_json(path), None)
    if first is None:
        raise PoseFileError(f"{path}: no poses; the list is empty")
    boxed = isinstance(first, Mapping) and "bbox" in first
    entries = ((row, {"id": row, **e} if isinstance(e, Mapping) else e) for row, e in enumerate(iter_json(path)))
    return _read(entries, chosen, query.batch_size, boxed, detected=True)


def _read(
    entries: Iterator[tuple[int, Any]],
    category: CocoCategory,
    batch_size: int,
    boxed: bool,
    unlabelled: bool = False,
    detected: bool = False,
) -> Iterator[RawPoses]:
    """Yield entries with their rows as poses; boxes are to be made from the joints where ``boxed`` is not set."""
    k, chunk = category.skeleton.num_keypoints, list(islice(entries, batch_size))
    while True:
        faults, rows, good, left_out = list[Fault](), list[int](), list[Mapping[str, Any]](), Counter[str]()
        for row, entry in chunk:
            other = category.find_other(entry, unlabelled or detected)
            if other is not None:
                left_out[other] += 1
                continue
            if unlabelled and not entry.get("keypoints"):
                entry = {**entry, "keypoints": [0] * 3 * k}
            fault = _find_fault(entry, row, k, boxed)
            if fault is None:
                rows.append(row)
                good.append(entry)
            else:
                faults.append(fault)
        ids, image_ids = (np.array([a[name] for a in good], np.int64) for name in ("id", "image_id"))
        triplets = np.array([a["keypoints"] for a in good], np.float64).reshape(-1, k, 3)
        yield RawPoses(
            skeleton=category.skeleton,
            keypoints=triplets[..., :2],
            rows=np.array(rows, np.int64),
            where=[f"annotation {a['id']}" for a in good],
            visible=triplets[..., 2],
            bbox=np.array([a["bbox"] for a in good], np.float64).reshape(-1, 4) if boxed else None,
            area=np.array([a.get("area") for a in good], np.float64),
            image_ids=image_ids,
            annotation_ids=ids,
            entries=good,
            faults=faults,
            left_out=left_out,
            unlabelled=unlabelled,
            detected=detected,
        )
        if not (chunk := list(islice(entries, batch_size))):
            return


def _find_fault(annotation: Any, row: int, num_keypoints: int, boxed: bool) -> Fault | None:
    """Find what keeps an annotation from becoming a row of numbers: missing fields, wrong lengths, wrong types."""
    where, k = f"annotation in row {row}", num_keypoints
    if not isinstance(annotation, Mapping):
        return Fault(where, "no annotation", f"{str(annotation)[:40]!r} is not an object with id, image_id, ...")
    for name, kind, length, right in (
        ("id", "bad id", 0, "an integer of 64 bits"),
        ("image_id", "bad id", 0, "an integer of 64 bits"),
        ("category_id", "bad category_id", 0, "an integer"),
        ("iscrowd", "bad iscrowd", 0, "0 or 1"),
        ("keypoints", "wrong number of joints", 3 * k, f"{3 * k} numbers ({k} joints times x, y, visibility)"),
        *([("bbox", "box without 4 numbers", 4, "4 numbers (x, y, width, height)")] if boxed else []),
        ("area", "bad area", 0, "a positive number, or be left out"),
    ):
        value, needed = annotation.get(name), kind == "bad id" or length > 0
        if needed and name not in annotation:
            return Fault(where, "missing field", f"no {name}; it must be {right}")
        if kind == "bad id":
            good = find_bad_id(name, value) is None
        elif length:
            good = isinstance(value, list) and len(value) == length and _are_numbers(value)
        else:
            good = _are_numbers([value]) and (name == "area" or type(value) is not float)
        if not (good or (name == "iscrowd" and isinstance(value, bool))):
            odd = [v for v in value if not _are_numbers([v])] if length and isinstance(value, list) else [value]
            if odd:
                kind = "not a number" if length else kind
                found = f"{'holds' if length else 'is'} {repr(odd[0])[:60]}"
            else:
                found = f"has {len(value or ())} values"
            return Fault(where, kind, f"{name} {found}; it must be {right}")
        where = f"annotation {annotation['id']}"
    return None


def _are_numbers(values: list[Any]) -> bool:
    """Whether values are numbers that a float can hold, or unknown ones."""
    try:
        return _NUMBER_TYPES.issuperset(map(type, values)) and np.array(values, np.float64).ndim == 1
    except OverflowError:
        return False
