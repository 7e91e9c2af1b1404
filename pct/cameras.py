"""Perspective cameras on tensors: world to camera, camera to pixels, lens distortion.

Everywhere the camera's axes are x right, y down, z forward; pixels are x right, y down; lengths are millimetres.
Intrinsics are (fx, fy, cx, cy) in pixels; distortion is (k1, k2, k3, p1, p2).
"""

from __future__ import annotations

import torch
from torch import Tensor


def world_to_camera(points: Tensor, rotation: Tensor, position: Tensor) -> Tensor:
    """Return points in the camera's frame, R (X - T).

    Args:
        points: World coordinates (..., P, 3).
        rotation: World-to-camera matrix R (..., 3, 3), for column vectors.
        position: The camera's place T in the world (..., 3), in the points' unit.
    """
    return (points - position[..., None, :]) @ rotation.transpose(-1, -2)


def project(points: Tensor, intrinsics: Tensor, distortion: Tensor | None = None) -> Tensor:
    """Project points to the image.

    Radial and tangential distortion are in the form of Human3.6M's own projection: with n = (x/z, y/z), p = (p2, p1)
    and r2 = |n|^2, the image is n (1 + k1 r2 + k2 r2^2 + k3 r2^3 + p.n) + p r2. (Brown's model has 2 p.n; the
    difference is a tenth of a pixel there.)

    Args:
        points: Camera coordinates (..., P, 3).
        intrinsics: fx, fy, cx, cy in pixels (..., 4).
        distortion: k1, k2, k3, p1, p2 (..., 5); None for an ideal lens.

    Returns:
        Pixels (..., P, 2).

    Raises:
        ValueError: If intrinsics are unknown (NaN), or a point is not in front of its camera.
    """
    unknown = ~torch.isfinite(intrinsics).all(dim=-1)
    if unknown.any():
        raise ValueError(
            f"the camera of {int(unknown.sum())} of {unknown.numel()} poses is not known; fx, fy, cx, cy in pixels "
            "are needed here"
        )
    behind = ~(points[..., 2] > 0)
    if behind.any():
        where = behind.nonzero()[0].tolist()
        raise ValueError(
            f"point {where} is at {points[tuple(where)].tolist()}, not in front of the camera; points must be in the "
            "camera's frame (x right, y down, z forward)"
        )
    n = points[..., :2] / points[..., 2:]
    if distortion is not None:
        n = distort(n, distortion)
    return n * intrinsics[..., None, :2] + intrinsics[..., None, 2:]


def distort(n: Tensor, distortion: Tensor) -> Tensor:
    """Return the distorted image (..., P, 2) of normalised points n = (x/z, y/z); see :func:`project`."""
    k1, k2, k3, p1, p2 = distortion[..., None, :].unbind(-1)
    # The polynomial is fitted within the picture and runs wild far outside of it.
    n = n.clamp(-1, 1)
    r2 = n.square().sum(dim=-1)
    tangential = torch.stack([p2, p1], dim=-1)
    factor = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + (n * tangential).sum(dim=-1)
    return n * factor[..., None] + tangential * r2[..., None]


def axis_rotation(axis: int, angle: Tensor) -> Tensor:
    """Return matrices (..., 3, 3) that rotate column vectors about axis 0, 1 or 2 by ``angle`` (...) in radians."""
    cos, sin = torch.cos(angle), torch.sin(angle)
    a, b = (axis + 1) % 3, (axis + 2) % 3
    matrix = torch.zeros(*angle.shape, 3, 3, dtype=angle.dtype, device=angle.device)
    matrix[..., axis, axis] = 1.0
    matrix[..., a, a], matrix[..., b, b] = cos, cos
    matrix[..., a, b], matrix[..., b, a] = -sin, sin
    return matrix


def camera_rotations(turn: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Return rotations (B, 3, 3) from upright axes to those of cameras (x right, y down, z forward).

    Args:
        turn: Degrees (B,) that people are turned about the vertical.
        pitch: Degrees (B,) that the camera looks down.
        roll: Degrees (B,) that it is turned about its own axis.
    """
    tilt = axis_rotation(2, torch.deg2rad(roll)) @ axis_rotation(0, torch.deg2rad(pitch))
    return tilt @ axis_rotation(1, torch.deg2rad(turn))
