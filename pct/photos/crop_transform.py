"""CropTransform: where a person's crop lies on the photo; maps of pixels, joints and 3D joints into it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pct.skeleton import H36M17


@dataclass(frozen=True)
class CropTransform:
    """Where a crop lies on its photo: maps of points from image pixels to the model's input and to model units.

    All of it follows from ``frame``, the map to the crop's frame: its middle is (0, 0), x right and y down, and the
    longer half side of the input is 1. The frame's edges are the outer edges of the input's outermost pixels, so that
    turning the input round left to right negates x exactly. Pixels, of the photo and of the input, are counted as in
    OpenCV: the centre of the first one is (0, 0).

    Attributes:
        frame: Affine map (2, 3), float64, from image pixels to the frame.
        image_size: Height and width of the input in pixels.
        bounds: Lowest and highest model coordinate inside the crop.
        flipped: Whether the map mirrors, so that left and right joints change places.
        pixel_center: Where in a pixel of the input its value lies: 0.5 is the middle, as said above; with 0 the frame
            lies half a pixel farther right and down (:class:`~pct.conventions.CropConventions`).
    """

    frame: np.ndarray
    image_size: tuple[int, int]
    bounds: tuple[float, float] = (-1.0, 1.0)
    flipped: bool = False
    pixel_center: float = 0.5

    @property
    def affine(self) -> np.ndarray:
        """Affine map (2, 3), float64, from image pixels to input pixels."""
        height, width = self.image_size
        half = max(height, width) / 2
        shift = self.pixel_center
        return half * self.frame + [[0, 0, width / 2 - shift], [0, 0, height / 2 - shift]]

    def warp(self, image: np.ndarray) -> np.ndarray:
        """Cut the crop (H, W, 3) out of a photo (H0, W0, 3), uint8; black where the photo ends."""
        import cv2

        height, width = self.image_size
        return cv2.warpAffine(image, self.affine, (width, height), flags=cv2.INTER_LINEAR)

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Map points (N, 2) from image pixels to the frame, float64."""
        return points.astype(np.float64) @ self.frame[:, :2].T + self.frame[:, 2]

    def contains(self, points: np.ndarray, margin: float = 0.0) -> np.ndarray:
        """Whether points (N, 2) in image pixels lie in the crop, or outside by at most ``margin`` of its half side."""
        return (np.abs(self.to_frame(points)) <= half_size(self.image_size) * (1 + margin)).all(axis=1)

    def turn(self, keypoints3d: np.ndarray) -> np.ndarray:
        """Turn Human3.6M's joints (17, 3) in camera axes as the crop turns and mirrors the photo; float32.

        Perspective is neglected: scale and shift of the crop, and where it lies on the photo, leave them as they are.
        """
        if self.flipped:
            keypoints3d = keypoints3d[H36M17.flip_index]
        linear = self.frame[:, :2] / math.sqrt(abs(np.linalg.det(self.frame[:, :2])))
        turned = keypoints3d[:, :2].astype(np.float64) @ linear.T
        return np.column_stack([turned, keypoints3d[:, 2]]).astype(np.float32)

    def to_model(self, points: np.ndarray) -> np.ndarray:
        """Map points (N, 2) from image pixels to model units, float32."""
        low, high = self.bounds
        return ((low + high) / 2 + (high - low) / 2 * self.to_frame(points)).astype(np.float32)


def half_size(image_size: tuple[int, int]) -> np.ndarray:
    """Return half width and half height (2,) of an input of ``image_size`` (height, width); the longer is 1."""
    height, width = image_size
    return np.array([width, height]) / max(height, width)
