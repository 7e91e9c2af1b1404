"""Geometry on tensors: person box to square crop and back, mirror, boxes of keypoints."""

from __future__ import annotations

import torch
from torch import Tensor


def crop_from_bbox(bbox: Tensor, padding: float) -> tuple[Tensor, Tensor]:
    """Return the square crop around person boxes.

    Args:
        bbox: Boxes (B, 4) as x, y, width, height in image pixels.
        padding: The crop's side is this many times the longer side of the box.

    Returns:
        Centre (B, 2) and side (B,) of the crop in image pixels.

    Raises:
        ValueError: If a box is not finite or has no area.
    """
    if bbox.ndim != 2 or bbox.shape[1] != 4:
        raise ValueError(f"bbox must be (B, 4) as x, y, width, height; got shape {tuple(bbox.shape)}")
    # What is exported has no values yet that could be checked.
    if not torch.compiler.is_exporting() and not (torch.isfinite(bbox).all() & (bbox[:, 2:] > 0).all()):
        row = int((~(torch.isfinite(bbox) & (bbox[:, [2, 3, 2, 3]] > 0)).all(dim=1)).nonzero()[0])
        raise ValueError(
            f"bbox of row {row} is {bbox[row].tolist()}; width and height must be positive and all values finite"
        )
    center = bbox[:, :2] + bbox[:, 2:] / 2
    side = bbox[:, 2:].amax(dim=1) * padding
    return center, side


def bbox_from_keypoints(keypoints: Tensor, visible: Tensor, margin: float = 0.1) -> Tensor:
    """Return the box around the known joints, for data that has no person boxes.

    Args:
        keypoints: Joints (B, K, 2) in image pixels.
        visible: True where a joint is known (B, K).
        margin: Added on each side, as a share of the longer side of the tight box.

    Returns:
        Boxes (B, 4) as x, y, width, height, at least one pixel wide and high.

    Raises:
        ValueError: If a pose has no known joint.
    """
    if not visible.any(dim=1).all():
        row = int((~visible.any(dim=1)).nonzero()[0])
        raise ValueError(f"pose {row} has no visible joint, so it has no box")
    known = visible.unsqueeze(-1)
    low = torch.where(known, keypoints, torch.inf).amin(dim=1)
    high = torch.where(known, keypoints, -torch.inf).amax(dim=1)
    pad = (high - low).amax(dim=1, keepdim=True) * margin
    pad = torch.maximum(pad, (1 - (high - low)) / 2)
    return torch.cat([low - pad, (high - low) + 2 * pad], dim=1)


def rotation_matrix_2d(angle: Tensor) -> Tensor:
    """Return matrices (B, 2, 2) that rotate column vectors by ``angle`` (B,) in radians."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    return torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2))
