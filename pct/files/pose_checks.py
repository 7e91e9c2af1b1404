"""Checks of poses as they come from a file: the good ones as Poses, the bad ones with the reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from pct.geometry import bbox_from_keypoints
from pct.poses import Poses
from pct.skeleton import Skeleton

# Pixel coordinates from here on are taken for errors: float32 has no sub-pixel digits left there.
LARGEST_PIXEL = 1e6
_GUESSED = "poses have joints that are NaN or at exactly (0, 0), without `visible`; these count as unknown"
_REPEATED = "poses have the id of an earlier pose; all of them are read"
# So are joints that are this many box sides away from the box.
_FARTHEST = 1e3


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
class RawPoses:
    """B poses of the right shape, with any numbers.

    Attributes:
        where: What to call each pose in a message.
        keypoints: Joints (B, K, 2) in image pixels, float64.
        visibility: Above 0 where a joint is known (B, K), float64; None if the file does not say: joints that are NaN,
            or at exactly (0, 0), as detectors write what they did not find, are unknown then.
        bbox: Person boxes (B, 4) as x, y, width, height in image pixels, float64; None to make them from the joints.
        area: Segment area (B,), float64, NaN where not known.
        image_ids: Image of each pose (B,), int64.
        annotation_ids: Annotation of each pose (B,), int64.
        entries: What the file says of each pose; empty where it has no more than the above.
    """

    where: Sequence[str]
    keypoints: np.ndarray
    visibility: np.ndarray | None
    bbox: np.ndarray | None
    area: np.ndarray
    image_ids: np.ndarray
    annotation_ids: np.ndarray
    entries: Sequence[Mapping[str, Any]] = ()


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


def notes_of(odd: Mapping[str, int], left_out: Mapping[str, int] | None = None) -> list[str]:
    """Say how many poses are odd, and how many entries of a file are left out."""
    return [f"{count:,} {what}" for what, count in odd.items()] + [
        f"left out {count:,} ({kind})" for kind, count in (left_out or {}).items()
    ]


def note_repeated_ids(batches: Iterable[PoseBatch]) -> Iterator[PoseBatch]:
    """Count the poses whose annotation id an earlier one has; 8 bytes a pose are kept."""
    pieces: list[np.ndarray] = []
    for batch in batches:
        ids = np.sort(batch.poses.annotation_ids.numpy())
        repeated = np.append(False, ids[1:] == ids[:-1])
        # Ids that rise from batch to batch, as rows do, need no look at those before.
        if len(ids) and pieces and ids[0] <= max(piece[-1] for piece in pieces):
            pieces = [np.sort(np.concatenate(pieces))]
            places = np.searchsorted(pieces[0], ids)
            repeated |= pieces[0][np.minimum(places, len(pieces[0]) - 1)] == ids
        pieces += [ids] if len(ids) else []
        count = int(repeated.sum())
        yield replace(batch, odd=batch.odd + Counter({_REPEATED: count})) if count else batch


def check_poses(
    raw: RawPoses,
    skeleton: Skeleton,
    faults: Sequence[Fault] = (),
    left_out: Counter[str] | None = None,
    unlabelled: bool = False,
) -> PoseBatch:
    """Separate good poses from bad ones.

    A pose is bad if no joint is known, a known joint is not a finite pixel coordinate, its joints or its box are shares
    of the image, or its box has no area or is far from the joints.

    Args:
        raw: The poses.
        skeleton: Their skeleton.
        faults: Faults found before, put in front.
        left_out: Handed on.
        unlabelled: Whether poses without a known joint are good.
    """
    odd: Counter[str] = Counter()
    if raw.visibility is None:
        unknown = np.isnan(raw.keypoints).any(axis=-1) | (raw.keypoints == 0).all(axis=-1)
        odd += Counter({_GUESSED: int(unknown.any(axis=1).sum())})
        raw = replace(raw, visibility=(~unknown).astype(np.float64))
    assert raw.visibility is not None
    visible = raw.visibility > 0
    found: dict[int, Fault] = {}
    for check in (_find_odd_visibility, _find_not_finite, _find_shares):
        found = {**check(raw, visible, skeleton), **found}
    found = found if unlabelled else {**_find_no_visible(raw, visible), **found}
    good = np.ones(len(visible), dtype=bool)
    good[list(found)] = False
    bbox = np.ones((len(visible), 4)) if raw.bbox is None else raw.bbox
    if raw.bbox is None and good.any():
        known = torch.from_numpy(np.where(visible[..., None], raw.keypoints, 0.0)[good])
        bbox[good] = bbox_from_keypoints(known, torch.from_numpy(visible[good])).numpy()
    bbox = np.clip(bbox, -3e38, 3e38).astype(np.float32)  # clip keeps NaN, and no overflow is warned of
    found = {**_find_bad_box(raw, visible, bbox), **found}
    rows = np.array([i for i in range(len(visible)) if i not in found], dtype=np.int64)
    keypoints = np.where(visible[rows][..., None], raw.keypoints[rows], 0.0)
    poses = Poses(
        skeleton=skeleton,
        keypoints=torch.from_numpy(keypoints.astype(np.float32)),
        visible=torch.from_numpy(visible[rows]),
        bbox=torch.from_numpy(bbox[rows]),
        area=torch.from_numpy(raw.area[rows].astype(np.float32)),
        image_ids=torch.from_numpy(raw.image_ids[rows]),
        annotation_ids=torch.from_numpy(raw.annotation_ids[rows]),
    )
    entries = tuple(raw.entries[row] for row in rows) if raw.entries else ()
    return PoseBatch(poses, (*faults, *(found[i] for i in sorted(found))), left_out or Counter(), odd, entries)


def _find_odd_visibility(raw: RawPoses, visible: np.ndarray, skeleton: Skeleton) -> dict[int, Fault]:
    assert raw.visibility is not None
    odd = ~np.isfinite(raw.visibility)
    found = {}
    for i in np.flatnonzero(odd.any(axis=1)).tolist():
        joint = int(np.argmax(odd[i]))
        sentence = (
            f"visibility of {skeleton.keypoint_names[joint]} is {raw.visibility[i, joint]}; "
            "it must be 0 (unknown), 1 (occluded) or 2 (seen)"
        )
        found[i] = Fault(raw.where[i], "visibility not a number", sentence)
    return found


def _find_no_visible(raw: RawPoses, visible: np.ndarray) -> dict[int, Fault]:
    sentence = "no visible joint, so there is nothing to encode; at least one joint must be known"
    rows = np.flatnonzero(~visible.any(axis=1)).tolist()
    return {i: Fault(raw.where[i], "no visible joint", sentence) for i in rows}


def _find_not_finite(raw: RawPoses, visible: np.ndarray, skeleton: Skeleton) -> dict[int, Fault]:
    with np.errstate(invalid="ignore"):
        bad = ~(np.abs(raw.keypoints) < LARGEST_PIXEL).all(axis=-1) & visible
    found = {}
    for i in np.flatnonzero(bad.any(axis=1)).tolist():
        joint = int(np.argmax(bad[i]))
        sentence = (
            f"joint {skeleton.keypoint_names[joint]} is {raw.keypoints[i, joint].tolist()}; known joints must be "
            f"finite pixels below {LARGEST_PIXEL:.0f} (or visibility 0, to have it filled in)"
        )
        found[i] = Fault(raw.where[i], "coordinates not finite", sentence)
    return found


def _find_shares(raw: RawPoses, visible: np.ndarray, skeleton: Skeleton) -> dict[int, Fault]:
    """Find poses whose coordinates are from -1 to 1 and no whole numbers: nobody is that few pixels large."""
    known = np.where(visible[..., None], raw.keypoints, 0.0)
    with np.errstate(invalid="ignore"):
        small = (np.abs(known) <= 1).all(axis=(1, 2)) & (known != np.round(known)).any(axis=(1, 2))
    sentence = "the joints are shares of the image, not pixels; multiply them by its width and height"
    rows = np.flatnonzero(small & (visible.sum(axis=1) > 1)).tolist()
    return {i: Fault(raw.where[i], "shares of the image", sentence) for i in rows}


def _find_bad_box(raw: RawPoses, visible: np.ndarray, bbox: np.ndarray) -> dict[int, Fault]:
    with np.errstate(invalid="ignore", over="ignore"):
        bad = ~((np.abs(bbox) < LARGEST_PIXEL).all(axis=1) & (bbox[:, 2:] > 0).all(axis=1))
        away = np.abs(raw.keypoints - bbox[:, None, :2]).max(axis=-1, initial=0)
        far = ((away > _FARTHEST * bbox[:, None, 2:].max(axis=-1)) & visible).any(axis=1)
        # A box of shares of the image, beside joints in pixels.
        far |= (np.abs(bbox) <= 1).all(axis=1) & ((np.abs(raw.keypoints) > 2).any(axis=-1) & visible).any(axis=1)
    found = {}
    for i in np.flatnonzero(bad | far).tolist():
        text = f"bbox is {(bbox if raw.bbox is None else raw.bbox)[i].tolist()}"
        if bad[i]:
            sentence = f"{text}; width and height must be positive, all values finite pixels below {LARGEST_PIXEL:.0f}"
            found[i] = Fault(raw.where[i], "box without area", sentence)
        else:
            sentence = f"{text}, but a known joint is far away; both must be in image pixels"
            found[i] = Fault(raw.where[i], "joints far from the box", sentence)
    return found
