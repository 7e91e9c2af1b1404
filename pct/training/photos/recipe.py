"""Stage two from a config to a trained model: token classifier, or the heatmap baseline on the same photos."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

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
from pct.training.photos.config import ClassifierRun, HeatmapRun, PhotoRun
from pct.training.photos.data import Persons, open_persons
from pct.training.photos.features import FeatureBatches, store_features
from pct.training.photos.steps import HeatmapStep, TokenStep
from pct.training.photos.validation import PhotoValidation, classifier_predictor, heatmap_predictor
from pct.training.run_config import OptimSection
from pct.training.run_folder import PRETRAIN_FOLDER

# Of the augmented crops whose features are stored.
_CROPS_SEED = 0


@dataclass(frozen=True)
class PhotoSetting:
    """What both kinds of model are trained with."""

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
        return cls(device, tokenizer, train, val)


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
        first = build_heatmap_model(run, run.pretrain.heatmap, setting).to(setting.device)
        first.backbone.load_state_dict(model.backbone.state_dict())
        (folder / PRETRAIN_FOLDER).mkdir(exist_ok=True)
        optim = replace(run.optim, lr=run.pretrain.lr)
        _train_heatmaps(
            first, run, run.pretrain.steps, run.pretrain.sigma, optim, setting, folder / PRETRAIN_FOLDER, progress
        )
        model.backbone.load_state_dict(first.backbone.state_dict())
    if run.freeze_backbone:
        model.freeze_backbone()
    validate = _validation(classifier_predictor(model, run.loss.beta), setting.tokenizer.space, run, setting)
    step = TokenStep(setting.tokenizer, run.loss)
    scales = _learning_rate_scales(model.backbone, run)
    batches = _batches(run, setting, run.seed, model.backbone)
    train(model, batches, step, run.optim, run, folder, validate, progress, scales)
    if distributed.is_main():
        calibration = calibrate_classifier(
            model, setting.val.source, limit=run.val_persons, weights=setting.val.weights
        )
        model.config = replace(config, calibration=calibration)
    save_trained(model, folder)
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
    save_trained(model, folder)
    return model


def crop_space(run: PhotoRun, tokenizer: PoseTokenizer) -> PoseSpace:
    """Return where joints lie in a run's crops: the tokenizer's space, for heatmaps with the run's own conventions."""
    space = tokenizer.space.crop_space
    return replace(space, conventions=run.conventions) if isinstance(run, HeatmapRun) else space


def build_heatmap_model(run: PhotoRun, heatmap: HeatmapSizes, setting: PhotoSetting) -> HeatmapModel:
    """Build a heatmap model on the run's backbone, for the tokenizer's joints and crops."""
    skeleton, space = setting.tokenizer.skeleton, crop_space(run, setting.tokenizer)
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
    batches = _batches(run, setting, run.seed + 1, model.backbone)
    step = HeatmapStep(model, sigma)
    train(model, batches, step, optim, replace(run, steps=steps), folder, validate, progress, scales)


def _image_size(run: PhotoRun) -> tuple[int, int]:
    height, width = run.backbone.image_size
    return int(height), int(width)


def _batches(run: PhotoRun, setting: PhotoSetting, seed: int, backbone: Backbone) -> PhotoBatches | FeatureBatches:
    space, augment, size = crop_space(run, setting.tokenizer).training_space, run.augment, _image_size(run)
    persons = setting.train
    if run.features:
        # The same crops for runs of all seeds, which then share the features.
        crops = PersonCrops(persons.source, space, size, _CROPS_SEED, augment)
        stored = store_features(
            Path(run.features), backbone, crops, _about(run, space, backbone), print, persons.weights
        )
        return FeatureBatches(stored, run.batch_size, seed, persons.weights)
    return PhotoBatches(
        persons.source, space, size, run.batch_size, seed, augment, run.workers, weights=persons.weights
    )


def _about(run: PhotoRun, space: PoseSpace, backbone: Backbone) -> dict[str, Any]:
    """Return all that stored features depend on."""
    return {
        "backbone": fingerprint({"name": backbone.name, "stage": backbone.stage}, backbone.state_dict()),
        "image_size": list(backbone.image_size),
        "copies": run.feature_copies,
        "seed": _CROPS_SEED,
        "space": space.to_dict(),
        "augment": asdict(run.augment),
        # Folders that former versions filled name those settings too.
        "data": {**dict.fromkeys(run.data.retired, ""), **asdict(run.data)},
    }


def _validation(
    predict: Callable[[Any], tuple[Tensor, dict[str, Tensor]]], space: PoseSpace, run: PhotoRun, setting: PhotoSetting
) -> PhotoValidation:
    return PhotoValidation(predict, space, setting.val.source, _image_size(run), run.val_persons, setting.device)


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
    size = tokenizer.guide.backbone.image_size
    if size != _image_size(run):
        raise ValueError(
            f"backbone.image_size is {list(_image_size(run))}; the labels of tokenizer {run.tokenizer} come from crops "
            f"of {list(size)}"
        )
