"""Stage one with image guidance: a tokenizer that also sees a frozen backbone's features at the joints."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pct import distributed
from pct.checkpoint import explain
from pct.photos.crop import PhotoBatch
from pct.photos.guide import GuideConfig, ImageGuide
from pct.photos.persons import PersonSource
from pct.photos.saved_backbone import SavedBackbone
from pct.skeleton import COCO17, get_skeleton
from pct.tokenizer import PoseTokenizer, TokenizerConfig
from pct.training.batches import DeviceBatches
from pct.training.loop import LoopSettings, train
from pct.training.photos.batches import PhotoBatches, evaluation_batches
from pct.training.photos.data import train_persons, val_persons
from pct.training.run_folder import MODEL_FOLDER
from pct.training.steps import StepLosses, TokenizerStep
from pct.training.tokenizer.augment import AugmentConfig, AugmentedPoses, CropAugment
from pct.training.tokenizer.config import LossSection
from pct.training.tokenizer.guided_config import GuidedRun
from pct.training.tokenizer.recipe import Validation

_BATCH = 64


def build_guide(model: str | Path, bounds: tuple[float, float], cell_center: float = 0.5) -> ImageGuide:
    """Return the backbone of a heatmap model or classifier as the guide of a tokenizer.

    Args:
        model: Its folder.
        bounds: Lowest and highest coordinate inside the crop, in the tokenizer's model units.
        cell_center: Where in a cell of the feature map its value lies; 0 as published.

    Raises:
        CheckpointError: If there is no such model.
    """
    saved = SavedBackbone.of_model(model)
    with explain(model):
        guide = ImageGuide(GuideConfig(saved.sizes, bounds, cell_center))
        guide.backbone.load_state_dict(saved.state)
    return guide


def build_guided_tokenizer(run: GuidedRun) -> PoseTokenizer:
    """Build the run's tokenizer with its guide; new weights depend on the seed only."""
    # Who counts pixels from their corners does so with cells.
    guide = build_guide(run.guidance.model, run.space.bounds, run.space.conventions.pixel_center)
    skeleton = get_skeleton(run.data.skeleton) if run.data.skeleton else COCO17
    torch.manual_seed(run.seed)
    sizes = asdict(replace(run.model, guidance_channels=guide.channels))
    config = TokenizerConfig(**sizes, skeleton=skeleton, space=run.space, guidance_from=guide.fingerprint())
    return PoseTokenizer(config, guide)


def train_guided_tokenizer(run: GuidedRun, folder: Path, progress: Any = None) -> PoseTokenizer:
    """Train a tokenizer with image guidance as ``run`` says, and save it with its guide under ``folder/model``.

    Args:
        run: The resolved config.
        folder: The run's folder; an interrupted run there goes on where it stopped.
        progress: Wraps the steps in a bar; see :func:`pct.training.loop.train`.
    """
    if run.threads:
        torch.set_num_threads(run.threads)
    device = distributed.start(run.device)
    model = build_guided_tokenizer(run).to(device)
    assert model.guide is not None
    size, guidance = model.guide.backbone.image_size, run.guidance
    persons = train_persons(guidance.data, model)
    held_out = _read_poses(val_persons(guidance.data, model), model, run.val_poses)
    space, augment = model.space.training_space, guidance.augment
    photos = PhotoBatches(persons, space, size, run.batch_size, run.seed, augment, guidance.workers)
    batches = DeviceBatches(GuidedBatches(photos, model, run.augment, run.seed), device)
    settings = LoopSettings(run.steps, run.log_every, run.val_every, run.checkpoint_every, run.precision, run.seed)
    validate = Validation(model, held_out.keypoints, held_out.visible, held_out.features)
    train(model, batches, GuidedStep(model.guide, run.loss), run.optim, settings, folder, validate, progress)
    model.eval()
    if distributed.is_main():
        model.save_pretrained(folder / MODEL_FOLDER, force=True)
    return model


@dataclass(frozen=True)
class GuidedBatch:
    """Crops of persons, and their poses as the tokenizer's encoder may see them."""

    photos: PhotoBatch
    poses: AugmentedPoses

    def to(self, device: torch.device) -> GuidedBatch:
        """Return the batch on a device."""
        return GuidedBatch(self.photos.to(device), self.poses.to(device))


class GuidedBatches:
    """Batches of photos with joints hidden from the encoder; the same for any number of processes.

    Args:
        photos: This process's part of every batch.
        tokenizer: Whose poses these are.
        augment: Its ``mask_*`` settings say how many joints are hidden.
        seed: Of the choice of joints.
    """

    def __init__(self, photos: PhotoBatches, tokenizer: PoseTokenizer, augment: AugmentConfig, seed: int) -> None:
        self.photos, self.seed = photos, seed
        self.batch_size, self.steps_per_epoch = photos.batch_size, photos.steps_per_epoch
        self.augment = CropAugment(tokenizer.skeleton, tokenizer.space, augment)

    def __getitem__(self, step: int) -> GuidedBatch:
        """Return this process's part of the batch of ``step``."""
        photos = self.photos[step]
        first = distributed.rank() * len(photos)
        rows = slice(first, first + len(photos))
        # All processes draw for the whole batch, and each keeps its own rows.
        whole = torch.zeros(self.batch_size, photos.visible.shape[1], dtype=torch.bool)
        whole[rows] = photos.visible
        generator = torch.Generator().manual_seed((self.seed + 1) * 1_000_000_007 + step)
        hidden = self.augment.hide(whole, generator)[rows]
        return GuidedBatch(photos, AugmentedPoses(photos.keypoints, photos.visible, photos.visible & ~hidden))


class GuidedStep:
    """Stage one with image guidance: the losses of :class:`TokenizerStep`, of poses encoded with image features.

    Args:
        guide: Gives the features.
        config: Weights of the losses.
    """

    def __init__(self, guide: ImageGuide, config: LossSection) -> None:
        self.guide, self.step = guide, TokenizerStep(config)

    def __call__(self, model: nn.Module, batch: GuidedBatch) -> StepLosses:
        """Run the model on a batch; ``model`` may be wrapped for several processes."""
        poses = batch.poses
        features = self.guide(batch.photos.images, poses.keypoints)
        output = model(poses.given_keypoints, poses.encoder_visible, features, prefix=poses.prefix)
        return self.step.losses(output, poses)


@dataclass(frozen=True)
class _KnownPoses:
    """Poses of photos (N, K, 2) in model units, ``visible`` (N, K), and features (N, K, F), if asked for."""

    keypoints: Tensor
    visible: Tensor
    features: Tensor | None


def _read_poses(persons: PersonSource, model: PoseTokenizer, limit: int, with_features: bool = True) -> _KnownPoses:
    """Read the first persons whose photos can be read, in plain crops."""
    assert model.guide is not None
    parts: list[PhotoBatch] = []
    features: list[Tensor] = []
    for batch in evaluation_batches(persons, model.space, model.guide.backbone.image_size, _BATCH):
        parts.append(batch.rows(slice(0, limit - sum(map(len, parts)))))
        if with_features:
            moved = parts[-1].to(model.device)
            features.append(model.guide(moved.images, moved.keypoints).cpu())
        if sum(map(len, parts)) >= limit:
            break
    if not parts:
        raise ValueError("none of the photos can be read")
    keypoints, visible = (torch.cat([getattr(part, name) for part in parts]) for name in ("keypoints", "visible"))
    return _KnownPoses(keypoints, visible, torch.cat(features) if with_features else None)
