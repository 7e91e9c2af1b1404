"""Completion: how well joints that were hidden are filled in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from pct.evaluation.metrics import summarise

# ``fill(keypoints, visible, wanted)`` returns joints (N, K, D), good at least where ``wanted`` (N, K). The keypoints it
# gets are NaN where not ``visible`` (N, K).
Fill = Callable[[Tensor, Tensor, Tensor], Tensor]

# A pose takes part only if this many joints are left after hiding: with fewer there is little to complete from.
MIN_LEFT = 4


def hide_joints(visible: Tensor, number: int, seed: int) -> Tensor:
    """Choose ``number`` of the known joints of each pose at random.

    Args:
        visible: True where a joint is known (N, K).
        number: Joints to hide in each pose.
        seed: Of the choice.

    Returns:
        True where a joint is hidden (N, K); nothing in poses that would keep fewer than ``MIN_LEFT`` known joints.
    """
    generator = torch.Generator().manual_seed(seed * 1000 + number)
    order = torch.rand(visible.shape, generator=generator).to(visible.device).masked_fill(~visible, 2.0).argsort(dim=1)
    hidden = torch.zeros_like(visible).scatter(1, order[:, :number], True)
    return hidden & (visible.sum(dim=1) >= number + MIN_LEFT)[:, None]


def hide_part(visible: Tensor, joints: Sequence[int]) -> Tensor:
    """Hide all known joints of a body part; nothing in poses that would keep fewer than ``MIN_LEFT`` known joints."""
    part = torch.zeros(visible.shape[1], dtype=torch.bool, device=visible.device)
    part[list(joints)] = True
    hidden = visible & part
    return hidden & ((visible & ~part).sum(dim=1) >= MIN_LEFT)[:, None]


def measure_completion(
    keypoints: Tensor,
    visible: Tensor,
    fills: Mapping[str, Fill],
    lower_body: Sequence[int] = (),
    most_hidden: int = 8,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measure the error on hidden joints, for 1 to ``most_hidden`` joints and the lower body.

    Every method gets the same poses with the same joints hidden. What is hidden, or was never labelled, is NaN in what
    a method gets, so nothing can leak.

    Args:
        keypoints: True joints (N, K, D).
        visible: True where a joint is labelled (N, K).
        fills: Methods by name.
        lower_body: Joints of the lower body; empty leaves that row out.
        most_hidden: Largest number of hidden joints.
        seed: Of the hidden joints.

    Returns:
        For each way of hiding that fits at least one pose: what was ``hidden``, ``1`` to ``8`` joints or ``lower
        body``; ``num_poses`` with enough labelled joints to take part; the ``errors`` by method, in the unit of the
        poses.
    """
    settings = {str(n): hide_joints(visible, n, seed) for n in range(1, most_hidden + 1)}
    if lower_body:
        settings["lower body"] = hide_part(visible, lower_body)
    rows = []
    for name, hidden in settings.items():
        chosen = hidden.any(dim=1)
        if chosen.any():
            target, hide, known = keypoints[chosen], hidden[chosen], (visible & ~hidden)[chosen]
            given = torch.where(known[..., None], target, torch.nan)
            errors = {
                method: summarise((fill(given, known, hide) - target).double().norm(dim=-1)[hide])
                for method, fill in fills.items()
            }
            rows.append({"hidden": name, "num_poses": int(chosen.sum()), "errors": errors})
    return rows


def ridge_ratio(rows: Sequence[Mapping[str, Any]], hidden: str) -> float | None:
    """Return the tokenizer's error over the ridge regression's in one row; None where there is none."""
    errors = next((row["errors"] for row in rows if row["hidden"] == hidden and "ridge" in row["errors"]), None)
    ours, theirs = (None, None) if errors is None else (errors["tokenizer"]["mean"], errors["ridge"]["mean"])
    return None if ours is None or not theirs else ours / theirs


def mean_pose(keypoints: Tensor, visible: Tensor) -> Fill:
    """Return what fills in the mean position of every joint, over training poses (N, K, D) that label it (N, K)."""
    total = torch.where(visible[..., None], keypoints, 0.0).double().sum(dim=0)
    mean = total / visible.sum(dim=0).clamp(min=1)[:, None]
    return lambda given, known, wanted: torch.where(known[..., None], given.double(), mean)
