"""What every training run has in its config: folder, lengths, machine, optimiser."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pct.training.yaml_config import AT_LEAST_0, AT_LEAST_1, POSITIVE, Rule, setting


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

    lr: float = setting(2e-3, POSITIVE)
    weight_decay: float = setting(0.05, AT_LEAST_0)
    betas: tuple[float, float] = setting(
        (0.9, 0.99), Rule("two numbers in [0, 1)", lambda betas: all(0 <= beta < 1 for beta in betas))
    )
    warmup_steps: int = setting(500, AT_LEAST_0)
    min_lr_ratio: float = setting(0.005, AT_LEAST_0)
    clip: float = setting(1.0, AT_LEAST_0)
    decay_every: int = setting(0, AT_LEAST_0)
    decay: float = setting(0.95, AT_LEAST_0)


@dataclass
class LoopSettings:
    """How long and how often.

    Attributes:
        steps: Optimiser steps in all.
        log_every: Steps between lines of ``metrics.jsonl``.
        val_every: Steps between validations, each with a log line; 0 validates at the end only.
        checkpoint_every: Steps between checkpoints.
        precision: ``fp32`` or ``bf16`` (autocast; quantizer and frozen decoder stay in float32).
        seed: Of weights, order and all that is drawn by chance. Each step has numbers of its own, so that a run that
            goes on needs no state of them.
    """

    steps: int = setting(20_000, AT_LEAST_1)
    log_every: int = setting(50, AT_LEAST_1)
    val_every: int = setting(1000, AT_LEAST_0)
    checkpoint_every: int = setting(500, AT_LEAST_1)
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = setting(0, AT_LEAST_0)


@dataclass
class TrainingRun(LoopSettings):
    """What runs of all stages share.

    Attributes:
        out: Folder of the run: checkpoints, logs, curves and model.
        batch_size: Poses a step over all processes.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: CPU threads; 0 leaves torch's choice.
        optim: Optimiser and schedule.
    """

    out: str = "runs/training"
    batch_size: int = setting(512, AT_LEAST_1)
    device: str = "auto"
    threads: int = setting(0, AT_LEAST_0)
    optim: OptimSection = field(default_factory=OptimSection)
