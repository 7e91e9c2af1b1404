"""Configs of stage one's training runs: their sections, defaults and ranges."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pct.pose_space import PoseSpace
from pct.tokenizer import TokenizerSizes
from pct.training.run_config import TrainingRun, check_run
from pct.training.tokenizer.augment import AugmentConfig
from pct.training.yaml_config import check, load_config


@dataclass
class DataSection:
    """What to train on.

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
    val_share: float = 0.02
    num_generated: int = 100_000
    skeleton: str = ""
    category: str = ""


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

    beta: float = 0.01
    commitment_weight: float = 1.0
    estimate_weight: float = 0.5
    codebook_weight: float = 1.0
    normalisation: Literal["per_pose", "published"] = "per_pose"


@dataclass
class TokenizerRun(TrainingRun):
    """One training run of a tokenizer.

    Attributes:
        model_from: Folder, shipped or hf: name of a tokenizer to start from, also of another skeleton: what has the
            same name and shape is taken over, the rest starts anew; empty starts all anew.
        report: Whether to evaluate and write the report at the end.
        report_poses: At most so many poses in the report; 0 takes all.
    """

    out: str = "runs/tokenizer"
    model_from: str = ""
    report: bool = True
    report_poses: int = 0
    data: DataSection = field(default_factory=DataSection)
    space: PoseSpace = field(default_factory=PoseSpace)
    model: TokenizerSizes = field(default_factory=TokenizerSizes)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossSection = field(default_factory=LossSection)


def load_run(path: str | Path, overrides: list[str]) -> TokenizerRun:
    """Read a run's YAML file and apply ``key=value`` overrides (``model.encoder_width=128``).

    Raises:
        ValueError: If the file is missing or no YAML, a key is unknown (the nearest is named), or a value has the
            wrong type or is out of its range.
    """
    run = load_config(path, overrides, TokenizerRun)
    check_values(run, Path(path))
    return run


def check_values(run: TokenizerRun, path: Path) -> None:
    """Check that all values of a run are in their ranges.

    Raises:
        ValueError: If one is not.
    """
    check_run(run, path)
    check(path, "report_poses", run.report_poses, run.report_poses >= 0, "at least 0")
    loss, data = run.loss, run.data
    for name in ("beta", "commitment_weight", "estimate_weight", "codebook_weight"):
        check(path, f"loss.{name}", getattr(loss, name), getattr(loss, name) >= 0, "at least 0")
    # A guided run takes them from its backbone.
    check(path, "model.guidance_channels", run.model.guidance_channels, run.model.guidance_channels == 0, "0")
    check(path, "data.val_share", data.val_share, 0 < data.val_share < 1, "between 0 and 1")
    check(path, "data.num_generated", data.num_generated, data.num_generated >= 2, "at least 2")
