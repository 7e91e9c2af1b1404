"""Augmentation of 3D poses, vectorised over the batch: turned, tilted, mirrored, with other bone lengths."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import torch
from torch import Tensor

from pct.cameras import camera_rotations
from pct.pose_space import PoseSpace
from pct.poses import Poses
from pct.skeleton import Skeleton
from pct.training.tokenizer.augment import AugmentConfig, PoseAugment

# For poses that are to be turned only.
HIDE_NOTHING = AugmentConfig(mask_share=0.0)


@dataclass(frozen=True)
class BodyAugmentConfig:
    """Strength of the augmentation of 3D poses.

    Attributes:
        turn: Largest angle about the vertical in degrees, to either side; 180 is all directions.
        pitch: Mean and standard deviation in degrees of how far the camera looks down.
        steep_share: Share of the cameras that look down by up to ``steep`` degrees more.
        steep: See ``steep_share``.
        roll: Standard deviation in degrees of the camera's turn about its own axis.
        flip_prob: Share of the poses that are mirrored.
        scale: Standard deviation of the body's size around 1.
        bone: Standard deviation of each bone's length around 1, the same on both sides.
    """

    turn: float = 180.0
    pitch: tuple[float, float] = (5.0, 8.0)
    steep_share: float = 0.1
    steep: float = 40.0
    roll: float = 4.0
    flip_prob: float = 0.5
    scale: float = 0.06
    bone: float = 0.04

    def __post_init__(self) -> None:
        for name in ("steep_share", "flip_prob"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augment {name} must be in [0, 1], got {getattr(self, name)}")
        for name in ("turn", "steep", "roll", "scale", "bone"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"augment {name} must be at least 0, got {getattr(self, name)}")
        if self.scale > 0.3 or self.bone > 0.3:
            raise ValueError(f"augment scale {self.scale} and bone {self.bone} are shares; they must be at most 0.3")
        if self.pitch[1] < 0:
            raise ValueError(f"augment pitch must be mean and standard deviation, got {self.pitch}")


class BodyAugment(PoseAugment):
    """Augment poses of a ``root3d`` space as if other cameras had seen other people in the same postures.

    The root joint is never hidden from the encoder: it is the origin, so it is known.

    Args:
        skeleton: Whose bones, flip pairs and lower body are used.
        space: The poses' space.
        config: Strengths.
        hiding: Of this what the encoder and the decoder get counts: ``mask_*``, ``noise`` and ``prefix_share``.
    """

    kind = "root3d"

    def __init__(self, skeleton: Skeleton, space: PoseSpace, config: BodyAugmentConfig, hiding: AugmentConfig) -> None:
        super().__init__(skeleton, space, hiding, config.flip_prob)
        self.config, self.bones = config, Bones(skeleton, space.root)

    def see(self, x: Tensor, visible: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Stretch bodies and turn them as random cameras see them."""
        x = self.bones.stretch(x, self._factors(len(x), generator))
        x = x @ self._rotations(len(x), generator).transpose(1, 2)
        return x - x[:, self.bones.root : self.bones.root + 1], visible

    def _factors(self, n: int, generator: torch.Generator) -> Tensor:
        """Return how much longer each joint's bone gets (n, K); left and right alike."""
        size = 1 + self.config.scale * torch.randn(n, 1, generator=generator).clamp(-2.5, 2.5)
        own = 1 + self.config.bone * torch.randn(n, len(self.flip_index), generator=generator).clamp(-2.5, 2.5)
        return size * own[:, torch.minimum(torch.arange(len(self.flip_index)), self.flip_index)]

    def _rotations(self, n: int, generator: torch.Generator) -> Tensor:
        config = self.config
        turn = (2 * torch.rand(n, generator=generator) - 1) * config.turn
        pitch = config.pitch[0] + config.pitch[1] * torch.randn(n, generator=generator).clamp(-2.5, 2.5)
        steep = torch.rand(n, generator=generator) < config.steep_share
        pitch = pitch + steep * config.steep * torch.rand(n, generator=generator)
        roll = config.roll * torch.randn(n, generator=generator).clamp(-2.5, 2.5)
        return camera_rotations(turn, pitch, roll)


def seen_by_cameras(bodies: Poses, space: PoseSpace, seed: int = 0) -> Tensor:
    """Return poses (N, K, 3) in model units of ``space`` as random cameras see them; the bodies stay as they are."""
    config = BodyAugmentConfig(flip_prob=0.0, scale=0.0, bone=0.0)
    camera = BodyAugment(bodies.skeleton, space, config, HIDE_NOTHING)
    centred = space.normalise(bodies.keypoints, bodies.reference(space.root))
    return camera(centred, bodies.visible, torch.Generator().manual_seed(seed)).keypoints


class Bones:
    """The tree of a skeleton's bones from a root, to give bodies other bone lengths.

    Args:
        skeleton: Its edges make the tree; joints that no edge reaches hang on the root.
        root: Joint that stays where it is.
    """

    def __init__(self, skeleton: Skeleton, root: int) -> None:
        k = skeleton.num_keypoints
        parents = [root] * k
        seen, queue = {root}, deque([root])
        while queue:
            joint = queue.popleft()
            for a, b in (*skeleton.edges, *((b, a) for a, b in skeleton.edges)):
                if a == joint and b not in seen:
                    parents[b] = joint
                    seen.add(b)
                    queue.append(b)
        self.root, self.parents = root, torch.tensor(parents)
        # Which bones lie between the root and a joint (K, K).
        self.way = torch.zeros(k, k)
        for joint in range(k):
            place = joint
            while place != root:
                self.way[joint, place] = 1.0
                place = parents[place]

    def stretch(self, keypoints: Tensor, factors: Tensor) -> Tensor:
        """Multiply the bone to each joint of poses (B, K, 3) by ``factors`` (B, K); directions and root stay."""
        bones = (keypoints - keypoints[:, self.parents]) * factors[..., None]
        return keypoints[:, self.root : self.root + 1] + self.way @ bones
