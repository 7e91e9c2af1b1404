"""What predicting on photos writes: COCO results person by person, drawn photos and drawn videos."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pct.data.photo_inputs import PhotoInput
from pct.data.videos import VideoWriter
from pct.estimator import PersonPoses
from pct.skeleton import Skeleton
from pct.visualize import COLOURED, draw_pose, write_jpeg

DRAWN_FOLDER = "drawn"
# Joints below this confidence are drawn hollow.
_SURE = 0.3
# Longer side in pixels of the persons that the usual style of drawing suits.
_DRAWN_SIZE = 300


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
    """Writes a COCO results file person by person; see :func:`pct.predict_files.predict_files`.

    Args:
        file: Open for bytes.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.count = file, 0

    def write(self, frame: Frame, poses: PersonPoses, box_scores: np.ndarray) -> None:
        """Append the persons of a photo; ``box_scores`` (N,) are the detector's."""
        for row in range(len(poses)):
            self.count += 1
            joints = np.column_stack([poses.keypoints[row].astype(np.float64).round(2), poses.scores[row].round(4)])
            entry: dict[str, Any] = {
                "image_id": frame.image_id,
                "category_id": 1,
                "bbox": _short(poses.bbox[row], 3),
                "keypoints": _short(joints.reshape(-1), 4),
                "score": round(float(poses.scores[row].mean() * box_scores[row]), 6),
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
        image, source = draw_persons(frame.image, poses, self.skeleton), frame.source
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
        return path


@contextmanager
def open_pictures(folder: Path, skeleton: Skeleton) -> Iterator[Pictures]:
    """Give what draws into ``drawn/``; its files appear there when the block ends without an error."""
    temporary, final = folder / f".{DRAWN_FOLDER}.{os.getpid()}.tmp", folder / DRAWN_FOLDER
    pictures = Pictures(temporary, skeleton)
    try:
        temporary.mkdir()
        yield pictures
        pictures.stack.close()
        for path in sorted(temporary.rglob("*")):
            if path.is_file():
                target = final / path.relative_to(temporary)
                target.parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
    finally:
        pictures.stack.close()
        shutil.rmtree(temporary, ignore_errors=True)


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


def _short(values: np.ndarray, digits: int) -> list[float]:
    return [round(value, digits) for value in values.astype(np.float64).tolist()]
