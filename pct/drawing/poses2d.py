"""Draw 2D poses on pictures, and write pictures to files (OpenCV)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from pct.files.output import open_atomically
from pct.skeleton import Skeleton

Color = tuple[int, int, int]

# OpenCV takes coordinates as integers with this many fractional bits.
_SHIFT = 4
# Joints of a diverged model lie anywhere; OpenCV's integers do not reach that far.
_FARTHEST = 20_000.0


@dataclass(frozen=True)
class PoseStyle:
    """How a pose is drawn; colours are RGB.

    Attributes:
        left: Colour of the person's left side.
        right: Colour of the person's right side.
        middle: Colour of the rest.
        thickness: Of the bones in pixels; 0 leaves the bones out.
        radius: Of the joints in pixels; 0 leaves the joints out.
    """

    left: Color = (230, 97, 0)
    right: Color = (26, 112, 199)
    middle: Color = (80, 80, 88)
    thickness: int = 3
    radius: int = 4

    def scaled(self, size: float, usual: float = 480) -> PoseStyle:
        """Return the style for a pose or picture of ``size`` pixels, if this one is made for the ``usual`` size."""
        thickness, radius = (math.ceil(length * size / usual) for length in (self.thickness, self.radius))
        return replace(self, thickness=thickness, radius=radius)


COLOURED = PoseStyle()
# The truth under a prediction: broad and pale, so that a good prediction lies on it like a line on a road.
TARGET = PoseStyle((188, 190, 196), (188, 190, 196), (188, 190, 196), thickness=9, radius=7)
BASELINE = PoseStyle((150, 110, 190), (150, 110, 190), (150, 110, 190), thickness=2, radius=3)


@dataclass(frozen=True)
class PoseLayer:
    """One pose of a panel.

    Attributes:
        keypoints: Joints (K, 2) in pixels, or (K, 3) in millimetres in the axes of a camera.
        visible: True where the joint is known (K,); None is all.
        style: How it is drawn.
        draw_unknown: Whether joints that are not known are drawn, hollow.
    """

    keypoints: ArrayLike
    visible: ArrayLike | None = None
    style: PoseStyle = COLOURED
    draw_unknown: bool = True


def draw_pose(image: np.ndarray, layer: PoseLayer, skeleton: Skeleton) -> np.ndarray:
    """Draw one pose on a copy of an image.

    Args:
        image: RGB picture (H, W, 3), uint8.
        layer: The pose; joints in pixels of the image, x right and y down; (0, 0) is the first pixel's centre. Bones to
            joints that are not known are thin, or left out with them.
        skeleton: Bones, and which joints are left and right.

    Returns:
        The picture with the pose, RGB uint8. Joints that are not finite are never drawn.

    Raises:
        ValueError: If image, joints or visibility have a wrong shape or type.
    """
    import cv2

    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be RGB uint8 (H, W, 3); got {image.dtype} of shape {image.shape}")
    points, style = check_joints(layer.keypoints, skeleton, 2), layer.style
    known = np.ones(len(points), bool) if layer.visible is None else np.asarray(layer.visible).astype(bool)
    if known.shape != (len(points),):
        raise ValueError(f"visible must be ({len(points)},); got shape {known.shape}")
    drawn = np.isfinite(points).all(axis=1) & (known | layer.draw_unknown)
    fixed = _to_fixed_point(points)
    canvas = np.ascontiguousarray(image).copy()
    for a, b in skeleton.edges:
        if style.thickness and drawn[a] and drawn[b]:
            thickness = style.thickness if known[a] and known[b] else max(1, style.thickness // 2)
            cv2.line(canvas, fixed[a], fixed[b], _color(skeleton, style, a, b), thickness, cv2.LINE_AA, _SHIFT)
    for joint in np.flatnonzero(drawn & (style.radius > 0)).tolist():
        color, radius = _color(skeleton, style, joint), style.radius << _SHIFT
        inside = color if known[joint] else (255, 255, 255)
        cv2.circle(canvas, fixed[joint], radius, inside, cv2.FILLED, cv2.LINE_AA, _SHIFT)
        if not known[joint]:
            cv2.circle(canvas, fixed[joint], radius, color, max(1, style.radius // 3), cv2.LINE_AA, _SHIFT)
    return canvas


def draw_lines(image: np.ndarray, ends: ArrayLike, color: Color, thickness: int = 1) -> np.ndarray:
    """Draw straight lines with ``ends`` (L, 2, 2) in pixels on a copy of an RGB picture (H, W, 3), uint8."""
    import cv2

    canvas = np.ascontiguousarray(image).copy()
    for line in np.asarray(ends, dtype=np.float64):
        a, b = _to_fixed_point(line)
        cv2.line(canvas, a, b, color, thickness, cv2.LINE_AA, _SHIFT)
    return canvas


def encode_png(image: np.ndarray) -> bytes:
    """Return an RGB picture (H, W, 3), uint8, as the bytes of a PNG file."""
    return _encode(image, ".png")


def write_jpeg(image: np.ndarray, path: str | Path, force: bool = False) -> None:
    """Write an RGB picture (H, W, 3), uint8, to a JPEG file; FileExistsError if it is there, without ``force``."""
    with open_atomically(path, force) as file:
        file.write(_encode(image, ".jpg"))


def write_png(image: np.ndarray, path: str | Path, force: bool = False) -> None:
    """Write a picture to a PNG file, as :func:`write_jpeg`."""
    with open_atomically(path, force) as file:
        file.write(encode_png(image))


def _encode(image: np.ndarray, suffix: str) -> bytes:
    import cv2

    settings = {".png": [cv2.IMWRITE_PNG_COMPRESSION, 9], ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 92]}
    done, data = cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]), settings[suffix])
    if not done:
        raise ValueError(f"a picture of shape {image.shape} cannot be written as {suffix}")
    return data.tobytes()


def check_joints(keypoints: ArrayLike, skeleton: Skeleton, dims: int) -> np.ndarray:
    """Return one pose as an array (K, D), float64; a ValueError names another shape."""
    points, shape = np.asarray(keypoints, dtype=np.float64), (skeleton.num_keypoints, dims)
    if points.shape != shape:
        raise ValueError(f"keypoints must be {shape} for skeleton {skeleton.name}; got shape {points.shape}")
    return points


def _to_fixed_point(points: np.ndarray) -> list[tuple[int, int]]:
    scaled = np.clip(np.nan_to_num(points), -_FARTHEST, _FARTHEST) * (1 << _SHIFT)
    return [(int(x), int(y)) for x, y in np.rint(scaled)]


def _color(skeleton: Skeleton, style: PoseStyle, *joints: int) -> Color:
    """Return the colour of a joint or a bone: that of its side; of a bone from one side to the other, of neither."""
    left = any(joint == pair[0] for joint in joints for pair in skeleton.flip_pairs)
    right = any(joint == pair[1] for joint in joints for pair in skeleton.flip_pairs)
    if left == right:
        return style.middle
    return style.left if left else style.right
