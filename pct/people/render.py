"""Draw generated people: capsules with a depth buffer and shading (NumPy only)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pct.people.camera import Camera

_AMBIENT = 0.5  # share of the light that comes from everywhere


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
