"""Draw generated people: capsules and ellipsoids with a depth buffer, shading and textures (NumPy only)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

TEXTURE_SIDE = 64  # texels; textures repeat

# Colours (n, 3) of points given in the frame of their ellipsoid, (n, 3) in shares of its semi-axes.
Paint = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Material:
    """What a surface looks like.

    Attributes:
        color: RGB (3,) float32 in 0..255 where the texture is 0.
        accent: RGB (3,) float32 where the texture is 1.
        texture: Mixture (TEXTURE_SIDE, TEXTURE_SIDE) in [0, 1]; None is all ``color``.
        texel: Side of a texel in millimetres.
    """

    color: np.ndarray
    accent: np.ndarray
    texture: np.ndarray | None = None
    texel: float = 5.0

    def colors(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        """Return the colours (n, 3) at surface coordinates (n,) in millimetres."""
        if self.texture is None:
            return np.broadcast_to(self.color, (len(u), 3))
        columns = (u / self.texel).astype(np.int32) & (TEXTURE_SIDE - 1)
        rows = (v / self.texel).astype(np.int32) & (TEXTURE_SIDE - 1)
        mix = self.texture.take(rows * TEXTURE_SIDE + columns)[:, None]
        return self.color + mix * (self.accent - self.color)


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
class Ellipsoid:
    """A trunk segment or a head: camera millimetres.

    Attributes:
        center: Its centre (3,).
        axes: Its axes (3, 3) as columns: left, up and forward of the person.
        semi: Half its length along each axis (3,).
        material: What it looks like, unless ``paint`` is given.
        paint: Gives colours by the place on the surface.
    """

    center: np.ndarray
    axes: np.ndarray
    semi: np.ndarray
    material: Material
    paint: Paint | None = None


Solid = Capsule | Ellipsoid


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
        size: Side of the square picture in pixels.
        focal: Focal length in pixels; the principal point is the picture's centre.
        color: RGB (size, size, 3) float32 in 0..255.
        depth: Distance along the optical axis (size, size) in millimetres; infinite in the background.
        owner: Number of the person or thing seen (size, size); -1 in the background.
    """

    def __init__(self, background: np.ndarray, focal: float) -> None:
        self.size = len(background)
        self.focal = focal
        self.center = (self.size - 1) / 2
        self.color = background.astype(np.float32)
        self.depth = np.full((self.size, self.size), np.inf, dtype=np.float32)
        self.owner = np.full((self.size, self.size), -1, dtype=np.int16)
        self._grid = np.arange(self.size, dtype=np.float32)

    def project(self, point: np.ndarray) -> tuple[float, float, float]:
        """Return pixel x and y and the pixels of a millimetre at a point (3,) in camera millimetres."""
        scale = self.focal / float(point[2])
        return self.center + float(point[0]) * scale, self.center + float(point[1]) * scale, scale

    def extent(self, solid: Solid) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of a solid in pixels, not cut off at the border."""
        if isinstance(solid, Capsule):
            ends = [(*self.project(p), r) for p, r in zip((solid.start, solid.end), solid.radii, strict=True)]
            low = [min(e[i] - e[3] * e[2] for e in ends) for i in (0, 1)]
            high = [max(e[i] + e[3] * e[2] for e in ends) for i in (0, 1)]
            return low[0], low[1], high[0], high[1]
        x, y, scale = self.project(solid.center)
        half = np.sqrt(((solid.axes * solid.semi) ** 2).sum(axis=1)) * scale
        return x - half[0], y - half[1], x + half[0], y + half[1]

    def draw(self, solid: Solid, owner: int, light: Light) -> None:
        """Draw a solid where nothing nearer is; draw far ones first, so that edges blend with what is behind them."""
        left, top, right, bottom = self.extent(solid)
        x0, x1 = max(0, math.floor(left)), min(self.size, math.ceil(right) + 1)
        y0, y1 = max(0, math.floor(top)), min(self.size, math.ceil(bottom) + 1)
        if x0 >= x1 or y0 >= y1:
            return
        window = (slice(y0, y1), slice(x0, x1))
        surface = self._capsule(solid, window) if isinstance(solid, Capsule) else self._ellipsoid(solid, window)
        if len(surface.pixels):
            self._blend(surface, owner, light)

    def cover(self, alpha: np.ndarray, colors: np.ndarray, depth: float, owner: int) -> None:
        """Put a flat thing before all that is farther away.

        Args:
            alpha: How much of each pixel it covers (size, size), 0 to 1.
            colors: RGB (size, size, 3) in 0..255.
            depth: Its distance in millimetres.
            owner: Its number.
        """
        alpha = np.where(self.depth > depth, alpha, 0.0).astype(np.float32)
        self.color += alpha[:, :, None] * (colors - self.color)
        solid = alpha >= 0.5
        self.depth[solid] = depth
        self.owner[solid] = owner

    def _capsule(self, solid: Capsule, window: tuple[slice, slice]) -> _Surface:
        (ax, ay, scale_a), (bx, by, scale_b) = self.project(solid.start), self.project(solid.end)
        radius_a, radius_b = solid.radii[0] * scale_a, solid.radii[1] * scale_b
        ex, ey = bx - ax, by - ay
        length = max(math.hypot(ex, ey), 1e-3)
        dx, dy = self._grid[window[1]] - ax, (self._grid[window[0]] - ay)[:, None]
        along = np.clip(dx * (ex / length**2) + dy * (ey / length**2), 0.0, 1.0)
        nx, ny = dx - along * ex, dy - along * ey
        radius = radius_a + along * (radius_b - radius_a)
        cover = radius - np.sqrt(nx * nx + ny * ny) + 0.5
        inside = np.flatnonzero(cover > 0)
        along, nx, ny, radius, alpha = (a.take(inside) for a in (along, nx, ny, radius, cover))
        nx, ny = nx / radius, ny / radius
        nz = -np.sqrt(np.maximum(1.0 - nx * nx - ny * ny, 0.0))
        girth = solid.radii[0] + along * (solid.radii[1] - solid.radii[0])
        za, zb = float(solid.start[2]), float(solid.end[2])
        depth = za + along * (zb - za) + nz * girth
        pixels, seen = self._nearer(inside, window, depth)
        along, nx, ny, nz, girth = (a.take(seen) for a in (along, nx, ny, nz, girth))
        side = (ny * ex - nx * ey) / length
        bone = math.dist(solid.start.tolist(), solid.end.tolist())
        colors = solid.material.colors(side * girth + 500.0, along * bone + 500.0)
        return _Surface(pixels, alpha.take(seen), depth.take(seen), (nx, ny, nz), colors)

    def _ellipsoid(self, solid: Ellipsoid, window: tuple[slice, slice]) -> _Surface:
        x, y, scale = self.project(solid.center)
        dx = (self._grid[window[1]] - np.float32(x)) / np.float32(scale)
        dy = ((self._grid[window[0]] - np.float32(y)) / np.float32(scale))[:, None]
        form = (solid.axes / solid.semi**2) @ solid.axes.T  # v' form v = 1 on the surface
        f = form.tolist()
        # The quadratic equation for the depth of the nearer surface point at each pixel.
        half_b = f[0][2] * dx + f[1][2] * dy
        c = f[0][0] * dx * dx + 2 * f[0][1] * dx * dy + f[1][1] * dy * dy
        outline = c - half_b * half_b / f[2][2]  # 1 on the outline
        cover = (1.0 - np.sqrt(np.maximum(outline, 0.0))) * (float(solid.semi.min()) * scale) + 0.5
        inside = np.flatnonzero(cover > 0)
        half_b, outline, alpha = half_b.take(inside), outline.take(inside), cover.take(inside)
        dz = (-half_b - np.sqrt(np.maximum(1.0 - outline, 0.0) * f[2][2])) / f[2][2]
        depth = float(solid.center[2]) + dz
        pixels, seen = self._nearer(inside, window, depth)
        rows, columns = np.divmod(inside.take(seen), len(dx))
        point = np.stack([dx.take(columns), dy.take(rows), dz.take(seen)], axis=1)
        normal = point @ form.astype(np.float32)
        normal /= np.sqrt(np.einsum("ij,ij->i", normal, normal))[:, None]
        local = point @ solid.axes.astype(np.float32)
        if solid.paint is None:
            colors = solid.material.colors(local[:, 0] + 500.0, local[:, 1] + 500.0)
        else:
            colors = solid.paint(local / solid.semi.astype(np.float32))
        return _Surface(pixels, alpha.take(seen), depth.take(seen), (normal[:, 0], normal[:, 1], normal[:, 2]), colors)

    def _nearer(
        self, inside: np.ndarray, window: tuple[slice, slice], depth: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return which pixels of the picture are covered by something nearer than all before, and their places.

        Args:
            inside: Pixels (n,) of the window, counted row by row.
            window: Rows and columns of the picture.
            depth: Depth (n,) of what is drawn there.
        """
        rows, columns = np.divmod(inside, window[1].stop - window[1].start)
        pixels = (rows + window[0].start) * self.size + (columns + window[1].start)
        seen = np.flatnonzero(depth < self.depth.take(pixels))
        return pixels.take(seen), seen

    def _blend(self, surface: _Surface, owner: int, light: Light) -> None:
        lx, ly, lz = light.direction
        nx, ny, nz = surface.normal
        shade = light.ambient + (1.0 - light.ambient) * np.maximum(nx * lx + ny * ly + nz * lz, 0.0)
        color = self.color.reshape(-1, 3)
        behind = color.take(surface.pixels, axis=0)
        alpha = np.minimum(surface.alpha, 1.0)
        color[surface.pixels] = behind + alpha[:, None] * (surface.colors * shade[:, None] - behind)
        solid = np.flatnonzero(alpha >= 0.5)
        pixels = surface.pixels.take(solid)
        self.depth.reshape(-1)[pixels] = surface.depth.take(solid)
        self.owner.reshape(-1)[pixels] = owner


@dataclass(frozen=True)
class _Surface:
    """What is seen of a solid: pixels (n,) counted row by row, coverage, depth in millimetres, normals, RGB (n, 3)."""

    pixels: np.ndarray
    alpha: np.ndarray
    depth: np.ndarray
    normal: tuple[np.ndarray, np.ndarray, np.ndarray]
    colors: np.ndarray
