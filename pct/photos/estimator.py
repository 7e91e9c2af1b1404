"""PoseEstimator: photos and boxes of persons to poses in image pixels, with tokens and confidence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike

from pct.files.ahead import map_ahead
from pct.files.coco import AREA_SHARE
from pct.files.photo import as_photo
from pct.photos.classifier import PoseClassifier
from pct.photos.crop import fit_bbox_to_aspect, normalise_pixels, plain_crop
from pct.photos.predict import area_in_model_units, predict_tokens, restore_poses
from pct.pose_space import PoseSpace
from pct.skeleton import Skeleton

# The model that ships with the package.
DEFAULT_MODEL = "photos"
# Coordinates from here on are taken for errors, as in annotation files.
_LARGEST = 1e6
# Pixels of photos whose poses are waited for: whoever goes on working with a photo holds it so long.
_MOST_PIXELS = 100_000_000
# Photos that are read while the model is busy with others: about a batch of them.
_AHEAD = 8
# Samples are drawn with the same random numbers for every person: the same photo gives the same poses.
_SEED = 0


@dataclass(frozen=True)
class PersonPoses:
    """Poses of the N persons of a photo, in the order of their boxes.

    Coordinates (D = 2) are image pixels, x right and y down, with the first pixel's centre at (0, 0); those of models
    of 3D poses (D = 3) are millimetres from the root joint in the camera's axes: x right, y down, z away from it.

    Attributes:
        keypoints: The expected poses (N, K, D), float32: what is most accurate.
        scores: Confidence of each joint (N, K) in [0, 1]: the keypoint similarity that is expected of it, measured by
            OKS's scales on photos and by 100 mm for all joints in space (see :mod:`pct.evaluation.photos.metrics`).
        published_score: The score of each pose (N,) as PCT's release has it: the mean over the tokens of the largest
            logit, a number without bounds that ranks poses and is no probability.
        indices: The most likely integer tokens (N, M), int64.
        token_probs: Their probabilities (N, M).
        likely_keypoints: Poses (N, K, D) that the most likely tokens decode to.
        samples: Poses (S, N, K, D) that sampled tokens decode to: what else the photo may show.
        bbox: The boxes (N, 4) as x, y, width, height in image pixels, float32.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    published_score: np.ndarray
    indices: np.ndarray
    token_probs: np.ndarray
    likely_keypoints: np.ndarray
    samples: np.ndarray
    bbox: np.ndarray

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def is_3d(self) -> bool:
        """Whether the coordinates are millimetres in space."""
        return self.keypoints.shape[2] == 3

    def select(self, rows: slice) -> PersonPoses:
        """Return some of the persons."""
        return PersonPoses(**{name: a[:, rows] if name == "samples" else a[rows] for name, a in vars(self).items()})

    @classmethod
    def concatenate(cls, parts: list[PersonPoses]) -> PersonPoses:
        """Put persons one after the other; there must be at least one part."""
        names = [field.name for field in fields(cls)]
        return cls(**{n: np.concatenate([getattr(p, n) for p in parts], axis=int(n == "samples")) for n in names})


class PoseEstimator:
    """Poses of persons on photos, from boxes that say where they are.

    Example:
        >>> estimator = PoseEstimator.from_pretrained()
        >>> poses = estimator.predict("photo.jpg", [[40, 10, 80, 200]])
        >>> poses.keypoints, poses.scores, poses.indices  # (1, 17, 2) image pixels, (1, 17), (1, 34)

    Args:
        model: The classifier.
        flip: Average each pose with that of the mirrored crop (the flip test): more accurate, twice the time. None does
            what the model's conventions say: not so for ours, so for converted published models.
        batch_size: Crops at a time.
    """

    def __init__(self, model: PoseClassifier, flip: bool | None = None, batch_size: int = 32) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self.model, self.batch_size = model.eval(), batch_size
        self.flip = model.tokenizer.space.conventions.flip_test if flip is None else flip
        self.image_size = model.config.backbone.image_size
        self._crop_space = model.tokenizer.space.crop_space

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = DEFAULT_MODEL,
        device: str | torch.device = "cpu",
        flip: bool | None = None,
        batch_size: int = 32,
    ) -> PoseEstimator:
        """Load an estimator.

        Args:
            name: Folder of a classifier, the name of one that ships with the package, or hf:user/model.
            device: Where it runs.
            flip: As for the class.
            batch_size: As for the class.

        Raises:
            CheckpointError: If there is no such model, its files do not fit together, or its tokenizer is not the one
                that the head was trained for.
        """
        return cls(PoseClassifier.from_pretrained(name, device), flip, batch_size)

    @property
    def skeleton(self) -> Skeleton:
        """Whose joints the poses have."""
        return self.model.tokenizer.skeleton

    @property
    def space(self) -> PoseSpace:
        """What the model's coordinates mean."""
        return self.model.tokenizer.space

    def predict(
        self, image: str | Path | np.ndarray, bboxes: ArrayLike | None = None, num_samples: int = 16
    ) -> PersonPoses:
        """Estimate the poses of the persons on one photo.

        Args:
            image: A photo file, or an array of uint8: RGB (H, W, 3), RGBA (H, W, 4), or grey (H, W).
            bboxes: Boxes (N, 4) of the persons as x, y, width, height in image pixels. None takes the whole photo for
                one person; no box (0, 4) gives no pose.
            num_samples: Poses that are sampled for each person; the confidence rests on them.

        Raises:
            PhotoError: If the photo cannot be read or the array is none.
            ValueError: If a box is not finite, has no area, or lies outside the photo; the message names its row.
        """
        return next(self._predict_group([self._cut(image, bboxes)], num_samples))

    def predict_many(
        self, items: Iterable[tuple[str | Path | np.ndarray, ArrayLike | None]], num_samples: int = 16
    ) -> Iterator[PersonPoses]:
        """Yield the poses of many photos in their order; crops of several photos go through the model together.

        Photos are read as they are needed, so that ``items`` may be as long as a film; a few ahead, while the model is
        busy with those before.

        Args:
            items: Photos with their boxes, each as for :meth:`predict`.
            num_samples: As for :meth:`predict`.
        """
        group: list[_PhotoCrops] = []
        for photo in map_ahead(lambda item: self._cut(*item), items, min(self.batch_size, _AHEAD)):
            group.append(photo)
            # Photos without a person must not pile up either.
            full = max(sum(map(len, group)), len(group)) >= self.batch_size
            if full or sum(waiting.num_pixels for waiting in group) >= _MOST_PIXELS:
                yield from self._predict_group(group, num_samples)
                group = []
        yield from self._predict_group(group, num_samples)

    def _cut(self, image: str | Path | np.ndarray, bboxes: ArrayLike | None) -> _PhotoCrops:
        photo = as_photo(image)
        height, width = photo.shape[:2]
        boxes = check_boxes([[0, 0, width, height]] if bboxes is None else bboxes, width, height)
        crops = [plain_crop(box, self._crop_space, self.image_size).warp(photo) for box in boxes]
        return _PhotoCrops(crops, boxes, height * width)

    def _predict_group(self, group: list[_PhotoCrops], num_samples: int) -> Iterator[PersonPoses]:
        crops = [crop for photo in group for crop in photo.crops]
        boxes = np.concatenate([np.zeros((0, 4)), *(photo.bbox for photo in group)])
        # Parts of equal size: a last one with a single crop would cost nearly as much as a full one.
        parts = np.array_split(np.arange(len(crops)), -(-len(crops) // self.batch_size) or 1)
        poses = PersonPoses.concatenate(
            [self._predict_crops([crops[i] for i in rows], boxes[rows], num_samples) for rows in parts]
        )
        start = 0
        for photo in group:
            yield poses.select(slice(start, start + len(photo)))
            start += len(photo)

    @torch.inference_mode()
    def _predict_crops(self, crops: list[np.ndarray], boxes: np.ndarray, num_samples: int) -> PersonPoses:
        """Predict one batch: crops (H, W, 3), uint8, and their boxes (B, 4)."""
        if not crops:
            return self._no_poses(num_samples)
        device = self.model.tokenizer.device
        # Contiguous: colour by colour is many times faster to normalise than pixel by pixel.
        pixels = torch.from_numpy(np.stack(crops)).to(device).permute(0, 3, 1, 2).contiguous()
        fitted = torch.from_numpy(fit_bbox_to_aspect(boxes, self.image_size[1] / self.image_size[0]))
        area = torch.from_numpy(AREA_SHARE * boxes[:, 2] * boxes[:, 3])
        prediction = predict_tokens(
            self.model,
            normalise_pixels(pixels),
            self.flip,
            num_samples,
            torch.Generator().manual_seed(_SEED),
            area_in_model_units(area, fitted, self._crop_space).to(device),
        )
        poses = torch.cat([prediction.keypoints[None], prediction.likely_keypoints[None], prediction.samples]).cpu()
        restored = restore_poses(poses, fitted, self.space).numpy()
        return PersonPoses(
            keypoints=restored[0],
            scores=prediction.confidence.cpu().numpy(),
            published_score=prediction.published_score.cpu().numpy(),
            indices=prediction.indices.cpu().numpy(),
            token_probs=prediction.token_probs.cpu().numpy(),
            likely_keypoints=restored[1],
            samples=restored[2:],
            bbox=boxes.astype(np.float32),
        )

    def _no_poses(self, num_samples: int) -> PersonPoses:
        joints, dims, tokens = self.skeleton.num_keypoints, self.space.num_dims, self.model.tokenizer.config.num_tokens
        return PersonPoses(
            keypoints=np.zeros((0, joints, dims), np.float32),
            scores=np.zeros((0, joints), np.float32),
            published_score=np.zeros(0, np.float32),
            indices=np.zeros((0, tokens), np.int64),
            token_probs=np.zeros((0, tokens), np.float32),
            likely_keypoints=np.zeros((0, joints, dims), np.float32),
            samples=np.zeros((num_samples, 0, joints, dims), np.float32),
            bbox=np.zeros((0, 4), np.float32),
        )


@dataclass(frozen=True)
class _PhotoCrops:
    """Crops (H, W, 3) of the persons of one photo, their boxes (N, 4), float64, and the photo's pixels."""

    crops: list[np.ndarray]
    bbox: np.ndarray
    num_pixels: int

    def __len__(self) -> int:
        return len(self.crops)


def check_boxes(bboxes: ArrayLike, width: int, height: int) -> np.ndarray:
    """Return boxes of a photo of ``width`` x ``height`` pixels as (N, 4), float64.

    Raises:
        ValueError: If the shape is another, or a box is not finite, has no area, or lies outside the photo.
    """
    boxes = np.asarray(bboxes, np.float64)
    boxes = boxes.reshape(-1, 4) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"bboxes must be (N, 4) as x, y, width, height; got shape {boxes.shape}")
    for row, box in enumerate(boxes):
        fault = find_box_fault(box, width, height)
        if fault is not None:
            raise ValueError(f"bbox of row {row} is {box.tolist()}; {fault}")
    return boxes


def find_box_fault(box: np.ndarray, width: int, height: int) -> str | None:
    """Say what is wrong with a box (4,) on a photo of ``width`` x ``height`` pixels, or return None."""
    if not (np.abs(box) < _LARGEST).all():  # NaN too
        return f"all four numbers must be finite and below {_LARGEST:.0f}"
    x, y, w, h = box.tolist()
    if not (w > 0 and h > 0):
        return "width and height must be positive"
    if not (x < width and y < height and x + w > 0 and y + h > 0):
        return f"it lies outside the photo of {width}x{height} pixels"
    return None
