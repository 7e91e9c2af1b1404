"""Lifters from a config to a trained model: pairs, network, training, validation."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch

from pct.files.motion.pairs import load_h36m
from pct.lifting.config import LifterConfig, LifterSizes
from pct.lifting.detector_noise import DetectorNoise, NoiseConfig
from pct.lifting.lifter import Lifter
from pct.lifting.pairs import PosePairs
from pct.pose_space import PoseSpace
from pct.skeleton import H36M17, Skeleton, get_skeleton
from pct.tokenizer import PoseTokenizer
from pct.training.lifting.config import LifterRun
from pct.training.lifting.data import PairSource, PhotographedPoses, RecordedPairs, fixed_pairs, lifting_batches
from pct.training.lifting.steps import LiftingStep, LiftingValidation
from pct.training.loop import save_trained, start_run, train
from pct.training.tokenizer.data import load_split

# Poses that the means and deviations of 2D joints are taken from.
_TYPICAL = 16_384
# Neighbouring frames of a recording are nearly alike, and only some of them are validated on.
_VAL_STRIDE = 25


def train_lifter(run: LifterRun, folder: Path, progress: Any = None) -> Lifter:
    """Train a lifter as ``run`` says; arguments as of :func:`pct.training.tokenizer.recipe.train_tokenizer`.

    Raises:
        ValueError: If data, tokenizer and network do not fit together.
    """
    device = start_run(run)
    tokenizer = _load_tokenizer(run.tokenizer) if run.tokenizer else None
    usual = tokenizer.skeleton if tokenizer is not None else H36M17
    pairs, val = load_pairs(run, get_skeleton(run.data.skeleton) if run.data.skeleton else usual)
    lifter = build_lifter(run, pairs.skeleton, tokenizer)
    space = lifter.space
    # Inputs are divided by the deviations of what the network will see, errors included.
    typical = fixed_pairs(pairs, space, run.noise, _TYPICAL)
    lifter.normalizer.fit(typical.keypoints2d, typical.visible, typical.image_size)
    lifter = lifter.to(device)
    noise = DetectorNoise(pairs.skeleton, run.noise)
    batches = lifting_batches(pairs, space, noise, run.batch_size, run.seed)
    noisy, clean = (fixed_pairs(val, space, n, run.val_poses) for n in (run.noise, NoiseConfig.clean()))
    validate = LiftingValidation(lifter, noisy, clean)
    train(lifter, batches, LiftingStep(lifter, run.loss), run, folder, validate, progress)
    save_trained(lifter, folder)
    return lifter


def load_pairs(run: LifterRun, skeleton: Skeleton) -> tuple[PairSource, PairSource]:
    """Return what a run trains and validates on, photographed poses or recorded pairs; no clip is in both.

    Raises:
        ValueError: If a file is broken or has other joints than ``skeleton``.
    """
    if run.recorded.file:
        return _load_recorded(run, skeleton)
    split, frames = load_split(replace(run.data, skeleton=skeleton.name), True, run.seed), run.frames
    return (
        PhotographedPoses(split.train, run.camera, run.augment3d, frames),
        PhotographedPoses(split.val, run.camera, frames=frames),
    )


def build_lifter(run: LifterRun, skeleton: Skeleton, tokenizer: PoseTokenizer | None = None) -> Lifter:
    """Build the run's lifter, with weights that depend on the seed only.

    Raises:
        ValueError: If there is no such network, or the tokenizer's poses are not those of ``skeleton`` in 3D.
    """
    torch.manual_seed(run.seed)
    sizes = {f.name: getattr(run.lifter, f.name) for f in fields(LifterSizes)}
    space = tokenizer.space if tokenizer is not None else PoseSpace(kind="root3d")
    return Lifter(LifterConfig(**sizes, skeleton=skeleton, space=space), tokenizer)


def _load_tokenizer(name: str) -> PoseTokenizer:
    tokenizer = PoseTokenizer.from_pretrained(name)
    if tokenizer.space.kind != "root3d":
        raise ValueError(
            f"tokenizer {name} is of {tokenizer.space.kind} poses; a lifter needs one of 3D poses (root3d), such as "
            "h36m17"
        )
    return tokenizer


def _load_recorded(run: LifterRun, skeleton: Skeleton) -> tuple[PairSource, PairSource]:
    recorded = run.recorded

    def load(subjects: tuple[str, ...], stride: int) -> PosePairs:
        return load_h36m(recorded.file, subjects, recorded.detections, skeleton=skeleton, stride=stride)

    # Frames that are seen together are as far apart as those that were trained on.
    val_stride = _VAL_STRIDE if run.frames == 1 else recorded.stride
    pairs, val = load(recorded.train_subjects, recorded.stride), load(recorded.val_subjects, val_stride)
    flip_prob = run.augment3d.flip_prob
    return RecordedPairs(pairs, flip_prob, run.frames), RecordedPairs(val, frames=run.frames)
