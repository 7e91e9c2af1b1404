"""Rate: how exact a pose is for the number of tokens, and of bits, that it takes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pct.evaluation.metrics import joint_distances
from pct.evaluation.tokens.coders import Coder
from pct.evaluation.tokens.sequence_model import fit_sequence_model

# Lengths of prefixes that are measured, beside a coder's shortest and its whole sequence.
PREFIXES = (1, 2, 4, 6, 8, 10, 12, 16, 24, 34)


def measure_rate(
    coder: Coder, indices: Tensor, keypoints: Tensor, visible: Tensor, training: Tensor | None = None, seed: int = 0
) -> list[dict[str, Any]]:
    """Measure a coder at some lengths.

    Args:
        coder: The coder.
        indices: The coder's ids of the poses (N, M).
        keypoints: True joints (N, K, D) in report units.
        visible: True where a joint is labelled (N, K).
        training: The coder's ids of training poses (T, M), for the model of the sequence.
        seed: Of that model.

    Returns:
        For each length the ``coder``, how many ``tokens`` are decoded, the mean ``error`` of labelled joints in report
        units, and the bits of these tokens: ``plain_bits`` as integers; ``entropy_bits``, the sum of the entropies
        over the test poses, without the ids that say that a joint is unknown, so that these are bits of a whole pose;
        ``model_bits`` under a small model of the sequence that was trained on training poses, None where there is none.
    """
    plain = torch.tensor([math.log2(size) for size in coder.sizes], dtype=torch.float64)
    entropy = entropies(indices, max(coder.sizes), coder.unknown)
    model = None
    if training is not None:
        model = fit_sequence_model(training, max(coder.sizes), coder.unknown, seed).bits(indices)
    points = []
    for length in lengths(coder.prefixes):
        distances = joint_distances(coder.decode(indices[:, :length]), keypoints, visible)
        point = {"coder": coder.name, "tokens": length, "error": float(distances[visible].mean())}
        for name, bits in (("plain_bits", plain), ("entropy_bits", entropy), ("model_bits", model)):
            point[name] = None if bits is None else float(bits[:length].sum())
        points.append(point)
    return points


def lengths(prefixes: Sequence[int]) -> list[int]:
    """Return the lengths to measure of those that a coder can decode."""
    return sorted({prefixes[0], prefixes[-1], *(set(PREFIXES) & set(prefixes))})


def entropies(indices: Tensor, size: int, unknown: int | None = None) -> Tensor:
    """Return the entropy in bits (M,), float64, of each token of ids (N, M) below ``size``, without ``unknown``."""
    offsets = torch.arange(indices.shape[1]) * size
    counts = torch.bincount((indices + offsets).flatten(), minlength=len(offsets) * size).view(-1, size).double()
    if unknown is not None:
        counts[:, unknown] = 0
    share = counts / counts.sum(dim=1, keepdim=True).clamp(min=1)
    return -torch.special.xlogy(share, share).sum(dim=1) / math.log(2)
