"""PoseEstimator: photos and videos of people to poses in image pixels, with tokens and confidence."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

from pct.checkpoint import in_float32, model_kind
from pct.files.ahead import map_ahead
from pct.files.photo import as_photo
from pct.files.video import VIDEO_SUFFIXES
from pct.photos.classifier import PoseClassifier
from pct.photos.crop import fit_bbox_to_aspect, normalise_pixels, plain_crop
from pct.photos.detection.detector import PersonDetector, load_detector
from pct.photos.heatmap import HeatmapModel
from pct.photos.predict import predict_poses, restore_poses
from pct.photos.results.result import PersonPoses, PoseResult
from pct.photos.results.sources import BoxedFrame, BoxFinder, Frame, Report, find_persons, read_frames
from pct.tokens.table import PoseTokens

# The model that ships with the package.
DEFAULT_MODEL = "photos"
# Pixels of photos whose poses are waited for: whoever goes on working with a photo holds it so long.
_MOST_PIXELS = 100_000_000
# Photos that are read while the model is busy with others: about a batch of them.
_AHEAD = 8
# Samples are drawn with the same random numbers for every person: the same photo gives the same poses.
_SEED = 0


class PoseEstimator:
    """Poses of the persons on photos and videos.

    Example:
        >>> estimator = PoseEstimator.from_pretrained()
        >>> (result,) = estimator("photo.jpg")
        >>> result.keypoints.xy, result.keypoints.conf, result.tokens.ids  # (N, 17, 2), (N, 17), (N, 34)

    Args:
        model: The classifier, or a heatmap model, whose poses have no tokens and no samples; a copy of its backbone
            with folded batch norms is what looks at photos.
        flip: Average each pose with that of the mirrored crop (the flip test): more accurate, twice the time. None does
            what the model's conventions say: not so for ours, so for converted published models.
        batch_size: Crops at a time.
        detector: Finds the persons where no boxes are given; by default the one that ships with the package.
    """

    def __init__(
        self,
        model: PoseClassifier | HeatmapModel,
        flip: bool | None = None,
        batch_size: int = 32,
        detector: PersonDetector | None = None,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.model, self.batch_size = model.eval(), batch_size
        self._empty = dict[int, PersonPoses]()
        self._folded = model.folded()
        self.skeleton, self.space, self.image_size = model.skeleton, model.space, model.image_size
        self.flip = self.space.conventions.flip_test if flip is None else flip
        self._detector = detector

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT_MODEL,
        device: str | torch.device = "cpu",
        flip: bool | None = None,
        batch_size: int = 32,
        detector: str | Path | PersonDetector | None = None,
    ) -> PoseEstimator:
        """Load an estimator.

        Args:
            name: Folder of a classifier or heatmap model, the name of one that ships with the package, or
                hf:user/model.
            device: Where it runs.
            flip: As for the class.
            batch_size: As for the class.
            detector: As for the class, or what :func:`pct.photos.detection.detector.load_detector` knows by a name.

        Raises:
            CheckpointError: If there is no such model, its files do not fit together, or its tokenizer is not the one
                that the head was trained for.
        """
        if isinstance(detector, (str, Path)):
            detector = load_detector(detector, device=device)
        kind = HeatmapModel if model_kind(name) == HeatmapModel.kind else PoseClassifier
        return cls(kind.from_pretrained(name, device), flip, batch_size, detector)

    @property
    def detector(self) -> PersonDetector:
        """What finds the persons where no boxes are given; loaded when it is first needed."""
        if self._detector is None:
            self._detector = load_detector(device=self.model.device)
        return self._detector

    def __call__(self, source: Any, boxes: Any = None, **options: Any) -> list[PoseResult] | Iterator[PoseResult]:
        """Estimate poses: a result for each photo, or where the source is a video a generator of one for each frame.

        Args:
            source: As for :meth:`stream`.
            boxes: As for :meth:`stream`.
            options: Further ones of :meth:`stream`.
        """
        results = self.stream(source, boxes, **options)
        is_video = isinstance(source, (str, Path)) and Path(source).suffix.lower() in VIDEO_SUFFIXES
        return results if is_video else list(results)

    def stream(
        self,
        source: Any,
        boxes: Any = None,
        *,
        track: bool = False,
        num_samples: int = 16,
        video_fps: float | None = None,
        report: Report | None = None,
    ) -> Iterator[PoseResult]:
        """Yield a result for each photo and each frame, in order, in the memory of a few batches.

        Photos are read as they are needed, a few ahead while the model is busy with those before; crops of several
        photos go through the model together.

        Args:
            source: A photo or video file, a folder of them, a Pillow picture, an array of uint8: RGB (H, W, 3) (turn
                OpenCV's BGR round: ``image[..., ::-1]``), RGBA or grey; or a list or iterator of these.
            boxes: Where the persons are: for one photo boxes (N, 4) as x, y, width, height in image pixels; for several
                a list of such, one for each photo; or a function from a :class:`~pct.photos.results.sources.Frame` to
                boxes and scores. By default the detector finds them.
            track: Give persons the same number from frame to frame (``result.boxes.id``); pictures and photos count as
                the frames of one video.
            num_samples: Poses that are sampled for each person; the confidence rests on them.
            video_fps: Frames a second of videos that are used; by default all.
            report: Called with a :class:`~pct.files.photo.PhotoError` for each photo that cannot be read and a
                :class:`~pct.photos.results.sources.BoxError` for each bad box, which are skipped; by default raised.

        Raises:
            PhotoError: If a photo cannot be read or an array is none.
            BoxError: If a box is not finite, has no area, or lies outside the photo; the message names its row.
            ValueError: If there is no such file, or the boxes are not of as many photos.
        """
        find = boxes if callable(boxes) else self._detect if boxes is None else _given_boxes(source, boxes)
        frames = read_frames(source, video_fps, report)
        group: list[tuple[BoxedFrame, list[np.ndarray]]] = []
        for photo in map_ahead(self._cut, find_persons(frames, find, track, report), min(self.batch_size, _AHEAD)):
            group.append(photo)
            # Photos without a person must not pile up either.
            full = max(sum(len(crops) for _, crops in group), len(group)) >= self.batch_size
            if full or sum(found.frame.image.size // 3 for found, _ in group) >= _MOST_PIXELS:
                yield from self._predict_group(group, num_samples)
                group = []
        if group:
            yield from self._predict_group(group, num_samples)

    def predict(self, image: Any, bboxes: ArrayLike | None = None, num_samples: int = 16) -> PersonPoses:
        """Estimate the poses in given boxes on one photo, as plain arrays.

        Args:
            image: As for :meth:`stream`.
            bboxes: Boxes (N, 4) of the persons as x, y, width, height in image pixels. None takes the whole photo for
                one person; no box (0, 4) gives no pose.
            num_samples: As for :meth:`stream`.

        Raises:
            PhotoError: If the photo cannot be read or the array is none.
            BoxError: If a box is bad.
        """
        photo = as_photo(image)
        boxes = [[0, 0, photo.shape[1], photo.shape[0]]] if bboxes is None else bboxes
        return next(self.stream(photo, boxes, num_samples=num_samples)).persons

    def token_table(self, persons: PersonPoses, image_id: int = 1, first_id: int = 1) -> PoseTokens:
        """Return the tokens of the persons on a photo as rows of a token table.

        Boxes are grown to the shape of the model's input, as decoding the tokens needs them; 3D poses have their root
        at 0.

        Args:
            persons: Found by this estimator.
            image_id: Of the photo.
            first_id: ``annotation_ids`` count from here.
        """
        count = len(persons)
        ids = np.full(count, image_id, np.int64), np.arange(first_id, first_id + count, dtype=np.int64)
        root = np.zeros((count, 3), np.float32)
        place = root if persons.is_3d else fit_bbox_to_aspect(persons.bbox, self.image_size)
        return PoseTokens(persons.indices, place, *ids)

    def _detect(self, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        return self.detector.detect(frame.image)

    def _cut(self, found: BoxedFrame) -> tuple[BoxedFrame, list[np.ndarray]]:
        """Return a photo with boxes, and the crops (H, W, 3) of its persons."""
        space, image = self.space.crop_space, found.frame.image
        return found, [plain_crop(box, space, self.image_size).warp(image) for box in found.boxes]

    def _predict_group(
        self, group: list[tuple[BoxedFrame, list[np.ndarray]]], num_samples: int
    ) -> Iterator[PoseResult]:
        crops = [crop for _, crops in group for crop in crops]
        boxes = np.concatenate([found.boxes for found, _ in group])
        # Parts of equal size: a last one with a single crop would cost nearly as much as a full one.
        parts = np.array_split(np.arange(len(crops)), -(-len(crops) // self.batch_size)) if crops else []
        found_poses = [self._predict_crops([crops[i] for i in rows], boxes[rows], num_samples) for rows in parts]
        poses = PersonPoses.concatenate(found_poses or [self._nobody(num_samples)])
        start = 0
        for found, crops in group:
            persons = poses.select(slice(start, start + len(crops)))
            start += len(crops)
            scores = persons.pose_scores * found.scores
            yield PoseResult(found.frame, persons, self.skeleton, found.scores, scores, found.track_ids)

    def _nobody(self, num_samples: int) -> PersonPoses:
        """Return the arrays of no persons, which have the shapes of those of a black crop."""
        if num_samples not in self._empty:
            black, box = np.zeros((*self.image_size, 3), np.uint8), np.ones((1, 4))
            self._empty[num_samples] = self._predict_crops([black], box, num_samples).select(slice(0))
        return self._empty[num_samples]

    @torch.inference_mode()
    @in_float32()
    def _predict_crops(self, crops: list[np.ndarray], boxes: np.ndarray, num_samples: int) -> PersonPoses:
        """Predict one batch: crops (H, W, 3), uint8, and their boxes (B, 4)."""
        device = self.model.device
        # Contiguous: colour by colour is many times faster to normalise than pixel by pixel.
        pixels = torch.from_numpy(np.stack(crops)).to(device).permute(0, 3, 1, 2).contiguous()
        fitted = torch.from_numpy(fit_bbox_to_aspect(boxes, self.image_size))
        prediction = predict_poses(
            self._folded,
            normalise_pixels(pixels),
            self.flip,
            num_samples=num_samples,
            generator=torch.Generator().manual_seed(_SEED),
            boxes=torch.from_numpy(boxes).to(device),
        )
        poses = torch.cat([prediction.keypoints[None], prediction.likely_keypoints[None], prediction.samples]).cpu()
        restored = restore_poses(poses, fitted, self.space).numpy()
        return PersonPoses(
            keypoints=restored[0],
            scores=prediction.confidence.cpu().numpy(),
            pose_scores=prediction.pose_scores.cpu().numpy(),
            indices=prediction.indices.cpu().numpy(),
            token_probs=prediction.token_probs.cpu().numpy(),
            likely_keypoints=restored[1],
            samples=restored[2:],
            bbox=boxes.astype(np.float32),
        )


def _given_boxes(source: Any, boxes: Any) -> BoxFinder:
    """Return what gives each photo its boxes: all of them to a single one, else one item of ``boxes`` to each."""
    is_list = isinstance(source, (list, tuple))
    if is_list and len(source) != len(boxes):
        raise ValueError(f"boxes are of {len(boxes)} photos and there are {len(source)}; [] says that nobody is on one")
    several = is_list or isinstance(source, Iterator) or (isinstance(source, (str, Path)) and Path(source).is_dir())
    coming = iter(boxes if several else [boxes])

    def find(frame: Frame) -> tuple[np.ndarray, np.ndarray]:
        found = next(coming, None)
        if found is None:
            raise ValueError(f"there are no boxes for {frame.name or 'a photo'}; give a list with those of every photo")
        return np.asarray(found), np.ones(len(found), np.float32)

    return find
