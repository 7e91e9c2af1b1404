"""The one set of checks of poses, whatever file they come from: good ones as Poses, bad ones with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any

import numpy as np
import torch

from pct.files.motion.checks import NO_BONE, bone_lengths, check_unit, find_odd_axes
from pct.geometry import bbox_from_keypoints
from pct.poses import Poses
from pct.skeleton import SKELETONS, Skeleton

# Coordinates from here on are taken for errors: float32 has no sub-pixel digits left there.
LARGEST_PIXEL = 1e6
# So are joints that are so many box sides outside their box, and boxes that are so far from all joints; on COCO the
# largest are 1.7 and 0.5.
_FARTHEST, _NEAREST = 100, 2
# Shares of the image that trackers give to joints outside it: from -2 to 2.
_LARGEST_SHARE = 2
_GUESSED = "poses have joints that are NaN or at exactly (0, 0), without `visible`; these count as unknown"
_REPEATED = "poses have the id of an earlier pose; all of them are read"

# Which rows are bad, what is wrong in a few words, and what gives a row's sentence that says what would be right.
Found = Iterator[tuple[Any, str, Callable[[int], str]]]


class PoseFileError(ValueError):
    """A pose file as a whole cannot be used."""


@dataclass(frozen=True)
class Fault:
    """Why a pose is not used.

    Attributes:
        where: The pose, as ``annotation 12`` or ``row 5``.
        kind: What is wrong in a few words, the same for all poses of that fault.
        sentence: What is wrong with this one and what would be right.
    """

    where: str
    kind: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.where}: {self.sentence}"


@dataclass(frozen=True)
class PoseQuery:
    """What is read of a file, the same for every reader; see :func:`pct.files.pose_files.read_poses`."""

    skeleton: Skeleton
    batch_size: int = 4096
    category: str | int | None = None
    need_names: bool = True
    root: int | None = None
    all_of: Collection[int] | None = None


@dataclass(frozen=True, kw_only=True)
class RawPoses:
    """B poses of the right shape, with any numbers, as a reader of files gives them.

    Attributes:
        skeleton: Whose joints they have.
        keypoints: Joints (B, K, 2) in image pixels, or (B, K, 3) in millimetres, float64.
        rows: Where each pose stands in the file (B,), int64: its name in messages and its ids, where it has no others.
        where: What to call each pose in a message.
        visible: Above 0 where a joint is known (B, K), float64; None if the file does not say.
        bbox: Person boxes (B, 4) as x, y, width, height in image pixels, float64; None to make them from the joints.
        area: Segment area (B,), float64, NaN where not known.
        image_ids, annotation_ids: Image and annotation of each pose (B,), int64.
        entries: What the file says of each pose.
        root: The joint that every 3D pose needs.
        faults: Of poses that are not among these.
        left_out: Entries that are no single person of the skeleton's kind, by what they are.
        unlabelled: Whether poses without a known joint are good.
        detected: Whether ``visible`` is a detector's confidence. With it, and in 2D without ``visible``, joints that
            are NaN or at exactly (0, 0), as detectors write what they did not find, are unknown.
    """

    skeleton: Skeleton
    keypoints: np.ndarray
    rows: np.ndarray
    where: Sequence[str] = ()
    visible: np.ndarray | None = None
    bbox: np.ndarray | None = None
    area: np.ndarray | None = None
    image_ids: np.ndarray | None = None
    annotation_ids: np.ndarray | None = None
    entries: Sequence[Mapping[str, Any]] = ()
    root: int = 0
    faults: Sequence[Fault] = ()
    left_out: Counter[str] = field(default_factory=Counter)
    unlabelled: bool = False
    detected: bool = False


@dataclass(frozen=True)
class PoseBatch:
    """A piece of a pose file.

    Attributes:
        poses: The good poses; ``area`` is NaN where the file gives none.
        faults: The bad poses.
        left_out: Entries that are no single person of the skeleton's kind, by what they are: crowds, other categories.
        odd: What should be known of good poses, by what it is, as ``poses have ...``.
        entries: What the file says of each good pose; empty where it has no more than ``poses``.
        notes: What looks odd about the poses as a whole, though they can be used.
    """

    poses: Poses
    faults: tuple[Fault, ...]
    left_out: Counter[str] = field(default_factory=Counter)
    odd: Counter[str] = field(default_factory=Counter)
    entries: tuple[Mapping[str, Any], ...] = ()
    notes: tuple[str, ...] = ()


def check_all(path: object, pieces: Iterable[RawPoses]) -> Iterator[PoseBatch]:
    """Check the poses of a file piece by piece.

    Poses whose annotation id an earlier one has are counted, for which 8 bytes a pose are kept. Of 3D poses each piece
    must be in millimetres, and the first one tells whether left and right are swapped, which is only noted.

    Raises:
        PoseFileError: If 3D poses are in another unit; it names ``path``.
    """
    seen: list[np.ndarray] = []
    for number, batch in enumerate(map(check_poses, pieces)):
        poses, notes = batch.poses, list[str]()
        repeated = _count_repeated(seen, np.sort(poses.annotation_ids.numpy()))
        if poses.num_dims == 3:
            check_unit(poses.keypoints, poses.visible, poses.skeleton, path, error=PoseFileError)
            notes = [] if number else find_odd_axes(poses.keypoints, poses.visible, poses.skeleton)
        odd = batch.odd + Counter({_REPEATED: repeated})
        yield replace(batch, odd=odd, notes=tuple(notes))


def _count_repeated(seen: list[np.ndarray], ids: np.ndarray) -> int:
    """Return how many of sorted ids are there twice or were ``seen``, and add them to these."""
    repeated = np.append(False, ids[1:] == ids[:-1])[: len(ids)]
    # Ids that rise from batch to batch, as rows do, need no look at those before.
    if len(ids) and seen and ids[0] <= max(piece[-1] for piece in seen):
        seen[:] = [np.sort(np.concatenate(seen))]
        places = np.searchsorted(seen[0], ids)
        repeated |= seen[0][np.minimum(places, len(seen[0]) - 1)] == ids
    seen += [ids] if len(ids) else []
    return int(repeated.sum())


def check_poses(raw: RawPoses) -> PoseBatch:
    """Separate good poses from bad ones.

    A pose is bad if no joint is known or a known joint is not a finite coordinate; in 2D also if its joints or its box
    are shares of the image, its box has no area or is far from the joints, or its area cannot be one (0 is unknown); in
    3D if its root is not known or one of its bones is over two metres long.
    """
    odd, is_3d = Counter[str](), raw.keypoints.shape[-1] == 3
    told = np.ones(raw.keypoints.shape[:2]) if raw.visible is None else raw.visible
    if raw.detected or (raw.visible is None and not is_3d):
        unknown = np.isnan(raw.keypoints).any(axis=-1) | (raw.keypoints == 0).all(axis=-1)
        odd += Counter({_GUESSED: int((unknown & (told != 0)).any(axis=1).sum())})
        told = np.where(unknown, 0.0, told)
    visible = told > 0
    known = np.where(visible[..., None], raw.keypoints, 0.0)
    # Tools that draw no outline write 0.
    area = np.full(len(known), np.nan) if raw.area is None else np.where(raw.area == 0, np.nan, raw.area)
    checks, bbox = [_find_no_number(raw, told)], np.full((len(known), 4), np.nan, np.float32)
    with np.errstate(all="ignore"):
        if is_3d:
            checks.append(_find_bad_body(raw, visible))
        else:
            boxes = _boxes_of(known, visible) if raw.bbox is None else raw.bbox
            bbox = np.clip(boxes, -3e38, 3e38).astype(np.float32)  # clip keeps NaN, and no overflow is warned of
            checks += [_find_shares(raw, known, visible), _find_bad_place(raw, visible, bbox, area)]
        found: dict[int, tuple[str, str]] = {}
        for bad, kind, explain in chain(*checks):
            for row in np.flatnonzero(bad).tolist():
                found.setdefault(row, (kind, explain(row)))
    rows = np.array([row for row in range(len(known)) if row not in found], np.int64)
    where = raw.where or [f"row {row}" for row in raw.rows.tolist()]
    image_ids, annotation_ids = (raw.rows if ids is None else ids for ids in (raw.image_ids, raw.annotation_ids))
    columns = (known, visible, bbox, area, image_ids, annotation_ids)
    names = ("keypoints", "visible", "bbox", "area", "image_ids", "annotation_ids")
    tensors: dict[str, Any] = {n: torch.from_numpy(column[rows]) for n, column in zip(names, columns, strict=True)}
    # Only good numbers fit into 32 bits.
    poses = Poses(raw.skeleton, **tensors | {n: tensors[n].float() for n in ("keypoints", "area")})
    entries = tuple(raw.entries[row] for row in rows) if raw.entries else ()
    faults = (*raw.faults, *(Fault(where[row], *found[row]) for row in sorted(found)))
    return PoseBatch(poses, faults, raw.left_out, odd, entries)


def _boxes_of(known: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Return the boxes (B, 4) around known joints, or around all where none is: such a pose is bad anyway."""
    some = visible | ~visible.any(axis=1, keepdims=True)
    return bbox_from_keypoints(torch.from_numpy(known), torch.from_numpy(some)).numpy()


def _find_no_number(raw: RawPoses, told: np.ndarray) -> Found:
    names, unit = raw.skeleton.keypoint_names, "pixels" if raw.keypoints.shape[-1] == 2 else "millimetres"

    def say(marks: np.ndarray, values: np.ndarray, sentence: str) -> Callable[[int], str]:
        """Fill in the first joint that is marked and its value."""
        joint = marks.argmax(axis=1)
        return lambda row: sentence.format(names[joint[row]], values[row, joint[row]].tolist())

    odd = ~np.isfinite(told)
    sentence = "visibility of {} is {}; it must be 0 (unknown), 1 (occluded) or 2 (seen)"
    yield odd.any(axis=1), "visibility not a number", say(odd, told, sentence)
    bad = ~(np.abs(raw.keypoints) < LARGEST_PIXEL).all(axis=-1) & (told > 0)
    right = f"known joints must be finite {unit} below {LARGEST_PIXEL:.0f} (or not visible, to have them filled in)"
    yield bad.any(axis=1), "coordinates not finite", say(bad, raw.keypoints, "joint {} is {}; " + right)


def _find_shares(raw: RawPoses, known: np.ndarray, visible: np.ndarray) -> Found:
    """Find poses whose coordinates are from -2 to 2 and no whole numbers, which nobody is as few pixels as, or none."""
    small = (np.abs(known) <= _LARGEST_SHARE).all(axis=(1, 2)) & (known != np.round(known)).any(axis=(1, 2))
    sentence = "the joints are shares of the image, not pixels; multiply them by its width and height"
    yield small & (visible.sum(axis=1) > 1), "shares of the image", lambda _: sentence
    nothing = "no visible joint, so there is nothing to encode; at least one joint must be known"
    yield ~visible.any(axis=1) & (not raw.unlabelled), "no visible joint", lambda _: nothing


def _find_bad_body(raw: RawPoses, visible: np.ndarray) -> Found:
    root = raw.skeleton.keypoint_names[raw.root]
    missing = f"joint {root}, the origin of the model's poses, is not known"
    yield ~visible[:, raw.root], "no root joint", lambda _: missing
    nothing = f"no joint but {root} is known, so there is nothing to encode"
    yield visible.sum(axis=1) < 2, "no visible joint", lambda _: nothing
    lengths = bone_lengths(torch.from_numpy(raw.keypoints), torch.from_numpy(visible), raw.skeleton).numpy()

    def explain(row: int) -> str:
        a, b = (raw.skeleton.keypoint_names[joint] for joint in raw.skeleton.edges[(lengths[row] > NO_BONE).argmax()])
        return f"the bone from {a} to {b} is over {NO_BONE:.0f} mm long; nobody has such a one"

    yield (lengths > NO_BONE).any(axis=1), "bone too long", explain


def _find_bad_place(raw: RawPoses, visible: np.ndarray, bbox: np.ndarray, area: np.ndarray) -> Found:
    given = bbox if raw.bbox is None else raw.bbox
    right = "it must be a positive number of square pixels, or be left out"
    yield (
        ~(np.isnan(area) | ((area > 0) & (area < LARGEST_PIXEL**2))),
        "bad area",
        lambda i: f"area is {area[i]:g}; {right}",
    )
    bad = ~((np.abs(bbox) < LARGEST_PIXEL).all(axis=1) & (bbox[:, 2:] > 0).all(axis=1))
    sized = f"width and height must be positive, all values finite pixels below {LARGEST_PIXEL:.0f}"
    yield bad, "box without area", lambda i: f"bbox is {given[i].tolist()}; {sized}"
    low, high = bbox[:, None, :2], bbox[:, None, :2] + bbox[:, None, 2:]
    away = np.maximum(low - raw.keypoints, raw.keypoints - high).max(axis=-1) / bbox[:, None, 2:].max(axis=-1)
    near = np.where(visible, away, np.inf).min(axis=1)
    far = ((away > _FARTHEST) & visible).any(axis=1) | (visible.any(axis=1) & (near > _NEAREST))
    # A box of shares of the image, beside joints in pixels.
    far |= (np.abs(bbox) <= 1).all(axis=1) & ((np.abs(raw.keypoints) > 2).any(axis=-1) & visible).any(axis=1)
    sentence = "but a known joint is far away; both must be in image pixels"
    yield far, "joints far from the box", lambda i: f"bbox is {given[i].tolist()}, {sentence}"


def explain_mismatch(path: object, what: str, names: Sequence[str], skeleton: Skeleton) -> str:
    """Say that ``what`` of a file has other joints than the model's skeleton, with the names of both."""
    known = {s.keypoint_names: f"of {s.name}" for s in SKELETONS.values()}
    found = known.get(tuple(names)) or _list_some(names)
    return (
        f"{path}: {what} has the {len(names)} joints {found}; the model's skeleton "
        f"{skeleton.name} has the {skeleton.num_keypoints} joints {_list_some(skeleton.keypoint_names)}"
    )


def _list_some(names: Sequence[str]) -> str:
    return ", ".join(name[:20] for name in names[:8]) + (", ..." if len(names) > 8 else "")


def are_numbers(values: Any, *shape: int) -> bool:
    """Whether values of a JSON file are lists of that shape of finite numbers of a size that coordinates have."""
    if shape:
        return isinstance(values, list) and len(values) == shape[0] and all(are_numbers(v, *shape[1:]) for v in values)
    return type(values) in (int, float) and abs(values) < LARGEST_PIXEL
