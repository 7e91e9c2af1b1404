"""Stage one from a config to a trained tokenizer: data, model, training, report."""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from pct import distributed
from pct.evaluation.tokens.completion import hide_joints
from pct.files.keypoint_file import load_keypoint_file
from pct.people.poses import generate_poses
from pct.poses import Poses
from pct.skeleton import COCO17, Skeleton, get_skeleton
from pct.tokenizer import PoseTokenizer, TokenizerConfig
from pct.tokenizer.codebook import CodebookUse
from pct.training.batches import Augment, DeviceBatches, PoseBatches
from pct.training.loop import LoopSettings, train
from pct.training.run_folder import MODEL_FOLDER
from pct.training.steps import TokenizerStep
from pct.training.tokenizer.augment import AugmentConfig, CropAugment
from pct.training.tokenizer.config import DataSection, TokenizerRun

# Deviation of the noise under which ids should stay, by the unit of the errors: far below an annotator's.
_NOISE = {"px": 1.0, "mm": 5.0}


def build_tokenizer(run: TokenizerRun, skeleton: Skeleton) -> PoseTokenizer:
    """Build the run's tokenizer for a skeleton, with weights that depend on the seed only."""
    torch.manual_seed(run.seed)
    return PoseTokenizer(TokenizerConfig(**asdict(run.model), skeleton=skeleton, space=run.space))


class PoseSource(Protocol):
    """Poses to train and to validate on: of images (:class:`CropPoses`), or 3D bodies."""

    @property
    def skeleton(self) -> Skeleton: ...

    def training(self) -> tuple[Tensor, Tensor]:
        """Return joints (N, K, D) in model units as they are augmented from, and which are known (N, K)."""
        ...

    def augment(self, config: AugmentConfig) -> Augment:
        """Return the augmentation, with joints hidden from the encoder as ``config`` says."""
        ...

    def validation(self, model: PoseTokenizer, limit: int) -> Validation:
        """Return the quick numbers on at most ``limit`` held-out poses."""
        ...


class CropPoses:
    """Poses of persons in images, for a ``crop2d`` tokenizer.

    Args:
        run: The resolved config.
    """

    def __init__(self, run: TokenizerRun) -> None:
        self.space = run.space.training_space
        self.train, self.val = load_poses(run.data, run.seed)

    @property
    def skeleton(self) -> Skeleton:
        """Whose joints the poses have."""
        return self.train.skeleton

    def training(self) -> tuple[Tensor, Tensor]:
        """See :class:`PoseSource`."""
        return self.space.normalise(self.train.keypoints, self.train.bbox), self.train.visible

    def augment(self, config: AugmentConfig) -> CropAugment:
        """See :class:`PoseSource`."""
        return CropAugment(self.skeleton, self.space, config)

    def validation(self, model: PoseTokenizer, limit: int) -> Validation:
        """See :class:`PoseSource`."""
        return Validation.of_poses(model, self.val, limit)


def load_poses(data: DataSection, seed: int) -> tuple[Poses, Poses]:
    """Return training and validation poses with no image in both (for one file, split by image)."""
    skeleton = get_skeleton(data.skeleton) if data.skeleton else None
    if data.train == "generated":
        poses = generate_poses(data.num_generated, skeleton or COCO17, seed=seed)
    else:
        poses = load_keypoint_file(data.train, skeleton, report=warnings.warn)
    if data.val:
        return poses, load_keypoint_file(data.val, poses.skeleton, report=warnings.warn)
    return poses.split_by_image(data.val_share, seed=seed)


@dataclass(frozen=True)
class TrainedTokenizer:
    """A trained tokenizer in evaluation mode, and the poses it was trained and validated on."""

    tokenizer: PoseTokenizer
    source: Any


def train_tokenizer(run: TokenizerRun, source: PoseSource, folder: Path, progress: Any = None) -> TrainedTokenizer:
    """Train a tokenizer as ``run`` says, and save it under ``folder/model``.

    Args:
        run: The resolved config.
        source: The poses.
        folder: The run's folder; an interrupted run there goes on where it stopped.
        progress: Wraps the steps in a bar; see :func:`pct.training.loop.train`.
    """
    if run.threads:
        torch.set_num_threads(run.threads)
    device = distributed.start(run.device)
    model = build_tokenizer(run, source.skeleton).to(device)
    keypoints, visible = source.training()
    poses = PoseBatches(keypoints, visible, source.augment(run.augment), run.batch_size, run.seed)
    settings = LoopSettings(run.steps, run.log_every, run.val_every, run.checkpoint_every, run.precision, run.seed)
    validate = source.validation(model, run.val_poses)
    train(model, DeviceBatches(poses, device), TokenizerStep(run.loss), run.optim, settings, folder, validate, progress)
    model.eval()
    if distributed.is_main():
        model.save_pretrained(folder / MODEL_FOLDER, force=True)
    return TrainedTokenizer(model, source)


class Validation:
    """Quick numbers on held-out poses while training; the report measures more.

    Args:
        model: The tokenizer.
        keypoints: Joints (N, K, D) in model units.
        visible: True where the joint is known (N, K).
        features: Image features at the joints (N, K, F), for a guided tokenizer.
        hideable: True where a joint may be hidden to be completed (N, K); all known ones by default.
    """

    def __init__(
        self,
        model: PoseTokenizer,
        keypoints: Tensor,
        visible: Tensor,
        features: Tensor | None = None,
        hideable: Tensor | None = None,
    ) -> None:
        self.model, self.keypoints, self.visible, self.features = model, keypoints, visible, features
        self.hidden = hide_joints(visible if hideable is None else hideable, number=4, seed=0)
        deviation = _NOISE[model.space.report_unit] / model.space.report_scale
        self.noise = torch.randn(keypoints.shape, generator=torch.Generator().manual_seed(1)) * deviation

    @classmethod
    def of_poses(cls, model: PoseTokenizer, poses: Poses, limit: int) -> Validation:
        """Validate on at most ``limit`` poses of a table, chosen by chance."""
        order = torch.randperm(len(poses), generator=torch.Generator().manual_seed(0))
        poses = poses.select(order[:limit])
        return cls(model, model.space.normalise(poses.keypoints, poses.bbox), poses.visible)

    def __call__(self) -> dict[str, float]:
        """Return errors in the space's report unit, with all known joints given and with 4 hidden, and codebook use.

        ``ids_kept`` is the share of the ids that stay under noise of 1 pixel of the crop, or 5 mm, on the joints.
        """
        error, indices = self._errors(self.visible)
        completion, _ = self._errors(self.visible & ~self.hidden)
        _, disturbed = self._errors(self.visible, self.noise)
        use = CodebookUse.from_counts(torch.bincount(indices.flatten(), minlength=self.model.config.codebook_size))
        unit = self.model.space.report_unit
        return {
            f"mean_error_{unit}": float(error[self.visible].mean()),
            f"median_error_{unit}": float(error[self.visible].median()),
            f"completion_error_{unit}": float(completion[self.hidden].mean()),
            "ids_kept": float((disturbed == indices).double().mean()),
            "usage": use.usage,
            "perplexity": use.perplexity,
        }

    @torch.no_grad()
    def _errors(self, encoder_visible: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the distance of every joint (N, K) from its label, and the tokens (N, M)."""
        errors, indices = [], []
        for start in range(0, len(self.keypoints), 1024):
            rows = slice(start, start + 1024)
            keypoints = self.keypoints[rows].to(self.model.device)
            features = None if self.features is None else self.features[rows].to(self.model.device)
            given = keypoints if noise is None else keypoints + noise[rows].to(self.model.device)
            output = self.model(given, encoder_visible[rows].to(self.model.device), features)
            errors.append((output.keypoints - keypoints).norm(dim=-1).cpu())
            indices.append(output.indices.cpu())
        return torch.cat(errors) * self.model.space.report_scale, torch.cat(indices)
