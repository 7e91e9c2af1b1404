"""Cameras: projection against a calculation point by point, and every way there and back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pct.cameras import axis_rotation, project, world_to_camera


def points(n: int = 40, seed: int = 0) -> Tensor:
    x = torch.randn(n, 17, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x * 500 + torch.tensor([0.0, 0.0, 4000.0])


INTRINSICS = torch.tensor([1145.0, 1143.8, 512.5, 515.4], dtype=torch.float64)
DISTORTION = torch.tensor([-0.2, 0.25, -0.01, 0.0008, -0.0014], dtype=torch.float64)


def test_projection_equals_the_formula_point_by_point() -> None:
    bodies = points()
    got = project(bodies, INTRINSICS.expand(40, 4), DISTORTION.expand(40, 5)).numpy()
    fx, fy, cx, cy = INTRINSICS.tolist()
    k1, k2, k3, p1, p2 = DISTORTION.tolist()
    for (x, y, z), (u, v) in zip(bodies.reshape(-1, 3).tolist(), got.reshape(-1, 2).tolist(), strict=True):
        a, b = x / z, y / z
        r2 = a**2 + b**2
        radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
        tangential = p1 * b + p2 * a
        assert u == pytest.approx(fx * (a * (radial + tangential) + p2 * r2) + cx, abs=1e-9)
        assert v == pytest.approx(fy * (b * (radial + tangential) + p1 * r2) + cy, abs=1e-9)


def test_an_ideal_lens_is_one_without_distortion_and_a_matrix() -> None:
    bodies = points()
    matrix = np.array([[1145.0, 0, 512.5], [0, 1143.8, 515.4], [0, 0, 1]])
    expected = bodies.numpy() @ matrix.T
    ideal = project(bodies, INTRINSICS.expand(40, 4))
    assert np.allclose(ideal.numpy(), expected[..., :2] / expected[..., 2:])
    assert torch.allclose(ideal, project(bodies, INTRINSICS.expand(40, 4), torch.zeros(40, 5, dtype=torch.float64)))


def test_a_camera_sees_distances_as_they_are() -> None:
    rotation = axis_rotation(0, torch.tensor(0.4)) @ axis_rotation(1, torch.tensor(2.0))
    place, world = torch.tensor([10.0, 2000.0, -500.0]), points().float()
    seen = world_to_camera(world, rotation, place)
    assert torch.allclose(torch.cdist(seen, seen), torch.cdist(world, world), atol=1.0)
    assert torch.allclose(world_to_camera(place.expand(1, 1, 3), rotation, place), torch.zeros(1, 1, 3))


def test_a_quarter_turn_about_y_brings_z_to_x() -> None:
    turned = torch.tensor([0.0, 0.0, 1.0]) @ axis_rotation(1, torch.tensor(math.pi / 2)).T
    assert torch.allclose(turned, torch.tensor([1.0, 0.0, 0.0]), atol=1e-6)


def test_unknown_cameras_and_points_behind_them_are_refused() -> None:
    bodies, unknown = points(2), torch.full((2, 4), torch.nan)
    with pytest.raises(ValueError, match="camera of 2 of 2 poses is not known"):
        project(bodies, unknown)
    bodies[1, 3, 2] = -1.0
    with pytest.raises(ValueError, match=r"point \[1, 3\] is at .* not in front of the camera"):
        project(bodies, INTRINSICS.expand(2, 4))
