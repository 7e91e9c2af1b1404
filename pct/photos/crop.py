"""Person crops: one affine warp from a box on the photo to the input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pct.geometry import crop_from_bbox
from pct.photos.backbone import IMAGE_MEAN, IMAGE_STD
from pct.pose_space import PoseSpace


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
    def half_size(self) -> np.ndarray:
        """Half width and half height (2,) of the input in the frame; the longer is 1."""
        height, width = self.image_size
        return np.array([width, height]) / max(height, width)

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
        return (np.abs(self.to_frame(points)) <= self.half_size * (1 + margin)).all(axis=1)

    def to_model(self, points: np.ndarray) -> np.ndarray:
        """Map points (N, 2) from image pixels to model units, float32."""
        low, high = self.bounds
        return ((low + high) / 2 + (high - low) / 2 * self.to_frame(points)).astype(np.float32)


def normalise_pixels(pixels: Tensor) -> Tensor:
    """Turn crops (B, 3, H, W), uint8 RGB, into a model's float32 input with ImageNet's mean and deviation taken out."""
    mean = torch.tensor(IMAGE_MEAN, device=pixels.device)[:, None, None] * 255
    std = torch.tensor(IMAGE_STD, device=pixels.device)[:, None, None] * 255
    return (pixels.float() - mean) / std


def fit_bbox_to_aspect(bbox: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """Grow boxes (..., 4) around their centre to the aspect of an input of ``image_size`` (height, width); float32."""
    center, size, aspect = bbox[..., :2] + bbox[..., 2:] / 2, bbox[..., 2:], image_size[1] / image_size[0]
    width = np.maximum(size[..., 0], size[..., 1] * aspect)
    grown = np.stack([width, width / aspect], axis=-1)
    return np.concatenate([center - grown / 2, grown], axis=-1).astype(np.float32)


def plain_crop(bbox: np.ndarray, space: PoseSpace, image_size: tuple[int, int]) -> CropTransform:
    """Return the crop of a box without jitter: :meth:`PoseSpace.normalise` of the box in the input's aspect.

    Args:
        bbox: Box (4,) as x, y, width, height in image pixels.
        space: Its ``padding`` and bounds.
        image_size: Height and width of the model's input in pixels.

    Raises:
        ValueError: If the box has no area or is not finite, or the space is not of crops or of crops of another size.
    """
    pixel_center = space.conventions.pixel_center
    if pixel_center != 0.5 and max(image_size) != space.crop_size:
        raise ValueError(
            f"a pose space with pixel_center {pixel_center} has crops of {space.crop_size} pixels, not {image_size}"
        )
    if space.kind != "crop2d":
        raise ValueError(f"crops of photos belong to a crop2d pose space, not {space.kind}")
    fitted = fit_bbox_to_aspect(np.asarray(bbox, np.float64), image_size)
    center, side = crop_from_bbox(torch.from_numpy(fitted).double()[None], space.padding)
    half = float(side[0]) / 2
    x, y = center[0].tolist()
    frame = np.array([[1, 0, -x], [0, 1, -y]]) / half
    return CropTransform(frame, image_size, space.bounds, pixel_center=pixel_center)
