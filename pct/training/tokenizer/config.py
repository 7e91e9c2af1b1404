"""Configs of stage one's training runs, on poses in images or in space."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pct.pose_space import PoseSpace
from pct.tokenizer import TokenizerSizes
from pct.training.run_config import AT_LEAST_0, AT_LEAST_1, Rule, TrainingRun, check, setting
from pct.training.tokenizer.augment import Augment3DConfig, AugmentConfig

_SHARE = Rule("between 0 and 0.5", lambda share: 0 < share < 0.5)


@dataclass
class PoseData:
    """Poses to train on, in images or in space.

    Attributes:
        train: Keypoint file in COCO format or the MPII JSON layout; for poses in space a mocap file (``.npz``); or
            ``generated``.
        val: The same for validation on poses in images; empty holds out ``val_share``.
        val_share: Share of the images, of the clips of each subject, or of the generated poses, that is validated on.
        num_generated: Poses made for ``generated``; of poses in space so many stand beside the mocap, too.
        skeleton: Built-in name or YAML file; empty takes the file's own (for ``generated`` COCO's, in space H36M's).
        category: Name or id of the only category of COCO files that is read; empty takes all with the joints.
        test_subjects: Of mocap: subjects of whom all clips are kept for testing.
        test_share: Of mocap: share of the clips of each other subject that is kept for testing.
        mocap_repeats: How often each mocap frame stands in an epoch; each time it is turned and stretched anew.
    """

    train: str = "generated"
    val: str = ""
    val_share: float = setting(0.02, _SHARE)
    num_generated: int = setting(100_000, AT_LEAST_0)
    skeleton: str = ""
    category: str = ""
    test_subjects: tuple[str, ...] = ("cmu06", "cmu07")
    test_share: float = setting(0.2, _SHARE)
    mocap_repeats: int = setting(1, AT_LEAST_1)

    def __post_init__(self) -> None:
        enough = self.train != "generated" or self.num_generated >= 100
        check("data.num_generated", self.num_generated, enough, "100 or more")

    def check_in_space(self) -> None:
        """Refuse what is for poses in images only.

        Raises:
            ValueError: If it is given.
        """
        mocap = self.train == "generated" or self.train.endswith(".npz")
        check("data.train", repr(self.train), mocap, "generated or mocap (.npz) for poses in space")
        for name in ("val", "category"):
            value = getattr(self, name)
            check(f"data.{name}", repr(value), not value, "left out for poses in space")


@dataclass
class LossSection:
    """Losses.

    Attributes:
        beta: Where smooth-L1 turns from quadratic to linear, in model units.
        commitment_weight: Weight of the commitment loss.
        estimate_weight: Weight of the loss of the encoder's own pose (layouts ``coarse_fine`` and ``residual``).
        codebook_weight: Weight of the loss of the map from coarse tokens to places (layout ``coarse_fine``).
        normalisation: ``per_pose`` (mean over the known joints of each pose) or ``published``.
    """

    beta: float = setting(0.01, AT_LEAST_0)
    commitment_weight: float = setting(1.0, AT_LEAST_0)
    estimate_weight: float = setting(0.5, AT_LEAST_0)
    codebook_weight: float = setting(1.0, AT_LEAST_0)
    normalisation: Literal["per_pose", "published"] = "per_pose"


@dataclass
class PoseRun(TrainingRun):
    """What every training run on poses has.

    Attributes:
        val_poses: At most so many poses are validated on while training.
        data: Poses; of tokenizers in space where ``space.kind`` is ``root3d``, of lifters always.
        augment3d: Turns, tilts, mirror images and lengths of bones of poses in space.
    """

    val_poses: int = setting(2048, AT_LEAST_1)
    data: PoseData = field(default_factory=PoseData)
    augment3d: Augment3DConfig = field(default_factory=Augment3DConfig)


@dataclass
class TokenizerRun(PoseRun):
    """One training run of a tokenizer.

    Attributes:
        model_from: Folder, shipped or hf: name of a tokenizer to start from, also of another skeleton: what has the
            same name and shape is taken over, the rest starts anew; empty starts all anew.
        report: Whether to evaluate and write the report at the end.
        report_poses: At most so many poses in the report; 0 takes all.
        augment: Crops and mirror images of poses in images, and of all poses what the encoder and the decoder get.
    """

    out: str = "runs/tokenizer"
    model_from: str = ""
    report: bool = True
    report_poses: int = setting(0, AT_LEAST_0)
    space: PoseSpace = field(default_factory=PoseSpace)
    model: TokenizerSizes = field(default_factory=TokenizerSizes)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossSection = field(default_factory=LossSection)

    def __post_init__(self) -> None:
        channels = self.model.guidance_channels
        check("model.guidance_channels", channels, channels == 0, "0: only converted models are guided")
        if self.space.kind == "root3d":
            self.data.check_in_space()
        else:
            plain = self.augment3d == Augment3DConfig()
            check("augment3d", self.augment3d, plain, "left out: poses in images have the section augment alone")
