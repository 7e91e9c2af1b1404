"""Stage one from a config to a trained tokenizer: data, model, training, report."""

from __future__ import annotations

import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pct.evaluation.tokens.completion import hide_joints
from pct.layers.losses import keypoint_loss
from pct.poses import Poses
from pct.skeleton import Skeleton
from pct.tokenizer import PoseTokenizer, TokenizerConfig, TokenizerOutput
from pct.tokenizer.codebook import CodebookUse
from pct.training.batches import gather
from pct.training.loop import save_trained, start_run, train
from pct.training.run_files import REPORT_FOLDER
from pct.training.tokenizer.augment import AugmentedPoses, PoseAugment, pose_batches, seen_by_cameras
from pct.training.tokenizer.config import LossSection, TokenizerRun
from pct.training.tokenizer.data import PoseSplit, load_split

# Deviation of the noise under which ids should stay, by the unit of the errors: far below an annotator's.
_NOISE = {"px": 1.0, "mm": 5.0}


@dataclass(frozen=True)
class TrainedTokenizer:
    """A trained tokenizer in evaluation mode, and the poses it was trained and validated on."""

    tokenizer: PoseTokenizer
    poses: PoseSplit


def build_tokenizer(run: TokenizerRun, skeleton: Skeleton) -> PoseTokenizer:
    """Build the run's tokenizer for a skeleton, with weights that depend on the seed and ``model_from`` only.

    A warning says if some of the weights have no counterpart of their shape in ``model_from``.

    Raises:
        ValueError: If none has one, or the tokens of ``model_from`` mean something else (another layout).
    """
    torch.manual_seed(run.seed)
    model = PoseTokenizer(TokenizerConfig(**asdict(run.model), skeleton=skeleton, space=run.space))
    if run.model_from:
        own, other = model.state_dict(), PoseTokenizer.from_pretrained(run.model_from)
        fits = {k: v for k, v in other.state_dict().items() if k in own and own[k].shape == v.shape}
        if not fits or other.config.layout != model.config.layout:
            raise ValueError(
                f"model_from: a tokenizer of layout {other.config.layout} of which {len(fits)} arrays fit; this run "
                f"needs one of layout {model.config.layout} and like sizes"
            )
        model.load_state_dict(fits, strict=False)
        if len(fits) < len(own):
            warnings.warn(f"model_from: {len(fits)} of {len(own)} arrays fit and are taken over", stacklevel=2)
    return model


def train_tokenizer(run: TokenizerRun, folder: Path, progress: Any = None) -> TrainedTokenizer:
    """Train a tokenizer as ``run`` says, and save it under ``folder/model``.

    Args:
        run: The resolved config.
        folder: The run's folder; an interrupted run there goes on where it stopped.
        progress: Wraps the steps in a bar; see :func:`pct.training.loop.train`.

    Raises:
        ValueError: If the data cannot be used.
    """
    device, in_space = start_run(run), run.space.kind == "root3d"
    split = load_split(run.data, in_space, run.seed)
    model = build_tokenizer(run, split.train.skeleton).to(device)
    keypoints = run.space.training_space.normalise(split.train.keypoints, split.train.reference(run.space.root))
    augment3d = run.augment3d if in_space else None
    augment = PoseAugment(split.train.skeleton, run.space.training_space, run.augment, augment3d)
    batches = pose_batches(keypoints, split.train.visible, augment, run.batch_size, run.seed)
    validate = Validation(model, split.val, run.val_poses)
    train(model, batches, TokenizerStep(run.loss), run, folder, validate, progress)
    save_trained(model, folder)
    return TrainedTokenizer(model, split)


def write_tokenizer_report(run: TokenizerRun, folder: Path, trained: TrainedTokenizer) -> Path | None:
    """Evaluate a trained tokenizer, write the report into the run's folder and return its page; None if not wanted."""
    from pct.evaluation.report import write_report
    from pct.evaluation.tokens.evaluate import evaluate_tokenizer
    from pct.evaluation.tokens.report import tokenizer_report

    if not run.report:
        return None
    poses = trained.poses.val
    if run.report_poses:
        poses = poses.select(torch.arange(min(run.report_poses, len(poses))))
    evaluation = evaluate_tokenizer(
        trained.tokenizer,
        poses,
        trained.poses.train,
        seed=run.seed,
        progress=lambda sentence: print(sentence, file=sys.stderr),
        data=run.data.val or f"poses held out of {run.data.train}",
        baseline_data=run.data.train,
    )
    return write_report(tokenizer_report(evaluation), folder / REPORT_FOLDER, force=True)


class TokenizerStep:
    """Stage one: smooth-L1 on the known joints + the weighted commitment loss (PCT, 2023, eq. 3).

    The joints hidden from the encoder count in the loss: filling them in is what the tokenizer learns from them. An
    encoder that gives a pose is also trained on that pose itself, and a quantizer with weights on what it says.
    """

    def __init__(self, config: LossSection) -> None:
        self.config = config

    def __call__(self, model: nn.Module, batch: AugmentedPoses) -> dict[str, Tensor]:
        """Return the losses by their names in the logs, ``loss`` to minimise; several processes may share the model."""
        output: TokenizerOutput = model(batch.given_keypoints, batch.encoder_visible, prefix=batch.prefix)
        config, commitment = self.config, output.commitment_loss
        parts = {"keypoint_loss": self._pose_loss(output.keypoints, batch), "commitment_loss": commitment}
        loss = parts["keypoint_loss"] + config.commitment_weight * commitment
        if output.estimate is not None:
            parts |= {"estimate_loss": self._pose_loss(output.estimate, batch), "codebook_loss": output.codebook_loss}
            loss = loss + config.estimate_weight * parts["estimate_loss"]
            loss = loss + config.codebook_weight * output.codebook_loss
        return {**parts, "loss": loss}

    def _pose_loss(self, keypoints: Tensor, batch: AugmentedPoses) -> Tensor:
        return keypoint_loss(keypoints, batch.keypoints, batch.visible, self.config.beta, self.config.normalisation)


class Validation:
    """Quick numbers on held-out poses while training; the report measures more.

    Args:
        model: The tokenizer.
        poses: Held-out poses; those in space are seen by random cameras, and their root is never hidden.
        limit: At most so many, chosen by chance.
    """

    def __init__(self, model: PoseTokenizer, poses: Poses, limit: int) -> None:
        order = torch.randperm(len(poses), generator=torch.Generator().manual_seed(0))
        poses, space = poses.select(order[:limit]), model.space
        self.model, self.visible, hideable = model, poses.visible, poses.visible.clone()
        if space.kind == "root3d":
            self.keypoints = seen_by_cameras(poses, space)
            hideable[:, space.root] = False
        else:
            self.keypoints = space.normalise(poses.keypoints, poses.bbox)
        self.hidden = hide_joints(hideable, number=4, seed=0)
        deviation = _NOISE[space.report_unit] / space.report_scale
        self.noise = torch.randn(self.keypoints.shape, generator=torch.Generator().manual_seed(1)) * deviation

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

    def _errors(self, encoder_visible: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the distance of every joint (N, K) from its label, and the tokens (N, M)."""

        def measure(rows: slice) -> dict[str, Tensor]:
            keypoints, model = self.keypoints[rows].to(self.model.device), self.model
            given = keypoints if noise is None else keypoints + noise[rows].to(model.device)
            output = model(given, encoder_visible[rows].to(model.device))
            return {"errors": (output.keypoints - keypoints).norm(dim=-1), "indices": output.indices}

        found = gather((slice(i, i + 1024) for i in range(0, len(self.keypoints), 1024)), measure)
        return found["errors"] * self.model.space.report_scale, found["indices"]
