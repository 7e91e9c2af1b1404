"""What every training run has in its config: folder, lengths, machine, optimiser; and their ranges."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pct.training.yaml_config import check


@dataclass
class OptimSection:
    """AdamW with linear warm-up, then a cosine to ``min_lr_ratio`` times the peak or steps down.

    Attributes:
        lr: Peak learning rate.
        weight_decay: Decoupled weight decay; with 0 it is plain Adam.
        betas: AdamW's.
        warmup_steps: Steps of linear warm-up.
        min_lr_ratio: Last learning rate over the peak.
        clip: Largest gradient norm; 0 clips nothing.
        decay_every: Steps after which the rate is multiplied by ``decay``, in place of the cosine; 0 is the cosine.
        decay: See ``decay_every``.
    """

    lr: float = 2e-3
    weight_decay: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_steps: int = 500
    min_lr_ratio: float = 0.005
    clip: float = 1.0
    decay_every: int = 0
    decay: float = 0.95


@dataclass
class TrainingRun:
    """What runs of all stages share.

    Attributes:
        out: Folder of the run: checkpoints, logs, curves and model.
        steps: Optimiser steps.
        batch_size: Poses a step over all processes.
        seed: Of weights, order and all that is drawn by chance.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32`` or ``bf16`` (autocast; quantizer and frozen decoder stay in float32).
        threads: CPU threads; 0 leaves torch's choice.
        log_every: Steps between lines of ``metrics.jsonl``.
        val_every: Steps between validations; 0 validates at the end only.
        checkpoint_every: Steps between checkpoints.
        val_poses: At most so many poses are validated on while training.
        optim: Optimiser and schedule.
    """

    out: str = "runs/training"
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
    optim: OptimSection = field(default_factory=OptimSection)


def check_run(run: TrainingRun, path: str | Path) -> None:
    """Check that what all runs share is in its ranges.

    Raises:
        ValueError: If something is not.
    """
    for name in ("steps", "batch_size", "log_every", "checkpoint_every", "val_poses"):
        check(path, name, getattr(run, name), getattr(run, name) >= 1, "at least 1")
    for name in ("val_every", "threads", "seed"):
        check(path, name, getattr(run, name), getattr(run, name) >= 0, "at least 0")
    optim = run.optim
    check(path, "optim.lr", optim.lr, 0 < optim.lr < math.inf, "positive")
    check(path, "optim.betas", optim.betas, all(0 <= beta < 1 for beta in optim.betas), "two numbers in [0, 1)")
    for name in ("weight_decay", "warmup_steps", "min_lr_ratio", "clip", "decay_every", "decay"):
        check(path, f"optim.{name}", getattr(optim, name), getattr(optim, name) >= 0, "at least 0")
