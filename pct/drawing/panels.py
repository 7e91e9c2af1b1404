"""Panels, one pose or several over each other, and galleries of them with captions (matplotlib), in 2D and in 3D."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pct.drawing.plots import render_figure
from pct.drawing.poses2d import PoseLayer, draw_pose
from pct.drawing.poses3d import FRONT, TURNED, draw_pose_3d
from pct.skeleton import Skeleton


@dataclass(frozen=True)
class PosePanel:
    """One picture of a gallery.

    Attributes:
        layers: Poses over each other, the first at the bottom.
        caption: Text below.
        background: RGB picture (S, S, 3), uint8, of the crop; None is white. Beside poses in space it stands as it is.
    """

    layers: tuple[PoseLayer, ...]
    caption: str = ""
    background: np.ndarray | None = None


def pose_gallery(
    panels: Sequence[PosePanel],
    skeleton: Skeleton,
    columns: int | None = None,
    size: int | None = None,
    crop_size: int = 256,
) -> np.ndarray:
    """Arrange panels in rows, each with its caption under it; poses in space are seen from the front and turned.

    Args:
        panels: The poses; joints of their layers (K, 2) in crop pixels, [0, crop_size], or (K, 3) in millimetres,
            camera axes.
        skeleton: Whose joints they have.
        columns: Panels a row; by default 4, of poses in space 2.
        size: Side of a picture in pixels, in space of one view; by default 320 and 300.
        crop_size: Side of the crop in the joints' pixels.

    Returns:
        The gallery on white, RGB uint8.

    Raises:
        ValueError: If there are no panels, or joints have a wrong shape.
    """
    in_space = bool(panels) and np.asarray(panels[0].layers[0].keypoints).shape[-1] == 3
    draw, usual, side = (_draw_views, 2, 300) if in_space else (partial(_draw_panel, crop_size=crop_size), 4, 320)
    pictures = [draw(panel, skeleton, size or side) for panel in panels]
    return picture_gallery(pictures, [panel.caption for panel in panels], columns or usual)


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


def _draw_panel(panel: PosePanel, skeleton: Skeleton, size: int, crop_size: int) -> np.ndarray:
    """Draw the poses of a panel on a square whose frame is the crop's; RGB uint8 (size, size, 3)."""
    import cv2

    background = np.full((1, 1, 3), 255, np.uint8) if panel.background is None else panel.background
    image = np.asarray(cv2.resize(background, (size, size), interpolation=cv2.INTER_AREA), np.uint8)
    scale = size / crop_size
    for layer in panel.layers:
        # The frame's edges are the outer edges of pixels, whose centres are whole numbers where we draw.
        points = np.asarray(layer.keypoints, dtype=np.float64) * scale - 0.5
        image = draw_pose(image, replace(layer, keypoints=points, style=layer.style.scaled(size)), skeleton)
    image[[0, -1]] = image[:, [0, -1]] = 205
    return image


def _draw_views(panel: PosePanel, skeleton: Skeleton, size: int) -> np.ndarray:
    """Draw the poses of a panel from both sides, with the background before them; (size, 2 or 3 size, 3)."""
    views = [draw_pose_3d(panel.layers, skeleton, view, size) for view in (FRONT, TURNED)]
    return np.hstack(views if panel.background is None else [panel.background, *views])


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
