"""Likeness: whether poses that are near each other have ids in common, and near vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pct.evaluation.tokens.coders import Coder

NEIGHBOURS = 10
_MOST_QUERIES = 1000
_ROWS = 64
# Distances of vectors are rounded to this share of the largest: those of equal ids must be equal.
_ROUNDING = 1e-5


def measure_likeness(
    coders: Sequence[Coder], indices: Sequence[Tensor], keypoints: Tensor, visible: Tensor, seed: int = 0
) -> dict[str, Any] | None:
    """Measure how well ids and vectors find the nearest poses, of those whose joints (N, K, D) are all ``visible``.

    Args:
        coders: The coders.
        indices: The ids (N, M) that each of them gives the poses.
        keypoints: Joints (N, K, D).
        visible: True where a joint is labelled (N, K).
        seed: Of the choice of queries, where there are more than 1,000 poses.

    Returns:
        ``num_queries`` whose neighbours are looked for among ``num_poses`` whole poses, what random ids would give
        (``chance``), and by coder which share of the ten nearest poses by mean distance of the joints is among the ten
        with the most equal ids (``by_ids``), and with the nearest vectors (``by_vectors``). None where there are too
        few whole poses.
    """
    rows = visible.all(dim=1)
    whole = keypoints[rows].float()
    if len(whole) <= NEIGHBOURS + 1:
        return None
    queries = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))[:_MOST_QUERIES]
    joints = sum((torch.cdist(whole[queries, k], whole[:, k]) for k in range(whole.shape[1])), torch.zeros(()))
    near = chances(joints, NEIGHBOURS, queries)
    by_ids, by_vectors = {}, {}
    for coder, every in zip(coders, indices, strict=True):
        ids = every[rows]
        distances = (different_ids(ids[queries], ids), _between(coder.embed(ids), queries))
        by_ids[coder.name], by_vectors[coder.name] = (
            expected_recall(near, chances(distance, NEIGHBOURS, queries)) for distance in distances
        )
    counts = {"num_queries": len(queries), "num_poses": len(whole), "chance": NEIGHBOURS / (len(whole) - 1)}
    return {**counts, "by_ids": by_ids, "by_vectors": by_vectors}


def chances(distances: Tensor, number: int, itself: Tensor | None = None) -> Tensor:
    """Return how likely each is among the ``number`` nearest, when of equally near ones some are drawn by chance.

    Args:
        distances: From each query (Q, N).
        number: How many nearest ones.
        itself: The row that each query (Q,) itself is, which is not taken.

    Returns:
        Probabilities (Q, N), float32; they add up to ``number`` for each query.

    Raises:
        ValueError: If there are fewer than ``number`` to choose from.
    """
    choices = distances.shape[1] - (itself is not None)
    if not 0 < number <= choices:
        raise ValueError(f"{number} nearest ones of {choices}; ask for at least 1 and at most as many as there are")
    distances = distances.float()
    if itself is not None:
        distances = distances.scatter(1, itself[:, None], torch.inf)
    last = distances.kthvalue(number, dim=1, keepdim=True).values
    surely, perhaps = (distances < last).float(), (distances == last).float()
    room = number - surely.sum(dim=1, keepdim=True)
    return surely + perhaps * room / perhaps.sum(dim=1, keepdim=True)


def expected_recall(true: Tensor, found: Tensor) -> float:
    """Return which share of the truly nearest is expected among those found, from their :func:`chances` (Q, N)."""
    return float(((true * found).sum(dim=1) / true.sum(dim=1)).double().mean())


def different_ids(queries: Tensor, indices: Tensor) -> Tensor:
    """Return how many ids differ (Q, N) between ids (Q, M) and (N, M)."""
    indices = indices.int()
    return torch.cat([(part[:, None] != indices).sum(dim=2) for part in queries.int().split(_ROWS)])


def _between(vectors: Tensor, queries: Tensor) -> Tensor:
    """Return the rounded distances (Q, N) of vectors (N, M, E) from those of the queries."""
    # In float64: the square root of a rounded zero would be far from zero.
    flat = vectors.double().flatten(1)
    flat = flat - flat.mean(dim=0)
    distance = torch.cdist(flat[queries], flat)
    return (distance / (_ROUNDING * distance.max().clamp(min=1e-30))).round()
