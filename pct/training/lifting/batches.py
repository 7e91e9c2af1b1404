"""Batches of 2D-3D pairs for lifters, made on the fly: pure functions of (seed, step)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pct.lifting.detector_noise import DetectorNoise, NoiseConfig
from pct.lifting.pairs import PosePairs
from pct.pose_space import PoseSpace
from pct.training.batches import DrawnBatches
from pct.training.lifting.data import PairSource


@dataclass(frozen=True)
class LiftingBatch:
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

    def __len__(self) -> int:
        return len(self.keypoints2d)

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

    def rows(self, rows: slice | Tensor) -> LiftingBatch:
        """Return some of the pairs."""
        return LiftingBatch(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def to(self, device: torch.device) -> LiftingBatch:
        """Return the pairs on a device."""
        return LiftingBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


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
