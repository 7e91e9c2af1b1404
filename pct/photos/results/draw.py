"""Draw the poses of a photo: on it, or where they are 3D beside it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pct.drawing.poses2d import COLOURED, PoseLayer, draw_lines, draw_pose
from pct.drawing.poses3d import FRONT, TURNED, draw_pose_3d
from pct.photos.results.poses import PersonPoses
from pct.skeleton import Skeleton

# Joints below this confidence are drawn hollow.
_SURE = 0.3
# Longer side in pixels of the persons that the usual style of drawing suits.
_DRAWN_SIZE = 300
# Side in pixels of the panel of 3D poses, and the colour of the boxes beside it.
_BODY_SIZE, _BOX = 480, (230, 97, 0)


def draw_persons(image: np.ndarray, poses: PersonPoses, skeleton: Skeleton) -> np.ndarray:
    """Draw the expected poses on a copy of a photo (H, W, 3), uint8 RGB; joints of low confidence are hollow."""
    for row in np.argsort(poses.scores.mean(axis=1)):
        scale = min(max(float(poses.bbox[row, 2:].max()) / _DRAWN_SIZE, 0.25), 4.0)
        style = replace(
            COLOURED,
            thickness=math.ceil(COLOURED.thickness * scale),
            radius=math.ceil(COLOURED.radius * scale),
        )
        image = draw_pose(image, poses.keypoints[row], poses.scores[row] >= _SURE, skeleton, style)
    return image


def draw_bodies(image: np.ndarray, poses: PersonPoses, skeleton: Skeleton) -> np.ndarray:
    """Draw 3D poses beside a photo (H, W, 3), uint8 RGB, on which the persons' boxes are drawn.

    Each person is seen as from the camera and turned, in the order of the boxes. The size of the picture depends on
    the photo's alone, not on the number of persons.
    """
    height, width = image.shape[:2]
    side = min(height, _BODY_SIZE)
    canvas = np.full((height, width + 2 * side, 3), 255, np.uint8)
    thickness = math.ceil(height / _DRAWN_SIZE)
    for x, y, w, h in poses.bbox.astype(np.float64):
        corners = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
        image = draw_lines(image, np.stack([corners, np.roll(corners, -1, axis=0)], axis=1), _BOX, thickness)
    canvas[:, :width] = image
    columns = math.ceil(math.sqrt(len(poses)))
    for row in range(len(poses)):
        cell = side // columns
        layer = PoseLayer(poses.keypoints[row], poses.scores[row] >= _SURE)
        views = np.hstack([draw_pose_3d([layer], skeleton, view, cell) for view in (FRONT, TURNED)])
        left, top = width + row % columns * 2 * cell, row // columns * cell
        canvas[top : top + cell, left : left + 2 * cell] = views
    return canvas
