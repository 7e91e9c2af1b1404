"""The categories of COCO-format files: whose joints they have, and which annotations are therefore read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pct.files.json_stream import iter_json_items
from pct.files.pose_checks import PoseFileError
from pct.skeleton import COCO17, SKELETONS, Skeleton


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

    def find_other(self, annotation: Any, all_persons: bool = False) -> str | None:
        """Say what an annotation is that is no single person of these categories with a labelled joint.

        Broken ones count as persons, and with ``all_persons`` crowds and those without a labelled joint do too.
        """
        if not isinstance(annotation, Mapping):
            return None
        found = annotation.get("category_id")
        if self.category_ids is not None and type(found) is int and found not in self.category_ids:
            return f"category {self.names.get(found, 'without a name')} (id {found})"
        if all_persons:
            return None
        if is_crowd(annotation):
            return "crowds"
        keypoints = annotation.get("keypoints")
        labels = keypoints[2::3] if isinstance(keypoints, list) else []
        return "persons without a labelled joint" if labels and all(v in (0, False) for v in labels) else None


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
    found = choose_categories(path, category)
    names = {c["id"]: repr(c.get("name")) for c in read_coco_categories(path)}
    with_joints = [c for c in found if c.get("keypoints")]
    if not with_joints:
        if skeleton is None or need_names or category is not None:
            wanted = "add them to `categories`, or give a skeleton"
            if skeleton is not None:
                wanted = f"the model's are {', '.join(skeleton.keypoint_names)}"
            raise PoseFileError(
                f"{path}: no category names its keypoints, so the order of the joints is not known; {wanted}"
            )
        return CocoCategory(skeleton, frozenset(names) or None, names)
    joints = {tuple(c["keypoints"]) for c in with_joints}
    if skeleton is None and len(joints) > 1:
        shown = ", ".join(str(c.get("name")) for c in with_joints)
        raise PoseFileError(f"{path}: several categories have different keypoints ({shown}); choose one (--category)")
    if skeleton is None:
        _check_bones(path, with_joints[0])
        try:
            skeleton = Skeleton.from_coco_category(with_joints[0])
        except ValueError as error:
            raise PoseFileError(f"{path}: {error}") from error
    chosen = [c for c in with_joints if tuple(c["keypoints"]) == skeleton.keypoint_names]
    if not chosen:
        raise PoseFileError(
            explain_mismatch(path, f"category {with_joints[0].get('name')!r}", with_joints[0]["keypoints"], skeleton)
        )
    return CocoCategory(skeleton, frozenset(c["id"] for c in chosen), names)


def find_persons(path: str | Path, category: str | int | None = None) -> CocoCategory:
    """Choose whose boxes of a COCO file are of persons: the only category, or those with joints or named person.

    Raises:
        PoseFileError: If no category has the name or id ``category``.
    """
    found = choose_categories(path, category)
    names = {c["id"]: repr(c.get("name")) for c in read_coco_categories(path)}
    persons = [c for c in found if c.get("keypoints") or c.get("name") == "person"]
    chosen = found if category is not None or len(found) == 1 else persons
    # A file whose categories are all others than persons has none; one without categories says nothing.
    return CocoCategory(COCO17, frozenset(c["id"] for c in chosen) if names else None, names)


def is_crowd(annotation: Any) -> bool:
    """Whether an annotation is of a crowd."""
    return isinstance(annotation, Mapping) and annotation.get("iscrowd") in (1, True)


def choose_categories(path: str | Path, category: str | int | None = None) -> list[dict[str, Any]]:
    """Return the categories of a file that have the name or id ``category``; all where it is None.

    Raises:
        PoseFileError: If there is none of that name or id, or one has no integer as its id or no names of joints.
    """
    listed = read_coco_categories(path)
    for entry in listed:
        _check_category(path, entry)
    found = listed if category is None else [c for c in listed if str(category) in (c.get("name"), str(c["id"]))]
    if not found and category is not None:
        known = ", ".join(f"{c.get('name')!r} (id {c['id']})" for c in listed) or "none"
        raise PoseFileError(f"{path}: no category has the name or id {category!r}; the file has {known}")
    return found


def _check_category(path: str | Path, category: Mapping[str, Any]) -> None:
    """Check the types of a category, so that nobody compares a number with a text."""
    if type(category.get("id")) is not int:
        raise PoseFileError(
            f"{path}: category {category.get('name')!r} has id {show_id(category.get('id'))}; it must be an integer"
        )
    names = category.get("keypoints")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise PoseFileError(
            f"{path}: `keypoints` of category {category['id']} is {str(names)[:60]}; it must be a list of names"
        )


def _check_bones(path: str | Path, category: Mapping[str, Any]) -> None:
    bones, count = category.get("skeleton") or [], len(category["keypoints"])
    for bone in bones if isinstance(bones, list) else [bones]:
        pair = isinstance(bone, list) and len(bone) == 2 and all(type(joint) is int for joint in bone)
        if not pair or bone[0] == bone[1] or not all(1 <= joint <= count for joint in bone):
            raise PoseFileError(
                f"{path}: category {category.get('name')}: bone {str(bone)[:60]} of `skeleton`; it must be two "
                f"different joints, counted from 1 to {count}"
            )


def explain_mismatch(path: str | Path, what: str, names: Sequence[str], skeleton: Skeleton) -> str:
    """Say that ``what`` of a file has other joints than the model's skeleton, with the names of both."""
    known = {s.keypoint_names: f"of {s.name}" for s in SKELETONS.values()}
    found = known.get(tuple(names)) or _list_some(names)
    return (
        f"{path}: {what} has the {len(names)} joints {found}; the model's skeleton "
        f"{skeleton.name} has the {skeleton.num_keypoints} joints {_list_some(skeleton.keypoint_names)}"
    )


def _list_some(names: Sequence[str]) -> str:
    return ", ".join(name[:20] for name in names[:8]) + (", ..." if len(names) > 8 else "")


def read_coco_categories(path: str | Path) -> list[dict[str, Any]]:
    """Return the ``categories`` of a COCO-format file without holding the rest in memory; none is an empty list."""
    return [c for c in iter_json_items(path, "categories", required=False) if isinstance(c, dict)]


def show_id(value: Any) -> str:
    """Return an id for a message: integers beyond 64 bits, which come as their digits, as they are in the file."""
    long = isinstance(value, str) and len(value) > 18 and value.lstrip("-").isdecimal()
    return (value if long else repr(value))[:60]
