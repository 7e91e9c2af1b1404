"""Pictures of 3D poses: from the front and turned, over a floor with a grid and the pose's shadow.

Axes are those of a camera: x right, y down, z away from the viewer, in millimetres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pct.drawing.poses2d import PoseLayer, PoseStyle, check_joints, draw_lines, draw_pose
from pct.skeleton import Skeleton

_SHADOW = (224, 226, 232)
_GRID, _GRID_STEP = (232, 234, 238), 500.0
_FRAME = 205
# The viewer's distance in sides of the picture: near enough to tell near from far, too far to distort.
_DISTANCE = 2.5
_MARGIN = 1.2
_LEAST_EXTENT = 1900.0
# Side in pixels of the panel of poses beside a photo, and the colour of the boxes on it.
_BODY_SIZE, _BOX = 480, (230, 97, 0)


@dataclass(frozen=True)
class View:
    """Where a pose is looked at from.

    Attributes:
        yaw: Degrees that the viewer has walked round the person, to the viewer's right; 0 is the camera's own place.
        pitch: Degrees that the viewer looks down.
    """

    yaw: float = 0.0
    pitch: float = 12.0

    def turn(self, points: np.ndarray) -> np.ndarray:
        """Bring points (..., 3) in camera axes into the viewer's axes: right, down, away."""
        yaw, pitch = math.radians(self.yaw), math.radians(self.pitch)
        x, y, z = np.moveaxis(points, -1, 0)
        right, away = x * math.cos(yaw) + z * math.sin(yaw), z * math.cos(yaw) - x * math.sin(yaw)
        down = y * math.cos(pitch) - away * math.sin(pitch)
        return np.stack([right, down, away * math.cos(pitch) + y * math.sin(pitch)], axis=-1)


FRONT, TURNED = View(), View(yaw=65.0)


@dataclass(frozen=True)
class _Scene:
    """What one picture shows: middle (3,) and side of the part that is seen, and the floor's y, in millimetres."""

    middle: np.ndarray
    extent: float
    floor: float

    @classmethod
    def around(cls, layer: PoseLayer) -> _Scene:
        """Fit the scene to a pose; a pose of ordinary size is always shown at the same scale."""
        points = np.asarray(layer.keypoints, dtype=np.float64)
        known = np.isfinite(points).all(axis=1)
        if layer.visible is not None and not layer.draw_unknown:
            known &= np.asarray(layer.visible).astype(bool)
        points = points[known] if known.any() else np.zeros((1, 3))
        low, high = points.min(axis=0), points.max(axis=0)
        middle = (low + high) / 2
        across = 2 * float(np.linalg.norm((points - middle)[:, [0, 2]], axis=1).max())
        return cls(middle, max(_LEAST_EXTENT, across, high[1] - low[1]) * _MARGIN, float(high[1]))

    def project(self, points: np.ndarray, view: View, size: int) -> np.ndarray:
        """Bring points (..., 3) in millimetres into pixels (..., 2) of a picture with ``size`` pixels a side."""
        turned = view.turn(points - self.middle) / self.extent
        nearness = _DISTANCE / np.maximum(_DISTANCE + turned[..., 2:], 0.1)
        return turned[..., :2] * nearness * size + size / 2 - 0.5


def draw_pose_3d(layers: Sequence[PoseLayer], skeleton: Skeleton, view: View = FRONT, size: int = 320) -> np.ndarray:
    """Draw 3D poses over each other on a floor with a grid of half a metre.

    The first pose sets what is seen: the floor lies at its lowest joint. The last one throws a shadow on the floor.

    Args:
        layers: Poses with joints (K, 3) in millimetres, camera axes, the first at the bottom. Poses that are to be
            compared are best given relative to their roots.
        skeleton: Whose joints they have.
        view: Where they are looked at from.
        size: Side of the picture in pixels.

    Returns:
        RGB picture (size, size, 3), uint8.

    Raises:
        ValueError: If there are no poses, or their joints have a wrong shape.
    """
    points = [check_joints(layer.keypoints, skeleton, 3) for layer in layers]
    if not points:
        raise ValueError("a picture needs at least one pose")
    scene = _Scene.around(layers[0])
    image = _draw_floor(scene, view, size)
    image = _draw_shadow(image, layers[-1], scene, skeleton, view)
    for layer, joints in zip(layers, points, strict=True):
        placed = replace(layer, keypoints=scene.project(joints, view, size), style=layer.style.scaled(size))
        image = draw_pose(image, placed, _far_bones_first(skeleton, joints, view))
    image[[0, -1]] = image[:, [0, -1]] = _FRAME
    return image


def draw_beside(image: np.ndarray, xyxy: np.ndarray, layers: Sequence[PoseLayer], skeleton: Skeleton) -> np.ndarray:
    """Return a photo (H, W, 3), uint8 RGB, with boxes (N, 4) on it and the poses in them beside it, from two sides.

    The size of the picture depends on the photo's alone, not on the number of poses.
    """
    height, width = image.shape[:2]
    side, thickness = min(height, _BODY_SIZE), math.ceil(height / 300)
    for x1, y1, x2, y2 in xyxy.astype(np.float64):
        corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
        image = draw_lines(image, np.stack([corners, np.roll(corners, -1, axis=0)], axis=1), _BOX, thickness)
    canvas = np.full((height, width + 2 * side, 3), 255, np.uint8)
    canvas[:, :width] = image
    columns = math.ceil(math.sqrt(len(layers)))
    for row, layer in enumerate(layers):
        cell = side // columns
        views = np.hstack([draw_pose_3d([layer], skeleton, view, cell) for view in (FRONT, TURNED)])
        left, top = width + row % columns * 2 * cell, row // columns * cell
        canvas[top : top + cell, left : left + 2 * cell] = views
    return canvas


def _draw_floor(scene: _Scene, view: View, size: int) -> np.ndarray:
    steps = math.ceil(scene.extent / 2 / _GRID_STEP)
    places = np.arange(-steps, steps + 1) * _GRID_STEP
    ends = np.array([-1.0, 1.0]) * steps * _GRID_STEP
    along = np.stack(np.broadcast_arrays(places[:, None], 0.0, ends), axis=-1)
    across = np.stack(np.broadcast_arrays(ends, 0.0, places[:, None]), axis=-1)
    place = np.array([scene.middle[0], scene.floor, scene.middle[2]])
    lines = np.concatenate([along, across]) + place
    blank = np.full((size, size, 3), 255, dtype=np.uint8)
    return draw_lines(blank, scene.project(lines, view, size), _GRID)


def _draw_shadow(image: np.ndarray, layer: PoseLayer, scene: _Scene, skeleton: Skeleton, view: View) -> np.ndarray:
    size = len(image)
    fallen = np.asarray(layer.keypoints, dtype=np.float64) * (1.0, 0.0, 1.0) + (0.0, scene.floor, 0.0)
    thickness = max(2, math.ceil(size / 80))
    style = PoseStyle(_SHADOW, _SHADOW, _SHADOW, thickness, thickness // 2)
    shown = None if layer.draw_unknown else layer.visible
    return draw_pose(image, PoseLayer(scene.project(fallen, view, size), shown, style, draw_unknown=False), skeleton)


def _far_bones_first(skeleton: Skeleton, points: np.ndarray, view: View) -> Skeleton:
    """Order the bones so that near ones are drawn over far ones."""
    away = np.nan_to_num(view.turn(points)[:, 2])
    return replace(skeleton, edges=tuple(sorted(skeleton.edges, key=lambda edge: -float(away[list(edge)].mean()))))
