"""Poses of the persons on photos and videos, as a stream: COCO results, a token table, and drawn photos."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pct.files.output import OutputError, open_atomically
from pct.files.output_folder import check_names, finish_outputs, outputs_together
from pct.files.photo import PhotoError
from pct.files.photo_inputs import PhotoInput, choose_image_ids
from pct.files.video import VideoReader
from pct.photos.crop import fit_bbox_to_aspect
from pct.photos.estimator import PoseEstimator
from pct.photos.results.poses import PersonPoses
from pct.photos.results.predict_outputs import DRAWN_FOLDER, ResultsWriter, open_pictures
from pct.photos.results.sources import BoxError, BoxFinder
from pct.tokenizer.own import TOKENIZER_FOLDER
from pct.tokens.codec import describe_model
from pct.tokens.table import PoseTokens, TokenWriter

KEYPOINTS_FILE, TOKENS_FILE = "keypoints.json", "tokens.parquet"
_OUTPUTS = (KEYPOINTS_FILE, TOKENS_FILE, DRAWN_FOLDER)


@dataclass
class PredictSummary:
    """What :func:`predict_files` did.

    Attributes:
        folder: Where the results are.
        photos: Photos and frames that were read.
        persons: Poses found on them.
        unreadable: Photos and videos that could not be read.
        bad_boxes: Boxes outside their photo or without area.
    """

    folder: Path
    photos: int = 0
    persons: int = 0
    unreadable: int = 0
    bad_boxes: int = 0

    def __str__(self) -> str:
        text = f"found {self.persons:,} poses on {self.photos:,} photos; results: {self.folder}"
        if self.unreadable:
            text += f"; skipped {self.unreadable:,} unreadable files"
        if self.bad_boxes:
            text += f"; skipped {self.bad_boxes:,} bad boxes"
        return text


def count_frames(inputs: Sequence[PhotoInput], video_fps: float | None = None) -> int:
    """Return about how many photos and frames there are; videos that cannot be opened count as one."""
    return sum(_count_frames(photo, video_fps) if photo.is_video else 1 for photo in inputs)


def _count_frames(video: PhotoInput, fps: float | None) -> int:
    try:
        return VideoReader(video.path, fps).num_frames
    except PhotoError:
        return 1


def check_folder(out_dir: str | Path, force: bool = False) -> Path:
    """Check, before any work, that results can be written to a folder.

    Raises:
        FileExistsError: If it holds results and ``force`` is not set.
        OutputError: If it is a file.
    """
    folder = Path(out_dir)
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"output {folder} is a file; the results are a folder")
    finish_outputs(folder, _OUTPUTS)
    check_names(folder, _OUTPUTS, force)
    return folder


def predict_files(
    estimator: PoseEstimator,
    inputs: Sequence[PhotoInput],
    out_dir: str | Path,
    *,
    image_ids: Mapping[str, int] | None = None,
    find_boxes: BoxFinder | None = None,
    track: bool = False,
    model_name: str = "",
    draw: bool = True,
    video_fps: float | None = None,
    force: bool = False,
    report: Callable[[str], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> PredictSummary:
    """Estimate the poses on photos and videos and write ``keypoints.json``, ``tokens.parquet`` and ``drawn/``.

    ``keypoints.json`` is a COCO results file: of each person ``image_id``, ``category_id``, ``bbox``, ``keypoints`` as
    x, y, confidence, and ``score``, and beyond COCO's ``id`` and what else
    :meth:`~pct.photos.results.result.PoseResult.summary` has. Poses of a model of 3D poses are ``keypoints3d`` instead,
    joints [x, y, z] in millimetres from the root in the camera's axes, with the joints' confidence as ``scores``.

    ``tokens.parquet`` is the token table of the same persons, ``annotation_id`` is their ``id``; its boxes are grown to
    the shape of the model's input, as decoding the tokens needs them; 3D poses have their root at 0 there. ``drawn/``
    has a JPEG for each photo and an MP4 for each video. Files and videos of any number and length need the memory of a
    few batches.

    Args:
        estimator: The model.
        inputs: Photos and videos.
        out_dir: Folder of the results; made if it does not exist.
        image_ids: Of the photos by their names, by default the numbers in these; the frames of videos, and what has
            none, are counted on from there.
        find_boxes: Finds the persons on a photo; by default the estimator's detector.
        track: Follow persons through each video; its entries then have a ``track_id``.
        model_name: Name of the classifier that the token table carries for people to read.
        draw: Whether ``drawn/`` is written.
        video_fps: Frames a second of the videos that are used; by default all.
        force: Whether earlier results there may be replaced.
        report: Called with a sentence for each photo or video that cannot be read and each bad box; they are skipped.
        progress: Called with the number of photos and frames done.

    Raises:
        PhotoError: If not one photo can be read.
        FileExistsError: If there are results and ``force`` is not set.
    """
    folder = check_folder(out_dir, force)
    summary = PredictSummary(folder)
    faults: list[str] = []
    image_ids = choose_image_ids(inputs) if image_ids is None else image_ids
    ids = defaultdict(itertools.count(max(image_ids.values(), default=0) + 1).__next__, image_ids)

    def note(error: ValueError) -> None:
        summary.unreadable += isinstance(error, PhotoError)
        summary.bad_boxes += isinstance(error, BoxError)
        if not faults:
            faults.append(str(error))
        if report is not None:
            report(str(error))

    metadata = describe_model(estimator.model.tokenizer, f"{model_name}/{TOKENIZER_FOLDER}" if model_name else "")
    with ExitStack() as stack:
        half = stack.enter_context(outputs_together(folder, _OUTPUTS, force))
        results = ResultsWriter(stack.enter_context(open_atomically(half / KEYPOINTS_FILE)))
        table = stack.enter_context(TokenWriter(half / TOKENS_FILE, metadata))
        pictures = stack.enter_context(open_pictures(half)) if draw else None
        for result in estimator.stream(list(inputs), find_boxes, track=track, video_fps=video_fps, report=note):
            image_id = ids[result.frame.name]
            table.write(_tokens_of(result.persons, image_id, estimator.image_size, results.count))
            results.write(result, image_id)
            if pictures is not None:
                pictures.write(result)
            summary.photos += 1
            if progress is not None:
                progress(summary.photos)
        if summary.photos == 0:
            raise PhotoError(f"none of {len(inputs):,} photos can be read; the first: {faults[0]}")
        results.finish()
    summary.persons = results.count
    return summary


def _tokens_of(poses: PersonPoses, image_id: int, image_size: tuple[int, int], start: int) -> PoseTokens:
    count = len(poses)
    image_ids = np.full(count, image_id, np.int64)
    annotation_ids = np.arange(start + 1, start + 1 + count, dtype=np.int64)
    if poses.is_3d:
        return PoseTokens.of_3d(poses.indices, np.zeros((count, 3), np.float32), image_ids, annotation_ids)
    return PoseTokens(
        indices=poses.indices,
        bbox=fit_bbox_to_aspect(poses.bbox, image_size[1] / image_size[0]),
        image_ids=image_ids,
        annotation_ids=annotation_ids,
        area=np.full(count, np.nan, np.float32),
    )
