"""2D poses to be lifted, from a pose file or a token table: in the lifter's joints, with their image sizes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pct.codec import check_same_model
from pct.data.coco import iter_coco_images, read_coco_categories
from pct.data.npz import NpzReader
from pct.data.pose2d_bridge import BRIDGES, bridge_poses2d
from pct.data.pose_checks import Fault
from pct.data.pose_files import PoseFileError, check_pose_file, read_poses
from pct.models.tokenizer import PoseTokenizer
from pct.skeleton import SKELETONS, Skeleton
from pct.tokens import TokenReader, is_token_file

# Median size of the persons of a file; what is smaller is no pixels.
_LEAST_PIXELS = 4.0


@dataclass(frozen=True)
class Poses2D:
    """A piece of what is to be lifted.

    Attributes:
        keypoints: Joints (B, K, 2) in image pixels, 0 where unknown.
        visible: True where a joint is known (B, K).
        image_ids, annotation_ids: Image and annotation of each pose (B,), int64.
        image_size: Width and height (B, 2) in pixels; NaN where not known.
        faults: The bad poses.
    """

    keypoints: Tensor
    visible: Tensor
    image_ids: Tensor
    annotation_ids: Tensor
    image_size: Tensor
    faults: tuple[Fault, ...] = ()

    def __len__(self) -> int:
        return len(self.keypoints)

    def without(self, bad: Tensor, kind: str, sentence: str) -> Poses2D:
        """Return the poses without those of the mask ``bad`` (B,), which become faults."""
        faults = (Fault(f"annotation {i}", kind, sentence) for i in self.annotation_ids[bad].tolist())
        names = ("keypoints", "visible", "image_ids", "annotation_ids", "image_size")
        columns: dict[str, Any] = {name: getattr(self, name)[~bad] for name in names}
        return Poses2D(**columns, faults=(*self.faults, *faults))


class LiftInput:
    """2D poses of a file as a lifter reads them.

    Args:
        path: Pose file (``.json`` in COCO format, ``.npz``, ``.parquet``) or token table of 2D poses.
        skeleton: The lifter's; poses of another skeleton are brought to it where it is known how.
        given: Skeleton of the file's poses, for files that do not name their joints.
        tokenizer: The model that made the token table.
        image_size: Width and height in pixels of all images; by default what a COCO file's ``images`` say.

    Raises:
        ValueError: If the file is missing or broken, its joints cannot be brought to the lifter's (both skeletons are
            named) or are not known, or the token table is of another model.
    """

    def __init__(
        self,
        path: str | Path,
        skeleton: Skeleton,
        *,
        given: Skeleton | None = None,
        tokenizer: PoseTokenizer | None = None,
        image_size: tuple[float, float] | None = None,
    ) -> None:
        self.path, self.skeleton, self.tokenizer = check_pose_file(path), skeleton, tokenizer
        self.is_table = is_token_file(self.path)
        self.source = self._table_skeleton(given) if self.is_table else find_skeleton(self.path, skeleton, given)
        _check_bridge(self.path, self.source, skeleton)
        self.image_size = image_size
        is_json = self.path.suffix.lower() == ".json"
        self._sizes = _coco_sizes(self.path) if is_json and image_size is None else {}

    @property
    def knows_sizes(self) -> bool:
        """Whether the size of any image is known."""
        return self.image_size is not None or bool(self._sizes)

    def batches(self, batch_size: int) -> Iterator[Poses2D]:
        """Yield the poses in order, at most ``batch_size`` at a time."""
        for poses in self._from_table(batch_size) if self.is_table else self._from_file(batch_size):
            yield self._in_lifters_joints(poses)

    def _table_skeleton(self, given: Skeleton | None) -> Skeleton:
        if self.tokenizer is None:
            raise ValueError(f"{self.path} is a token table; give the tokenizer that made it")
        if given is not None and given.keypoint_names != self.tokenizer.skeleton.keypoint_names:
            raise ValueError(
                f"{self.path}: the table's poses have the joints of {self.tokenizer.skeleton.name}, not of {given.name}"
            )
        if self.tokenizer.space.kind != "crop2d":
            raise ValueError(f"{self.path}: tokens of {self.tokenizer.space.kind} poses; only 2D poses can be lifted")
        with TokenReader(self.path) as reader:
            check_same_model(self.tokenizer, reader)
        return self.tokenizer.skeleton

    def _from_table(self, batch_size: int) -> Iterator[Poses2D]:
        assert self.tokenizer is not None
        with TokenReader(self.path) as reader:
            for tokens in reader.batches(batch_size):
                boxes = torch.from_numpy(tokens.bbox)
                keypoints = self.tokenizer.decode(torch.from_numpy(tokens.indices), boxes).cpu()
                ids = torch.from_numpy(tokens.image_ids)
                known = torch.ones(keypoints.shape[:2], dtype=torch.bool)
                yield Poses2D(keypoints, known, ids, torch.from_numpy(tokens.annotation_ids), self._size_of(ids))

    def _from_file(self, batch_size: int) -> Iterator[Poses2D]:
        for batch in read_poses(self.path, self.source, batch_size):
            p = batch.poses
            _refuse_shares(self.path, p.keypoints, p.visible)
            sizes = self._size_of(p.image_ids)
            yield Poses2D(p.keypoints, p.visible, p.image_ids, p.annotation_ids, sizes, batch.faults)

    def _size_of(self, image_ids: Tensor) -> Tensor:
        if self.image_size is not None:
            return torch.tensor(self.image_size).float().expand(len(image_ids), 2)
        unknown = (float("nan"), float("nan"))
        sizes = [self._sizes.get(i, unknown) for i in image_ids.tolist()]
        return torch.tensor(sizes, dtype=torch.float32).reshape(-1, 2)

    def _in_lifters_joints(self, poses: Poses2D) -> Poses2D:
        if self.source.keypoint_names == self.skeleton.keypoint_names:
            return poses
        keypoints, visible = bridge_poses2d(poses.keypoints, poses.visible, self.source, self.skeleton)
        sentence = f"none of its known joints tells where a joint of {self.skeleton.name} is"
        # A pose of which only eyes were known has nothing that the lifter could read.
        lost = ~visible.any(dim=1)
        bridged = replace(poses, keypoints=keypoints, visible=visible)
        return bridged.without(lost, "no joint that the lifter reads", sentence)


def _refuse_shares(path: Path, keypoints: Tensor, visible: Tensor) -> None:
    """Refuse poses (B, K, 2) whose coordinates are shares of the image: nobody is that few pixels large."""
    known = visible[..., None]
    low = torch.where(known, keypoints, torch.inf).amin(dim=1)
    high = torch.where(known, keypoints, -torch.inf).amax(dim=1)
    sizes = (high - low).amax(dim=1)[visible.sum(dim=1) > 1]
    if len(sizes) and float(sizes.median()) < _LEAST_PIXELS:
        raise PoseFileError(
            f"{path}: half of the persons are less than {float(sizes.median()):.2g} pixels large; keypoints must be "
            "pixels of the image, not shares of its width and height"
        )


def find_skeleton(path: Path, skeleton: Skeleton, given: Skeleton | None = None) -> Skeleton:
    """Return the skeleton of the poses of a file.

    Args:
        path: Pose file.
        skeleton: The lifter's.
        given: What the user says; the file must not say otherwise.

    Raises:
        PoseFileError: If the file does not name its joints and nobody says, or names joints of no known skeleton.
    """
    names = _joint_names(path)
    if not names:
        if given is None:
            known = ", ".join(s.name for s in _sources(skeleton))
            raise PoseFileError(f"{path}: the file does not name its joints; say whose they are (--skeleton): {known}")
        return given
    for candidate in (skeleton, *([given] if given is not None else []), *SKELETONS.values()):
        if tuple(names) == candidate.keypoint_names:
            if given is not None and given.keypoint_names != candidate.keypoint_names:
                raise PoseFileError(f"{path}: the file's joints are those of {candidate.name}, not of {given.name}")
            return candidate
    raise PoseFileError(
        f"{path}: the poses have the {len(names)} joints {', '.join(names)}; the lifter's skeleton {skeleton.name} has "
        f"the {skeleton.num_keypoints} joints {', '.join(skeleton.keypoint_names)}"
    )


def _joint_names(path: Path) -> list[str]:
    """Return the names of the joints that a file gives; none are an empty list."""
    suffix = path.suffix.lower()
    if suffix == ".json":
        lists = [c.get("keypoints") for c in read_coco_categories(path)]
        return [str(name) for name in next((n for n in lists if isinstance(n, list) and n), [])]
    if suffix == ".npz":
        with NpzReader(path) as arrays:
            if "keypoint_names" in arrays.names:
                return [str(name) for part in arrays.rows("keypoint_names", 4096) for name in part]
    return []


def _sources(skeleton: Skeleton) -> tuple[Skeleton, ...]:
    """Return the skeletons whose poses can be brought to ``skeleton``, itself first."""
    return (skeleton, *(source for source, target in BRIDGES if target.keypoint_names == skeleton.keypoint_names))


def _check_bridge(path: Path, source: Skeleton, skeleton: Skeleton) -> None:
    sources = _sources(skeleton)
    if source.keypoint_names not in {s.keypoint_names for s in sources}:
        raise PoseFileError(
            f"{path}: the poses have the joints of skeleton {source.name}; this lifter has those of {skeleton.name} "
            f"and reads poses of {', '.join(s.name for s in sources)}"
        )


def _coco_sizes(path: Path) -> dict[int, tuple[float, float]]:
    """Return width and height of the images of a COCO file by their id, where it has good ones."""
    sizes = {}
    for image in iter_coco_images(path):
        if isinstance(image, dict) and type(image.get("id")) is int:
            pixels = (image.get("width"), image.get("height"))
            if all(isinstance(p, (int, float)) and 0 < p < 1e6 for p in pixels):
                sizes[image["id"]] = (float(pixels[0]), float(pixels[1]))  # type: ignore[arg-type]
    return sizes
