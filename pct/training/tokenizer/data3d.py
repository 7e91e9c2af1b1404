"""The 3D poses of a training run: mocap by clips, and generated bodies beside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pct.files.motion.checks import warn_of_odd_axes
from pct.files.motion.mocap import load_mocap
from pct.files.motion.mocap_poses import mocap_poses, split_mocap
from pct.people.poses import generate_poses3d
from pct.poses import Poses
from pct.skeleton import H36M17, Skeleton, get_skeleton
from pct.tokenizer import PoseTokenizer
from pct.training.tokenizer.augment import AugmentConfig
from pct.training.tokenizer.augment3d import BodyAugment, centred, seen_by_cameras
from pct.training.tokenizer.config3d import BodyRun, BodySection
from pct.training.tokenizer.recipe import Validation

# Share of the bodies that is validated on where all are generated.
_VAL_SHARE = 0.02


@dataclass(frozen=True)
class BodySplit:
    """Poses to train on and clips that are validated on."""

    train: Poses
    val: Poses


def load_bodies(bodies: BodySection, skeleton_name: str, seed: int) -> BodySplit:
    """Return training and validation poses; of mocap no clip is in both, and test clips are in neither.

    Raises:
        ValueError: If the mocap file is broken, or has another skeleton than the one named.
    """
    skeleton = get_skeleton(skeleton_name) if skeleton_name else H36M17
    if not bodies.mocap:
        table = generate_poses3d(bodies.num_generated, skeleton, seed)
        number = max(1, round(_VAL_SHARE * len(table)))
        return BodySplit(table.select(torch.arange(number, len(table))), table.select(torch.arange(number)))
    if skeleton.keypoint_names != H36M17.keypoint_names:
        raise ValueError(f"mocap {bodies.mocap} has the joints of {H36M17.name}; the run's skeleton is {skeleton.name}")
    clips = load_mocap(bodies.mocap)
    whole = mocap_poses(clips)
    warn_of_odd_axes(whole.keypoints, whole.visible, whole.skeleton, f"{bodies.mocap}, as upright cameras see it")
    split = split_mocap(clips, bodies.test_subjects, bodies.test_share, bodies.val_share, bodies.split_seed)
    tables = [mocap_poses(split.train)] * bodies.mocap_repeats
    if bodies.num_generated:
        tables.append(generate_poses3d(bodies.num_generated, skeleton, seed))
    return BodySplit(Poses.concatenate(tables), mocap_poses(split.val))


class BodyPoses:
    """3D poses of bodies, for a ``root3d`` tokenizer; a :class:`pct.training.tokenizer.recipe.PoseSource`.

    Args:
        run: The resolved config.
    """

    def __init__(self, run: BodyRun) -> None:
        self.space, self.config = run.space, run.bodies
        split = load_bodies(run.bodies, run.data.skeleton, run.seed)
        self.train, self.val = split.train, split.val

    @property
    def skeleton(self) -> Skeleton:
        """Whose joints the poses have."""
        return self.train.skeleton

    def training(self) -> tuple[Tensor, Tensor]:
        """Return poses (N, K, 3) in model units and upright axes, and which joints are known (N, K)."""
        return centred(self.train, self.space), self.train.visible

    def augment(self, config: AugmentConfig) -> BodyAugment:
        """Return the run's augmentation, with joints hidden from the encoder as ``config`` says."""
        return BodyAugment(self.skeleton, self.space, self.config.augment, config)

    def validation(self, model: PoseTokenizer, limit: int) -> Validation:
        """Return the quick numbers on held-out clips, seen by random cameras; the root is never hidden."""
        rows = torch.randperm(len(self.val), generator=torch.Generator().manual_seed(0))[:limit]
        val = self.val.select(rows)
        hideable = val.visible.clone()
        hideable[:, self.space.root] = False
        return Validation(model, seen_by_cameras(val, self.space), val.visible, hideable=hideable)
