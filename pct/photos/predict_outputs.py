"""What predicting on photos writes: results person by person, drawn photos and drawn videos."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pct.drawing.poses2d import COLOURED, PoseLayer, draw_lines, draw_pose, write_jpeg
from pct.drawing.poses3d import FRONT, TURNED, draw_pose_3d
from pct.files.photo_inputs import PhotoInput
from pct.files.video import VideoWriter
from pct.photos.estimator import PersonPoses
from pct.skeleton import Skeleton

DRAWN_FOLDER = "drawn"
# Joints below this confidence are drawn hollow.
_SURE = 0.3
# Longer side in pixels of the persons that the usual style of drawing suits.
_DRAWN_SIZE = 300
# Side in pixels of the panel of 3D poses, and the colour of the boxes beside it.
_BODY_SIZE, _BOX = 480, (230, 97, 0)


@dataclass(frozen=True)
class Frame:
    """A photo, or a frame of a video.

    Attributes:
        source: Where it comes from.
        name: Of the photo; a frame's number, from 0, follows that of its video, as in ``walk.mp4#12``.
        image_id: Its number in the results.
        image: Its pixels (H, W, 3), uint8 RGB.
    """

    source: PhotoInput
    name: str
    image_id: int
    image: np.ndarray


class ResultsWriter:
    """Writes a results file person by person; see :func:`pct.photos.predict_files.predict_files`.

    Args:
        file: Open for bytes.
        published: Whether ``score`` is the published score and not the mean confidence.
    """

    def __init__(self, file: BinaryIO, published: bool = False) -> None:
        self.file, self.published, self.count = file, published, 0

    def write(self, frame: Frame, poses: PersonPoses, box_scores: np.ndarray) -> None:
        """Append the persons of a photo; ``box_scores`` (N,) are the detector's."""
        scores = poses.published_score if self.published else poses.scores.mean(axis=1)
        for row in range(len(poses)):
            self.count += 1
            entry: dict[str, Any] = {
                "image_id": frame.image_id,
                "category_id": 1,
                "bbox": _short(poses.bbox[row], 3),
                **_joints(poses.keypoints[row], poses.scores[row]),
                "score": round(float(scores[row] * box_scores[row]), 6),
                "id": self.count,
                "file_name": frame.name,
                "token_probs": _short(poses.token_probs[row], 4),
            }
            self.file.write((b",\n" if self.count > 1 else b"[\n") + json.dumps(entry, allow_nan=False).encode())

    def finish(self) -> None:
        """End the list."""
        self.file.write(b"\n]\n" if self.count else b"[]\n")


class Pictures:
    """Writes drawn photos and videos into a folder."""

    def __init__(self, folder: Path, skeleton: Skeleton) -> None:
        self.folder, self.skeleton = folder, skeleton
        self.stack, self.video, self.video_name = ExitStack(), None, ""

    video: VideoWriter | None

    def write(self, frame: Frame, poses: PersonPoses, fps: Mapping[str, float]) -> None:
        """Draw a photo, or the next frame of a video; ``fps`` are the videos' by their names."""
        draw = draw_bodies if poses.is_3d else draw_persons
        image, source = draw(frame.image, poses, self.skeleton), frame.source
        if not source.is_video:
            write_jpeg(image, self._path(source.name, (".jpg", ".jpeg")))
            return
        if self.video is None or self.video_name != source.name:
            self.stack.close()
            path = self._path(source.name, (".mp4",))
            self.video, self.video_name = self.stack.enter_context(VideoWriter(path, fps[source.name])), source.name
        self.video.write(image)

    def _path(self, name: str, suffixes: tuple[str, ...]) -> Path:
        path = self.folder / name
        if path.suffix.lower() not in suffixes:
            path = path.with_name(path.name + suffixes[0])
        path.parent.mkdir(parents=True, exist_ok=True)
        # `a.png` and `a.png.jpg` would be drawn into the same file.
        free, number = path, 2
        while free.exists():
            free, number = path.with_name(f"{path.stem}_{number}{path.suffix}"), number + 1
        return free


@contextmanager
def open_pictures(folder: Path, skeleton: Skeleton) -> Iterator[Pictures]:
    """Give what draws into ``drawn/`` in a folder."""
    pictures = Pictures(folder / DRAWN_FOLDER, skeleton)
    pictures.folder.mkdir()
    with pictures.stack:
        yield pictures
        pictures.stack.close()


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


def _joints(keypoints: np.ndarray, scores: np.ndarray) -> dict[str, list[Any]]:
    """Return a pose as COCO writes it, or where it is 3D as ``keypoints3d`` with the joints' confidence beside it."""
    if keypoints.shape[1] == 3:
        return {"keypoints3d": keypoints.astype(np.float64).round(1).tolist(), "scores": _short(scores, 4)}
    joints = np.column_stack([keypoints.astype(np.float64).round(2), scores.round(4)])
    return {"keypoints": _short(joints.reshape(-1), 4)}


def _short(values: np.ndarray, digits: int) -> list[float]:
    return [round(value, digits) for value in values.astype(np.float64).tolist()]
