"""What tokens are worth beside plainer integers: error and bits, ids kept under noise, like poses, locality."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from pct.evaluation.metrics import joint_distances
from pct.evaluation.tokens.coders import Bins, Codec, Coder
from pct.evaluation.tokens.locality import LimbLimits, best_labelled, measure_locality
from pct.tokenizer.codebook import CodebookUse

# Lengths of prefixes that are measured, beside a coder's shortest and its whole sequence.
_PREFIXES = {1, 2, 4, 6, 8, 10, 12, 16, 24, 34}
NEIGHBOURS = 10
_MOST_QUERIES = 1000
_ROWS = 64
# Distances of vectors are rounded to this share of the largest: those of equal ids must be equal.
_ROUNDING = 1e-5
# How much is much, in report units: widths of plain bins, standard deviations of noise, and the displacement from which
# on a joint counts as moved. A person of 1.7 m is about 200 pixels tall in a crop: a pixel is not quite a centimetre.
BINS = {"px": (1.0, 4.0, 8.0), "mm": (10.0, 40.0, 80.0)}
NOISE = {"px": (0.5, 1.0, 2.0, 4.0), "mm": (2.5, 5.0, 10.0, 20.0)}
THRESHOLDS = {"px": 2.0, "mm": 20.0}


def plain_bins(codec: Codec) -> list[Coder]:
    """Return bins of a few widths around a tokenizer's crop or root."""
    return [Bins(width, codec) for width in BINS[codec.unit]]


def measure_worth(
    codec: Codec,
    others: Sequence[Coder],
    keypoints: Tensor,
    visible: Tensor,
    limits: LimbLimits,
    seed: int = 0,
) -> dict[str, Any]:
    """Measure what the tokens of a tokenizer are worth.

    Args:
        codec: The tokenizer.
        others: What it is compared with, in its report units.
        keypoints: Test joints (N, K, D) in report units.
        visible: True where a joint is labelled (N, K).
        limits: What a possible person is.
        seed: Of everything random.

    Returns:
        Names of the ``coders``, and ``rate``, ``stability`` and ``likeness`` as what measures them gives them; under
        ``locality`` ``num_poses`` whose ids were replaced, the displacement ``threshold``, the share of the test poses
        that are possible persons (``real_plausible``), and for each of the ``coders`` what its ids move.
    """
    coders, threshold = [codec, *others], THRESHOLDS[codec.unit]
    indices = [coder.encode(keypoints, visible) for coder in coders]
    pairs, rows = list(zip(coders, indices, strict=True)), best_labelled(visible, seed)
    locality = [measure_locality(coder, ids[rows], limits, threshold, seed) for coder, ids in pairs]
    noise = [measure_stability(*pair, keypoints, visible, NOISE[codec.unit], codec.root, seed) for pair in pairs]
    return {
        "coders": [coder.name for coder in coders],
        "rate": [point for coder, ids in pairs for point in measure_rate(coder, ids, keypoints, visible)],
        "stability": [row for part in noise for row in part],
        "likeness": measure_likeness(coders, indices, keypoints, visible, seed),
        "locality": {
            "num_poses": len(rows),
            "threshold": threshold,
            "real_plausible": limits.plausible(keypoints, visible),
            "coders": locality,
        },
    }


def measure_rate(coder: Coder, indices: Tensor, keypoints: Tensor, visible: Tensor) -> list[dict[str, Any]]:
    """Measure how exact a coder's ids of poses (N, M) are at some lengths.

    Returns:
        For each length the ``coder``, how many ``tokens`` are decoded, the mean ``error`` of labelled joints in report
        units, and the bits of these tokens: ``plain_bits`` as integers; ``entropy_bits``, the sum of the entropies
        over the poses, without the ids that say that a joint is unknown, so that these are bits of a whole pose.
    """
    plain, entropy = torch.tensor(coder.sizes).double().log2(), entropies(indices, max(coder.sizes), coder.unknown)
    points = []
    for length in lengths(coder.prefixes):
        error = joint_distances(coder.decode(indices[:, :length]), keypoints, visible)[visible].mean()
        bits = {"plain_bits": float(plain[:length].sum()), "entropy_bits": float(entropy[:length].sum())}
        points.append({"coder": coder.name, "tokens": length, "error": float(error), **bits})
    return points


def lengths(prefixes: Sequence[int]) -> list[int]:
    """Return the lengths to measure of those that a coder can decode."""
    return sorted({prefixes[0], prefixes[-1], *(_PREFIXES & set(prefixes))})


def entropies(indices: Tensor, size: int, unknown: int | None = None) -> Tensor:
    """Return the entropy in bits (M,), float64, of each token of ids (N, M) below ``size``, without ``unknown``."""
    counts = _counts(indices, size).double()
    if unknown is not None:
        counts[:, unknown] = 0
    return torch.special.entr(counts / counts.sum(dim=1, keepdim=True).clamp(min=1)).sum(dim=1) / math.log(2)


def codebook_statistics(indices: Tensor, codebook_size: int) -> dict[str, Any]:
    """Return how tokens (N, M) use the codebook of V entries.

    Returns:
        ``codebook_size`` and ``num_tokens``; ``use`` by all tokens together, and by each of them in ``positions`` (see
        :class:`~pct.tokenizer.codebook.CodebookUse`; with N poses no token can show more than log2(N) bits);
        ``bits_per_pose``, the sum of the tokens' entropies, which is what an entropy coder that knows each token's
        frequencies, and nothing of their dependence, needs for a pose; ``most_bits_per_pose``, what it takes without
        such a coder; and ``counts``, how often each entry occurs (V).
    """
    counts = _counts(indices, codebook_size)
    positions = [CodebookUse.from_counts(row) for row in counts]
    total = counts.sum(dim=0)
    return {
        "codebook_size": codebook_size,
        "num_tokens": indices.shape[1],
        "use": asdict(CodebookUse.from_counts(total)),
        "positions": [asdict(use) for use in positions],
        "bits_per_pose": sum(use.entropy_bits for use in positions),
        "most_bits_per_pose": indices.shape[1] * math.log2(codebook_size),
        "counts": total.tolist(),
    }


def measure_stability(
    coder: Coder,
    indices: Tensor,
    keypoints: Tensor,
    visible: Tensor,
    noise: Sequence[float],
    root: int | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measure what Gaussian noise on every coordinate but the root's does to ids.

    Args:
        coder: The coder.
        indices: The ids (N, M) that it gives the poses as they are.
        keypoints: Joints (N, K, D) in report units.
        visible: True where a joint is labelled (N, K).
        noise: Standard deviations in report units.
        root: Joint at the origin, if there is one.
        seed: Of the noise, which is the same for all coders.

    Returns:
        For each ``noise`` the name of the ``coder``, the share in [0, 1] of the ids that are ``kept``, of those that
        do not say that a joint is unknown, and the mean distance that labelled joints of the decoded pose ``moved``,
        in report units.
    """
    found, pose = [], coder.decode(indices)
    for size in noise:
        added = size * torch.randn(keypoints.shape, generator=torch.Generator().manual_seed(seed))
        if root is not None:
            added[:, root] = 0.0
        after = coder.encode(keypoints + added, visible)
        same = indices == after if coder.unknown is None else (indices == after)[indices != coder.unknown]
        moved = joint_distances(coder.decode(after), pose, visible)[visible]
        shares = {"kept": float(same.double().mean()), "moved": float(moved.mean())}
        found.append({"coder": coder.name, "noise": size, **shares})
    return found


def _counts(indices: Tensor, size: int) -> Tensor:
    """Return how often each id below ``size`` occurs at each of the M positions of ids (N, M), (M, size)."""
    offsets = torch.arange(indices.shape[1], device=indices.device) * size
    return torch.bincount((indices + offsets).flatten(), minlength=len(offsets) * size).view(-1, size).cpu()


def measure_likeness(
    coders: Sequence[Coder], indices: Sequence[Tensor], keypoints: Tensor, visible: Tensor, seed: int = 0
) -> dict[str, Any] | None:
    """Measure how well ids (N, M) and vectors of each coder find the nearest poses, of those that are whole.

    These are the poses whose joints (N, K, D) are all ``visible`` (N, K); of more than 1,000 some are the queries,
    chosen by ``seed``.

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
