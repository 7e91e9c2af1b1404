"""The persons that a run on photos is trained and validated on: COCO-format files with photos, or generated people."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from pct.people.scene import GeneratedPersons
from pct.photos.person_views import Persons3D
from pct.photos.persons import CocoPersons, PersonSource
from pct.tokenizer import PoseTokenizer
from pct.training.photos.config import PhotoData
from pct.training.photos.sets import open_sets

# Generated people of other seeds than these are never trained on.
_TRAIN_SEED, _VAL_SEED = 1, 500_001


@dataclass(frozen=True)
class Persons:
    """Persons, and the probability of each (N,), with sum 1; None if all are alike."""

    source: PersonSource
    weights: np.ndarray | None = None


def open_persons(data: PhotoData, tokenizer: PoseTokenizer) -> tuple[Persons, Persons]:
    """Return the persons to train on, and those to validate and calibrate on.

    None of the generated people that are validated on is trained on.

    Raises:
        ValueError: If a file is none, its joints are not the tokenizer's, or a 3D tokenizer's are not known; for sets
            of 2D photos with a 3D tokenizer.
    """
    val: Persons | None = None
    if data.sets:
        if tokenizer.space.kind == "root3d":
            raise ValueError("data.sets are photos with 2D joints, and the tokenizer's poses are 3D; give data.train")
        sets, held = open_sets(data.sets, tokenizer.skeleton, data.min_keypoints, data.val_share)
        train, val = Persons(sets, sets.weights), None if held is None else Persons(held, held.weights)
    elif data.train == "generated":
        train = Persons(_generated(data.num_generated, _TRAIN_SEED, tokenizer))
    else:
        train = Persons(file_persons(data.train, data.train_images, tokenizer, data.min_keypoints, True, data.category))
    if val is None and data.val in ("", "generated"):
        val = Persons(_generated(data.num_val, _VAL_SEED, tokenizer))
    elif val is None:
        val = Persons(file_persons(data.val, data.val_images, tokenizer, category=data.category))
    return train, val


def file_persons(
    path: str,
    image_folder: str,
    tokenizer: PoseTokenizer,
    min_keypoints: int = 1,
    cache: bool = False,
    category: str = "",
) -> PersonSource:
    """Return the persons of a COCO-format file with the joints of the tokenizer; what is skipped is a warning.

    Args:
        path: COCO-format keypoint file; for a 3D tokenizer one with 3D joints.
        image_folder: Folder of its photos.
        tokenizer: Says whose joints.
        min_keypoints: Persons with fewer labelled joints are left out.
        cache: Keep encoded photos in memory once read.
        category: Name or id of the only category that is read; empty takes all with the joints.

    Raises:
        ValueError: If the file is none, its joints are not the tokenizer's, or a 3D tokenizer's are not known.
    """
    in_space = tokenizer.space.kind == "root3d"
    persons = CocoPersons(
        path,
        image_folder,
        None if in_space else tokenizer.skeleton,
        min_keypoints=min_keypoints,
        report=warnings.warn,
        cache=cache,
        need_3d=in_space,
        category=category or None,
    )
    return Persons3D(persons, tokenizer.skeleton) if in_space else persons


def _generated(number: int, seed: int, tokenizer: PoseTokenizer) -> PersonSource:
    in_space, skeleton = tokenizer.space.kind == "root3d", tokenizer.skeleton
    if not in_space and skeleton.keypoint_names != GeneratedPersons.skeleton.keypoint_names:
        raise ValueError(
            f"generated people have the joints of {GeneratedPersons.skeleton.name}, the tokenizer those of "
            f"{skeleton.name}; train on a file of that skeleton (data.train=...)"
        )
    persons = GeneratedPersons(number, seed)
    return Persons3D(persons, skeleton) if in_space else persons
