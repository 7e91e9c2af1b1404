"""Image guidance: the features of a backbone's map at the joints of a pose."""

from __future__ import annotations

import torch
from torch import Tensor


def features_at_joints(feature_map: Tensor, keypoints: Tensor, stride: float) -> Tensor:
    """Take the feature of the cell ``floor(coordinate / stride + 0.5)`` at each joint, clamped to the map.

    This is the rule of the published PCT release (its reference uses stride 32).

    Args:
        feature_map: Last feature map (B, F, h, w) of a backbone over the crop.
        keypoints: Joints (B, K, 2) in pixels of the crop, x right and y down; unknown ones may hold anything (one that
            is not finite takes cell 0).
        stride: Pixels of the crop per cell.

    Returns:
        Features (B, K, F).

    Raises:
        ValueError: If the shapes do not fit together or the stride is not positive.
    """
    if feature_map.ndim != 4 or keypoints.ndim != 3 or keypoints.shape[-1] != 2:
        raise ValueError(
            "image guidance takes a feature map (B, F, h, w) and keypoints (B, K, 2); "
            f"got shapes {tuple(feature_map.shape)} and {tuple(keypoints.shape)}"
        )
    if len(feature_map) != len(keypoints):
        raise ValueError(f"{len(feature_map)} feature maps for {len(keypoints)} poses")
    if not stride > 0:
        raise ValueError(f"stride must be positive, got {stride}")
    height, width = feature_map.shape[2:]
    cells = torch.where(torch.isfinite(keypoints), keypoints, 0.0).div(stride).add(0.5).floor()
    column = cells[..., 0].clamp(0, width - 1).long()
    row = cells[..., 1].clamp(0, height - 1).long()
    cell = (row * width + column)[:, :, None].expand(-1, -1, feature_map.shape[1])
    return feature_map.flatten(2).transpose(1, 2).gather(1, cell)
