"""Photos from whatever people give (files, folders, arrays, pictures, videos), one by one with the boxes on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from pct.files.photo import PhotoError, as_photo
from pct.files.photo_inputs import PhotoInput, find_photos
from pct.files.video import VideoReader
from pct.packages import explain_missing

# Coordinates from here on are taken for errors, as in annotation files.
_LARGEST = 1e6
# Scores from which a box begins a track, and is matched first (small detectors are seldom surer); of videos of which
# the frames a second are not known.
_SURE, _DEFAULT_FPS = 0.3, 30.0
# Called with what is wrong with a photo (PhotoError), a box (BoxError) or a video, which is then skipped.
Report = Callable[[ValueError], None]


class BoxError(ValueError):
    """A box that is none, or not on its photo; the message names photo and row."""


@dataclass(frozen=True)
class Frame:
    """A photo, or a frame of a video.

    Attributes:
        image: Its pixels (H, W, 3), uint8 RGB.
        name: Of the photo; a frame's number, from 0, follows that of its video, as in ``walk.mp4#12``; empty of arrays.
        source: The file that it comes from; None for arrays.
        fps: Frames a second of its video; None for photos.
    """

    image: np.ndarray
    name: str = ""
    source: PhotoInput | None = None
    fps: float | None = None


@dataclass(frozen=True)
class BoxedFrame:
    """A frame with the boxes (N, 4) of persons on it, float64, their scores (N,), and their tracks (N,) if followed."""

    frame: Frame
    boxes: np.ndarray
    scores: np.ndarray
    track_ids: np.ndarray | None


# From a photo to the boxes (N, 4) of its persons as x, y, width, height in image pixels, and their scores (N,).
BoxFinder = Callable[[Frame], tuple[np.ndarray, np.ndarray]]


def read_frames(source: Any, video_fps: float | None = None, report: Report | None = None) -> Iterator[Frame]:
    """Yield photos and the frames of videos as they are needed.

    Args:
        source: A file or a folder of them, a picture (see :func:`pct.files.photo.as_photo`), or a list or an iterator
            of such.
        video_fps: Frames a second of the videos that are used; by default all.
        report: Called with what cannot be read, which is then skipped; by default that is an error.
    """
    items = find_photos([source]) if isinstance(source, (str, Path)) else source
    if isinstance(items, (list, tuple, Iterator)):
        for item in items:
            yield from read_frames(item, video_fps, report)
        return
    try:
        if not isinstance(items, PhotoInput):
            yield Frame(as_photo(items))
        elif items.is_video:
            yield from _read_video(items, video_fps, report)
        else:
            yield Frame(as_photo(items.path), items.name, items)
    except PhotoError as error:
        if report is None:
            raise
        report(error)


def _read_video(source: PhotoInput, fps: float | None, report: Report | None) -> Iterator[Frame]:
    video, count = VideoReader(source.path, fps), 0
    for count, image in enumerate(video.frames(), start=1):
        yield Frame(image, f"{source.name}#{count - 1}", source, video.fps)
    # Headers count a few frames wrong; a file that is cut off lacks many.
    if report is not None and count < 0.9 * video.num_frames - 1:
        sentence = f"only {count} of {video.num_frames} frames can be read; the rest is missing"
        report(ValueError(f"{source.path}: {sentence}"))


def find_persons(
    frames: Iterable[Frame], find_boxes: BoxFinder, track: bool = False, report: Report | None = None
) -> Iterator[BoxedFrame]:
    """Yield frames with the boxes of persons on them.

    Args:
        frames: The photos.
        find_boxes: Finds the persons.
        track: Follow persons from frame to frame, each video by itself; what is no video counts as one.
        report: As for :func:`check_boxes`.
    """
    tracker, followed = None, None
    for frame in frames:
        found, scores = find_boxes(frame)
        boxes, good = check_boxes(found, frame, report)
        boxes, scores, ids = boxes[good], np.asarray(scores, np.float32)[good], None
        if track:
            film = frame.source if frame.fps else None
            if tracker is None or film is not followed:
                tracker, followed = _make_tracker(frame.fps or _DEFAULT_FPS), film
            ids = _follow(tracker, boxes, scores)
        yield BoxedFrame(frame, boxes, scores, ids)


def _make_tracker(fps: float) -> Any:
    """Return what follows the persons of one video by their boxes ("ByteTrack", Zhang et al., 2022)."""
    with explain_missing():
        from trackers import ByteTrackTracker
    return ByteTrackTracker(
        frame_rate=fps,
        track_activation_threshold=_SURE,
        high_conf_det_threshold=_SURE,
        minimum_consecutive_frames=1,
    )


def _follow(tracker: Any, boxes: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Return the tracks (N,), int64, of the next frame's boxes: 1, 2, ..., or -1 for a box that is in none yet."""
    with explain_missing():
        from supervision import Detections
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    found = tracker.update(Detections(xyxy=corners, confidence=scores, data={"row": np.arange(len(boxes))}))
    ids = np.full(len(boxes), -1, np.int64)
    if len(found):
        # It gives them back in another order, and counts from 0.
        tracks = np.asarray(found.tracker_id, np.int64)
        ids[np.asarray(found.data["row"], np.int64)] = np.where(tracks < 0, -1, tracks + 1)
    return ids


def check_boxes(bboxes: ArrayLike, frame: Frame, report: Report | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return boxes of a photo as (N, 4), float64, and a mask (N,) of the good ones.

    Args:
        bboxes: As x, y, width, height in image pixels.
        frame: The photo.
        report: Called with what is wrong with a bad box; by default that is an error.

    Raises:
        BoxError: If the shape is another, or a box is not finite, has no area, or lies outside the photo.
    """
    boxes = np.asarray(bboxes, np.float64)
    boxes = boxes.reshape(-1, 4) if boxes.size == 0 else boxes
    name = f"{frame.name}: " if frame.name else ""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise BoxError(f"{name}bboxes must be (N, 4) as x, y, width, height; got shape {boxes.shape}")
    height, width = frame.image.shape[:2]
    faults = [_find_box_fault(box, width, height) for box in boxes]
    for row, fault in enumerate(faults):
        if fault is not None:
            error = BoxError(f"{name}bbox of row {row} is {np.round(boxes[row], 2).tolist()}; {fault}")
            if report is None:
                raise error
            report(error)
    return boxes, np.array([fault is None for fault in faults], bool)


def _find_box_fault(box: np.ndarray, width: int, height: int) -> str | None:
    """Say what is wrong with a box (4,) on a photo of ``width`` x ``height`` pixels, or return None."""
    if not (np.abs(box) < _LARGEST).all():  # NaN too
        return f"all four numbers must be finite and below {_LARGEST:.0f}"
    x, y, w, h = box.tolist()
    if not (w > 0 and h > 0):
        return "width and height must be positive"
    if not (x < width and y < height and x + w > 0 and y + h > 0):
        return f"it lies outside the photo of {width}x{height} pixels"
    return None
