"""Draw generated people: capsules with a depth buffer, shading and stripes (NumPy only)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pct.people.camera import Camera


@dataclass(frozen=True)
class Material:
    """What a surface looks like: one colour, or stripes or checks of two.

    Attributes:
        color: RGB (3,) float32 in 0..255.
        accent: RGB (3,) float32 of the stripes.
        across: Millimetres from stripe to stripe around a limb; 0 has none.
        along: The same along a limb.
    """

    color: np.ndarray
    accent: np.ndarray
    across: float = 0.0
    along: float = 0.0

    def colors(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the colours (n, 3) at places (n,) around and along a limb, in millimetres."""
        striped = np.zeros(len(u), dtype=bool)
        for place, period in ((u, self.across), (v, self.along)):
            if period:
                striped ^= place % period < 0.4 * period
        return np.where(striped[:, None], self.accent, self.color)


@dataclass(frozen=True)
class Capsule:
    """A tapered limb with round ends: camera millimetres.

    Attributes:
        start: Centre (3,) of the first end.
        end: Centre (3,) of the other end.
        radii: Of the two ends.
        material: What it looks like.
    """

    start: np.ndarray
    end: np.ndarray
    radii: tuple[float, float]
    material: Material


@dataclass(frozen=True)
class Light:
    """A lamp far away.

    Attributes:
        direction: Unit vector (3,) towards it, in camera axes.
        ambient: Share of the light that comes from everywhere, 0 to 1.
    """

    direction: tuple[float, float, float]
    ambient: float


class Canvas:
    """A picture that is being drawn, with the depth and the owner of each pixel.

    Attributes:
        camera: What it is seen by.
        color: RGB (size, size, 3) float32 in 0..255.
        depth: Distance along the optical axis (size, size) in millimetres; infinite in the background.
        owner: Number of the person or thing seen (size, size); -1 in the background.
    """

    def __init__(self, background: np.ndarray, camera: Camera) -> None:
        size, self.camera = camera.size, camera
        self.color = background.astype(np.float32)
        self.depth = np.full((size, size), np.inf, dtype=np.float32)
        self.owner = np.full((size, size), -1, dtype=np.int16)
        self._grid = np.arange(size, dtype=np.float32)

    def draw(self, solid: Capsule, owner: int, light: Light) -> None:
        """Draw a limb where nothing nearer is; draw far ones first, so that edges blend with what is behind them."""
        (ax, ay), (bx, by) = (self.camera.project(end).tolist() for end in (solid.start, solid.end))
        radius_a = solid.radii[0] * self.camera.focal / float(solid.start[2])
        radius_b = solid.radii[1] * self.camera.focal / float(solid.end[2])
        rows = self._range(min(ay - radius_a, by - radius_b), max(ay + radius_a, by + radius_b))
        columns = self._range(min(ax - radius_a, bx - radius_b), max(ax + radius_a, bx + radius_b))
        ex, ey = bx - ax, by - ay
        length = max(math.hypot(ex, ey), 1e-3)
        dx, dy = self._grid[columns] - ax, (self._grid[rows] - ay)[:, None]
        along = np.clip(dx * (ex / length**2) + dy * (ey / length**2), 0.0, 1.0)
        nx, ny = dx - along * ex, dy - along * ey
        radius = radius_a + along * (radius_b - radius_a)
        cover = radius - np.sqrt(nx * nx + ny * ny) + 0.5
        nx, ny = nx / radius, ny / radius
        nz = -np.sqrt(np.maximum(1.0 - nx * nx - ny * ny, 0.0))
        girth = solid.radii[0] + along * (solid.radii[1] - solid.radii[0])
        depth = float(solid.start[2]) * (1 - along) + float(solid.end[2]) * along + nz * girth
        # Views of the window: what is written to them is in the picture.
        color_view, depth_view, owner_view = (a[rows, columns] for a in (self.color, self.depth, self.owner))
        seen = (cover > 0) & (depth < depth_view)
        around = (ny * ex - nx * ey) / length * girth
        bone = math.dist(solid.start.tolist(), solid.end.tolist())
        lit = nx * light.direction[0] + ny * light.direction[1] + nz * light.direction[2]
        shade = light.ambient + (1.0 - light.ambient) * np.maximum(lit[seen], 0.0)
        colors = solid.material.colors(around[seen] + 500.0, along[seen] * bone + 500.0) * shade[:, None]
        color_view[seen] += np.minimum(cover[seen], 1.0)[:, None] * (colors - color_view[seen])
        solid_part = seen & (cover >= 0.5)
        depth_view[solid_part] = depth[solid_part]
        owner_view[solid_part] = owner

    def _range(self, low: float, high: float) -> slice:
        return slice(max(0, math.floor(low)), max(0, min(self.camera.size, math.ceil(high) + 1)))
