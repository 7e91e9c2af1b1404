"""Where the persons on photos are: from a file of boxes, a detector, or each whole photo as one person."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pct.data.photo_boxes import load_photo_boxes
from pct.data.photo_inputs import PhotoInput, choose_image_ids
from pct.detector import PersonDetector
from pct.predict_files import BoxFinder, whole_photo
from pct.predict_outputs import Frame


@dataclass(frozen=True)
class BoxChoice:
    """How the persons on photos are found.

    Attributes:
        find: Gives the boxes of a photo.
        image_ids: Of the photos by their names.
        note: What people should know of it, or nothing.
    """

    find: BoxFinder
    image_ids: Mapping[str, int]
    note: str = ""


def choose_boxes(
    inputs: Sequence[PhotoInput],
    *,
    boxes_file: str | Path | None = None,
    detector: str | None = None,
    detector_weights: str | Path | None = None,
    min_score: float | None = None,
    device: str | torch.device = "cpu",
    report: Callable[[str], None] | None = None,
) -> BoxChoice:
    """Choose how persons are found.

    Args:
        inputs: The photos and videos.
        boxes_file: Of :func:`pct.data.photo_boxes.load_photo_boxes`.
        detector: Name of a detector of torchvision.
        detector_weights: Local file of its weights.
        min_score: Boxes with a lower score are left out; 0 for a file and 0.5 for a detector by default.
        device: Of the detector.
        report: Called with a sentence for each bad box and each photo that the file does not know.

    Raises:
        ValueError: If file or detector cannot be had, there are both, or a video is to have boxes from a file.
    """
    report = report or (lambda _: None)
    if boxes_file is not None and detector is not None:
        raise ValueError("give boxes or a detector, not both")
    if detector is None and detector_weights is not None:
        raise ValueError(f"{detector_weights} are weights of a detector; name it with --detector NAME")
    if detector is not None:
        score = 0.5 if min_score is None else min_score
        finder = PersonDetector.from_torchvision(detector, detector_weights, score, device)
        return BoxChoice(lambda frame: finder.detect(frame.image), choose_image_ids(inputs))
    if boxes_file is not None:
        return _from_file(inputs, boxes_file, min_score or 0.0, report)
    note = "no --boxes and no --detector, so each whole photo is taken for one person"
    return BoxChoice(whole_photo, choose_image_ids(inputs), note)


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
