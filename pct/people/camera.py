"""Cameras that look at generated people: where these stand before them, and capsules drawn with depth and shading."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

_NEAREST = 600.0  # millimetres: nobody is nearer to the camera
_AMBIENT = 0.5  # share of the light that comes from everywhere


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


@dataclass(frozen=True)
class Capsule:
    """A tapered limb with round ends: camera millimetres.

    Attributes:
        start: Centre (3,) of the first end.
        end: Centre (3,) of the other end.
        radii: Of the two ends.
        color: RGB (3,) in 0..255.
    """

    start: np.ndarray
    end: np.ndarray
    radii: tuple[float, float]
    color: np.ndarray


class Canvas:
    """A picture that is being drawn, with the depth and the owner of each pixel.

    Args:
        background: RGB (size, size, 3) in 0..255.
        camera: What it is seen by.
        light: Unit vector (3,) towards the lamp, in camera axes.

    Attributes:
        camera: What it is seen by.
        color: RGB (size, size, 3) float32 in 0..255.
        depth: Distance along the optical axis (size, size) in millimetres; infinite in the background.
        owner: Number of the person or thing seen (size, size); -1 in the background.
    """

    def __init__(self, background: np.ndarray, camera: Camera, light: np.ndarray) -> None:
        size, self.camera, self.light = camera.size, camera, light
        self.color = background.astype(np.float32)
        self.depth = np.full((size, size), np.inf, dtype=np.float32)
        self.owner = np.full((size, size), -1, dtype=np.int16)
        self._grid = np.arange(size, dtype=np.float32)

    def draw(self, solid: Capsule, owner: int) -> None:
        """Draw a limb where nothing nearer is; draw far ones first, so that edges blend with what is behind them."""
        a, b = (self.camera.project(end) for end in (solid.start, solid.end))
        z_a, z_b = float(solid.start[2]), float(solid.end[2])
        radius_a, radius_b = (r * self.camera.focal / z for r, z in zip(solid.radii, (z_a, z_b), strict=True))
        low, high = np.minimum(a - radius_a, b - radius_b), np.maximum(a + radius_a, b + radius_b)
        columns, rows = (self._range(*ends) for ends in zip(low, high, strict=True))
        ex, ey = (b - a).tolist()
        square = max(ex * ex + ey * ey, 1e-6)
        dx, dy = self._grid[columns] - float(a[0]), (self._grid[rows] - float(a[1]))[:, None]
        along = np.clip((dx * ex + dy * ey) / square, 0.0, 1.0)
        radius = radius_a + along * (radius_b - radius_a)
        nx, ny = (dx - along * ex) / radius, (dy - along * ey) / radius
        away = np.sqrt(nx * nx + ny * ny)
        cover = radius * (1.0 - away) + 0.5
        nz = -np.sqrt(np.maximum(1.0 - away * away, 0.0))
        depth = z_a * (1 - along) + z_b * along + nz * (solid.radii[0] + along * (solid.radii[1] - solid.radii[0]))
        # Views of the window: what is written to them is in the picture.
        color_view, depth_view, owner_view = (x[rows, columns] for x in (self.color, self.depth, self.owner))
        seen = (cover > 0) & (depth < depth_view)
        lit = (nx * self.light[0] + ny * self.light[1] + nz * self.light[2])[seen]
        shaded = solid.color * (_AMBIENT + (1.0 - _AMBIENT) * np.maximum(lit, 0.0))[:, None]
        color_view[seen] += np.minimum(cover[seen], 1.0)[:, None] * (shaded - color_view[seen])
        solid_part = seen & (cover >= 0.5)
        depth_view[solid_part] = depth[solid_part]
        owner_view[solid_part] = owner

    def _range(self, low: float, high: float) -> slice:
        return slice(max(0, math.floor(low)), max(0, min(self.camera.size, math.ceil(high) + 1)))
