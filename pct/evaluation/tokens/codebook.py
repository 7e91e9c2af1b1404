"""Codebook statistics: use of the entries by all tokens and by each token, and what each token moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from pct.tokenizer.codebook import CodebookUse


def codebook_statistics(indices: Tensor, codebook_size: int) -> dict[str, Any]:
    """Return how tokens (N, M) use the codebook of V entries.

    Returns:
        ``codebook_size`` and ``num_tokens``; ``use`` by all tokens together, and by each of them in ``positions`` (see
        :class:`~pct.tokenizer.codebook.CodebookUse`; with N poses no token can show more than log2(N) bits);
        ``bits_per_pose``, the sum of the tokens' entropies, which is what an entropy coder that knows each token's
        frequencies, and nothing of their dependence, needs for a pose; ``most_bits_per_pose``, what it takes without
        such a coder; and ``counts``, how often each entry occurs (V).
    """
    num_tokens = indices.shape[1]
    offset = torch.arange(num_tokens, device=indices.device) * codebook_size
    counts = torch.bincount((indices + offset).flatten(), minlength=num_tokens * codebook_size)
    counts = counts.unflatten(0, (num_tokens, codebook_size)).cpu()
    positions = [CodebookUse.from_counts(row) for row in counts]
    total = counts.sum(dim=0)
    return {
        "codebook_size": codebook_size,
        "num_tokens": num_tokens,
        "use": asdict(CodebookUse.from_counts(total)),
        "positions": [asdict(use) for use in positions],
        "bits_per_pose": sum(use.entropy_bits for use in positions),
        "most_bits_per_pose": num_tokens * math.log2(codebook_size),
        "counts": total.tolist(),
    }


def nearest_entries(embeddings: Tensor, indices: Tensor) -> Tensor:
    """Return, for tokens (B, M), the other id whose vector (M, V, D) at that position is nearest to theirs; int64."""
    columns = []
    for table, column in zip(embeddings, indices.unbind(dim=1), strict=True):
        used, place = torch.unique(column, return_inverse=True)
        distance = torch.cdist(table[used], table)
        distance[torch.arange(len(used), device=used.device), used] = torch.inf
        columns.append(distance.argmin(dim=1)[place])
    return torch.stack(columns, dim=1)


def random_other_entries(indices: Tensor, codebook_size: int, seed: int) -> Tensor:
    """Return, for tokens (...), another entry each, all others alike likely; int64."""
    generator = torch.Generator().manual_seed(seed)
    step = torch.randint(1, max(2, codebook_size), tuple(indices.shape), generator=generator)
    return (indices + step.to(indices.device)) % codebook_size


def measure_anatomy(
    indices: Tensor, embeddings: Tensor, decode: Callable[[Tensor], Tensor], seed: int = 0
) -> dict[str, Any]:
    """Replace one token at a time and measure how far the joints move while the others stay.

    Args:
        indices: Tokens of poses (B, M).
        embeddings: Vectors of every id of each token (M, V, D).
        decode: Turns tokens (B, M) into joints (B, K, D); movements have its unit.
        seed: Of the random entries.

    Returns:
        ``num_poses`` B, and the mean movement of each joint (M, K) when token m becomes a ``random`` other entry, and
        when it becomes the one with the ``nearest`` vector.
    """
    base = decode(indices)

    def movement(replacement: Tensor) -> list[list[float]]:
        rows = []
        for token in range(indices.shape[1]):
            changed = indices.clone()
            changed[:, token] = replacement[:, token]
            rows.append((decode(changed) - base).norm(dim=-1).mean(dim=0).tolist())
        return rows

    return {
        "num_poses": len(indices),
        "random": movement(random_other_entries(indices, embeddings.shape[1], seed)),
        "nearest": movement(nearest_entries(embeddings, indices)),
    }
