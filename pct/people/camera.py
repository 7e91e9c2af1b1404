"""Where generated people stand and how cameras look at them: from body millimetres to camera millimetres."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_NEAREST = 600.0  # millimetres: nobody is nearer to the camera


@dataclass(frozen=True)
class Camera:
    """A perspective camera that stands upright; its axes are x right, y down, z forward.

    Attributes:
        size: Side of the square picture in pixels.
        focal: Focal length in pixels; the principal point is the picture's centre.
        pitch: How far it looks down, in radians.
    """

    size: int
    focal: float
    pitch: float

    @classmethod
    def draw(cls, size: int, rng: np.random.Generator) -> Camera:
        """Draw a camera that looks slightly down, sometimes from above."""
        pitch = rng.normal(5.0, 7.0) + (rng.uniform(5.0, 40.0) if rng.random() < 0.12 else 0.0)
        return cls(size, size * float(rng.uniform(0.9, 2.8)), math.radians(pitch))

    @property
    def intrinsics(self) -> np.ndarray:
        """Return fx, fy, cx, cy (4,) in pixels, float32; (0, 0) is the first pixel's centre."""
        return np.array([self.focal, self.focal, (self.size - 1) / 2, (self.size - 1) / 2], dtype=np.float32)

    @property
    def axes(self) -> np.ndarray:
        """Rotation (3, 3) from the world (x left, y up, z towards the camera) to the camera."""
        cos, sin = math.cos(self.pitch), math.sin(self.pitch)
        return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ np.diag([1.0, -1.0, -1.0])

    def project(self, points: np.ndarray) -> np.ndarray:
        """Return pixels (..., 2) of points (..., 3) in camera millimetres."""
        return self.focal * points[..., :2] / points[..., 2:] + (self.size - 1) / 2

    def sees(self, pixels: np.ndarray) -> np.ndarray:
        """Return which pixels (n, 2) lie in the picture (n,)."""
        return np.asarray(((pixels >= -0.5) & (pixels < self.size - 0.5)).all(axis=-1))


def place_main(body: np.ndarray, camera: Camera, rng: np.random.Generator, whole: bool = False) -> np.ndarray:
    """Put the person that a picture is about before the camera, larger than the picture where not ``whole``.

    Args:
        body: Points (P, 3) in millimetres, y up.
        camera: The camera.
        rng: Source of randomness.
        whole: Keep the person within the picture.

    Returns:
        The points (P, 3) in camera millimetres.
    """
    # Photographers prefer faces.
    azimuth = rng.normal(0.0, 0.7) if rng.random() < 0.7 else rng.uniform(-math.pi, math.pi)
    points = turn(body, azimuth) @ camera.axes.T
    low, high = points.min(axis=0), points.max(axis=0)
    points, extent = points - (low + high) / 2, 1.05 * (high - low)
    share = math.exp(rng.uniform(math.log(0.31), math.log(0.94 if whole else 1.5)))
    distance = max(camera.focal * extent[:2].max() / (share * camera.size), _NEAREST + extent[2] / 2)
    half = camera.focal * extent[:2] / distance / 2
    middle = rng.uniform(-1, 1, 2) * np.abs(camera.size / 2 - half)
    return points + np.array([*(middle * distance / camera.focal), distance])


def place_other(
    body: np.ndarray, main_floor: np.ndarray, camera: Camera, rng: np.random.Generator
) -> np.ndarray | None:
    """Put another person (P, 3), y up, beside, before or behind the main person who stands at ``main_floor`` (3,).

    Returns:
        The points (P, 3) in camera millimetres, or None if they would stand at or behind the lens.
    """
    # Not inside the main person.
    shift = np.array([rng.uniform(-900, 900), 0.0, rng.choice([-1, 1]) * rng.uniform(250, 1200)])
    points = (turn(body, rng.uniform(-math.pi, math.pi)) + shift) @ camera.axes.T + main_floor
    return points if points[:, 2].min() > _NEAREST else None


def turn(body: np.ndarray, azimuth: float) -> np.ndarray:
    """Turn a body (P, 3) about the vertical y axis, to its left for positive angles."""
    cos, sin = math.cos(azimuth), math.sin(azimuth)
    return body @ np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
