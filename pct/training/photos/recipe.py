"""Stage two from a config to a trained model: token classifier, or the heatmap baseline on the same photos."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pct import distributed
from pct.checkpoint import CheckpointError, fingerprint
from pct.evaluation.photos.calibration import calibrate_classifier
from pct.photos.backbone import Backbone, load_backbone
from pct.photos.classifier import ClassifierConfig, PoseClassifier
from pct.photos.config import HeatmapSizes
from pct.photos.heatmap import HeatmapConfig, HeatmapModel
from pct.photos.person_views import annotated_persons
from pct.pose_space import PoseSpace
from pct.tokenizer import PoseTokenizer
from pct.tokenizer.model import GUIDANCE_FOLDER
from pct.training.loop import save_trained, start_run, train
from pct.training.photos.batches import PersonCrops, PhotoBatches
from pct.training.photos.config import ClassifierRun, HeatmapRun, PhotoRun
from pct.training.photos.data import open_persons
from pct.training.photos.features import FeatureBatches, store_features
from pct.training.photos.steps import HeatmapStep, PhotoValidation, TokenStep
from pct.training.run_files import PRETRAIN_FOLDER

# Of the augmented crops whose features are stored.
_CROPS_SEED = 0


class PhotoSetting:
    """What a run's models are trained with: ``tokenizer``, persons to ``train`` and ``val``, and ``device``."""

    def __init__(self, run: PhotoRun) -> None:
        self.run, self.device = run, start_run(run)
        self.tokenizer = PoseTokenizer.from_pretrained(run.tokenizer, self.device)
        _check_guide(self.tokenizer, run)
        self.space = crop_space(run, self.tokenizer)
        self.train, self.val = (
            replace(persons, source=annotated_persons(persons.source, self.space))
            for persons in open_persons(run.data, self.tokenizer)
        )

    def heatmap_model(self, heatmap: HeatmapSizes) -> HeatmapModel:
        """Build a heatmap model on the run's backbone, for the tokenizer's joints and crops."""
        config = HeatmapConfig(self.run.backbone, heatmap, self.tokenizer.skeleton, self.space)
        return HeatmapModel(config, self.run.pretrained).to(self.device)

    def start(self, model: PoseClassifier | HeatmapModel) -> None:
        """Take over the weights of the models that the run starts from, if any.

        Raises:
            CheckpointError: If such a model has other sizes or another tokenizer.
        """
        run, kind = self.run, type(model)
        if run.backbone_from:
            sizes, state = load_backbone(run.backbone_from)
            sizes_of = "{0.name} (image_size {0.image_size}, stage {0.stage}, {0.options})".format
            theirs, ours = sizes_of(sizes), sizes_of(run.backbone)
            _take(model.backbone, state, f"{run.backbone_from}: its backbone {theirs} does not fit this run's {ours}")
        if run.model_from:
            other = kind.from_pretrained(run.model_from)
            if isinstance(other, PoseClassifier):
                ours, theirs = self.tokenizer.fingerprint(), other.tokenizer.fingerprint()
                if ours != theirs:
                    raise CheckpointError(
                        f"{run.model_from} was trained for tokenizer {theirs}, this run has tokenizer {ours}"
                    )
            _take(model, other.state_dict(), f"{run.model_from}: its sizes are not those of this run: {other.config}")

    def fit(
        self,
        model: PoseClassifier | HeatmapModel,
        step: TokenStep | HeatmapStep,
        folder: Path,
        progress: Any,
        run: PhotoRun | None = None,
    ) -> None:
        """Train a model, or its head alone, as long and as fast as ``run`` says, by default the run itself."""
        run, scales = run or self.run, None
        seed = run.seed if isinstance(step, TokenStep) else run.seed + 1
        if run.freeze_backbone:
            model.backbone.freeze()
        validate = PhotoValidation(model, self.val.source, run.val_persons)
        if run.layer_decay != 1:
            of_backbone = model.backbone.learning_rate_scales(run.layer_decay)
            scales = {f"backbone.{name}": scale for name, scale in of_backbone.items()}
        train(model, self._batches(model.backbone, seed), step, run, folder, validate, progress, scales)

    def _batches(self, backbone: Backbone, seed: int) -> PhotoBatches | FeatureBatches:
        run, source, weights = self.run, self.train.source, self.train.weights
        space, size = self.space.training_space, run.backbone.image_size
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
    setting = PhotoSetting(run)
    torch.manual_seed(run.seed)
    config = ClassifierConfig(run.backbone, run.head)
    model = PoseClassifier(config, setting.tokenizer, run.pretrained).to(setting.device)
    setting.start(model)
    if run.pretrain.steps:
        first = setting.heatmap_model(run.pretrain.heatmap)
        first.backbone.load_state_dict(model.backbone.state_dict())
        (folder / PRETRAIN_FOLDER).mkdir(exist_ok=True)
        optim = replace(run.optim, lr=run.pretrain.lr)
        phase = replace(run, steps=run.pretrain.steps, optim=optim, freeze_backbone=False)
        setting.fit(first, HeatmapStep(first, run.pretrain.sigma), folder / PRETRAIN_FOLDER, progress, phase)
        model.backbone.load_state_dict(first.backbone.state_dict())
    setting.fit(model, TokenStep(setting.tokenizer, run.loss), folder, progress)
    if distributed.is_main():
        val = setting.val
        calibration = calibrate_classifier(model, val.source, limit=run.val_persons, weights=val.weights)
        model.config = replace(config, calibration=calibration)
    save_trained(model, folder)
    return model


def train_heatmap_model(run: HeatmapRun, folder: Path, progress: Any = None) -> HeatmapModel:
    """Train the heatmap baseline as ``run`` says, and save it under ``folder/model``; as :func:`train_classifier`."""
    setting = PhotoSetting(run)
    torch.manual_seed(run.seed)
    model = setting.heatmap_model(run.heatmap)
    setting.start(model)
    setting.fit(model, HeatmapStep(model, run.loss.sigma), folder, progress)
    save_trained(model, folder)
    return model


def crop_space(run: PhotoRun, tokenizer: PoseTokenizer) -> PoseSpace:
    """Return where joints lie in a run's crops: the tokenizer's space, for heatmaps with the run's own conventions."""
    space = tokenizer.space.crop_space
    return replace(space, conventions=run.conventions) if isinstance(run, HeatmapRun) else space


def _take(module: nn.Module, state: Mapping[str, Tensor], misfit: str) -> None:
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise CheckpointError(misfit) from error


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
