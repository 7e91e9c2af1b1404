"""Stage one from a config to a trained tokenizer: data, model, training, report."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pct import distributed
from pct.data.augment import AugmentConfig, CropAugment
from pct.data.bodies import generate_poses
from pct.data.keypoint_file import load_keypoint_file
from pct.data.poses import PoseTable
from pct.evaluation.completion import hide_joints
from pct.layers.quantizer import CodebookUse
from pct.models.tokenizer import PoseTokenizer, TokenizerConfig
from pct.skeleton import COCO17, get_skeleton
from pct.training.batches import DeviceBatches, PoseBatches
from pct.training.config import DataSection, TokenizerRun
from pct.training.loop import LoopSettings, train
from pct.training.run_folder import ADAPTATION_FOLDER, COMPLETION_FOLDER, MODEL_FOLDER
from pct.training.steps import CompletionStep, StepLosses, TokenizerStep

StepFunction = Callable[[nn.Module, Any], StepLosses]


def load_poses(data: DataSection, seed: int) -> tuple[PoseTable, PoseTable]:
    """Return training and validation poses with no image in both (for one file, split by image)."""
    skeleton = get_skeleton(data.skeleton) if data.skeleton else None
    if data.train == "generated":
        poses = generate_poses(data.num_generated, skeleton or COCO17, seed=seed)
    else:
        poses = load_keypoint_file(data.train, skeleton, report=warnings.warn)
    if data.val:
        return poses, load_keypoint_file(data.val, poses.skeleton, report=warnings.warn)
    return poses.split_by_image(data.val_share, seed=seed)


def build_tokenizer(run: TokenizerRun, poses: PoseTable) -> PoseTokenizer:
    """Build the run's tokenizer for the skeleton of ``poses``, with weights that depend on the seed only."""
    torch.manual_seed(run.seed)
    return PoseTokenizer(TokenizerConfig(**asdict(run.model), skeleton=poses.skeleton, space=run.space))


@dataclass(frozen=True)
class TrainedTokenizer:
    """A trained tokenizer in evaluation mode and the poses it was trained and validated on."""

    tokenizer: PoseTokenizer
    train_poses: PoseTable
    val_poses: PoseTable


def train_tokenizer(run: TokenizerRun, folder: Path, progress: Any = None) -> TrainedTokenizer:
    """Train a tokenizer as ``run`` says, and save it under ``folder/model``.

    Args:
        run: The resolved config.
        folder: The run's folder; an interrupted run there goes on where it stopped.
        progress: Wraps the steps in a bar; see :func:`pct.training.loop.train`.
    """
    if run.threads:
        torch.set_num_threads(run.threads)
    device = distributed.start(run.device)
    train_poses, val_poses = load_poses(run.data, run.seed)
    model = build_tokenizer(run, train_poses).to(device)
    keypoints = model.space.normalise(train_poses.keypoints, train_poses.bbox)
    if model.embedding.fill is not None:
        model.embedding.fill.fit(keypoints, train_poses.visible)

    def batches(augment: AugmentConfig, seed: int) -> DeviceBatches:
        crop = CropAugment(train_poses.skeleton, model.space, augment)
        return DeviceBatches(PoseBatches(keypoints, train_poses.visible, crop, run.batch_size, seed), device)

    validate = Validation.of_poses(model, val_poses, run.val_poses)

    def phase(part: nn.Module, step: StepFunction, poses: DeviceBatches, steps: int, lr: float, name: str) -> None:
        """Train a part of the model; checkpoints and logs are in a folder of their own."""
        (folder / name).mkdir(exist_ok=True)
        settings = LoopSettings(steps, run.log_every, run.val_every, run.checkpoint_every, run.precision)
        train(part, poses, step, replace(run.optim, lr=lr), settings, folder / name, validate, progress)
        model.eval()

    joint, completion = TokenizerStep(run.loss), run.completion
    phase(model, joint, batches(run.augment, run.seed), run.steps, run.optim.lr, "")
    if completion.steps:
        assert model.embedding.fill is not None
        poses = batches(completion.augment, run.seed + 1)
        phase(model.embedding.fill, CompletionStep(), poses, completion.steps, completion.lr, COMPLETION_FOLDER)
    if completion.adapt_steps:
        model.freeze_fill()
        poses = batches(run.augment, run.seed + 2)
        phase(model, joint, poses, completion.adapt_steps, completion.adapt_lr, ADAPTATION_FOLDER)
    if distributed.is_main():
        model.save_pretrained(folder / MODEL_FOLDER, force=True)
    return TrainedTokenizer(model, train_poses, val_poses)


class Validation:
    """Quick numbers on held-out poses while training; the report measures more.

    Args:
        model: The tokenizer.
        keypoints: Joints (N, K, D) in model units.
        visible: True where the joint is known (N, K).
        features: Image features at the joints (N, K, F), for a guided tokenizer.
    """

    def __init__(
        self, model: PoseTokenizer, keypoints: Tensor, visible: Tensor, features: Tensor | None = None
    ) -> None:
        self.model, self.keypoints, self.visible, self.features = model, keypoints, visible, features
        self.hidden = hide_joints(visible, number=4, seed=0)

    @classmethod
    def of_poses(cls, model: PoseTokenizer, poses: PoseTable, limit: int) -> Validation:
        """Validate on at most ``limit`` poses of a table, chosen by chance."""
        order = torch.randperm(len(poses), generator=torch.Generator().manual_seed(0))
        poses = poses.select(order[:limit])
        return cls(model, model.space.normalise(poses.keypoints, poses.bbox), poses.visible)

    def __call__(self) -> dict[str, float]:
        """Return errors in the space's report unit, with all known joints given and with 4 hidden, and codebook use."""
        error, indices = self._errors(self.visible)
        completion, _ = self._errors(self.visible & ~self.hidden)
        use = CodebookUse.from_counts(torch.bincount(indices.flatten(), minlength=self.model.config.codebook_size))
        unit = self.model.space.report_unit
        return {
            f"mean_error_{unit}": float(error[self.visible].mean()),
            f"median_error_{unit}": float(error[self.visible].median()),
            f"completion_error_{unit}": float(completion[self.hidden].mean()),
            "usage": use.usage,
            "perplexity": use.perplexity,
        }

    @torch.no_grad()
    def _errors(self, encoder_visible: Tensor) -> tuple[Tensor, Tensor]:
        """Return the distance of every joint (N, K) from its label, and the tokens (N, M)."""
        errors, indices = [], []
        for start in range(0, len(self.keypoints), 1024):
            rows = slice(start, start + 1024)
            keypoints = self.keypoints[rows].to(self.model.device)
            features = None if self.features is None else self.features[rows].to(self.model.device)
            output = self.model(keypoints, encoder_visible[rows].to(self.model.device), features)
            errors.append((output.keypoints - keypoints).norm(dim=-1).cpu())
            indices.append(output.indices.cpu())
        return torch.cat(errors) * self.model.space.report_scale, torch.cat(indices)
