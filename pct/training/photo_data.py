"""The persons that a run on photos is trained and validated on: COCO-format files with photos, or generated people."""

from __future__ import annotations

import warnings

from pct.data.people import GeneratedPersons
from pct.data.photos import CocoPersons, PersonSource
from pct.models.tokenizer import PoseTokenizer
from pct.skeleton import Skeleton
from pct.training.photo_config import PhotoData

# Generated people of other seeds than these are never trained on.
_TRAIN_SEED, _VAL_SEED = 1, 500_001


def train_persons(data: PhotoData, tokenizer: PoseTokenizer) -> PersonSource:
    """Return the persons to train on.

    Raises:
        ValueError: If the file is none, or its joints are not the tokenizer's.
    """
    if data.train == "generated":
        return _generated(data, data.num_generated, _TRAIN_SEED, tokenizer.skeleton)
    return CocoPersons(
        data.train,
        data.train_images,
        tokenizer.skeleton,
        min_keypoints=data.min_keypoints,
        report=warnings.warn,
        cache=True,
    )


def val_persons(data: PhotoData, tokenizer: PoseTokenizer) -> PersonSource:
    """Return the persons to validate and calibrate on; none of the generated ones is trained on.

    Raises:
        ValueError: As :func:`train_persons`.
    """
    if data.val in ("", "generated"):
        return _generated(data, data.num_val, _VAL_SEED, tokenizer.skeleton)
    return CocoPersons(data.val, data.val_images, tokenizer.skeleton, report=warnings.warn)


def _generated(data: PhotoData, number: int, seed: int, skeleton: Skeleton) -> GeneratedPersons:
    if skeleton.keypoint_names != GeneratedPersons.skeleton.keypoint_names:
        raise ValueError(
            f"generated people have the joints of {GeneratedPersons.skeleton.name}, the tokenizer those of "
            f"{skeleton.name}; train on a file of that skeleton (data.train=...)"
        )
    return GeneratedPersons(number, seed, backgrounds=data.backgrounds or None, mocap=data.mocap or None)
