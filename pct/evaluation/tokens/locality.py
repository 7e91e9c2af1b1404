"""Locality: what one other id moves, and whether ids that were never together still decode to a person."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pct.evaluation.tokens.coders import Coder
from pct.evaluation.tokens.completion import RidgeRegression
from pct.skeleton import Skeleton

_POSES, _SEQUENCES = 256, 1000
_QUANTILES = (0.001, 0.999)
_TINY = 1e-6
# Bones of a clip of mocap are equally long in all frames, and the persons are few: in space, so much more or less is a
# person too.
_SLACK = 0.2


class LimbLimits:
    """How long limbs are, and how much the left one and the right one differ, in nearly all of some poses.

    In images only the longest length counts; in space the shortest too, with a fifth of slack to either side.

    Args:
        keypoints: Joints (N, K, D).
        visible: True where a joint is labelled (N, K).
        skeleton: Whose bones are looked at.
        baseline: Its training poses count too: a test subject taller than all others is a person too.
    """

    def __init__(
        self, keypoints: Tensor, visible: Tensor, skeleton: Skeleton, baseline: RidgeRegression | None = None
    ) -> None:
        if baseline is not None:
            keypoints = torch.cat([keypoints, baseline.keypoints])
            visible = torch.cat([visible, baseline.visible])
        self.edges = np.array(skeleton.edges, dtype=np.int64).reshape(-1, 2)
        ends = {frozenset(edge): place for place, edge in enumerate(self.edges.tolist())}
        partner = [ends.get(frozenset(edge)) for edge in skeleton.flip_index[self.edges].tolist()]
        self.pairs = [(place, other) for place, other in enumerate(partner) if other is not None and place < other]
        measured = self._measure(keypoints, visible)
        known = ~np.isnan(measured).all(axis=0)
        self.low, self.high = np.full(known.shape, -np.inf), np.full(known.shape, np.inf)
        self.low[known], self.high[known] = np.nanquantile(measured[:, known], _QUANTILES, axis=0)
        in_space, limbs = keypoints.shape[-1] == 3, slice(len(self.edges))
        if in_space:
            self.high += math.log1p(_SLACK)
            self.low[len(self.edges) :] -= math.log1p(_SLACK)
        # An image may show a limb from its end; in space it has its length.
        self.low[limbs] += math.log1p(-_SLACK) if in_space else -np.inf

    def plausible(self, keypoints: Tensor, visible: Tensor | None = None) -> float:
        """Return the share of poses (N, K, D) within the limits; what is not ``visible`` (N, K), or NaN, passes."""
        visible = torch.ones(keypoints.shape[:2], dtype=torch.bool) if visible is None else visible
        measured = self._measure(keypoints, visible)
        with np.errstate(invalid="ignore"):
            outside = (measured < self.low) | (measured > self.high)
        return float(1 - outside.any(axis=1).mean())

    def _measure(self, keypoints: Tensor, visible: Tensor) -> np.ndarray:
        """Return logarithms of lengths and of left over right (N, limbs + pairs); NaN where not labelled."""
        joints = torch.where(visible[..., None], keypoints, torch.nan).double().numpy()
        lengths = np.linalg.norm(joints[:, self.edges[:, 0]] - joints[:, self.edges[:, 1]], axis=-1)
        logs = np.log(np.maximum(lengths, _TINY))
        return np.column_stack([logs, *(logs[:, a] - logs[:, b] for a, b in self.pairs)])


def best_labelled(visible: Tensor, seed: int = 0) -> Tensor:
    """Return the rows of a few poses with the most labelled joints, of ``visible`` (N, K)."""
    order = torch.randperm(len(visible), generator=torch.Generator().manual_seed(seed))
    return order[visible[order].sum(dim=1).argsort(descending=True, stable=True)[:_POSES]]


def measure_locality(
    coder: Coder, indices: Tensor, limits: LimbLimits, threshold: float, seed: int = 0
) -> dict[str, Any]:
    """Replace ids of poses, and mix them.

    Args:
        coder: The coder.
        indices: The ids (N, M) that it gives well labelled poses.
        limits: What a possible person is.
        threshold: From which displacement on a joint counts as moved, in report units.
        seed: Of all choices.

    Returns:
        The name of the ``coder``, and displacements in report units: ``moved_joints`` that move by more than the
        threshold when one id is replaced by another one, which another pose has at that position; ``wrong_mean``, the
        mean displacement when one id becomes any other one, all alike likely, ``wrong_worst``, that of the joint that
        moves most then, and ``anatomy`` (M, K), the mean displacement of each joint for each token; ``plausible``, the
        share of sequences, each of their ids drawn from another pose, that decode to a possible person.
    """
    generator = torch.Generator().manual_seed(seed)
    count, sizes = len(indices), torch.tensor(coder.sizes)
    other = (torch.arange(count) + torch.randint(1, max(2, count), (count,), generator=generator)) % count
    step = 1 + (torch.rand(indices.shape, generator=generator) * (sizes - 1)).long()
    base = coder.decode(indices)
    borrowed = torch.cat(_displacements(coder, indices, indices[other], base))
    by_token = _displacements(coder, indices, (indices + step.clamp(max=(sizes - 1).clamp(min=1))) % sizes, base)
    wrong = torch.cat(by_token)
    source = torch.randint(count, (_SEQUENCES, indices.shape[1]), generator=generator)
    return {
        "coder": coder.name,
        "moved_joints": _mean((borrowed > threshold).sum(dim=1)),
        "wrong_mean": _mean(wrong),
        "wrong_worst": _mean(wrong.amax(dim=1)),
        "anatomy": [moved.mean(dim=0).nan_to_num().tolist() for moved in by_token],
        "plausible": limits.plausible(coder.decode(indices.gather(0, source))),
    }


def _mean(values: Tensor) -> float:
    """Return the mean, or 0 where there was nothing to replace."""
    return float(values.double().mean()) if len(values) else 0.0


def _displacements(coder: Coder, indices: Tensor, replacement: Tensor, base: Tensor) -> list[Tensor]:
    """Replace one id at a time (N, M); return how far the joints move (R, K) where it is another one, by token."""
    moved = []
    for token in range(indices.shape[1]):
        rows = (indices[:, token] != replacement[:, token]).nonzero().flatten()
        changed = indices[rows].clone()
        changed[:, token] = replacement[rows, token]
        # A joint that becomes unknown has no place, so it does not count as moved.
        moved.append((coder.decode(changed) - base[rows]).norm(dim=-1).nan_to_num())
    return moved
