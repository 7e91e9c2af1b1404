"""The poses of a training run of a tokenizer: keypoint files by image, mocap by clips, and generated poses."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch

from pct.files.motion.checks import warn_of_odd_axes
from pct.files.motion.mocap import load_mocap, split_mocap
from pct.files.pose_files import load_keypoint_file
from pct.people.poses import generate_poses, generate_poses3d
from pct.poses import Poses
from pct.skeleton import COCO17, H36M17, Skeleton, get_skeleton
from pct.training.tokenizer.config import PoseData


class PoseSplit(NamedTuple):
    """Poses to train on and to validate on; no image and no clip is in both."""

    train: Poses
    val: Poses


def load_split(data: PoseData, in_space: bool, seed: int) -> PoseSplit:
    """Return poses in images or in space.

    Raises:
        ValueError: If a file is broken, or has another skeleton than the one named.
    """
    return _load_3d(data, seed) if in_space else _load_2d(data, seed)


def _load_2d(data: PoseData, seed: int) -> PoseSplit:
    """Return poses in images; of one file, a share of the images is validated on."""
    skeleton = get_skeleton(data.skeleton) if data.skeleton else None

    def read(path: str, whose: Skeleton | None) -> Poses:
        category, need_names = data.category or None, not data.skeleton
        return load_keypoint_file(path, whose, warnings.warn, category, warnings.warn, need_names)

    if data.train == "generated":
        poses = generate_poses(data.num_generated, skeleton or COCO17, seed=seed)
    else:
        poses = read(data.train, skeleton)
    if data.val:
        return PoseSplit(poses, read(data.val, poses.skeleton))
    try:
        return PoseSplit(*poses.split_by_image(data.val_share, seed=seed))
    except ValueError as error:
        raise ValueError(f"{data.train}: {error}; give data.val") from None


def _load_3d(data: PoseData, seed: int) -> PoseSplit:
    """Return poses in space; clips of mocap that are kept for testing are in neither part."""
    skeleton = get_skeleton(data.skeleton) if data.skeleton else H36M17
    if data.train == "generated":
        table = generate_poses3d(data.num_generated, skeleton, seed)
        number = max(1, round(data.val_share * len(table)))
        return PoseSplit(table.select(torch.arange(number, len(table))), table.select(torch.arange(number)))
    if skeleton.keypoint_names != H36M17.keypoint_names:
        raise ValueError(f"mocap {data.train} has the joints of {H36M17.name}; the run's skeleton is {skeleton.name}")
    whole = load_mocap(data.train)
    warn_of_odd_axes(whole.keypoints, whole.visible, whole.skeleton, f"{data.train}, as upright cameras see it")
    split = split_mocap(whole, data.test_subjects, data.test_share, data.val_share)
    tables = [split.train] * data.mocap_repeats
    if data.num_generated:
        tables.append(generate_poses3d(data.num_generated, skeleton, seed))
    return PoseSplit(Poses.concatenate(tables), split.val)
