"""Poses a second of lifters, side by side."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from measure import time_side_by_side

from pct.lifting.lifter import Lifter

BATCHES = (1, 1024)
_MAX_ROUNDS = 15


@torch.no_grad()
def measure_speed(lifters: dict[str, Lifter], seconds: float) -> dict[str, dict[str, float]]:
    """Return poses a second of lifters by batch size, from normalised joints to the pose, in interleaved rounds.

    Args:
        lifters: In evaluation mode, by name.
        seconds: Of timing a batch size, at least two rounds.
    """
    speed: dict[str, dict[str, float]] = {name: {} for name in lifters}
    for batch in BATCHES:
        print(f"timing batch {batch}", file=sys.stderr)
        tasks = {name: _task(lifter, batch) for name, lifter in lifters.items()}
        taken = time_side_by_side(tasks, seconds, _MAX_ROUNDS, lambda: None)
        for name, value in taken.items():
            speed[name][str(batch)] = batch / value
    return speed


def _task(model: Lifter, batch: int) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    joints = model.config.skeleton.num_keypoints
    keypoints = torch.randn(batch, joints, 2, generator=generator)
    visible = torch.ones(batch, joints, dtype=torch.bool)
    return lambda: model(keypoints, visible)
