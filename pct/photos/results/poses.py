"""PersonPoses: poses, tokens and confidence of the persons of a photo, as arrays, and how they are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import numpy as np

from pct.drawing.poses2d import COLOURED, PoseLayer, draw_lines, draw_pose
from pct.drawing.poses3d import FRONT, TURNED, draw_pose_3d
from pct.skeleton import Skeleton

# Joints below this confidence are drawn hollow.
_SURE = 0.3
# Longer side in pixels of the persons that the usual style of drawing suits.
_DRAWN_SIZE = 300
# Side in pixels of the panel of 3D poses, and the colour of the boxes beside it.
_BODY_SIZE, _BOX = 480, (230, 97, 0)


@dataclass(frozen=True)
class PersonPoses:
    """Poses of the N persons of a photo, in the order of their boxes.

    Coordinates (D = 2) are image pixels, x right and y down, with the first pixel's centre at (0, 0); those of models
    of 3D poses (D = 3) are millimetres from the root joint in the camera's axes: x right, y down, z away from it.

    Attributes:
        keypoints: The expected poses (N, K, D), float32: what is most accurate.
        scores: Confidence of each joint (N, K) in [0, 1]: the keypoint similarity that is expected of it, measured by
            OKS's scales on photos and by 100 mm for all joints in space (see :mod:`pct.evaluation.metrics`).
        pose_scores: What poses are ranked by (N,): the mean confidence of the joints, each weighed by itself. By
            published conventions it is the mean over the tokens of the largest logit, which has no bounds and is no
            probability.
        indices: The most likely integer tokens (N, M), int64.
        token_probs: Their probabilities (N, M).
        likely_keypoints: Poses (N, K, D) that the most likely tokens decode to.
        samples: Poses (S, N, K, D) that sampled tokens decode to: what else the photo may show.
        bbox: The boxes (N, 4) as x, y, width, height in image pixels, float32.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    pose_scores: np.ndarray
    indices: np.ndarray
    token_probs: np.ndarray
    likely_keypoints: np.ndarray
    samples: np.ndarray
    bbox: np.ndarray

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def is_3d(self) -> bool:
        """Whether the coordinates are millimetres in space."""
        return self.keypoints.shape[2] == 3

    def draw(self, image: np.ndarray, skeleton: Skeleton) -> np.ndarray:
        """Return a photo (H, W, 3), uint8 RGB, with the expected poses on it; joints of low confidence are hollow.

        3D poses stand beside the photo, on which their boxes are drawn: each as seen from the camera and turned, in the
        order of the boxes. The size of the picture depends on the photo's alone, not on the number of persons.
        """
        if self.is_3d:
            return self._draw_3d(image, skeleton)
        for row in np.argsort(self.pose_scores):
            scale = min(max(float(self.bbox[row, 2:].max()) / _DRAWN_SIZE, 0.25), 4.0)
            thickness, radius = math.ceil(COLOURED.thickness * scale), math.ceil(COLOURED.radius * scale)
            style = replace(COLOURED, thickness=thickness, radius=radius)
            image = draw_pose(image, PoseLayer(self.keypoints[row], self.scores[row] >= _SURE, style), skeleton)
        return image

    def _draw_3d(self, image: np.ndarray, skeleton: Skeleton) -> np.ndarray:
        height, width = image.shape[:2]
        side, thickness = min(height, _BODY_SIZE), math.ceil(height / _DRAWN_SIZE)
        canvas = np.full((height, width + 2 * side, 3), 255, np.uint8)
        for x, y, w, h in self.bbox.astype(np.float64):
            corners = np.array([[x, y], [x + w, y], [x + w, y + h], [x, y + h]])
            image = draw_lines(image, np.stack([corners, np.roll(corners, -1, axis=0)], axis=1), _BOX, thickness)
        canvas[:, :width] = image
        columns = math.ceil(math.sqrt(len(self)))
        for row in range(len(self)):
            cell = side // columns
            layer = PoseLayer(self.keypoints[row], self.scores[row] >= _SURE)
            views = np.hstack([draw_pose_3d([layer], skeleton, view, cell) for view in (FRONT, TURNED)])
            left, top = width + row % columns * 2 * cell, row // columns * cell
            canvas[top : top + cell, left : left + 2 * cell] = views
        return canvas

    def select(self, rows: slice) -> PersonPoses:
        """Return some of the persons."""
        return PersonPoses(**{name: a[:, rows] if name == "samples" else a[rows] for name, a in vars(self).items()})

    @classmethod
    def concatenate(cls, parts: list[PersonPoses]) -> PersonPoses:
        """Put persons one after the other; there must be at least one part."""
        names = [field.name for field in fields(cls)]
        return cls(**{n: np.concatenate([getattr(p, n) for p in parts], axis=int(n == "samples")) for n in names})
