"""The persons that a run on photos is trained and validated on: COCO-format files with photos, or generated people."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from torch.utils.data import ConcatDataset, Subset

from pct.files.json_stream import iter_json
from pct.files.photo_folder import PhotoFolder
from pct.people.scene import GeneratedPersons
from pct.photos.person_views import Persons3D
from pct.photos.persons import CocoPersons, PersonPhoto, PersonSource
from pct.skeleton import Skeleton
from pct.tokenizer import PoseTokenizer
from pct.training.photos.config import PhotoData, PhotoSet

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
        train, val = open_sets(data.sets, tokenizer.skeleton, data.min_keypoints, data.val_share)
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
    skeleton = None if tokenizer.space.kind == "root3d" else tokenizer.skeleton
    persons = _read(path, image_folder, skeleton, min_keypoints, cache, category)
    return persons if skeleton else Persons3D(persons, tokenizer.skeleton)


def _read(
    path: str, images: str, skeleton: Skeleton | None, min_keypoints: int, cache: bool, category: str
) -> CocoPersons:
    in_space, chosen = skeleton is None, category or None
    return CocoPersons(
        path, images, skeleton, min_keypoints=min_keypoints, cache=cache, need_3d=in_space, category=chosen
    )


def _generated(number: int, seed: int, tokenizer: PoseTokenizer) -> PersonSource:
    in_space, skeleton = tokenizer.space.kind == "root3d", tokenizer.skeleton
    if not in_space and skeleton.keypoint_names != GeneratedPersons.skeleton.keypoint_names:
        raise ValueError(
            f"generated people have the joints of {GeneratedPersons.skeleton.name}, the tokenizer those of "
            f"{skeleton.name}; train on a file of that skeleton (data.train=...)"
        )
    persons = GeneratedPersons(number, seed)
    return Persons3D(persons, skeleton) if in_space else persons


class PersonSets(ConcatDataset[PersonPhoto]):
    """Some persons (N,) of several sources of one skeleton one after the other, a source of persons itself."""

    def __init__(self, parts: Sequence[tuple[PersonSource, np.ndarray]], skeleton: Skeleton) -> None:
        super().__init__([Subset(cast(Any, source), rows.tolist()) for source, rows in parts])
        self.skeleton = skeleton


def open_sets(
    sets: Sequence[PhotoSet], skeleton: Skeleton, min_keypoints: int, val_share: float
) -> tuple[Persons, Persons | None]:
    """Open the sets of a config.

    Args:
        sets: What the config says.
        skeleton: Whose joints.
        min_keypoints: Persons with fewer labelled joints are left out.
        val_share: Share of the scenes (photos without a ``group`` are each their own) that are held out. Which ones
            depends on their names alone.

    Returns:
        Persons to train on, and those held out; None without ``val_share``.

    Raises:
        ValueError: If a file is none, has other joints, no photo fits ``where``, or a photo is in two sets.
    """
    parts, seen = list[tuple[PhotoSet, CocoPersons, np.ndarray, np.ndarray]](), set[Path]()
    for given in sets:
        persons = _read(given.annotations, given.images, skeleton, min_keypoints, True, given.category)
        scenes = _find_scenes(given, persons.photos)
        paths = {(Path(given.images) / name).resolve() for name, _ in scenes.values()}
        if paths & seen:
            raise ValueError(f"{given.annotations}: {min(paths & seen)} is in another set too; give each photo once")
        seen |= paths
        held = {i for i, (_, scene) in scenes.items() if zlib.crc32(scene.encode()) < val_share * 2**32}
        ids = persons.poses.image_ids.numpy()
        parts.append((given, persons, np.isin(ids, list(scenes)), np.isin(ids, list(held))))

    def join(held_out: bool) -> Persons:
        chosen = [(given, source, np.flatnonzero(fit & (out == held_out))) for given, source, fit, out in parts]
        chosen = [part for part in chosen if len(part[2])]
        if not chosen:
            raise ValueError("no person is left in the sets of photos")
        weights = np.concatenate([np.full(len(rows), given.weight / len(rows)) for given, _, rows in chosen])
        source = PersonSets([(source, rows) for _, source, rows in chosen], skeleton)
        return Persons(cast(PersonSource, source), weights / weights.sum())

    return join(held_out=False), join(held_out=True) if val_share else None


def _find_scenes(given: PhotoSet, photos: PhotoFolder) -> dict[int, tuple[str, str]]:
    """Return file name and scene of the photos that fit ``where``, by id; of ``photos`` no bad entry counts.

    Photos whose scene is also on a photo that does not fit are left out: the other one may be tested on.
    """
    images = [i for i in iter_json(given.annotations, "images") if isinstance(i, dict) and i.get("id") in photos]
    field, _, value = given.where.partition("=")
    fits = [not given.where or str(image.get(field)) == value for image in images]
    if not any(fits):
        values = sorted({str(image.get(field)) for image in images})[:5]
        raise ValueError(f"{given.annotations}: no photo has {given.where}; {field} is {', '.join(values)}")
    scenes = [str(image.get("group") or f"photo {image['file_name']}") for image in images]
    others = {scene for scene, fit in zip(scenes, fits, strict=True) if not fit}
    return {
        int(image["id"]): (str(image["file_name"]), scene)
        for image, scene, fit in zip(images, scenes, fits, strict=True)
        if fit and scene not in others
    }
