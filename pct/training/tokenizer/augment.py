"""Augmentation of poses in 2D and 3D, vectorised over the batch: mirrored, seen otherwise, joints hidden."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from pct.cameras import camera_rotations
from pct.geometry import rotation_matrix_2d
from pct.lifting.joint_groups import parents
from pct.pose_space import PoseSpace
from pct.poses import Poses
from pct.skeleton import Skeleton
from pct.training.batches import DrawnBatches, TensorBatch
from pct.training.crop_jitter import CropJitterConfig


@dataclass(frozen=True)
class AugmentConfig(CropJitterConfig):
    """Strength of the augmentation of poses, and what of them the encoder and the decoder get.

    Attributes:
        plain_share: Share of the poses that keep their crop: no rotation, scale, shift or half body.
        mask_share: Share of the poses of which joints are hidden from the encoder.
        mask_ratio: Lowest and highest share of joints hidden; each pose draws its own.
        mask_part_share: Share of the masked poses that lose the lower body instead of random joints.
        noise: Lowest and highest standard deviation of what is added to the coordinates that the encoder sees, as a
            share of half a crop (or of a metre); each pose draws its own. The targets stay as they are.
        prefix_share: Share of the poses of which the decoder gets a prefix of the tokens only, where it can.
    """

    plain_share: float = 0.0
    mask_share: float = 1.0
    mask_ratio: tuple[float, float] = (0.2, 0.2)
    mask_part_share: float = 0.0
    noise: tuple[float, float] = (0.0, 0.0)
    prefix_share: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, what in (("mask_ratio", "shares"), ("noise", "deviations")):
            low, high = getattr(self, name)
            if not 0 <= low <= high < 1:
                raise ValueError(f"augment {name} must be two {what} low <= high in [0, 1), got {(low, high)}")


# For poses that are to be turned only.
HIDE_NOTHING = AugmentConfig(mask_share=0.0)


@dataclass(frozen=True)
class Augment3DConfig:
    """Strength of the augmentation of 3D poses.

    Attributes:
        turn: Largest angle about the vertical in degrees, to either side; 180 is all directions.
        pitch: Mean and standard deviation in degrees of how far the camera looks down.
        steep_share: Share of the cameras that look down by up to ``steep`` degrees more.
        steep: See ``steep_share``.
        roll: Standard deviation in degrees of the camera's turn about its own axis.
        flip_prob: Share of the poses that are mirrored.
        scale: Standard deviation of the person's size around 1.
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


@dataclass(frozen=True)
class AugmentedPoses(TensorBatch):
    """A training batch.

    Attributes:
        keypoints: Joints (B, K, D) in model units: the targets.
        visible: True where the label is known, so that the loss counts it (B, K).
        encoder_visible: True where the encoder may see the joint: ``visible`` less the hidden ones (B, K).
        noise: What is added to the joints that the encoder sees (B, K, D); nothing by default.
        prefix: Share of its optional tokens that the decoder gets of each pose (B,); all by default.
    """

    keypoints: Tensor
    visible: Tensor
    encoder_visible: Tensor
    noise: Tensor | None = None
    prefix: Tensor | None = None

    @property
    def given_keypoints(self) -> Tensor:
        """Joints (B, K, D) as the encoder sees them."""
        return self.keypoints if self.noise is None else self.keypoints + self.noise


class PoseAugment:
    """Augment poses: mirror them, see them otherwise, and hide joints from the encoder.

    Poses of a ``crop2d`` space look as if the photo had been cropped otherwise, those of a ``root3d`` space as if other
    cameras had seen other people in the same postures; their root is never hidden, for it is the origin.

    Args:
        skeleton: Whose flip pairs, bones and lower body are used.
        space: The poses' space.
        config: Strengths; in 3D what the encoder and the decoder get counts: ``mask_*``, ``noise``, ``prefix_share``.
        augment3d: Strengths in 3D.

    Raises:
        ValueError: If ``augment3d`` is missing in 3D, or given in 2D.
    """

    def __init__(
        self, skeleton: Skeleton, space: PoseSpace, config: AugmentConfig, augment3d: Augment3DConfig | None = None
    ) -> None:
        kind = "crop2d" if augment3d is None else "root3d"
        if space.kind != kind:
            raise ValueError(f"these strengths are for poses of a {kind} space, not {space.kind}")
        self.config, self.augment3d, self.root = config, augment3d, space.root
        self.flip_prob = config.flip_prob if augment3d is None else augment3d.flip_prob
        if self.flip_prob and not skeleton.flip_pairs:
            warnings.warn(
                f"no left/right partners are found in the names of skeleton {skeleton.name}, and poses are mirrored; "
                "if it has sides, give flip_pairs in a skeleton file (data.skeleton), or set augment.flip_prob=0",
                stacklevel=2,
            )
        self.flip_index = torch.from_numpy(skeleton.flip_index)
        self.lower = torch.zeros(skeleton.num_keypoints, dtype=torch.bool)
        self.lower[list(skeleton.lower_body)] = True
        low, high = space.bounds
        self.middle, self.half = (low + high) / 2, (high - low) / 2
        self.bones = Bones(skeleton, space.root)

    def __call__(self, keypoints: Tensor, visible: Tensor, generator: torch.Generator) -> AugmentedPoses:
        """Return an augmented copy of joints (B, K, D) in model units, in 3D upright, with ``visible`` (B, K)."""
        x = torch.where(visible[..., None], (keypoints - self.middle) / self.half, 0.0)
        x, visible = self._flip(x, visible, generator)
        if self.augment3d is None:
            x, visible = self._crop(x, visible, generator)
        else:
            x = self._photograph(x, self.augment3d, generator)
        x = torch.where(visible[..., None], x * self.half + self.middle, 0.0)
        hidden = self._hide(visible, generator)
        noise, prefix = self._noise(x, generator), self._prefix(len(x), generator)
        return AugmentedPoses(x, visible, visible & ~hidden, noise, prefix)

    def _flip(self, x: Tensor, visible: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        flip = torch.rand(len(x), 1, generator=generator) < self.flip_prob
        mirrored = x[:, self.flip_index] * x.new_tensor([-1.0, *[1.0] * (x.shape[-1] - 1)])
        return torch.where(flip[..., None], mirrored, x), torch.where(flip, visible[:, self.flip_index], visible)

    def _hide(self, visible: Tensor, generator: torch.Generator) -> Tensor:
        """Choose the joints (B, K) to hide from the encoder; at least one known joint stays, and always the root."""
        n, config = len(visible), self.config
        masked = torch.rand(n, 1, generator=generator) < config.mask_share
        whole_part = torch.rand(n, 1, generator=generator) < config.mask_part_share
        low, high = config.mask_ratio
        drawn = low + (high - low) * torch.rand(n, 1, generator=generator)
        score = torch.rand(visible.shape, generator=generator)
        hidden = torch.where(whole_part, self.lower, score < drawn) & masked
        # Of a pose that would lose all, the known joint with the highest score stays.
        keep = torch.where(visible, score, -1.0).argmax(dim=1, keepdim=True)
        lost = ~(visible & ~hidden).any(dim=1, keepdim=True)
        hidden &= ~(lost & torch.zeros_like(hidden).scatter(1, keep, True))
        if self.augment3d is not None:
            hidden[:, self.root] = False
        return hidden

    def _noise(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        low, high = self.config.noise
        if not high:
            return None
        deviation = (low + (high - low) * torch.rand(len(x), 1, 1, generator=generator)) * self.half
        return torch.randn(x.shape, generator=generator) * deviation

    def _prefix(self, n: int, generator: torch.Generator) -> Tensor | None:
        if not self.config.prefix_share:
            return None
        kept = torch.rand(n, generator=generator)
        return torch.where(torch.rand(n, generator=generator) < self.config.prefix_share, kept.square(), 1.0)

    def _crop(self, x: Tensor, visible: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Crop poses in half crops otherwise; joints outside the crop and its margin become unknown."""
        plain = torch.rand(len(x), generator=generator) < self.config.plain_share
        cropped = self._jitter_crop(self._crop_half_body(x, visible, generator), generator)
        x = torch.where(plain[:, None, None], x, cropped)
        return x, visible & (x.abs() <= 1 + self.config.outside_margin).all(dim=-1)

    def _crop_half_body(self, x: Tensor, visible: Tensor, generator: torch.Generator) -> Tensor:
        config = self.config
        chosen = torch.rand(len(x), generator=generator) < config.half_body_prob
        take_lower = torch.rand(len(x), 1, generator=generator) < 0.5
        part = torch.where(take_lower, self.lower, ~self.lower) & visible
        chosen &= (visible.sum(dim=1) > config.half_body_joints) & (part.sum(dim=1) > 2)
        low = torch.where(part[..., None], x, torch.inf).amin(dim=1)
        high = torch.where(part[..., None], x, -torch.inf).amax(dim=1)
        # 1.5 is the published margin around the chosen joints; the floor keeps a single spot from filling the crop.
        half_side = ((high - low).amax(dim=1) / 2 * 1.5).clamp(min=0.05)
        center = torch.where(chosen[:, None], (low + high) / 2, 0.0)
        half_side = torch.where(chosen, half_side, 1.0)
        return (x - center[:, None]) / half_side[:, None, None]

    def _jitter_crop(self, x: Tensor, generator: torch.Generator) -> Tensor:
        config, n = self.config, len(x)
        scale = (1 + torch.randn(n, generator=generator) * config.scale).clamp(1 - config.scale, 1 + config.scale)
        degrees = torch.randn(n, generator=generator).clamp(-2, 2) * config.rotation
        degrees *= torch.rand(n, generator=generator) < config.rotation_prob
        shift = (torch.rand(n, 2, generator=generator) * 2 - 1) * 2 * config.shift
        shift *= torch.rand(n, 1, generator=generator) < config.shift_prob
        rotation = rotation_matrix_2d(degrees * (math.pi / 180))
        return (x @ rotation.transpose(1, 2) - shift[:, None]) / scale[:, None, None]

    def _photograph(self, x: Tensor, config: Augment3DConfig, generator: torch.Generator) -> Tensor:
        """Stretch poses in metres, left and right alike, and turn them as random cameras see them."""
        rand, randn = partial(torch.rand, generator=generator), partial(torch.randn, generator=generator)
        n, k = x.shape[:2]
        size = 1 + config.scale * randn(n, 1).clamp(-2.5, 2.5)
        own = 1 + config.bone * randn(n, k).clamp(-2.5, 2.5)
        x = self.bones.stretch(x, size * own[:, torch.minimum(torch.arange(k), self.flip_index)])
        turn = (2 * rand(n) - 1) * config.turn
        pitch = config.pitch[0] + config.pitch[1] * randn(n).clamp(-2.5, 2.5)
        steep = rand(n) < config.steep_share
        pitch = pitch + steep * config.steep * rand(n)
        roll = config.roll * randn(n).clamp(-2.5, 2.5)
        x = x @ camera_rotations(turn, pitch, roll).transpose(1, 2)
        return x - x[:, self.root : self.root + 1]


def pose_batches(
    keypoints: Tensor, visible: Tensor, augment: PoseAugment, batch_size: int, seed: int = 0
) -> DrawnBatches[AugmentedPoses]:
    """Return augmented batches of joints (N, K, D) in model units, with those known (N, K)."""

    def draw(rows: Tensor, generator: torch.Generator) -> AugmentedPoses:
        return augment(keypoints[rows], visible[rows], generator)

    return DrawnBatches(len(keypoints), draw, batch_size, seed)


class Bones:
    """The tree of a skeleton's bones from a root, to give poses other bone lengths.

    Args:
        skeleton: Its edges make the tree; joints that no edge reaches hang on the root.
        root: Joint that stays where it is.
    """

    def __init__(self, skeleton: Skeleton, root: int) -> None:
        self.root = root
        self.parents = torch.tensor([root if parent < 0 else parent for parent in parents(skeleton, root)])
        links = torch.eye(len(self.parents), dtype=torch.float64)[self.parents]
        links[root] = 0.0
        # Which bones lie between the root and a joint (K, K): I + L + L^2 + ...
        self.way = torch.linalg.inv(torch.eye(len(links), dtype=torch.float64) - links).round().float()

    def stretch(self, keypoints: Tensor, factors: Tensor) -> Tensor:
        """Multiply the bone to each joint of poses (B, K, 3) by ``factors`` (B, K); directions and root stay."""
        bones = (keypoints - keypoints[:, self.parents]) * factors[..., None]
        return keypoints[:, self.root : self.root + 1] + self.way @ bones


def seen_by_cameras(poses: Poses, space: PoseSpace, seed: int = 0) -> Tensor:
    """Return poses (N, K, 3) in model units of ``space`` as random cameras see them; nobody is stretched."""
    turn = Augment3DConfig(flip_prob=0.0, scale=0.0, bone=0.0)
    camera = PoseAugment(poses.skeleton, space, HIDE_NOTHING, turn)
    centred = space.normalise(poses.keypoints, poses.reference(space.root))
    return camera(centred, poses.visible, torch.Generator().manual_seed(seed)).keypoints
