"""Codebook statistics: use of the entries by all tokens and by each token, and what each token moves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pct.layers.quantizer import CodebookUse

# Rows of a distance matrix between entries that are held at once.
_SEARCH_ROWS = 512


@dataclass(frozen=True)
class CodebookStatistics:
    """How the tokens of a set of poses use the codebook.

    Attributes:
        codebook_size: Number of entries V.
        num_tokens: Tokens M a pose.
        use: Of the codebook by all tokens together.
        positions: Use by each of the M tokens; with N poses no token can show more than log2(N) bits.
        bits_per_pose: Sum of the tokens' entropies: what an entropy coder that knows each token's frequencies, and
            nothing of their dependence, needs for a pose.
        most_bits_per_pose: ``M log2(V)``: what a pose takes without such a coder.
        counts: How often each entry occurs (V).
    """

    codebook_size: int
    num_tokens: int
    use: CodebookUse
    positions: list[CodebookUse]
    bits_per_pose: float
    most_bits_per_pose: float
    counts: list[int]

    @classmethod
    def of(cls, indices: Tensor, codebook_size: int) -> CodebookStatistics:
        """Count the entries in tokens (N, M)."""
        num_tokens = indices.shape[1]
        offset = torch.arange(num_tokens, device=indices.device) * codebook_size
        counts = torch.bincount((indices + offset).flatten(), minlength=num_tokens * codebook_size)
        counts = counts.unflatten(0, (num_tokens, codebook_size)).cpu()
        positions = [CodebookUse.from_counts(row) for row in counts]
        total = counts.sum(dim=0)
        return cls(
            codebook_size,
            num_tokens,
            CodebookUse.from_counts(total),
            positions,
            sum(use.entropy_bits for use in positions),
            num_tokens * math.log2(codebook_size),
            total.tolist(),
        )


@dataclass(frozen=True)
class TokenAnatomy:
    """Which joints move when one token of a pose is replaced and the others stay.

    Attributes:
        num_poses: Poses that the movements are means over.
        random: Mean movement of each joint when token m becomes a random other entry (M, K).
        nearest: The same when it becomes the nearest other entry of the codebook (M, K).
    """

    num_poses: int
    random: list[list[float]]
    nearest: list[list[float]]


def nearest_entries(codebook: Tensor, indices: Tensor) -> Tensor:
    """Return, for tokens (...), the other entry of the codebook (V, D) that is nearest to theirs; int64."""
    used, place = torch.unique(indices, return_inverse=True)
    nearest = []
    for rows in used.split(_SEARCH_ROWS):
        distance = torch.cdist(codebook[rows], codebook)
        distance[torch.arange(len(rows), device=rows.device), rows] = torch.inf
        nearest.append(distance.argmin(dim=1))
    return torch.cat(nearest)[place]


def random_other_entries(indices: Tensor, codebook_size: int, seed: int) -> Tensor:
    """Return, for tokens (...), another entry each, all others alike likely; int64."""
    generator = torch.Generator().manual_seed(seed)
    step = torch.randint(1, max(2, codebook_size), tuple(indices.shape), generator=generator)
    return (indices + step.to(indices.device)) % codebook_size


def measure_anatomy(
    indices: Tensor, codebook: Tensor, decode: Callable[[Tensor], Tensor], seed: int = 0
) -> TokenAnatomy:
    """Replace one token at a time and measure how far the joints move.

    Args:
        indices: Tokens of poses (B, M).
        codebook: Entries (V, D).
        decode: Turns tokens (B, M) into joints (B, K, D); movements have its unit.
        seed: Of the random entries.
    """
    base = decode(indices)

    def movement(replacement: Tensor) -> list[list[float]]:
        rows = []
        for token in range(indices.shape[1]):
            changed = indices.clone()
            changed[:, token] = replacement[:, token]
            rows.append((decode(changed) - base).norm(dim=-1).mean(dim=0).tolist())
        return rows

    return TokenAnatomy(
        len(indices),
        movement(random_other_entries(indices, len(codebook), seed)),
        movement(nearest_entries(codebook, indices)),
    )
