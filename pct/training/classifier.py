"""Stage two from a config to a trained model: token classifier, or the heatmap baseline on the same photos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pct import distributed
from pct.data.photos import PersonSource
from pct.evaluation.calibration import calibrate_classifier
from pct.layers.backbone import Backbone
from pct.models.checkpoint import CheckpointError
from pct.models.classifier import ClassifierConfig, PoseClassifier
from pct.models.heatmap import HeatmapConfig, HeatmapModel
from pct.models.joint_head import JointTokenHead
from pct.models.photo_config import BackboneSizes, HeatmapSizes
from pct.models.saved_backbone import SavedBackbone
from pct.models.tokenizer import GUIDANCE_FOLDER, PoseTokenizer
from pct.pose_space import PoseSpace
from pct.training.batches import DeviceBatches
from pct.training.config import OptimSection
from pct.training.loop import LoopSettings, train
from pct.training.photo_batches import PhotoBatches
from pct.training.photo_config import ClassifierRun, HeatmapRun, PhotoRun
from pct.training.photo_data import train_persons, val_persons
from pct.training.photo_steps import HeatmapStep, TokenStep
from pct.training.photo_validation import PhotoValidation, classifier_predictor, heatmap_predictor
from pct.training.run_folder import MODEL_FOLDER, PRETRAIN_FOLDER


@dataclass(frozen=True)
class PhotoSetting:
    """What both kinds of model are trained with: device, tokenizer and persons."""

    device: torch.device
    tokenizer: PoseTokenizer
    train: PersonSource
    val: PersonSource

    @classmethod
    def of(cls, run: PhotoRun) -> PhotoSetting:
        """Load what a run asks for."""
        if run.threads:
            torch.set_num_threads(run.threads)
        device = distributed.start(run.device)
        tokenizer = PoseTokenizer.from_pretrained(run.tokenizer, device)
        _check_guide(tokenizer, run)
        return cls(device, tokenizer, train_persons(run.data, tokenizer), val_persons(run.data, tokenizer))


def train_classifier(run: ClassifierRun, folder: Path, progress: Any = None) -> PoseClassifier:
    """Train a token classifier as ``run`` says, and save it, calibrated on held-out persons, under ``folder/model``.

    Args:
        run: The resolved config.
        folder: The run's folder; an interrupted run there goes on where it stopped.
        progress: Wraps the steps in a bar; see :func:`pct.training.loop.train`.
    """
    setting = PhotoSetting.of(run)
    torch.manual_seed(run.seed)
    config = ClassifierConfig(replace(run.backbone, image_size=_image_size(run)), run.head)
    model = PoseClassifier(config, setting.tokenizer, run.pretrained).to(setting.device)
    _start_backbone(model.backbone, run)
    if run.model_from:
        _start_from(model, PoseClassifier.from_pretrained(run.model_from), run.model_from)
    if run.pretrain.steps:
        first = build_heatmap_model(run, run.head.heatmap, setting).to(setting.device)
        first.backbone.load_state_dict(model.backbone.state_dict())
        (folder / PRETRAIN_FOLDER).mkdir(exist_ok=True)
        optim = replace(run.optim, lr=run.pretrain.lr)
        _train_heatmaps(
            first, run, run.pretrain.steps, run.loss.heatmap_sigma, optim, setting, folder / PRETRAIN_FOLDER, progress
        )
        model.backbone.load_state_dict(first.backbone.state_dict())
        if isinstance(model.head, JointTokenHead):
            model.head.maps.load_state_dict(first.head.state_dict())
    if run.freeze_backbone:
        model.freeze_backbone()
    if run.loss.keep_apart:
        model.keep_tokens_apart()
    validate = _validation(classifier_predictor(model, run.loss.beta), setting.tokenizer.space, run, setting)
    step = TokenStep(setting.tokenizer, run.loss, model.cells)
    scales = _learning_rate_scales(model.backbone, run)
    batches = _batches(run, setting, run.seed)
    train(model, batches, step, run.optim, _settings(run, run.steps), folder, validate, progress, scales)
    model.eval()
    if distributed.is_main():
        calibration = calibrate_classifier(model, setting.val, limit=run.val_persons)
        model.config = replace(config, calibration=calibration)
        model.save_pretrained(folder / MODEL_FOLDER, force=True)
    return model


def train_heatmap_model(run: HeatmapRun, folder: Path, progress: Any = None) -> HeatmapModel:
    """Train the heatmap baseline as ``run`` says, and save it under ``folder/model``; as :func:`train_classifier`."""
    setting = PhotoSetting.of(run)
    torch.manual_seed(run.seed)
    model = build_heatmap_model(run, run.heatmap, setting).to(setting.device)
    _start_backbone(model.backbone, run)
    if run.model_from:
        _start_from(model, HeatmapModel.from_pretrained(run.model_from), run.model_from)
    if run.freeze_backbone:
        model.freeze_backbone()
    _train_heatmaps(model, run, run.steps, run.loss.sigma, run.optim, setting, folder, progress)
    if distributed.is_main():
        model.save_pretrained(folder / MODEL_FOLDER, force=True)
    return model


def build_heatmap_model(run: PhotoRun, heatmap: HeatmapSizes, setting: PhotoSetting) -> HeatmapModel:
    """Build a heatmap model on the run's backbone, for the tokenizer's joints and crops."""
    skeleton, space = setting.tokenizer.skeleton, setting.tokenizer.space.crop_space
    backbone = replace(run.backbone, image_size=_image_size(run))
    return HeatmapModel(HeatmapConfig(backbone, heatmap, skeleton, space), run.pretrained)


def _train_heatmaps(
    model: HeatmapModel,
    run: PhotoRun,
    steps: int,
    sigma: float,
    optim: OptimSection,
    setting: PhotoSetting,
    folder: Path,
    progress: Any,
) -> None:
    validate = _validation(heatmap_predictor(model), model.config.space, run, setting)
    scales = _learning_rate_scales(model.backbone, run)
    batches = _batches(run, setting, run.seed + 1)
    step = HeatmapStep(model, sigma)
    train(model, batches, step, optim, _settings(run, steps), folder, validate, progress, scales)
    model.eval()


def _image_size(run: PhotoRun) -> tuple[int, int]:
    height, width = run.backbone.image_size
    return int(height), int(width)


def _settings(run: PhotoRun, steps: int) -> LoopSettings:
    return LoopSettings(steps, run.log_every, run.val_every, run.checkpoint_every, run.precision, run.seed)


def _batches(run: PhotoRun, setting: PhotoSetting, seed: int) -> DeviceBatches:
    space, augment = setting.tokenizer.space.crop_space, run.augment
    batches = PhotoBatches(setting.train, space, _image_size(run), run.batch_size, seed, augment, run.workers)
    return DeviceBatches(batches, setting.device)


def _validation(
    predict: Callable[[Any], tuple[Tensor, dict[str, Tensor]]], space: PoseSpace, run: PhotoRun, setting: PhotoSetting
) -> PhotoValidation:
    return PhotoValidation(predict, space, setting.val, _image_size(run), run.val_persons, setting.device)


def _learning_rate_scales(backbone: Backbone, run: PhotoRun) -> Mapping[str, float] | None:
    if run.layer_decay == 1:
        return None
    return {f"backbone.{name}": scale for name, scale in backbone.learning_rate_scales(run.layer_decay).items()}


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
    saved = SavedBackbone.of_model(run.backbone_from)
    try:
        backbone.load_state_dict(saved.state)
    except RuntimeError as error:
        theirs, ours = _describe(saved.sizes), _describe(run.backbone)
        raise CheckpointError(f"{run.backbone_from}: its backbone {theirs} does not fit this run's {ours}") from error


def _describe(sizes: BackboneSizes) -> str:
    return f"{sizes.name} (image_size {list(sizes.image_size)}, stage {sizes.stage}, {sizes.options})"


def _check_guide(tokenizer: PoseTokenizer, run: PhotoRun) -> None:
    """Check that the labels of a tokenizer with image guidance can be made from the run's crops."""
    if not (isinstance(run, ClassifierRun) and tokenizer.config.guidance_channels):
        return
    if tokenizer.guide is None:
        raise ValueError(
            f"tokenizer {run.tokenizer} needs image features, and its folder has no {GUIDANCE_FOLDER}/ that gives them"
        )
    size = tokenizer.guide.backbone.image_size
    if size != _image_size(run):
        raise ValueError(
            f"backbone.image_size is {list(_image_size(run))}; the labels of tokenizer {run.tokenizer} come from crops "
            f"of {list(size)}"
        )
