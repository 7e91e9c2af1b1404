"""Configs of training runs on photos: token classifier and heatmap baseline share data, crops and schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pct.conventions import CropConventions
from pct.photos.augment import PhotoAugmentConfig
from pct.photos.config import BackboneSizes, HeadSizes, HeatmapSizes
from pct.training.run_config import OptimSection
from pct.training.yaml_config import check, load_config


@dataclass
class PhotoSet:
    """One of several sets of photos.

    Attributes:
        annotations: COCO-format keypoint file.
        images: Folder of its photos.
        weight: Share of the set in the batches, beside the other sets'.
        where: ``field=value`` takes only the photos of the file with that value (``coco_split=train2017``), and of
            these none whose scene (``group``) is also on another photo; empty takes all.
    """

    annotations: str = ""
    images: str = ""
    weight: float = 1.0
    where: str = ""


@dataclass
class PhotoData:
    """What to train on.

    Attributes:
        train: COCO-format keypoint file, or ``generated`` for generated people made while training.
        train_images: Folder of its photos.
        val: COCO-format keypoint file for validation and calibration; empty or ``generated`` takes generated people.
        val_images: Folder of its photos.
        sets: Several sets in place of ``train``.
        val_share: Share of the photos of ``sets``, whole scenes, to validate and calibrate on in place of ``val``.
        num_generated: Generated persons to train on, for ``generated``.
        num_val: Generated persons to validate on.
        min_keypoints: Persons with fewer labelled joints are left out of training.
        backgrounds: Folder of photos behind generated people; empty draws backgrounds.
        category: Name or id of the only category of ``train`` and ``val`` that is read; empty takes all that fit.
        mocap: Motion-capture file (``.npz``) whose postures half of the generated people take; empty takes none.
    """

    train: str = "generated"
    train_images: str = ""
    val: str = ""
    val_images: str = ""
    sets: list[PhotoSet] = field(default_factory=list)
    val_share: float = 0.0
    num_generated: int = 100_000
    num_val: int = 1000
    min_keypoints: int = 1
    backgrounds: str = ""
    category: str = ""
    mocap: str = ""


@dataclass
class PhotoRun:
    """What every training run on photos has.

    Attributes:
        out: Folder of the run: checkpoints, logs, curves and model.
        steps: Optimiser steps.
        batch_size: Persons a step over all processes.
        seed: Of weights, order and augmentation.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32`` or ``bf16`` (autocast; codebook and decoder stay in float32).
        threads: CPU threads of torch; 0 leaves torch's choice.
        workers: Processes that read and crop photos ahead; 0 does so between the steps.
        log_every: Steps between lines of ``metrics.jsonl``.
        val_every: Steps between validations; 0 validates at the end only.
        checkpoint_every: Steps between checkpoints.
        val_persons: At most so many persons are validated on while training.
        tokenizer: Folder, shipped or hf: name of the trained tokenizer; it says whose joints are found and what
            the crop is, for heatmaps too.
        data: Photos.
        backbone: Which one, and the size of the crops.
        pretrained: Start from timm's weights for the backbone (fetched from the hub).
        model_from: Folder of a trained model of the same kind and sizes to go on from, for instance on other photos;
            empty for none.
        backbone_from: Folder of a classifier or heatmap model whose backbone to start from; empty for none.
        freeze_backbone: Train the head alone, after a first phase if there is one.
        features: Folder for the features of a frozen backbone, filled if it does not exist and reused if it does:
            every epoch then takes one of ``feature_copies`` augmented crops of each person; empty stores none.
        feature_copies: Augmented crops of each person whose features are stored.
        layer_decay: Factor of the learning rate from each layer of the backbone to the one before it.
        augment: Augmentation.
        optim: Optimiser and schedule.
    """

    out: str = "runs/photos"
    steps: int = 10_000
    batch_size: int = 64
    seed: int = 0
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int = 0
    workers: int = 2
    log_every: int = 50
    val_every: int = 1000
    checkpoint_every: int = 500
    val_persons: int = 512
    tokenizer: str = "coco17"
    data: PhotoData = field(default_factory=PhotoData)
    backbone: BackboneSizes = field(default_factory=BackboneSizes)
    pretrained: bool = False
    model_from: str = ""
    backbone_from: str = ""
    freeze_backbone: bool = False
    features: str = ""
    feature_copies: int = 4
    layer_decay: float = 1.0
    augment: PhotoAugmentConfig = field(default_factory=PhotoAugmentConfig)
    optim: OptimSection = field(default_factory=lambda: OptimSection(lr=1e-3, betas=(0.9, 0.999)))


@dataclass
class HeatmapLoss:
    """Loss of heatmaps: mean squared error to normal bells.

    Attributes:
        sigma: Deviation of the bells in cells of the heatmap.
    """

    sigma: float = 1.5


@dataclass
class TokenLoss:
    """Losses of the token classifier.

    Attributes:
        token_weight: Weight of the cross-entropy of the tokens, in nats a token.
        keypoint_weight: Weight of smooth-L1 of the expected pose, in model units (half the crop's side).
        similarity_weight: Weight of one minus the expected pose's keypoint similarity (OKS).
        beta: Where smooth-L1 turns from quadratic to linear, in model units.
        normalisation: Of smooth-L1: ``per_pose`` (each pose counts alike) or ``published`` (the mean over all joints of
            the batch with unlabelled ones at 0, so that a pose counts by its labelled joints).
        softness: Deviation of the bell that spreads a token's label over the codebook, in mean distances of what the
            encoder sees from the four nearest entries; 0 takes the nearest entry alone.
    """

    token_weight: float = 1.0
    keypoint_weight: float = 20.0
    similarity_weight: float = 0.0
    beta: float = 0.02
    normalisation: Literal["per_pose", "published"] = "per_pose"
    softness: float = 0.0


@dataclass
class PretrainSection:
    """A first phase, in which the backbone learns heatmaps.

    Attributes:
        steps: Steps of the phase; 0 leaves it out.
        lr: Peak learning rate; the other settings of the optimiser stay.
        heatmap: Sizes of the deconvolutions.
        sigma: Deviation of the bells in cells of the heatmap.
    """

    steps: int = 0
    lr: float = 1e-3
    heatmap: HeatmapSizes = field(default_factory=HeatmapSizes)
    sigma: float = 1.5


@dataclass
class ClassifierRun(PhotoRun):
    """A training run of a token classifier.

    Attributes:
        head: Sizes of the token head.
        loss: Losses.
        pretrain: A first phase that trains the backbone on heatmaps.
    """

    out: str = "runs/classifier"
    head: HeadSizes = field(default_factory=HeadSizes)
    loss: TokenLoss = field(default_factory=TokenLoss)
    pretrain: PretrainSection = field(default_factory=PretrainSection)


@dataclass
class HeatmapRun(PhotoRun):
    """A training run of the heatmap baseline.

    Attributes:
        heatmap: Sizes of the deconvolutions.
        loss: Loss.
        conventions: Of crops, flip test and peaks.
    """

    out: str = "runs/heatmap"
    heatmap: HeatmapSizes = field(default_factory=HeatmapSizes)
    loss: HeatmapLoss = field(default_factory=HeatmapLoss)
    conventions: CropConventions = field(default_factory=CropConventions)


def load_classifier_run(path: str | Path, overrides: list[str]) -> ClassifierRun:
    """Read a classifier's YAML file and apply ``key=value`` overrides.

    Raises:
        ValueError: As :func:`pct.training.yaml_config.load_config`, and for values out of their range.
    """
    run = load_config(path, overrides, ClassifierRun)
    _check_values(run, Path(path))
    for name in ("token_weight", "keypoint_weight", "similarity_weight", "beta", "softness"):
        check(path, f"loss.{name}", getattr(run.loss, name), getattr(run.loss, name) >= 0, "at least 0")
    once = not (run.features and run.pretrain.steps)
    check(path, "pretrain.steps", run.pretrain.steps, once, "0 where features are stored")
    check(path, "pretrain.steps", run.pretrain.steps, run.pretrain.steps >= 0, "at least 0")
    check(path, "pretrain.sigma", run.pretrain.sigma, 0 < run.pretrain.sigma < math.inf, "positive")
    check(path, "pretrain.lr", run.pretrain.lr, 0 < run.pretrain.lr < math.inf, "positive")
    return run


def load_heatmap_run(path: str | Path, overrides: list[str]) -> HeatmapRun:
    """Read a heatmap model's YAML file and apply ``key=value`` overrides.

    Raises:
        ValueError: As :func:`pct.training.yaml_config.load_config`, and for values out of their range.
    """
    run = load_config(path, overrides, HeatmapRun)
    _check_values(run, Path(path))
    check(path, "loss.sigma", run.loss.sigma, 0 < run.loss.sigma < math.inf, "positive")
    return run


def _check_values(run: PhotoRun, path: Path) -> None:
    for name in ("steps", "batch_size", "log_every", "checkpoint_every", "val_persons", "feature_copies"):
        check(path, name, getattr(run, name), getattr(run, name) >= 1, "at least 1")
    for name in ("val_every", "threads", "workers", "seed"):
        check(path, name, getattr(run, name), getattr(run, name) >= 0, "at least 0")
    one = not (run.model_from and (run.backbone_from or run.pretrained))
    check(path, "model_from", run.model_from, one, "empty where backbone_from or pretrained is set")
    frozen = run.freeze_backbone or not run.features
    check(path, "freeze_backbone", run.freeze_backbone, frozen, "true where features are stored")
    check(path, "layer_decay", run.layer_decay, 0 < run.layer_decay <= 1, "in (0, 1]")
    check(path, "optim.lr", run.optim.lr, 0 < run.optim.lr < math.inf, "positive")
    size = run.backbone.image_size
    check(path, "backbone.image_size", list(size), len(size) == 2 and min(size) >= 16, "two sizes of at least 16")
    check_photo_data(path, run.data, "data")


def check_photo_data(path: str | Path, data: PhotoData, section: str) -> None:
    """Check the photos that a config names.

    Args:
        path: The config file.
        data: What it says.
        section: Where it says so.

    Raises:
        ValueError: If a number is out of its range, or a file and the folder of its photos do not go together.
    """
    for name in ("num_generated", "num_val", "min_keypoints"):
        check(path, f"{section}.{name}", getattr(data, name), getattr(data, name) >= 1, "at least 1")
    for name in ("train", "val"):
        file, folder = getattr(data, name), getattr(data, f"{name}_images")
        needs = bool(file) and file != "generated"
        rule = f"the folder of {section}.{name}'s photos" if needs else f"empty, as {section}.{name} is {file!r}"
        check(path, f"{section}.{name}_images", repr(folder), bool(folder) == needs, rule)
    _check_sets(path, data, section)


def _check_sets(path: str | Path, data: PhotoData, section: str) -> None:
    check(path, f"{section}.val_share", data.val_share, 0 <= data.val_share < 1, "in [0, 1)")
    alone = not data.val_share or (bool(data.sets) and not data.val)
    check(path, f"{section}.val_share", data.val_share, alone, f"0 without {section}.sets or with {section}.val")
    for number, given in enumerate(data.sets):
        name = f"{section}.sets[{number}]"
        check(path, f"{name}.weight", given.weight, 0 < given.weight < math.inf, "positive")
        check(path, f"{name}.where", repr(given.where), not given.where or "=" in given.where, "field=value")
        both = bool(given.annotations and given.images)
        check(
            path, name, f"{given.annotations!r}, {given.images!r}", both, "annotations and the folder of their images"
        )
    plain = not data.sets or data.train == "generated"
    check(path, f"{section}.train", data.train, plain, f"left out where {section}.sets are given")
