"""Configs of training runs on photos: token classifier and heatmap baseline share data, crops and schedule."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from pct.conventions import CropConventions
from pct.photos.config import BackboneSizes, HeadSizes, HeatmapSizes
from pct.training.photos.augment import PhotoAugmentConfig
from pct.training.run_config import AT_LEAST_0, AT_LEAST_1, POSITIVE, OptimSection, Rule, TrainingRun, check, setting


@dataclass
class PhotoSet:
    """One of several sets of photos.

    Attributes:
        annotations: COCO-format keypoint file.
        images: Folder of its photos.
        weight: Share of the set in the batches, beside the other sets'.
        where: ``field=value`` takes only the photos of the file with that value (``coco_split=train2017``), and of
            these none whose scene (``group``) is also on another photo; empty takes all.
        category: Name or id of the only category that is read; empty takes all that fit.
    """

    annotations: str = ""
    images: str = ""
    weight: float = setting(1.0, POSITIVE)
    where: str = setting("", Rule("field=value", lambda where: not where or "=" in where))
    category: str = ""


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
        category: Name or id of the only category of ``train`` and ``val`` that is read; empty takes all that fit.
    """

    retired: ClassVar = ("backgrounds", "mocap")
    train: str = "generated"
    train_images: str = ""
    val: str = ""
    val_images: str = ""
    sets: list[PhotoSet] = field(default_factory=list)
    val_share: float = setting(0.0, Rule("in [0, 1)", lambda share: 0 <= share < 1))
    num_generated: int = setting(100_000, AT_LEAST_1)
    num_val: int = setting(1000, AT_LEAST_1)
    min_keypoints: int = setting(1, AT_LEAST_1)
    category: str = ""

    def __post_init__(self) -> None:
        for name in ("train", "val"):
            file, folder = getattr(self, name), getattr(self, f"{name}_images")
            needs = bool(file) and file != "generated"
            rule = f"the folder of data.{name}'s photos" if needs else f"empty, as data.{name} is {file!r}"
            check(f"data.{name}_images", repr(folder), bool(folder) == needs, rule)
        alone = not self.val_share or (bool(self.sets) and not self.val)
        check("data.val_share", self.val_share, alone, "0 without data.sets or with data.val")
        for number, given in enumerate(self.sets):
            files, both = f"{given.annotations!r}, {given.images!r}", bool(given.annotations and given.images)
            check(f"data.sets[{number}]", files, both, "annotations and the folder of their images")
        rule = "empty where data.sets are given; write it into each of them that needs it (data.sets[0].category)"
        check("data.category", repr(self.category), not (self.sets and self.category), rule)
        plain = not self.sets or self.train == "generated"
        check("data.train", self.train, plain, "left out where data.sets are given")


@dataclass
class PhotoRun(TrainingRun):
    """What every training run on photos has.

    Attributes:
        workers: Processes that read and crop photos ahead; 0 does so between the steps.
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
    """

    out: str = "runs/photos"
    steps: int = setting(10_000, AT_LEAST_1)
    batch_size: int = setting(64, AT_LEAST_1)
    workers: int = setting(2, AT_LEAST_0)
    val_persons: int = setting(512, AT_LEAST_1)
    tokenizer: str = "coco17"
    data: PhotoData = field(default_factory=PhotoData)
    backbone: BackboneSizes = field(default_factory=BackboneSizes)
    pretrained: bool = False
    model_from: str = ""
    backbone_from: str = ""
    freeze_backbone: bool = False
    features: str = ""
    feature_copies: int = setting(4, AT_LEAST_1)
    layer_decay: float = setting(1.0, Rule("in (0, 1]", lambda factor: 0 < factor <= 1))
    augment: PhotoAugmentConfig = field(default_factory=PhotoAugmentConfig)
    optim: OptimSection = field(default_factory=lambda: OptimSection(lr=1e-3, betas=(0.9, 0.999)))

    def __post_init__(self) -> None:
        one = not (self.model_from and (self.backbone_from or self.pretrained))
        check("model_from", self.model_from, one, "empty where backbone_from or pretrained is set")
        frozen = self.freeze_backbone or not self.features
        check("freeze_backbone", self.freeze_backbone, frozen, "true where features are stored")
        size = self.backbone.image_size
        check("backbone.image_size", list(size), len(size) == 2 and min(size) >= 16, "two sizes of at least 16")


@dataclass
class HeatmapLoss:
    """Loss of heatmaps: mean squared error to Gaussians.

    Attributes:
        sigma: Deviation of the Gaussians in cells of the heatmap.
    """

    sigma: float = setting(1.5, POSITIVE)


@dataclass
class TokenLoss:
    """Losses of the token classifier.

    Attributes:
        token_weight: Weight of the cross-entropy of the tokens, in nats a token.
        keypoint_weight: Weight of smooth-L1 of the expected pose, in model units (half the crop's side).
        beta: Where smooth-L1 turns from quadratic to linear, in model units.
        normalisation: Of smooth-L1: ``per_pose`` (each pose counts alike) or ``published`` (the mean over all joints of
            the batch with unlabelled ones at 0, so that a pose counts by its labelled joints).
        softness: Deviation of the Gaussian that spreads a token's label over the codebook, in mean distances of what
            the encoder sees from the four nearest entries; 0 takes the nearest entry alone.
    """

    retired: ClassVar = ("similarity_weight",)
    token_weight: float = setting(1.0, AT_LEAST_0)
    keypoint_weight: float = setting(20.0, AT_LEAST_0)
    beta: float = setting(0.02, AT_LEAST_0)
    normalisation: Literal["per_pose", "published"] = "per_pose"
    softness: float = setting(0.0, AT_LEAST_0)


@dataclass
class PretrainSection:
    """A first phase, in which the backbone learns heatmaps.

    Attributes:
        steps: Steps of the phase; 0 leaves it out.
        lr: Peak learning rate; the other settings of the optimiser stay.
        heatmap: Sizes of the deconvolutions.
        sigma: Deviation of the Gaussians in cells of the heatmap.
    """

    steps: int = setting(0, AT_LEAST_0)
    lr: float = setting(1e-3, POSITIVE)
    heatmap: HeatmapSizes = field(default_factory=HeatmapSizes)
    sigma: float = setting(1.5, POSITIVE)


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

    def __post_init__(self) -> None:
        super().__post_init__()
        once = not (self.features and self.pretrain.steps)
        check("pretrain.steps", self.pretrain.steps, once, "0 where features are stored")


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
