"""Poses of the persons on photos and videos, as a stream: COCO results, a token table, and drawn photos."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pct.files.output import OutputError, open_atomically
from pct.files.photo import PhotoError, as_photo
from pct.files.photo_inputs import PhotoInput
from pct.files.video import VideoReader
from pct.photos.crop import fit_bbox_to_aspect
from pct.photos.estimator import PersonPoses, PoseEstimator, find_box_fault
from pct.photos.predict_outputs import DRAWN_FOLDER, Frame, ResultsWriter, open_pictures
from pct.tokenizer.own import TOKENIZER_FOLDER
from pct.tokens.codec import describe_model
from pct.tokens.table import PoseTokens, TokenWriter

KEYPOINTS_FILE, TOKENS_FILE = "keypoints.json", "tokens.parquet"

# From a photo to the boxes (N, 4) of its persons as x, y, width, height in image pixels, and their scores (N,).
BoxFinder = Callable[[Frame], tuple[np.ndarray, np.ndarray]]


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


def whole_photo(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Take the whole photo for one person; a :data:`BoxFinder`."""
    height, width = frame.image.shape[:2]
    return np.array([[0, 0, width, height]], np.float64), np.ones(1, np.float32)


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
    for name in (KEYPOINTS_FILE, TOKENS_FILE, DRAWN_FOLDER):
        if (folder / name).exists() and not force:
            raise FileExistsError(f"{folder} already holds {name}; give --force (force=True) to replace the results")
    return folder


def predict_files(
    estimator: PoseEstimator,
    inputs: Sequence[PhotoInput],
    out_dir: str | Path,
    *,
    image_ids: Mapping[str, int],
    find_boxes: BoxFinder = whole_photo,
    model_name: str = "",
    draw: bool = True,
    video_fps: float | None = None,
    force: bool = False,
    report: Callable[[str], None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> PredictSummary:
    """Estimate the poses on photos and videos and write ``keypoints.json``, ``tokens.parquet`` and ``drawn/``.

    ``keypoints.json`` is a COCO results file: of each person ``image_id``, ``category_id``, ``bbox``, ``keypoints`` as
    x, y, confidence, and ``score``, the mean confidence times the box's score (of converted published models the
    published score times it); and beyond COCO's ``id``, ``file_name`` and ``token_probs``. Poses of a model of 3D poses
    are ``keypoints3d`` instead, joints [x, y, z] in millimetres from the root in the camera's axes, with the joints'
    confidence as ``scores``.

    ``tokens.parquet`` is the token table of the same persons, ``annotation_id`` is their ``id``; its boxes are grown to
    the shape of the model's input, as decoding the tokens needs them; 3D poses have their root at 0 there. ``drawn/``
    has a JPEG for each photo and an MP4 for each video. Files and videos of any number and length need the memory of a
    few batches.

    Args:
        estimator: The model.
        inputs: Photos and videos.
        out_dir: Folder of the results; made if it does not exist.
        image_ids: Of the photos by their names; the frames of videos, and what has none, are counted on from there.
        find_boxes: Finds the persons on a photo.
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
    folder.mkdir(parents=True, exist_ok=True)
    reader = _Reader(inputs, image_ids, find_boxes, video_fps, report or (lambda _: None))
    summary = PredictSummary(folder)
    metadata = describe_model(estimator.model.tokenizer, f"{model_name}/{TOKENIZER_FOLDER}" if model_name else "")
    with ExitStack() as stack:
        published = estimator.space.conventions.score == "published"
        results = ResultsWriter(stack.enter_context(open_atomically(folder / KEYPOINTS_FILE, force)), published)
        table = stack.enter_context(TokenWriter(folder / TOKENS_FILE, metadata, force))
        pictures = stack.enter_context(open_pictures(folder, estimator.skeleton)) if draw else None
        for poses in estimator.predict_many(reader.items()):
            frame, scores = reader.waiting.popleft()
            results.write(frame, poses, scores)
            table.write(_tokens_of(frame, poses, estimator.image_size, summary.persons))
            if pictures is not None:
                pictures.write(frame, poses, reader.fps)
            summary.photos += 1
            summary.persons += len(poses)
            if progress is not None:
                progress(summary.photos)
        if summary.photos == 0:
            raise PhotoError(f"none of {len(inputs):,} photos can be read; the first: {reader.first_fault}")
        results.finish()
    summary.unreadable, summary.bad_boxes = reader.unreadable, reader.bad_boxes
    return summary


class _Reader:
    """Reads photos and frames with their boxes; what is handed out waits until its poses are there."""

    def __init__(
        self,
        inputs: Sequence[PhotoInput],
        image_ids: Mapping[str, int],
        find_boxes: BoxFinder,
        video_fps: float | None,
        report: Callable[[str], None],
    ) -> None:
        self.inputs, self.image_ids, self.find_boxes, self.video_fps = inputs, image_ids, find_boxes, video_fps
        self.report = report
        self.next_id = max(image_ids.values(), default=0) + 1
        self.waiting: deque[tuple[Frame, np.ndarray]] = deque()
        self.fps: dict[str, float] = {}
        self.unreadable, self.bad_boxes, self.first_fault = 0, 0, ""

    def items(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield photos (H, W, 3) with the good ones of their boxes (N, 4)."""
        for source in self.inputs:
            try:
                for frame in self._video(source) if source.is_video else self._photo(source):
                    boxes, scores = self.find_boxes(frame)
                    good = self._check(frame, boxes)
                    self.waiting.append((frame, scores[good]))
                    yield frame.image, boxes[good]
            except PhotoError as error:
                self.unreadable += 1
                self.first_fault = self.first_fault or str(error)
                self.report(str(error))

    def _photo(self, source: PhotoInput) -> Iterator[Frame]:
        image = as_photo(source.path)
        yield Frame(source, source.name, self._id(source.name), image)

    def _video(self, source: PhotoInput) -> Iterator[Frame]:
        video = VideoReader(source.path, self.video_fps)
        self.fps[source.name] = video.fps
        count = 0
        for count, image in enumerate(video.frames(), start=1):
            name = f"{source.name}#{count - 1}"
            yield Frame(source, name, self._id(name), image)
        # Headers count a few frames wrong; a file that is cut off lacks many.
        if count < 0.9 * video.num_frames - 1:
            self.report(f"{source.path}: only {count} of {video.num_frames} frames can be read; the rest is missing")

    def _id(self, name: str) -> int:
        if name in self.image_ids:
            return self.image_ids[name]
        self.next_id += 1
        return self.next_id - 1

    def _check(self, frame: Frame, boxes: np.ndarray) -> np.ndarray:
        """Return a mask (N,) of the good boxes."""
        height, width = frame.image.shape[:2]
        faults = [find_box_fault(box, width, height) for box in boxes]
        for box, fault in zip(boxes, faults, strict=True):
            if fault is not None:
                self.bad_boxes += 1
                self.report(f"{frame.name}: bbox {np.round(box, 2).tolist()}: {fault}")
        return np.array([fault is None for fault in faults], bool)


def _tokens_of(frame: Frame, poses: PersonPoses, image_size: tuple[int, int], start: int) -> PoseTokens:
    count = len(poses)
    image_ids = np.full(count, frame.image_id, np.int64)
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
