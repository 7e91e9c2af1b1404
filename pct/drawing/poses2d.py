"""Draw poses: on photos, on empty crops, and as galleries with captions (OpenCV; captions by matplotlib)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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

    def scaled(self, size: int) -> PoseStyle:
        """Return the style for a picture of ``size`` pixels a side; it is made for 480."""
        thickness, radius = (math.ceil(length * size / 480) for length in (self.thickness, self.radius))
        return replace(self, thickness=thickness, radius=radius)


COLOURED = PoseStyle()
# The truth under a prediction: broad and pale, so that a good prediction lies on it like a line on a road.
TARGET = PoseStyle((188, 190, 196), (188, 190, 196), (188, 190, 196), thickness=9, radius=7)
BASELINE = PoseStyle((150, 110, 190), (150, 110, 190), (150, 110, 190), thickness=2, radius=3)
FAINT = PoseStyle((246, 190, 140), (160, 200, 236), (196, 196, 202), thickness=1, radius=0)


@dataclass(frozen=True)
class PoseLayer:
    """One pose of a panel.

    Attributes:
        keypoints: Joints (K, 2) in pixels of the panel's crop; (K, 3) in millimetres in ``pct/drawing/poses3d.py``.
        visible: True where the joint is known (K,); None is all.
        style: How it is drawn.
        draw_unknown: Whether joints that are not known are drawn, hollow.
    """

    keypoints: ArrayLike
    visible: ArrayLike | None = None
    style: PoseStyle = COLOURED
    draw_unknown: bool = True


@dataclass(frozen=True)
class PosePanel:
    """One picture of a gallery.

    Attributes:
        layers: Poses over each other, the first at the bottom.
        caption: Text below.
        background: RGB picture (S, S, 3), uint8, of the crop; None is white.
    """

    layers: tuple[PoseLayer, ...]
    caption: str = ""
    background: np.ndarray | None = None


def draw_pose(
    image: np.ndarray,
    keypoints: ArrayLike,
    visible: ArrayLike | None,
    skeleton: Skeleton,
    style: PoseStyle = COLOURED,
    draw_unknown: bool = True,
) -> np.ndarray:
    """Draw one pose on a copy of an image.

    Args:
        image: RGB picture (H, W, 3), uint8.
        keypoints: Joints (K, 2) in pixels of the image, x right and y down; (0, 0) is the first pixel's centre.
        visible: True where the joint is known (K,); None is all.
        skeleton: Bones, and which joints are left and right.
        style: Colours and sizes.
        draw_unknown: Whether joints that are not known are drawn, as hollow circles with thin bones; else they and
            their bones are left out.

    Returns:
        The picture with the pose, RGB uint8. Joints that are not finite are never drawn.

    Raises:
        ValueError: If image, joints or visibility have a wrong shape or type.
    """
    import cv2

    points, known = _check(image, keypoints, visible, skeleton)
    drawn = np.isfinite(points).all(axis=1) & (known | draw_unknown)
    fixed = _to_fixed_point(points)
    canvas = np.ascontiguousarray(image).copy()
    for a, b in skeleton.edges:
        if style.thickness and drawn[a] and drawn[b]:
            thickness = style.thickness if known[a] and known[b] else max(1, style.thickness // 2)
            color = _bone_color(skeleton, a, b, style)
            cv2.line(canvas, fixed[a], fixed[b], color, thickness, cv2.LINE_AA, _SHIFT)
    for joint in np.flatnonzero(drawn if style.radius else np.zeros_like(drawn)):
        color = _joint_color(skeleton, int(joint), style)
        radius = style.radius << _SHIFT
        if known[joint]:
            cv2.circle(canvas, fixed[joint], radius, color, cv2.FILLED, cv2.LINE_AA, _SHIFT)
        else:
            cv2.circle(canvas, fixed[joint], radius, (255, 255, 255), cv2.FILLED, cv2.LINE_AA, _SHIFT)
            cv2.circle(canvas, fixed[joint], radius, color, max(1, style.radius // 3), cv2.LINE_AA, _SHIFT)
    return canvas


def draw_panel(panel: PosePanel, skeleton: Skeleton, crop_size: int = 256, size: int = 320) -> np.ndarray:
    """Draw the poses of a panel on a square whose frame is the crop's; RGB uint8 (size, size, 3)."""
    import cv2

    background = np.full((1, 1, 3), 255, np.uint8) if panel.background is None else panel.background
    image = np.asarray(cv2.resize(background, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
    scale = size / crop_size
    for layer in panel.layers:
        # The frame's edges are the outer edges of pixels, whose centres are whole numbers where we draw.
        points = np.asarray(layer.keypoints, dtype=np.float64) * scale - 0.5
        image = draw_pose(image, points, layer.visible, skeleton, layer.style.scaled(size), layer.draw_unknown)
    image[[0, -1]] = image[:, [0, -1]] = 205
    return image


def pose_gallery(
    panels: Sequence[PosePanel], skeleton: Skeleton, columns: int = 4, crop_size: int = 256, size: int = 320
) -> np.ndarray:
    """Arrange panels in rows, each with its caption under it.

    Args:
        panels: The pictures; joints in crop pixels, [0, crop_size].
        skeleton: Whose joints they have.
        columns: Pictures a row.
        crop_size: Side of the crop in the joints' pixels.
        size: Side of a picture in pixels.

    Returns:
        The gallery on white, RGB uint8.

    Raises:
        ValueError: If there are no panels.
    """
    pictures = [draw_panel(panel, skeleton, crop_size, size) for panel in panels]
    return picture_gallery(pictures, [panel.caption for panel in panels], columns)


def picture_gallery(pictures: Sequence[np.ndarray], captions: Sequence[str], columns: int = 4) -> np.ndarray:
    """Arrange pictures of one size, RGB uint8 (H, W, 3), in rows on white, each with its caption under it.

    Raises:
        ValueError: If there are no pictures.
    """
    if not pictures:
        raise ValueError("a gallery needs at least one panel")
    columns = min(columns, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    lines = max(caption.count("\n") + 1 if caption else 0 for caption in captions)
    gap, text = 12, 19 * lines + (10 if lines else 0)
    high, wide = pictures[0].shape[:2]
    canvas = np.full((rows * (high + gap + text) + gap, columns * (wide + gap) + gap, 3), 255, dtype=np.uint8)
    labels = []
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = gap + i % columns * (wide + gap), gap + i // columns * (high + gap + text)
        canvas[y : y + high, x : x + wide] = picture
        labels.append((x + wide / 2, y + high + 6, caption))
    return _write_labels(canvas, labels)


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
    """Write an RGB picture (H, W, 3), uint8, to a JPEG file.

    Raises:
        FileExistsError: If the file exists and ``force`` is not set.
    """
    with open_atomically(path, force) as file:
        file.write(_encode(image, ".jpg"))


def write_png(image: np.ndarray, path: str | Path, force: bool = False) -> None:
    """Write an RGB picture to a PNG file.

    Raises:
        FileExistsError: If the file exists and ``force`` is not set.
    """
    with open_atomically(path, force) as file:
        file.write(encode_png(image))


def render_figure(figure: Any) -> np.ndarray:
    """Draw a matplotlib figure and return it as an RGB picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _encode(image: np.ndarray, suffix: str) -> bytes:
    import cv2

    settings = {".png": [cv2.IMWRITE_PNG_COMPRESSION, 9], ".jpg": [cv2.IMWRITE_JPEG_QUALITY, 92]}
    done, data = cv2.imencode(suffix, np.ascontiguousarray(image[..., ::-1]), settings[suffix])
    if not done:
        raise ValueError(f"a picture of shape {image.shape} cannot be written as {suffix}")
    return data.tobytes()


def _write_labels(canvas: np.ndarray, labels: Sequence[tuple[float, float, str]]) -> np.ndarray:
    """Write centred texts with their upper edge at (x, y): OpenCV's own fonts are made of strokes and hard to read."""
    from matplotlib.figure import Figure

    height, width = canvas.shape[:2]
    dpi = 100
    figure = Figure(figsize=(width / dpi, height / dpi), dpi=dpi)
    figure.figimage(canvas)
    for x, y, text in labels:
        figure.text(x / width, 1 - y / height, text, ha="center", va="top", fontsize=9.5, color="#3a3d45")
    return render_figure(figure)


def _check(
    image: np.ndarray, keypoints: ArrayLike, visible: ArrayLike | None, skeleton: Skeleton
) -> tuple[np.ndarray, np.ndarray]:
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be RGB uint8 (H, W, 3); got {image.dtype} of shape {image.shape}")
    points = np.asarray(keypoints, dtype=np.float64)
    if points.shape != (skeleton.num_keypoints, 2):
        raise ValueError(
            f"keypoints must be ({skeleton.num_keypoints}, 2) for skeleton {skeleton.name}; got shape {points.shape}"
        )
    known = np.ones(len(points), dtype=bool) if visible is None else np.asarray(visible).astype(bool)
    if known.shape != (len(points),):
        raise ValueError(f"visible must be ({len(points)},); got shape {known.shape}")
    return points, known


def _to_fixed_point(points: np.ndarray) -> list[tuple[int, int]]:
    scaled = np.clip(np.nan_to_num(points), -_FARTHEST, _FARTHEST) * (1 << _SHIFT)
    return [(int(x), int(y)) for x, y in np.rint(scaled)]


def _joint_color(skeleton: Skeleton, joint: int, style: PoseStyle) -> Color:
    for left, right in skeleton.flip_pairs:
        if joint in (left, right):
            return style.left if joint == left else style.right
    return style.middle


def _bone_color(skeleton: Skeleton, a: int, b: int, style: PoseStyle) -> Color:
    """A bone has the colour of its side; one from a side to the middle counts to the side, one across to neither."""
    colors = {_joint_color(skeleton, joint, style) for joint in (a, b)} - {style.middle}
    return colors.pop() if len(colors) == 1 else style.middle
