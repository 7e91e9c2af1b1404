"""2D-3D pairs of a lifter's training run: bodies photographed by random cameras, or recorded pairs as they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from pct.lifting.pairs import CameraConfig, PosePairs, clip_windows, photograph
from pct.pose_space import PoseSpace
from pct.poses import Poses
from pct.training.tokenizer.augment import HIDE_NOTHING, BodyAugmentConfig, PoseAugment


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


class PhotographedBodies(PairSource):
    """Bodies, each time mirrored and stretched anew and seen by another camera; of a clip, one that follows the hip.

    Args:
        bodies: The bodies.
        camera: How cameras are drawn; they turn the bodies.
        augment: Strengths; of these only mirror images and lengths count. None leaves bodies as they are.
        frames: Frames F of each row.
    """

    def __init__(
        self, bodies: Poses, camera: CameraConfig, augment: BodyAugmentConfig | None = None, frames: int = 1
    ) -> None:
        super().__init__(bodies, frames)
        self.camera = camera
        self._augment = None
        if augment is not None:
            upright = replace(augment, turn=0.0, pitch=(0.0, 0.0), steep_share=0.0, roll=0.0)
            self._augment = PoseAugment(bodies.skeleton, PoseSpace(kind="root3d"), HIDE_NOTHING, upright)

    def draw(self, rows: Tensor, generator: torch.Generator) -> PosePairs:
        """Return the pairs of each of ``rows`` (B,)."""
        bodies = self.table.select(self._windows(rows))
        if self.frames > 1:
            bodies = replace(bodies, keypoints=bodies.keypoints - bodies.reference()[:, None])
        if self._augment is not None:
            bodies = self._stretched(bodies, generator)
        return photograph(bodies, generator, self.camera, self.frames)

    def _stretched(self, bodies: Poses, generator: torch.Generator) -> Poses:
        """Return the bodies mirrored and stretched, all frames of a row alike."""
        assert self._augment is not None
        keypoints, visible, state = bodies.keypoints.clone(), bodies.visible.clone(), generator.get_state()
        for frame in range(self.frames):
            generator.set_state(state)
            other = self._augment(keypoints[frame :: self.frames], visible[frame :: self.frames], generator)
            keypoints[frame :: self.frames], visible[frame :: self.frames] = other.keypoints, other.visible
        return replace(bodies, keypoints=keypoints, visible=visible)


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
        mirrored = pairs.flip()

        def choose(name: str) -> Tensor:
            own: Tensor = getattr(pairs, name)
            return torch.where(flip.view(-1, *[1] * (own.ndim - 1)), getattr(mirrored, name), own)

        names = ("keypoints2d", "visible", "keypoints", "intrinsics")
        columns: dict[str, Any] = {name: choose(name) for name in names}
        return replace(pairs, **columns)
