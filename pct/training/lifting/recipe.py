"""Lifters from a config to a trained model: pairs, network, training step, validation."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.evaluation.metrics3d import mpjpe, p_mpjpe
from pct.files.motion.pairs import load_h36m
from pct.layers.losses import distance_loss, keypoint_loss
from pct.lifting.config import LifterConfig, LifterSizes
from pct.lifting.detector_noise import DetectorNoise, NoiseConfig
from pct.lifting.lifter import Lifter, LifterOutput
from pct.pose_space import PoseSpace
from pct.skeleton import H36M17, Skeleton, get_skeleton
from pct.tokenizer import PoseTokenizer
from pct.training.batches import gather
from pct.training.lifting.config import LifterLoss, LifterRun
from pct.training.lifting.data import (
    LiftingBatch,
    PairSource,
    PhotographedPoses,
    RecordedPairs,
    fixed_pairs,
    lifting_batches,
)
from pct.training.loop import save_trained, start_run, train
from pct.training.photos.token_targets import token_accuracy, token_labels, token_targets
from pct.training.tokenizer.data import load_split

# Poses that the means and deviations of 2D joints are taken from.
_TYPICAL = 16_384
# Neighbouring frames of a recording are nearly alike, and only some of them are validated on.
_VAL_STRIDE = 25
_VAL_BATCH = 1024


def train_lifter(run: LifterRun, folder: Path, progress: Any = None) -> Lifter:
    """Train a lifter as ``run`` says; arguments as of :func:`pct.training.tokenizer.recipe.train_tokenizer`.

    Raises:
        ValueError: If data, tokenizer and network do not fit together.
    """
    device = start_run(run)
    tokenizer = PoseTokenizer.from_pretrained(run.tokenizer) if run.tokenizer else None
    if tokenizer is not None and tokenizer.space.kind != "root3d":
        raise ValueError(
            f"tokenizer {run.tokenizer} is of {tokenizer.space.kind} poses; a lifter needs one of 3D poses (root3d), "
            "such as h36m17"
        )
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
    recorded, augment, frames = run.recorded, run.augment3d, run.frames
    if not recorded.file:
        train_poses, val_poses = load_split(replace(run.data, skeleton=skeleton.name), True, run.seed)
        photographed = PhotographedPoses(train_poses, run.camera, augment, frames)
        return photographed, PhotographedPoses(val_poses, run.camera, frames=frames)
    # Frames that are seen together are as far apart as those that were trained on.
    val_stride = _VAL_STRIDE if frames == 1 else recorded.stride
    pairs, val_pairs = (
        load_h36m(recorded.file, subjects, recorded.detections, skeleton=skeleton, stride=stride)
        for subjects, stride in ((recorded.train_subjects, recorded.stride), (recorded.val_subjects, val_stride))
    )
    return RecordedPairs(pairs, augment.flip_prob, frames), RecordedPairs(val_pairs, frames=frames)


def build_lifter(run: LifterRun, skeleton: Skeleton, tokenizer: PoseTokenizer | None = None) -> Lifter:
    """Build the run's lifter, with weights that depend on the seed only.

    Raises:
        ValueError: If there is no such network, or the tokenizer's poses are not those of ``skeleton`` in 3D.
    """
    torch.manual_seed(run.seed)
    sizes = {f.name: getattr(run.lifter, f.name) for f in fields(LifterSizes)}
    space = tokenizer.space if tokenizer is not None else PoseSpace(kind="root3d")
    return Lifter(LifterConfig(**sizes, skeleton=skeleton, space=space), tokenizer)


class LiftingStep:
    """The loss of the lifted pose, and for token heads the cross-entropy of its tokens (PCT, 2023, eq. 5).

    The labels are the frozen encoder's tokens of the true pose as it was photographed, that is after mirroring and
    turning, with no joint hidden from it: noise and missing joints are the lifter's input alone.

    Args:
        lifter: The lifter, not wrapped: its normalizer, and of token heads the frozen tokenizer, are used.
        loss: Kind and weights.
    """

    def __init__(self, lifter: Lifter, loss: LifterLoss) -> None:
        self.normalizer, self.tokenizer, self.loss = lifter.normalizer, lifter.tokenizer, loss

    def __call__(self, model: nn.Module, batch: LiftingBatch) -> dict[str, Tensor]:
        """Return the losses by their names in the logs, ``loss`` to minimise; several processes may share the model."""
        normalised = self.normalizer(batch.keypoints2d, batch.visible, batch.image_size)
        output = model(normalised, batch.visible)
        target = (batch.target_keypoints, batch.target_visible)
        parts = {"keypoint_loss": self.pose_loss(output.keypoints.float(), *target)}
        loss = parts["keypoint_loss"]
        if self.tokenizer is not None:
            if output.estimate is not None:
                # The logits lie around the estimate, so it must be good by itself.
                parts["estimate_loss"] = self.pose_loss(output.estimate.float(), *target)
                loss = (loss + parts["estimate_loss"]) / 2
            labels = token_labels(self.tokenizer, *target)
            tokens = token_targets(self.tokenizer, labels, self.loss.softness)
            parts["token_loss"] = F.cross_entropy(output.logits.float().flatten(0, 1), tokens.flatten(0, 1))
            loss = self.loss.keypoint_weight * loss + self.loss.token_weight * parts["token_loss"]
            parts |= token_accuracy(output.logits, labels.indices)
        return {**parts, "loss": loss}

    def pose_loss(self, keypoints: Tensor, target_keypoints: Tensor, visible: Tensor) -> Tensor:
        """Return the loss of poses (B, K, 3) in model units, given the true ones and where these are known (B, K)."""
        if self.loss.kind == "smooth_l1":
            return keypoint_loss(keypoints, target_keypoints, visible, self.loss.beta)
        return distance_loss(keypoints, target_keypoints, visible, squared=self.loss.kind == "mse")


class LiftingValidation:
    """Errors in millimetres on fixed pairs, as a detector finds the joints and without its errors.

    Args:
        lifter: The lifter; its tokenizer, if it has one, gives the labels.
        noisy: Pairs with a detector's errors.
        clean: The same pairs without.

    Raises:
        ValueError: If no pair has all of its joints known in 3D: errors are means over all joints.
    """

    def __init__(self, lifter: Lifter, noisy: LiftingBatch, clean: LiftingBatch) -> None:
        whole = noisy.target_visible.all(dim=1)
        if not whole.any():
            raise ValueError("no pose to validate on has all of its joints known in 3D")
        self.lifter, self.noisy, self.clean = lifter, noisy.rows(whole), clean.rows(whole)
        self.scale, self.root = lifter.space.report_scale, lifter.space.root

    def __call__(self) -> dict[str, float]:
        """Return MPJPE and P-MPJPE; of token heads also what the likeliest and the true tokens reach, and accuracies.

        ``oracle_mpjpe_mm`` is the floor: the error of the tokenizer itself.
        """
        noisy, clean = (
            gather((pairs.rows(slice(i, i + _VAL_BATCH)) for i in range(0, len(pairs), _VAL_BATCH)), measure)
            for pairs, measure in ((self.noisy, self._measure), (self.clean, self._measure_poses))
        )
        numbers = {**noisy, "clean_mpjpe_mm": clean["mpjpe_mm"]}
        return {name: float(values.double().mean()) for name, values in numbers.items()}

    def _measure_poses(self, pairs: LiftingBatch) -> dict[str, Tensor]:
        return self._errors(*self._lift(pairs))

    def _measure(self, pairs: LiftingBatch) -> dict[str, Tensor]:
        """Measure the tokens too, if there are any."""
        tokenizer, (output, pairs) = self.lifter.tokenizer, self._lift(pairs)
        numbers = self._errors(output, pairs)
        if output.logits is not None and tokenizer is not None:
            labels = token_labels(tokenizer, pairs.target_keypoints, pairs.target_visible).indices
            truth = pairs.target_keypoints * self.scale
            for name, indices in (("argmax", output.logits.argmax(dim=-1)), ("oracle", labels)):
                decoded = tokenizer.decode(indices).float() * self.scale
                numbers[f"{name}_mpjpe_mm"] = mpjpe(decoded, truth, root=self.root)
            # Shares of all tokens, so each pose counts by itself.
            numbers |= {n: v.expand(len(pairs)) for n, v in token_accuracy(output.logits, labels).items()}
        return numbers

    def _lift(self, pairs: LiftingBatch) -> tuple[LifterOutput, LiftingBatch]:
        lifter, pairs = self.lifter, pairs.to(self.lifter.device)
        return lifter(lifter.normalizer(pairs.keypoints2d, pairs.visible, pairs.image_size), pairs.visible), pairs

    def _errors(self, output: LifterOutput, pairs: LiftingBatch) -> dict[str, Tensor]:
        keypoints, truth = output.keypoints.float() * self.scale, pairs.target_keypoints * self.scale
        return {"mpjpe_mm": mpjpe(keypoints, truth, root=self.root), "p_mpjpe_mm": p_mpjpe(keypoints, truth)}
