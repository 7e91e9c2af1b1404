"""Configs of stage one's training runs: their sections, defaults and ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pct.data.augment import AugmentConfig
from pct.models.tokenizer import TokenizerSizes
from pct.pose_space import PoseSpace
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
    """

    train: str = "generated"
    val: str = ""
    val_share: float = 0.02
    num_generated: int = 100_000
    skeleton: str = ""


@dataclass
class LossSection:
    """Losses.

    Attributes:
        beta: Where smooth-L1 turns from quadratic to linear, in model units.
        commitment_weight: Weight of the commitment loss.
        completion_weight: Weight of the loss of the network that estimates unknown joints, where the model has one.
        normalisation: ``per_pose`` (mean over the known joints of each pose) or ``published``.
    """

    beta: float = 0.01
    commitment_weight: float = 1.0
    completion_weight: float = 1.0
    normalisation: Literal["per_pose", "published"] = "per_pose"


@dataclass
class OptimSection:
    """AdamW with linear warm-up and a cosine to ``min_lr_ratio`` times the peak.

    Attributes:
        lr: Peak learning rate.
        weight_decay: Decoupled weight decay.
        betas: AdamW's.
        warmup_steps: Steps of linear warm-up.
        min_lr_ratio: Last learning rate over the peak.
        clip: Largest gradient norm; 0 clips nothing.
    """

    lr: float = 2e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_steps: int = 500
    min_lr_ratio: float = 0.005
    clip: float = 1.0


@dataclass
class CompletionSection:
    """A second phase, in which only the network that estimates unknown joints is trained (``model.fill: network``).

    Attributes:
        steps: Steps of the phase; 0 leaves it out.
        lr: Peak learning rate; the other settings of the optimiser stay.
        adapt_steps: Steps in which encoder and decoder then get used to the network's better estimates, while it stays
            as it is; 0 leaves them out.
        adapt_lr: Peak learning rate of these.
        augment: Augmentation, nearer to the poses as they are, with joints hidden in every one.
    """

    steps: int = 0
    lr: float = 1e-3
    adapt_steps: int = 0
    adapt_lr: float = 5e-4
    augment: AugmentConfig = field(
        default_factory=lambda: AugmentConfig(
            plain_share=0.8,
            rotation=30.0,
            scale=0.25,
            outside_margin=0.5,
            mask_share=1.0,
            mask_ratio=(0.1, 0.5),
            mask_part_share=0.1,
        )
    )


@dataclass
class TokenizerRun:
    """One training run of a tokenizer.

    Attributes:
        out: Folder of the run: checkpoints, logs, curves, model and report.
        steps: Optimiser steps.
        batch_size: Poses a step over all processes.
        seed: Of weights, order and augmentation.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32`` or ``bf16`` (autocast; the quantizer stays in float32).
        threads: CPU threads; 0 leaves torch's choice.
        log_every: Steps between lines of ``metrics.jsonl``.
        val_every: Steps between validations; 0 validates at the end only.
        checkpoint_every: Steps between checkpoints.
        val_poses: At most so many poses are validated on while training.
        report: Whether to evaluate and write the report at the end.
        report_poses: At most so many poses in the report; 0 takes all.
    """

    out: str = "runs/tokenizer"
    steps: int = 20_000
    batch_size: int = 512
    seed: int = 0
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int = 0
    log_every: int = 50
    val_every: int = 1000
    checkpoint_every: int = 500
    val_poses: int = 2048
    report: bool = True
    report_poses: int = 0
    data: DataSection = field(default_factory=DataSection)
    space: PoseSpace = field(default_factory=PoseSpace)
    model: TokenizerSizes = field(default_factory=TokenizerSizes)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossSection = field(default_factory=LossSection)
    optim: OptimSection = field(default_factory=OptimSection)
    completion: CompletionSection = field(default_factory=CompletionSection)


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

    for name in ("steps", "batch_size", "log_every", "checkpoint_every", "val_poses"):
        check(path, name, getattr(run, name), getattr(run, name) >= 1, "at least 1")
    for name in ("val_every", "threads", "report_poses"):
        check(path, name, getattr(run, name), getattr(run, name) >= 0, "at least 0")
    optim, loss, data = run.optim, run.loss, run.data
    check(path, "optim.lr", optim.lr, 0 < optim.lr < math.inf, "positive")
    check(path, "optim.betas", optim.betas, all(0 <= beta < 1 for beta in optim.betas), "two numbers in [0, 1)")
    for name in ("weight_decay", "warmup_steps", "min_lr_ratio", "clip"):
        check(path, f"optim.{name}", getattr(optim, name), getattr(optim, name) >= 0, "at least 0")
    for name in ("beta", "commitment_weight"):
        check(path, f"loss.{name}", getattr(loss, name), getattr(loss, name) >= 0, "at least 0")
    check(path, "completion.steps", run.completion.steps, run.completion.steps >= 0, "at least 0")
    check(path, "completion.adapt_steps", run.completion.adapt_steps, run.completion.adapt_steps >= 0, "at least 0")
    check(path, "completion.adapt_lr", run.completion.adapt_lr, 0 < run.completion.adapt_lr < math.inf, "positive")
    check(path, "completion.lr", run.completion.lr, 0 < run.completion.lr < math.inf, "positive")
    alone = run.completion.steps == 0 or run.model.fill == "network"
    check(path, "completion.steps", run.completion.steps, alone, "0 unless model.fill is network")
    # A guided run takes them from its backbone.
    check(path, "model.guidance_channels", run.model.guidance_channels, run.model.guidance_channels == 0, "0")
    check(path, "data.val_share", data.val_share, 0 < data.val_share < 1, "between 0 and 1")
    check(path, "data.num_generated", data.num_generated, data.num_generated >= 2, "at least 2")
