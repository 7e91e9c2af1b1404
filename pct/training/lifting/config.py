"""Config of a lifter's training run: 3D poses or recorded pairs, cameras, a detector's errors, network and losses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pct.lifting.config import LifterSizes
from pct.lifting.detector_noise import NoiseConfig
from pct.lifting.pairs import CameraConfig
from pct.training.run_config import AT_LEAST_0, AT_LEAST_1, OptimSection, check, setting
from pct.training.tokenizer.augment import Augment3DConfig
from pct.training.tokenizer.config import PoseData, PoseRun

# Of the lifted pose.
_LOSSES = ("mpjpe", "mse", "smooth_l1")
# What of the augmentation cameras do themselves.
_BY_CAMERAS = ("turn", "pitch", "steep_share", "steep", "roll")


@dataclass
class RecordedSection:
    """Pairs of Human3.6M, converted once by ``tools/convert_h36m.py``, in place of photographed poses.

    Attributes:
        file: The converted file; empty trains on photographed poses.
        detections: Name of the 2D detections in it; ``projected`` are the 3D joints through the cameras.
        stride: Every how many frames to train on.
        train_subjects: Subjects to train on.
        val_subjects: Subjects to validate on; the standard test subjects S9 and S11 are for the report.
    """

    file: str = ""
    detections: str = "projected"
    stride: int = setting(1, AT_LEAST_1)
    train_subjects: tuple[str, ...] = ("S1", "S5", "S6", "S7")
    val_subjects: tuple[str, ...] = ("S8",)


@dataclass
class LifterLoss:
    """Losses of a lifter.

    Attributes:
        kind: Of the lifted pose, in model units: ``mpjpe`` (mean distance of a joint), ``mse`` (mean squared distance)
            or ``smooth_l1``.
        beta: Where ``smooth_l1`` turns from quadratic to linear, in model units.
        keypoint_weight: Weight of the pose's loss beside that of the tokens; without a token head it is the only one.
        token_weight: Weight of the cross-entropy of the tokens, in nats a token.
        softness: Deviation of the Gaussian that spreads a token's label over the codebook, in mean distances of what
            the encoder sees from the four nearest entries; 0 takes the nearest entry alone.
    """

    kind: Literal["mpjpe", "mse", "smooth_l1"] = "mpjpe"
    beta: float = setting(0.05, AT_LEAST_0)
    keypoint_weight: float = setting(20.0, AT_LEAST_0)
    token_weight: float = setting(1.0, AT_LEAST_0)
    softness: float = setting(0.0, AT_LEAST_0)

    def __post_init__(self) -> None:
        check("loss.kind", repr(self.kind), self.kind in _LOSSES, f"one of {', '.join(_LOSSES)}")


@dataclass
class LifterRun(PoseRun):
    """One training run of a lifter.

    Attributes:
        tokenizer: Folder, shipped or hf: name of a trained 3D tokenizer, for ``lifter.head: tokens``; empty for
            coordinates.
        recorded: Recorded pairs in place of ``data``, whose poses are photographed: their ``skeleton`` is that of the
            tokenizer, or ``h36m17``, where empty, and of ``augment3d`` only mirror images and lengths count.
        camera: How the cameras are drawn that photograph the poses.
        noise: The detector's errors, on recorded pairs too.
        lifter: Network and head.
        loss: Losses.
    """

    out: str = "runs/lifter"
    steps: int = setting(10_000, AT_LEAST_1)
    batch_size: int = setting(256, AT_LEAST_1)
    tokenizer: str = ""
    recorded: RecordedSection = field(default_factory=RecordedSection)
    camera: CameraConfig = field(default_factory=CameraConfig)
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    lifter: LifterSizes = field(default_factory=LifterSizes)
    loss: LifterLoss = field(default_factory=LifterLoss)
    optim: OptimSection = field(default_factory=lambda: OptimSection(lr=1e-3, weight_decay=0.01, betas=(0.9, 0.999)))

    @property
    def frames(self) -> int:
        """Frames that the network sees: ``lifter.options.frames``."""
        return int(self.lifter.options.get("frames", 1))

    def __post_init__(self) -> None:
        self._check_data()
        tokens = self.lifter.head == "tokens"
        rule = "a trained 3D tokenizer, for lifter.head: tokens" if tokens else "empty, as lifter.head is coordinates"
        learned = bool(self.loss.keypoint_weight or (tokens and self.loss.token_weight))
        check("loss.keypoint_weight", self.loss.keypoint_weight, learned, "positive: nothing else is learned")
        check("tokenizer", repr(self.tokenizer), bool(self.tokenizer) == tokens, rule)

    def _check_data(self) -> None:
        data, recorded = self.data, self.recorded
        data.check_in_space()
        # Generated poses do not move.
        moving = self.frames == 1 or bool(recorded.file) or (data.train != "generated" and not data.num_generated)
        rule = "mocap where lifter.options.frames is above 1, with data.num_generated=0"
        check("data.train", repr(data.train), moving, rule)
        if recorded.file:
            plain = data == PoseData(skeleton=data.skeleton)
            check("recorded.file", recorded.file, plain, "empty where data are given")
            both = set(recorded.train_subjects) & set(recorded.val_subjects)
            check("recorded.val_subjects", list(recorded.val_subjects), not both, "none of those trained on")
        for name in _BY_CAMERAS:
            value, usual = (getattr(augment, name) for augment in (self.augment3d, Augment3DConfig()))
            check(f"augment3d.{name}", value, value == usual, "left out: the cameras turn the poses (see camera)")
