"""Errors of 2D pose detectors, as lifters meet them: jitter, outliers, swapped limbs, missing joints."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pct.skeleton import Skeleton

# How much harder joints are to find than hips, by word in their name; the first that fits.
_HARDNESS = (
    *(("wrist", 2.0), ("hand", 2.2), ("ankle", 1.7), ("foot", 1.8), ("toe", 1.8), ("elbow", 1.5), ("knee", 1.2)),
    *(("eye", 0.7), ("nose", 0.8), ("ear", 0.8)),
)


@dataclass(frozen=True)
class NoiseConfig:
    """Strength of the errors; ``NoiseConfig.clean()`` has none.

    Attributes:
        jitter: Standard deviation along each axis at a hip, as a share of the longer side of the person's box;
            twice as much at a wrist.
        outlier_share: Share of the joints that are found in a quite wrong place.
        outlier_scale: Their standard deviation over that of other joints.
        swap_share: Share of the poses whose arms are left-right swapped, and of those whose legs are.
        missing_share: Share of the poses that lack joints.
        missing: Lowest and highest number of joints that these lack; each pose draws its own.
    """

    jitter: float = 0.01
    outlier_share: float = 0.03
    outlier_scale: float = 5.0
    swap_share: float = 0.01
    missing_share: float = 0.4
    missing: tuple[int, int] = (1, 5)

    def __post_init__(self) -> None:
        for name in ("outlier_share", "swap_share", "missing_share", "jitter", "outlier_scale"):
            share = name.endswith("share")
            if not 0 <= getattr(self, name) <= (1 if share else math.inf):
                limits = "be in [0, 1]" if share else "not be negative"
                raise ValueError(f"noise {name} must {limits}, got {getattr(self, name)}")
        low, high = self.missing
        if not 0 <= low <= high:
            raise ValueError(f"noise missing must be two numbers 0 <= low <= high, got {self.missing}")

    @classmethod
    def clean(cls) -> NoiseConfig:
        """Return the strengths of a detector without errors."""
        return cls(jitter=0.0, outlier_share=0.0, swap_share=0.0, missing_share=0.0)


class DetectorNoise:
    """Put a detector's errors on 2D poses.

    Args:
        skeleton: Whose joints the poses have.
        config: Strengths; None for the defaults.
        missing: Every pose lacks exactly this many of its known joints, instead of the config's random number.

    Raises:
        ValueError: If ``missing`` is negative or would leave no joint.
    """

    def __init__(self, skeleton: Skeleton, config: NoiseConfig | None = None, missing: int | None = None) -> None:
        if missing is not None and not 0 <= missing < skeleton.num_keypoints:
            raise ValueError(
                f"missing is {missing}; it must be from 0 to {skeleton.num_keypoints - 1} joints of {skeleton.name}"
            )
        self.skeleton = skeleton
        self.config = config or NoiseConfig()
        self.missing = missing
        names = [name.lower() for name in skeleton.keypoint_names]
        self.hardness = torch.tensor([next((h for word, h in _HARDNESS if word in n), 1.0) for n in names])
        limbs = [i for i in range(skeleton.num_keypoints) if i not in skeleton.parts.get("head", ())]
        legs = set(skeleton.lower_body)
        self.limb_flips = [self._flip(set(limbs) - legs), self._flip(set(limbs) & legs)]

    def _flip(self, joints: set[int]) -> Tensor:
        """Return the permutation (K,) that swaps left and right of ``joints``."""
        flipped = enumerate(self.skeleton.flip_index.tolist())
        return torch.tensor([other if joint in joints else joint for joint, other in flipped])

    def __call__(self, keypoints2d: Tensor, visible: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Return poses as a detector would find them.

        Args:
            keypoints2d: Joints (B, K, 2) in image pixels.
            visible: True where a joint is known (B, K).
            generator: Source of randomness; the same state gives the same errors.

        Returns:
            Joints (B, K, 2) in image pixels, 0 where unknown, and what is still known (B, K).

        Raises:
            ValueError: If the number of joints is not the skeleton's, or a pose has too few known joints to lack
                the exact number asked for.
        """
        if keypoints2d.shape != (*visible.shape, 2) or visible.shape[1:] != (self.skeleton.num_keypoints,):
            raise ValueError(
                f"noise of skeleton {self.skeleton.name} takes keypoints2d (B, {self.skeleton.num_keypoints}, 2) and "
                f"visible (B, {self.skeleton.num_keypoints}); got {tuple(keypoints2d.shape)}, {tuple(visible.shape)}"
            )
        x = keypoints2d
        for index in self.limb_flips:
            swapped = torch.rand(len(x), 1, generator=generator) < self.config.swap_share
            x = torch.where(swapped[..., None], x[:, index], x)
            visible = torch.where(swapped, visible[:, index], visible)
        x = x + self._draw_errors(x, visible, generator)
        visible = visible & ~self._draw_missing(visible, generator)
        return torch.where(visible[..., None], x, 0.0), visible

    def _draw_errors(self, x: Tensor, visible: Tensor, generator: torch.Generator) -> Tensor:
        known = visible[..., None]
        low, high = torch.where(known, x, torch.inf).amin(dim=1), torch.where(known, x, -torch.inf).amax(dim=1)
        # A pose without known joints has no box, and nothing that could move.
        side = torch.where(visible.any(dim=1), (high - low).amax(dim=1), 0.0)
        outlier = torch.rand(visible.shape, generator=generator) < self.config.outlier_share
        spread = self.config.jitter * self.hardness * torch.where(outlier, self.config.outlier_scale, 1.0)
        return torch.randn(x.shape, generator=generator) * (side[:, None] * spread)[..., None]

    def _draw_missing(self, visible: Tensor, generator: torch.Generator) -> Tensor:
        """Choose the known joints (B, K) that are lost; one of a pose always stays."""
        known = visible.sum(dim=1)
        if self.missing is None:
            low, high = self.config.missing
            chosen = torch.rand(len(visible), generator=generator) < self.config.missing_share
            number = torch.randint(low, high + 1, (len(visible),), generator=generator) * chosen
            number = torch.minimum(number, (known - 1).clamp(min=0))
        elif (known <= self.missing).any():
            row = int((known <= self.missing).nonzero()[0])
            raise ValueError(f"pose {row} has {int(known[row])} known joints and cannot lack {self.missing} of them")
        else:
            number = torch.full_like(known, self.missing)
        score = torch.where(visible, torch.rand(visible.shape, generator=generator), 2.0)
        return score.argsort(dim=1).argsort(dim=1) < number[:, None]
