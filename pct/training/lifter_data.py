"""2D-3D pairs of a lifter's training run: bodies photographed by random cameras, or recorded pairs as they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import torch
from torch import Tensor

from pct.data.body_augment import HIDE_NOTHING, BodyAugment, BodyAugmentConfig
from pct.data.body_table import BodyTable
from pct.data.lifting_pairs import CameraConfig, PosePairs, photograph
from pct.pose_space import PoseSpace
from pct.skeleton import Skeleton


class PairSource(Protocol):
    """Rows that 2D-3D pairs are drawn from."""

    @property
    def skeleton(self) -> Skeleton:
        """Whose joints the poses have."""

    def __len__(self) -> int: ...

    def draw(self, rows: Tensor, generator: torch.Generator) -> PosePairs:
        """Return a pair of each of ``rows`` (B,); the same state of the generator gives the same pairs."""


class PhotographedBodies:
    """Bodies, each time mirrored and stretched anew and seen by another camera.

    Args:
        bodies: The bodies.
        camera: How cameras are drawn; they turn the bodies.
        augment: Strengths; of these only mirror images and lengths count. None leaves bodies as they are.
    """

    def __init__(self, bodies: BodyTable, camera: CameraConfig, augment: BodyAugmentConfig | None = None) -> None:
        self.bodies, self.camera, self.skeleton = bodies, camera, bodies.skeleton
        self._augment = None
        if augment is not None:
            upright = replace(augment, turn=0.0, pitch=(0.0, 0.0), steep_share=0.0, roll=0.0)
            self._augment = BodyAugment(bodies.skeleton, PoseSpace(kind="root3d"), upright, HIDE_NOTHING)

    def __len__(self) -> int:
        return len(self.bodies)

    def draw(self, rows: Tensor, generator: torch.Generator) -> PosePairs:
        """Return a pair of each of ``rows`` (B,)."""
        bodies = self.bodies.select(rows)
        if self._augment is not None:
            other = self._augment(bodies.keypoints, bodies.visible, generator)
            bodies = replace(bodies, keypoints=other.keypoints, visible=other.visible)
        return photograph(bodies, generator, self.camera)


class RecordedPairs:
    """Pairs as cameras and detectors saw them.

    Args:
        pairs: The pairs.
        flip_prob: Share that is mirrored.
    """

    def __init__(self, pairs: PosePairs, flip_prob: float = 0.0) -> None:
        self.pairs, self.flip_prob, self.skeleton = pairs, flip_prob, pairs.skeleton

    def __len__(self) -> int:
        return len(self.pairs)

    def draw(self, rows: Tensor, generator: torch.Generator) -> PosePairs:
        """Return the pairs of ``rows`` (B,), some of them mirrored."""
        pairs = self.pairs.select(rows)
        if not self.flip_prob:
            return pairs
        flip = torch.rand(len(rows), generator=generator) < self.flip_prob
        mirrored = pairs.flip()

        def choose(name: str) -> Tensor:
            own: Tensor = getattr(pairs, name)
            return torch.where(flip.view(-1, *[1] * (own.ndim - 1)), getattr(mirrored, name), own)

        names = ("keypoints2d", "visible", "keypoints3d", "intrinsics")
        columns: dict[str, Any] = {name: choose(name) for name in names}
        return replace(pairs, **columns)
