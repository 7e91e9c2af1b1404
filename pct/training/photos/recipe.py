"""Stage two from a config to a trained model: token classifier, or the heatmap baseline on the same photos."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pct import distributed
from pct.checkpoint import CheckpointError, fingerprint
from pct.evaluation.photos.calibration import calibrate_classifier
from pct.photos.backbone import Backbone
from pct.photos.classifier import ClassifierConfig, PoseClassifier
from pct.photos.config import BackboneSizes, HeatmapSizes
from pct.photos.heatmap import HeatmapConfig, HeatmapModel
from pct.photos.person_views import annotated_persons
from pct.photos.saved_backbone import load_backbone
from pct.pose_space import PoseSpace
from pct.tokenizer import PoseTokenizer
from pct.tokenizer.model import GUIDANCE_FOLDER
from pct.training.loop import save_trained, start_run, train
from pct.training.photos.batches import PersonCrops, PhotoBatches
from pct.training.photos.config import ClassifierRun, HeatmapRun, PhotoRun, TokenLoss
from pct.training.photos.data import Persons, open_persons
from pct.training.photos.features import FeatureBatches, store_features
from pct.training.photos.steps import HeatmapStep, TokenStep
from pct.training.photos.validation import PhotoValidation, Predict, classifier_predictor, heatmap_predictor
from pct.training.run_files import PRETRAIN_FOLDER

# Of the augmented crops whose features are stored.
_CROPS_SEED = 0


@dataclass(frozen=True)
class PhotoSetting:
    """What a run's models are trained with."""

    run: PhotoRun
    device: torch.device
    tokenizer: PoseTokenizer
    train: Persons
    val: Persons

    @classmethod
    def of(cls, run: PhotoRun) -> PhotoSetting:
        """Load what a run asks for."""
        device = start_run(run)
        tokenizer = PoseTokenizer.from_pretrained(run.tokenizer, device)
        _check_guide(tokenizer, run)
        space = crop_space(run, tokenizer)
        train, val = (
            replace(part, source=annotated_persons(part.source, space)) for part in open_persons(run.data, tokenizer)
        )
        return cls(run, device, tokenizer, train, val)

    def heatmap_model(self, heatmap: HeatmapSizes) -> HeatmapModel:
        """Build a heatmap model on the run's backbone, for the tokenizer's joints and crops."""
        space = crop_space(self.run, self.tokenizer)
        config = HeatmapConfig(self.run.backbone, heatmap, self.tokenizer.skeleton, space)
        return HeatmapModel(config, self.run.pretrained).to(self.device)

    def train_classifier(self, model: PoseClassifier, loss: TokenLoss, folder: Path, progress: Any) -> None:
        """Train a classifier on what the frozen tokenizer says."""
        step, predict = TokenStep(self.tokenizer, loss), classifier_predictor(model)
        self._train(model, step, predict, self.tokenizer.space, self.run, self.run.seed, folder, progress)

    def train_heatmaps(self, model: HeatmapModel, sigma: float, run: PhotoRun, folder: Path, progress: Any) -> None:
        """Train a heatmap model as long and as fast as ``run`` says."""
        step, predict = HeatmapStep(model, sigma), heatmap_predictor(model)
        self._train(model, step, predict, model.config.space, run, run.seed + 1, folder, progress)

    def _train(
        self,
        model: PoseClassifier | HeatmapModel,
        step: TokenStep | HeatmapStep,
        predict: Predict,
        space: PoseSpace,
        run: PhotoRun,
        seed: int,
        folder: Path,
        progress: Any,
    ) -> None:
        backbone = model.backbone
        validate = PhotoValidation(
            predict, space, self.val.source, run.backbone.image_size, run.val_persons, self.device
        )
        scales = None
        if run.layer_decay != 1:
            scales = {f"backbone.{n}": scale for n, scale in backbone.learning_rate_scales(run.layer_decay).items()}
        train(model, self._batches(backbone, seed), step, run, folder, validate, progress, scales)

    def _batches(self, backbone: Backbone, seed: int) -> PhotoBatches | FeatureBatches:
        run, source, weights = self.run, self.train.source, self.train.weights
        space, size = crop_space(run, self.tokenizer).training_space, run.backbone.image_size
        if not run.features:
            return PhotoBatches(source, space, size, run.batch_size, seed, run.augment, run.workers, weights=weights)
        # The same crops for runs of all seeds, which then share the features.
        crops = PersonCrops(source, space, size, _CROPS_SEED, run.augment)
        about = {
            "backbone": fingerprint({"name": backbone.name, "stage": backbone.stage}, backbone.state_dict()),
            "image_size": list(backbone.image_size),
            "copies": run.feature_copies,
            "seed": _CROPS_SEED,
            "space": space.to_dict(),
            "augment": asdict(run.augment),
            "data": asdict(run.data),
        }
        stored = store_features(Path(run.features), backbone, crops, about, print, weights)
        return FeatureBatches(stored, run.batch_size, seed, weights)


def train_classifier(run: ClassifierRun, folder: Path, progress: Any = None) -> PoseClassifier:
    """Train a token classifier as ``run`` says, and save it, calibrated on held-out persons, under ``folder/model``.

    Args:
        run: The resolved config.
        folder: The run's folder; an interrupted run there goes on where it stopped.
        progress: Wraps the steps in a bar; see :func:`pct.training.loop.train`.
    """
    setting = PhotoSetting.of(run)
    torch.manual_seed(run.seed)
    config = ClassifierConfig(run.backbone, run.head)
    model = PoseClassifier(config, setting.tokenizer, run.pretrained).to(setting.device)
    _start_backbone(model.backbone, run)
    if run.model_from:
        _start_from(model, PoseClassifier.from_pretrained(run.model_from), run.model_from)
    if run.pretrain.steps:
        first = setting.heatmap_model(run.pretrain.heatmap)
        first.backbone.load_state_dict(model.backbone.state_dict())
        (folder / PRETRAIN_FOLDER).mkdir(exist_ok=True)
        phase = replace(run, steps=run.pretrain.steps, optim=replace(run.optim, lr=run.pretrain.lr))
        setting.train_heatmaps(first, run.pretrain.sigma, phase, folder / PRETRAIN_FOLDER, progress)
        model.backbone.load_state_dict(first.backbone.state_dict())
    if run.freeze_backbone:
        model.freeze_backbone()
    setting.train_classifier(model, run.loss, folder, progress)
    if distributed.is_main():
        val = setting.val
        calibration = calibrate_classifier(model, val.source, limit=run.val_persons, weights=val.weights)
        model.config = replace(config, calibration=calibration)
    save_trained(model, folder)
    return model


def train_heatmap_model(run: HeatmapRun, folder: Path, progress: Any = None) -> HeatmapModel:
    """Train the heatmap baseline as ``run`` says, and save it under ``folder/model``; as :func:`train_classifier`."""
    setting = PhotoSetting.of(run)
    torch.manual_seed(run.seed)
    model = setting.heatmap_model(run.heatmap)
    _start_backbone(model.backbone, run)
    if run.model_from:
        _start_from(model, HeatmapModel.from_pretrained(run.model_from), run.model_from)
    if run.freeze_backbone:
        model.freeze_backbone()
    setting.train_heatmaps(model, run.loss.sigma, run, folder, progress)
    save_trained(model, folder)
    return model


def crop_space(run: PhotoRun, tokenizer: PoseTokenizer) -> PoseSpace:
    """Return where joints lie in a run's crops: the tokenizer's space, for heatmaps with the run's own conventions."""
    space = tokenizer.space.crop_space
    return replace(space, conventions=run.conventions) if isinstance(run, HeatmapRun) else space


def _start_from(model: nn.Module, trained: nn.Module, name: str) -> None:
    """Take all weights of a trained model."""
    if isinstance(model, PoseClassifier) and isinstance(trained, PoseClassifier):
        ours, theirs = model.tokenizer.fingerprint(), trained.tokenizer.fingerprint()
        if ours != theirs:
            raise CheckpointError(f"{name} was trained for tokenizer {theirs}, this run has tokenizer {ours}")
    try:
        model.load_state_dict(trained.state_dict())
    except RuntimeError as error:
        raise CheckpointError(f"{name}: its sizes are not those of this run: {trained.config}") from error


def _start_backbone(backbone: Backbone, run: PhotoRun) -> None:
    """Take the weights of another model's backbone."""
    if not run.backbone_from:
        return
    sizes, state = load_backbone(run.backbone_from)
    try:
        backbone.load_state_dict(state)
    except RuntimeError as error:
        theirs, ours = _describe(sizes), _describe(run.backbone)
        raise CheckpointError(f"{run.backbone_from}: its backbone {theirs} does not fit this run's {ours}") from error


def _describe(sizes: BackboneSizes) -> str:
    return f"{sizes.name} (image_size {list(sizes.image_size)}, stage {sizes.stage}, {sizes.options})"


def _check_guide(tokenizer: PoseTokenizer, run: PhotoRun) -> None:
    """Check that the labels of a tokenizer with image guidance can be made from the run's crops."""
    if run.features and distributed.is_distributed():
        raise ValueError("features are stored and read by one process; leave features empty for several")
    if not (isinstance(run, ClassifierRun) and tokenizer.config.guidance_channels):
        return
    if run.features:
        raise ValueError(f"the labels of tokenizer {run.tokenizer} need photos; leave features empty")
    if tokenizer.guide is None:
        raise ValueError(
            f"tokenizer {run.tokenizer} needs image features, and its folder has no {GUIDANCE_FOLDER}/ that gives them"
        )
    size, own = tokenizer.guide.backbone.image_size, run.backbone.image_size
    if size != own:
        raise ValueError(
            f"backbone.image_size is {list(own)}; the labels of tokenizer {run.tokenizer} come from crops of "
            f"{list(size)}"
        )
