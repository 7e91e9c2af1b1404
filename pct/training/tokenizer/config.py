"""Configs of stage one's training runs, on poses in images or in space."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pct.pose_space import PoseSpace
from pct.tokenizer import TokenizerSizes
from pct.training.run_config import AT_LEAST_0, AT_LEAST_1, Rule, TrainingRun, check, setting
from pct.training.tokenizer.augment import AugmentConfig, BodyAugmentConfig

_UP_TO_HALF = Rule("between 0 and 0.5", lambda share: 0 < share < 0.5)


@dataclass
class DataSection:
    """Poses in images to train on.

    Attributes:
        train: Keypoint file in COCO format or the MPII JSON layout, or ``generated``.
        val: The same for validation; empty holds out ``val_share`` of the training images.
        val_share: Share of the training images held out where ``val`` is empty.
        num_generated: Poses made for ``generated``.
        skeleton: Built-in name or YAML file; empty takes the file's own (COCO 17 for ``generated``).
        category: Name or id of the only category of COCO files that is read; empty takes all with the joints.
    """

    train: str = "generated"
    val: str = ""
    val_share: float = setting(0.02, Rule("between 0 and 1", lambda share: 0 < share < 1))
    num_generated: int = setting(100_000, Rule("at least 2", lambda number: number >= 2))
    skeleton: str = ""
    category: str = ""


@dataclass
class BodySection:
    """Poses in space to train on.

    Attributes:
        mocap: Mocap file (``.npz``); empty trains on generated bodies alone.
        test_subjects: Subjects of whom all clips are kept for testing.
        test_share: Share of the clips of each other subject that is kept for testing.
        val_share: Share of their clips that is validated on.
        split_seed: Of the choice of clips.
        num_generated: Generated bodies beside the mocap; with an empty ``mocap`` all of them, a fiftieth to validate.
        mocap_repeats: How often each mocap frame stands in an epoch; each time it is turned and stretched anew.
        augment: Turns, tilts, mirror images, and lengths of bones; of the run's own ``augment`` only the ``mask_*``
            settings count.
    """

    mocap: str = ""
    test_subjects: tuple[str, ...] = ("cmu06", "cmu07")
    test_share: float = setting(0.2, _UP_TO_HALF)
    val_share: float = setting(0.1, _UP_TO_HALF)
    split_seed: int = 0
    num_generated: int = setting(100_000, AT_LEAST_0)
    mocap_repeats: int = setting(1, AT_LEAST_1)
    augment: BodyAugmentConfig = field(default_factory=BodyAugmentConfig)

    def __post_init__(self) -> None:
        enough = bool(self.mocap) or self.num_generated >= 100
        check("bodies.num_generated", self.num_generated, enough, "100 or more")


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
class TokenizerRun(TrainingRun):
    """One training run of a tokenizer.

    Attributes:
        model_from: Folder, shipped or hf: name of a tokenizer to start from, also of another skeleton: what has the
            same name and shape is taken over, the rest starts anew; empty starts all anew.
        val_poses: At most so many poses are validated on while training.
        report: Whether to evaluate and write the report at the end.
        report_poses: At most so many poses in the report; 0 takes all.
    """

    out: str = "runs/tokenizer"
    model_from: str = ""
    val_poses: int = setting(2048, AT_LEAST_1)
    report: bool = True
    report_poses: int = setting(0, AT_LEAST_0)
    data: DataSection = field(default_factory=DataSection)
    space: PoseSpace = field(default_factory=PoseSpace)
    model: TokenizerSizes = field(default_factory=TokenizerSizes)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossSection = field(default_factory=LossSection)

    @classmethod
    def with_sections(cls, names: set[str]) -> type[TrainingRun]:
        """Return the kind of run: of poses in space where the config has a section ``bodies``."""
        return BodyRun if "bodies" in names else cls

    def __post_init__(self) -> None:
        channels, kind, in_space = self.model.guidance_channels, self.space.kind, isinstance(self, BodyRun)
        check("model.guidance_channels", channels, channels == 0, "0: only converted models are guided")
        plain = not in_space or self.data == DataSection(skeleton=self.data.skeleton)
        check("data", self.data, plain, "left out: the poses are those of the section bodies")
        wanted = "root3d" if in_space else "crop2d"
        check("space.kind", kind, kind == wanted, f"{wanted}; 3D poses have a section bodies")


@dataclass
class BodyRun(TokenizerRun):
    """A training run of a tokenizer of 3D poses.

    Attributes:
        bodies: What to train on, in place of the run's own ``data``.
    """

    out: str = "runs/tokenizer_bodies"
    space: PoseSpace = field(default_factory=lambda: PoseSpace(kind="root3d"))
    bodies: BodySection = field(default_factory=BodySection)
