"""2D poses to be lifted, from a pose file or a token table: in the lifter's joints, with their image sizes."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pct.files.coco import iter_coco_images
from pct.files.coco_categories import choose_categories, explain_mismatch
from pct.files.json_stream import is_json_list
from pct.files.mpii import is_mpii_file
from pct.files.npz import NpzReader
from pct.files.pose_checks import Fault, PoseBatch
from pct.files.pose_files import PoseFileError, check_pose_file, pose_suffix, read_names, read_poses
from pct.lifting.pose2d_bridge import BRIDGES, bridge_poses2d
from pct.poses import Poses
from pct.skeleton import COCO17, MPII16, SKELETONS, Skeleton
from pct.tokenizer import PoseTokenizer
from pct.tokens.codec import check_decodes, decode_batches
from pct.tokens.table import TokenReader, is_token_file


class LiftInput:
    """2D poses of a file as a lifter reads them.

    Args:
        path: Pose file (``.json`` in COCO format, ``.npz``, ``.parquet``) or token table of 2D poses.
        skeleton: The lifter's; poses of another skeleton are brought to it where it is known how.
        given: Skeleton of the file's poses, for files that do not name their joints.
        tokenizer: The model that made the token table.
        image_size: Width and height in pixels of all images; by default what a COCO file's ``images`` say.
        category: Name or id of the only category of a COCO file that is read.

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
        category: str | int | None = None,
    ) -> None:
        self.path, self.skeleton, self.tokenizer = check_pose_file(path), skeleton, tokenizer
        self._category, self._need_names = category, given is None
        self.is_table = is_token_file(self.path)
        self.source = (
            self._table_skeleton(given) if self.is_table else find_skeleton(self.path, skeleton, given, category)
        )
        _check_bridge(self.path, self.source, skeleton)
        self.image_size = image_size
        is_json = pose_suffix(self.path) == ".json" and not is_json_list(self.path)
        self._sizes = _coco_sizes(self.path) if is_json and image_size is None else {}

    @property
    def knows_sizes(self) -> bool:
        """Whether the size of any image is known."""
        return self.image_size is not None or bool(self._sizes)

    def batches(self, batch_size: int) -> Iterator[PoseBatch]:
        """Yield the poses in the lifter's joints and in order, at most ``batch_size`` at a time."""
        if self.is_table:
            batches = self._from_table(batch_size)
        else:
            batches = read_poses(
                self.path, self.source, batch_size, category=self._category, need_names=self._need_names
            )
        for batch in batches:
            yield self._in_lifters_joints(batch)

    def sizes_of(self, image_ids: Tensor) -> Tensor:
        """Return width and height (B, 2) in pixels of images; NaN where not known."""
        if self.image_size is not None:
            return torch.tensor(self.image_size).float().expand(len(image_ids), 2)
        unknown = (float("nan"), float("nan"))
        sizes = [self._sizes.get(i, unknown) for i in image_ids.tolist()]
        return torch.tensor(sizes, dtype=torch.float32).reshape(-1, 2)

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
            check_decodes(self.tokenizer, reader)
        return self.tokenizer.skeleton

    def _from_table(self, batch_size: int) -> Iterator[PoseBatch]:
        assert self.tokenizer is not None
        with TokenReader(self.path) as reader:
            for tokens, decoded in decode_batches(self.tokenizer, reader, batch_size):
                keypoints, bbox = torch.from_numpy(decoded), torch.from_numpy(tokens.bbox)
                known = torch.ones(keypoints.shape[:2], dtype=torch.bool)
                ids = (torch.from_numpy(tokens.image_ids), torch.from_numpy(tokens.annotation_ids))
                yield PoseBatch(Poses(self.source, keypoints, known, bbox, bbox[:, 2] * bbox[:, 3], *ids), ())

    def _in_lifters_joints(self, batch: PoseBatch) -> PoseBatch:
        if self.source.keypoint_names == self.skeleton.keypoint_names:
            return batch
        keypoints, visible = bridge_poses2d(batch.poses.keypoints, batch.poses.visible, self.source, self.skeleton)
        poses = replace(batch.poses, skeleton=self.skeleton, keypoints=keypoints, visible=visible)
        sentence = f"none of its known joints tells where a joint of {self.skeleton.name} is"
        # A pose of which only eyes were known has nothing that the lifter could read.
        return leave_out(replace(batch, poses=poses), ~visible.any(dim=1), "no joint that the lifter reads", sentence)


def leave_out(batch: PoseBatch, bad: Tensor, kind: str, sentence: str) -> PoseBatch:
    """Return the poses without those of the mask ``bad`` (B,), which become faults."""
    faults = (Fault(f"annotation {i}", kind, sentence) for i in batch.poses.annotation_ids[bad].tolist())
    return replace(batch, poses=batch.poses.select(~bad), faults=(*batch.faults, *faults))


def find_skeleton(
    path: Path, skeleton: Skeleton, given: Skeleton | None = None, category: str | int | None = None
) -> Skeleton:
    """Return the skeleton of the poses of a file.

    Args:
        path: Pose file.
        skeleton: The lifter's.
        given: What the user says; the file must not say otherwise.
        category: Name or id of the only category of a COCO file that counts.

    Raises:
        PoseFileError: If the file does not name its joints and nobody says (those of COCO results are taken for
            COCO's), or names joints of no known skeleton.
    """
    lists = _joint_names(path, category)
    if not lists:
        if given is None and path.suffix == ".json" and COCO17 in _sources(skeleton):
            warnings.warn(f"{path}: COCO results do not name their joints; taken for coco17 (--skeleton)", stacklevel=2)
            return COCO17
        if given is None:
            known = ", ".join(s.name for s in _sources(skeleton))
            raise PoseFileError(f"{path}: the file does not name its joints; say whose they are (--skeleton): {known}")
        return given
    # What the lifter reads first: a file may have several categories.
    for candidate in (*([given] if given is not None else []), *_sources(skeleton), *SKELETONS.values()):
        if candidate.keypoint_names in lists:
            if given is not None and given.keypoint_names != candidate.keypoint_names:
                raise PoseFileError(f"{path}: the file's joints are those of {candidate.name}, not of {given.name}")
            return candidate
    raise PoseFileError(explain_mismatch(path, "the file", lists[0], skeleton))


def _joint_names(path: Path, category: str | int | None) -> list[tuple[str, ...]]:
    """Return the names of the joints that a file gives, of each category; none are an empty list."""
    suffix = pose_suffix(path)
    if suffix == ".json" and is_json_list(path):
        return [MPII16.keypoint_names] if is_mpii_file(path) else []
    if suffix == ".json":
        lists = [c.get("keypoints") for c in choose_categories(path, category)]
        return [tuple(map(str, names)) for names in lists if isinstance(names, list) and names]
    if suffix == ".npz":
        with NpzReader(path) as arrays:
            if "keypoint_names" in arrays.names:
                return [read_names(arrays, "keypoint_names")]
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
