"""Poses a second of lifters, side by side; and sparse storage of edge weights against the published masked matrix."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from measure import time_side_by_side
from torch import nn

from pct.layers.edge_linear import with_masked_layers
from pct.models.lifter import Lifter
from pct.models.lifter_config import LifterConfig

BATCHES = (1, 1024)
SPARSE = ("lcn", "hcsf")
_MAX_ROUNDS = 15


@dataclass(frozen=True)
class SparseLine:
    """Poses a second with edge weights stored sparsely, and as a masked matrix."""

    network: str
    batch: int
    sparse: float
    masked: float


@dataclass(frozen=True)
class LifterSpeed:
    """Poses a second by lifter and batch size, and the comparison of storage."""

    poses_per_second: dict[str, dict[str, float]]
    sparse: list[SparseLine]


@torch.no_grad()
def measure_speed(lifters: dict[str, Lifter], seconds: float) -> LifterSpeed:
    """Time the forward pass of lifters, from normalised joints to the pose, in interleaved rounds.

    Args:
        lifters: In evaluation mode, by name.
        seconds: Of timing a batch size, at least two rounds.
    """
    speed: dict[str, dict[str, float]] = {name: {} for name in lifters}
    sparse = []
    for batch in BATCHES:
        print(f"timing batch {batch}", file=sys.stderr)
        tasks = {name: _task(lifter, batch) for name, lifter in lifters.items()}
        taken = time_side_by_side(tasks, seconds, _MAX_ROUNDS, lambda: None)
        for name, value in taken.items():
            speed[name][str(batch)] = batch / value
        for network in SPARSE:
            lifter = Lifter(LifterConfig(network=network)).eval()
            pair = {"sparse": _task(lifter, batch), "masked": _task(with_masked_layers(lifter), batch)}
            taken = time_side_by_side(pair, seconds, 4 * _MAX_ROUNDS, lambda: None)
            sparse.append(SparseLine(network, batch, batch / taken["sparse"], batch / taken["masked"]))
    return LifterSpeed(speed, sparse)


def _task(model: nn.Module, batch: int) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(0)
    joints = model.config.skeleton.num_keypoints
    keypoints = torch.randn(batch, joints, 2, generator=generator)
    visible = torch.ones(batch, joints, dtype=torch.bool)
    return lambda: model(keypoints, visible)
