"""Poses of the persons on photos and videos, as a stream: COCO results, a token table, and drawn photos."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pct.drawing.poses2d import write_jpeg
from pct.files.output import OutputError, check_names, open_atomically
from pct.files.output_folder import finish_outputs, outputs_together
from pct.files.photo import PhotoError
from pct.files.photo_inputs import PhotoInput, choose_image_ids
from pct.files.video import VideoReader, write_video
from pct.photos.classifier import PoseClassifier
from pct.photos.estimator import PoseEstimator
from pct.photos.results.result import PoseResult
from pct.photos.results.sources import BoxError, BoxFinder
from pct.tokenizer.own import TOKENIZER_FOLDER
from pct.tokens.codec import describe_model
from pct.tokens.table import TokenWriter

KEYPOINTS_FILE, TOKENS_FILE, DRAWN_FOLDER = "keypoints.json", "tokens.parquet", "drawn"
_OUTPUTS = (KEYPOINTS_FILE, TOKENS_FILE, DRAWN_FOLDER)
# Bytes; file systems take 255, and a number may come behind it.
_LONGEST_NAME = 240


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
    count = 0
    for photo in inputs:
        try:
            count += VideoReader(photo.path, video_fps).num_frames if photo.is_video else 1
        except PhotoError:
            count += 1
    return count


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

    ``tokens.parquet`` is the token table of the same persons (:meth:`PoseEstimator.token_table`), ``annotation_id`` is
    their ``id``; a heatmap model has none. ``drawn/`` has a JPEG for each photo and an MP4 for each video. Files and
    videos of any number and length need the memory of a few batches.

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

    with ExitStack() as stack:
        half = stack.enter_context(outputs_together(folder, _OUTPUTS, force))
        files = _ResultFiles(stack, half, estimator, model_name, draw)
        for result in estimator.stream(list(inputs), find_boxes, track=track, video_fps=video_fps, report=note):
            files.write(result, ids[result.frame.name])
            summary.photos += 1
            if progress is not None:
                progress(summary.photos)
        if summary.photos == 0:
            raise PhotoError(f"none of {len(inputs):,} photos can be read; the first: {faults[0]}")
        files.finish()
    summary.persons = files.persons
    return summary


class _ResultFiles:
    """The files of the results, written photo by photo; see :func:`predict_files`."""

    def __init__(self, stack: ExitStack, folder: Path, estimator: PoseEstimator, model_name: str, draw: bool) -> None:
        self.estimator, self.persons, self.drawn = estimator, 0, folder / DRAWN_FOLDER if draw else None
        self.keypoints = stack.enter_context(open_atomically(folder / KEYPOINTS_FILE))
        self.table: TokenWriter | None = None
        if isinstance(estimator.model, PoseClassifier):
            metadata = describe_model(
                estimator.model.tokenizer, f"{model_name}/{TOKENIZER_FOLDER}" if model_name else ""
            )
            self.table = stack.enter_context(TokenWriter(folder / TOKENS_FILE, metadata))
        if self.drawn is not None:
            self.drawn.mkdir()
        # Of the video whose frames are drawn.
        self.open_video = stack.enter_context(ExitStack())
        self.video: Callable[[np.ndarray], None] | None = None
        self.video_name = ""

    def write(self, result: PoseResult, image_id: int) -> None:
        """Append the persons of a photo."""
        if self.table is not None:
            self.table.write(self.estimator.token_table(result.persons, image_id, self.persons + 1))
        for summary in result.summary():
            self.persons += 1
            entry = {"image_id": image_id, "category_id": 1, **summary, "id": self.persons}
            self.keypoints.write((b",\n" if self.persons > 1 else b"[\n") + json.dumps(entry, allow_nan=False).encode())
        if self.drawn is not None:
            self._draw(result, self.drawn)

    def finish(self) -> None:
        """End the list of persons and the last video."""
        self.keypoints.write(b"\n]\n" if self.persons else b"[]\n")
        self.open_video.close()

    def _draw(self, result: PoseResult, folder: Path) -> None:
        source, fps = result.frame.source, result.frame.fps
        assert source is not None
        if fps is None:
            write_jpeg(result.draw(), _free_path(folder, source.name, (".jpg", ".jpeg")))
            return
        if self.video is None or self.video_name != source.name:
            self.open_video.close()
            path = _free_path(folder, source.name, (".mp4",))
            self.video, self.video_name = self.open_video.enter_context(write_video(path, fps)), source.name
        self.video(result.draw())


def _free_path(folder: Path, name: str, suffixes: tuple[str, ...]) -> Path:
    """Return where to draw a photo or video, in a folder that is there; no other one is drawn in its place."""
    path = folder / name
    if any(parent.is_file() for parent in path.parents if parent.is_relative_to(folder)):
        path = folder / name.replace("/", "_")  # a photo is called as this one's folder
    if path.suffix.lower() not in suffixes:
        path = path.with_name(path.name + suffixes[0])
    if len(os.fsencode(path.name)) > _LONGEST_NAME:
        path = path.with_name(hashlib.sha256(os.fsencode(path.name)).hexdigest() + path.suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    # `a.png` and `a.png.jpg` would be drawn into the same file.
    free, number = path, 2
    while free.exists():
        free, number = path.with_name(f"{path.stem}_{number}{path.suffix}"), number + 1
    return free
