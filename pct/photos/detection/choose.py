"""Where the persons on photos are: found by a detector, given in a file of boxes, or each whole photo as one person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pct.files.photo_inputs import PhotoInput, choose_image_ids
from pct.photos.detection.boxes import load_photo_boxes
from pct.photos.detection.detector import DEFAULT_DETECTOR, load_detector
from pct.photos.results.predict_files import BoxFinder, whole_photo
from pct.photos.results.predict_outputs import Frame


@dataclass(frozen=True)
class BoxChoice:
    """How the persons on photos are found.

    Attributes:
        find: Gives the boxes of a photo.
        image_ids: Of the photos by their names.
    """

    find: BoxFinder
    image_ids: Mapping[str, int]


def choose_boxes(
    inputs: Sequence[PhotoInput],
    *,
    boxes_file: str | Path | None = None,
    detector: str | None = None,
    whole_photos: bool = False,
    detector_weights: str | Path | None = None,
    min_score: float | None = None,
    device: str | torch.device = "cpu",
    report: Callable[[str], None] | None = None,
) -> BoxChoice:
    """Choose how persons are found.

    Args:
        inputs: The photos and videos.
        boxes_file: Of :func:`pct.photos.detection.boxes.load_photo_boxes`.
        detector: Of :func:`load_detector`; ``none`` takes each whole photo for one person.
        whole_photos: Take each whole photo for one person.
        detector_weights: Local file of its weights.
        min_score: Boxes with a lower score are left out; by default 0 for a file, and what suits the detector.
        device: Of the detector.
        report: Called with a sentence for each bad box and each photo that the file does not know.

    Raises:
        ValueError: If file or detector cannot be had, several of them are asked for, or a video is to have boxes from
            a file.
    """
    report = report or (lambda _: None)
    if (boxes_file is not None) + (detector is not None) + whole_photos > 1:
        raise ValueError("give one of boxes, a detector and whole photos, not several")
    if boxes_file is not None:
        return _from_file(inputs, boxes_file, min_score or 0.0, report)
    if whole_photos or detector == "none":
        return BoxChoice(whole_photo, choose_image_ids(inputs))
    finder = load_detector(detector or DEFAULT_DETECTOR, detector_weights, min_score, device)
    return BoxChoice(lambda frame: finder.detect(frame.image), choose_image_ids(inputs))


def _from_file(
    inputs: Sequence[PhotoInput], path: str | Path, min_score: float, report: Callable[[str], None]
) -> BoxChoice:
    videos = [photo.name for photo in inputs if photo.is_video]
    if videos:
        raise ValueError(f"{videos[0]} is a video, and boxes of a file are of photos; give --detector NAME")
    boxes = load_photo_boxes(path, min_score=min_score, report=report)
    ids = boxes.image_ids(inputs)

    def find(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        if frame.name not in ids:
            report(f"{frame.name}: {path} does not know this photo, so no person is looked for on it")
            return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
        found = boxes.of(ids[frame.name])
        return found.bbox, found.scores

    return BoxChoice(find, ids)
