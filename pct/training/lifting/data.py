"""2D-3D pairs of a lifter's training run, photographed or recorded, and batches of them, made on the fly."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from pct.lifting.detector_noise import DetectorNoise, NoiseConfig
from pct.lifting.pairs import CameraConfig, PosePairs, clip_windows, photograph
from pct.pose_space import PoseSpace
from pct.poses import Poses
from pct.training.batches import DrawnBatches, TensorBatch
from pct.training.tokenizer.augment import HIDE_NOTHING, Augment3DConfig, PoseAugment


class PairSource(ABC):
    """Rows of a table that 2D-3D pairs are drawn from.

    Args:
        table: The rows.
        frames: Frames F of each row: the one it is of, in the middle, and its neighbours in the clip.
    """

    def __init__(self, table: Poses, frames: int = 1) -> None:
        self.table, self.frames, self.skeleton = table, frames, table.skeleton

    def __len__(self) -> int:
        return len(self.table)

    @abstractmethod
    def draw(self, rows: Tensor, generator: torch.Generator) -> PosePairs:
        """Return the pairs of each of ``rows`` (B,), (B * F) in all; the same state of the generator gives the same."""

    def _windows(self, rows: Tensor) -> Tensor:
        return clip_windows(self.table.clip_index, rows, self.frames).flatten() if self.frames > 1 else rows


class PhotographedPoses(PairSource):
    """3D poses, each time mirrored and stretched anew and seen by another camera; of a clip, one that follows the hip.

    Args:
        poses: The 3D poses.
        camera: How cameras are drawn; they turn the poses.
        augment: Strengths; of these only mirror images and lengths count. None leaves poses as they are.
        frames: Frames F of each row.
    """

    def __init__(
        self, poses: Poses, camera: CameraConfig, augment: Augment3DConfig | None = None, frames: int = 1
    ) -> None:
        super().__init__(poses, frames)
        self.camera = camera
        self._augment = None
        if augment is not None:
            upright = replace(augment, turn=0.0, pitch=(0.0, 0.0), steep_share=0.0, roll=0.0)
            self._augment = PoseAugment(poses.skeleton, PoseSpace(kind="root3d"), HIDE_NOTHING, upright)

    def draw(self, rows: Tensor, generator: torch.Generator) -> PosePairs:
        """Return the pairs of each of ``rows`` (B,), all frames of a row mirrored and stretched alike."""
        poses = self.table.select(self._windows(rows))
        if self.frames > 1:
            poses = replace(poses, keypoints=poses.keypoints - poses.reference()[:, None])
        if self._augment is not None:
            keypoints, visible, state = poses.keypoints.clone(), poses.visible.clone(), generator.get_state()
            for frame in (slice(first, None, self.frames) for first in range(self.frames)):
                generator.set_state(state)
                other = self._augment(keypoints[frame], visible[frame], generator)
                keypoints[frame], visible[frame] = other.keypoints, other.visible
            poses = replace(poses, keypoints=keypoints, visible=visible)
        return photograph(poses, generator, self.camera, self.frames)


class RecordedPairs(PairSource):
    """Pairs as cameras and detectors saw them.

    Args:
        pairs: The pairs.
        flip_prob: Share that is mirrored.
        frames: Frames F of each row.
    """

    def __init__(self, pairs: PosePairs, flip_prob: float = 0.0, frames: int = 1) -> None:
        super().__init__(pairs, frames)
        self.pairs, self.flip_prob = pairs, flip_prob

    def draw(self, rows: Tensor, generator: torch.Generator) -> PosePairs:
        """Return the pairs of ``rows`` (B,), some of them mirrored."""
        pairs = self.pairs.select(self._windows(rows))
        if not self.flip_prob:
            return pairs
        flip = (torch.rand(len(rows), generator=generator) < self.flip_prob).repeat_interleave(self.frames)
        return PosePairs.concatenate([pairs, pairs.flip()]).select(torch.arange(len(pairs)) + len(pairs) * flip)


@dataclass(frozen=True)
class LiftingBatch(TensorBatch):
    """Pairs of B 2D and 3D poses.

    Attributes:
        keypoints2d: Joints (B, K, 2), or of F frames (B, F, K, 2), in image pixels as a detector finds them; 0 where
            unknown.
        visible: Where these are known (B, [F,] K).
        image_size: Width and height (B, 2) in pixels.
        target_keypoints: True joints (B, K, 3) of the middle frame in model units, camera axes, relative to the root; 0
            where unknown.
        target_visible: Where these are known (B, K).
    """

    keypoints2d: Tensor
    visible: Tensor
    image_size: Tensor
    target_keypoints: Tensor
    target_visible: Tensor

    @classmethod
    def of_pairs(
        cls, pairs: PosePairs, space: PoseSpace, noise: DetectorNoise, generator: torch.Generator, frames: int = 1
    ) -> LiftingBatch:
        """Put a detector's errors on the 2D poses of pairs, and the 3D poses into a model's space.

        Args:
            pairs: B pairs, or B times ``frames``, those of a clip one after the other.
            space: The model's.
            noise: The errors; each frame has its own.
            generator: Of the errors.
            frames: Frames F.

        Raises:
            ValueError: If the root of a pose is not known.
        """
        keypoints2d, visible = noise(pairs.keypoints2d, pairs.visible, generator)
        if frames > 1:
            keypoints2d, visible = (x.unflatten(0, (-1, frames)) for x in (keypoints2d, visible))
            pairs = pairs.select(torch.arange(frames // 2, len(pairs), frames))
        relative = pairs.root_relative(space.root)
        target = space.normalise(relative, torch.zeros_like(relative[:, 0]))
        return cls(keypoints2d, visible, pairs.image_size, target, pairs.visible)


def lifting_batches(
    source: PairSource, space: PoseSpace, noise: DetectorNoise, batch_size: int, seed: int = 0
) -> DrawnBatches[LiftingBatch]:
    """Return pairs with a detector's errors, every row of the source once an epoch, each time drawn anew.

    Args:
        source: What pairs are drawn from.
        space: Where the 3D poses of the model lie.
        noise: The detector's errors.
        batch_size: Pairs a step over all processes.
        seed: Of order, cameras and errors.
    """

    def draw(rows: Tensor, generator: torch.Generator) -> LiftingBatch:
        return LiftingBatch.of_pairs(source.draw(rows, generator), space, noise, generator, source.frames)

    return DrawnBatches(len(source), draw, batch_size, seed)


def fixed_pairs(source: PairSource, space: PoseSpace, noise: NoiseConfig, limit: int, seed: int = 0) -> LiftingBatch:
    """Return pairs of at most ``limit`` rows of a source that are always the same; the whole of a smaller source."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randperm(len(source), generator=generator)[:limit]
    pairs = source.draw(rows, generator)
    return LiftingBatch.of_pairs(pairs, space, DetectorNoise(source.skeleton, noise), generator, source.frames)
