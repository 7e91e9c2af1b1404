"""Losses on decoded poses: smooth-L1 on the known joints."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor


def keypoint_loss(
    keypoints: Tensor,
    target_keypoints: Tensor,
    visible: Tensor,
    beta: float,
    normalisation: Literal["per_pose", "published"] = "per_pose",
) -> Tensor:
    """Smooth-L1 between decoded and target joints, over the known joints.

    Args:
        keypoints: Decoded joints (B, K, D) in model units.
        target_keypoints: True joints (B, K, D) in model units; unknown ones may hold anything, NaN included.
        visible: True where the target is known (B, K).
        beta: Where the loss turns from quadratic to linear, in model units; 0 is plain L1.
        normalisation: ``per_pose`` is the mean over the coordinates and known joints of each pose, then over the
            poses, so that every pose counts alike (one without a known joint adds 0). ``published`` is the mean over
            all joints, coordinates and poses with unknown joints at 0, as in the published PCT release: a pose counts
            by its known joints.

    Returns:
        Scalar, float32 at least.

    Raises:
        ValueError: On another normalisation.
    """
    if normalisation not in ("per_pose", "published"):
        raise ValueError(f"keypoint loss normalisation is {normalisation!r}; allowed are per_pose, published")
    known = visible[..., None]
    if keypoints.dtype in (torch.float16, torch.bfloat16):
        keypoints = keypoints.float()
    # Unknown joints must reach neither the value nor the gradient, whatever they hold.
    target = torch.where(known, target_keypoints.to(keypoints.dtype), 0.0)
    losses = F.smooth_l1_loss(torch.where(known, keypoints, 0.0), target, reduction="none", beta=beta)
    if normalisation == "published":
        return losses.mean()
    known_joints = visible.sum(dim=1).clamp(min=1)
    return (losses.mean(dim=2).sum(dim=1) / known_joints).mean()


def distance_loss(keypoints: Tensor, target_keypoints: Tensor, visible: Tensor, squared: bool = False) -> Tensor:
    """Mean Euclidean distance between joints (B, K, D), over all joints that are ``visible`` (B, K); 0 without any.

    It is the measure of completion itself, smooth at zero; or the mean of its square, the sum over x, y and z.
    """
    distance = _squared_distance(keypoints, target_keypoints, visible)
    distance = distance if squared else (distance + 1e-6).sqrt()
    return (distance * visible).sum() / visible.sum().clamp(min=1)


def _squared_distance(keypoints: Tensor, target_keypoints: Tensor, visible: Tensor) -> Tensor:
    """Return the squared distances of joints (B, K), float32, 0 where the target is unknown, whatever it holds."""
    target = torch.where(visible[..., None], target_keypoints.float(), 0.0)
    return (torch.where(visible[..., None], keypoints.float(), 0.0) - target).square().sum(dim=-1)
