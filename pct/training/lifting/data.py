"""2D-3D pairs of a lifter's training run: bodies photographed by random cameras, or recorded pairs as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from pct.lifting.pairs import CameraConfig, PosePairs, clip_windows, photograph
from pct.pose_space import PoseSpace
from pct.poses import Poses
from pct.skeleton import Skeleton
from pct.training.tokenizer.augment3d import HIDE_NOTHING, BodyAugment, BodyAugmentConfig


class PairSource(Protocol):
    """Rows that 2D-3D pairs are drawn from.

    Attributes:
        frames: Frames F of each row: the one it is of, in the middle, and its neighbours in the clip.
    """

    frames: int

    @property
    def skeleton(self) -> Skeleton:
        """Whose joints the poses have."""

    def __len__(self) -> int: ...

    def draw(self, rows: Tensor, generator: torch.Generator) -> PosePairs:
        """Return the pairs of each of ``rows`` (B,), (B * F) in all; the same state of the generator gives the same."""


class PhotographedBodies:
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
        self.bodies, self.camera, self.skeleton, self.frames = bodies, camera, bodies.skeleton, frames
        self._augment = None
        if augment is not None:
            upright = replace(augment, turn=0.0, pitch=(0.0, 0.0), steep_share=0.0, roll=0.0)
            self._augment = BodyAugment(bodies.skeleton, PoseSpace(kind="root3d"), upright, HIDE_NOTHING)

    def __len__(self) -> int:
        return len(self.bodies)

    def draw(self, rows: Tensor, generator: torch.Generator) -> PosePairs:
        """Return the pairs of each of ``rows`` (B,)."""
        if self.frames > 1:
            rows = clip_windows(self.bodies.clip_index, rows, self.frames).flatten()
        bodies = self.bodies.select(rows)
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


class RecordedPairs:
    """Pairs as cameras and detectors saw them.

    Args:
        pairs: The pairs.
        flip_prob: Share that is mirrored.
        frames: Frames F of each row.
    """

    def __init__(self, pairs: PosePairs, flip_prob: float = 0.0, frames: int = 1) -> None:
        self.pairs, self.flip_prob, self.skeleton, self.frames = pairs, flip_prob, pairs.skeleton, frames

    def __len__(self) -> int:
        return len(self.pairs)

    def draw(self, rows: Tensor, generator: torch.Generator) -> PosePairs:
        """Return the pairs of ``rows`` (B,), some of them mirrored."""
        if self.frames > 1:
            rows = clip_windows(self.pairs.clip_index, rows, self.frames).flatten()
        pairs = self.pairs.select(rows)
        if not self.flip_prob:
            return pairs
        flip = (torch.rand(len(rows) // self.frames, generator=generator) < self.flip_prob).repeat_interleave(
            self.frames
        )
        mirrored = pairs.flip()

        def choose(name: str) -> Tensor:
            own: Tensor = getattr(pairs, name)
            return torch.where(flip.view(-1, *[1] * (own.ndim - 1)), getattr(mirrored, name), own)

        names = ("keypoints2d", "visible", "keypoints", "intrinsics")
        columns: dict[str, Any] = {name: choose(name) for name in names}
        return replace(pairs, **columns)
