"""Stability: how many ids stay, and how far the decoded pose moves, when the input changes a little."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pct.cameras import axis_rotation
from pct.evaluation.metrics import joint_distances
from pct.evaluation.tokens.coders import Coder

# Joints (N, K, D) after a change, and the way back for what is decoded from them.
Changed = tuple[Tensor, Callable[[Tensor], Tensor]]


@dataclass(frozen=True)
class Change:
    """Something small that happens to poses.

    Attributes:
        name: What reports call it.
        apply: Changes joints (N, K, D) by chance.
    """

    name: str
    apply: Callable[[Tensor, torch.Generator], Changed]


def noise(size: float, unit: str, root: int | None = None) -> Change:
    """Return Gaussian noise with standard deviation ``size`` on every coordinate of all joints but the root.

    Raises:
        ValueError: If ``size`` is negative or not finite.
    """
    if not 0 <= size < math.inf:
        raise ValueError(f"noise is {size} {unit}; it must be at least 0 and finite")

    def apply(keypoints: Tensor, generator: torch.Generator) -> Changed:
        added = size * torch.randn(keypoints.shape, generator=generator)
        if root is not None:
            added[:, root] = 0.0
        return keypoints + added, lambda decoded: decoded

    return Change(f"noise {size:g} {unit}", apply)


def box_jitter(share: float, crop_size: float, padding: float) -> Change:
    """Return a box that is off: its centre and its side by up to ``share`` of the side, each to either side.

    Args:
        share: How much.
        crop_size: Side of the crop in pixels.
        padding: Side of the crop over side of the box.

    Raises:
        ValueError: If ``share`` is not in [0, 1): a side would vanish.
    """
    if not 0 <= share < 1:
        raise ValueError(f"box jitter is {share} of the side; it must be at least 0 and below 1")

    def apply(keypoints: Tensor, generator: torch.Generator) -> Changed:
        drawn = share * (2 * torch.rand(len(keypoints), 1, 3, generator=generator) - 1)
        middle, factor = crop_size / 2, 1 + drawn[..., 2:]
        centre = middle + drawn[..., :2] * crop_size / padding
        return (keypoints - centre) / factor + middle, lambda decoded: (decoded - middle) * factor + centre

    return Change(f"box off by {100 * share:g} %", apply)


def turn(degrees: float) -> Change:
    """Return a turn of 3D poses about the camera's vertical, to either side.

    Raises:
        ValueError: If ``degrees`` is not in [0, 180].
    """
    if not 0 <= degrees <= 180:
        raise ValueError(f"the turn is {degrees} degrees; it must be from 0 to 180")

    def apply(keypoints: Tensor, generator: torch.Generator) -> Changed:
        side = 2.0 * torch.randint(2, (len(keypoints),), generator=generator) - 1
        rotation = axis_rotation(1, side * math.radians(degrees)).to(keypoints.dtype)
        return keypoints @ rotation.transpose(1, 2), lambda decoded: decoded @ rotation

    return Change(f"turned by {degrees:g}°", apply)


def measure_stability(
    coders: Sequence[Coder],
    indices: Sequence[Tensor],
    keypoints: Tensor,
    visible: Tensor,
    changes: Sequence[Change],
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measure what changes do to the ids and decoded poses of coders; every coder gets the same changed poses.

    Args:
        coders: The coders.
        indices: The ids (N, M) that each of them gives the poses as they are.
        keypoints: Joints (N, K, D) in report units.
        visible: True where a joint is labelled (N, K).
        changes: What happens to them.
        seed: Of the changes.

    Returns:
        For each ``change`` and ``coder`` the share in [0, 1] of the ids that are ``kept``, of those that do not say
        that a joint is unknown, and the mean distance that labelled joints of the decoded pose ``moved``, in report
        units.
    """
    found = []
    decoded = [coder.decode(before) for coder, before in zip(coders, indices, strict=True)]
    for change in changes:
        changed, undo = change.apply(keypoints, torch.Generator().manual_seed(seed))
        for coder, before, pose in zip(coders, indices, decoded, strict=True):
            after = coder.encode(changed, visible)
            same = before == after if coder.unknown is None else (before == after)[before != coder.unknown]
            moved = joint_distances(undo(coder.decode(after)), pose, visible)[visible]
            shares = {"kept": float(same.double().mean()), "moved": float(moved.mean())}
            found.append({"coder": coder.name, "change": change.name, **shares})
    return found
