"""What tokens are worth beside plainer integers: error and bits, ids kept under noise, likeness, locality."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from pct.evaluation.metrics import joint_distances
from pct.evaluation.tokens.codec import Codec
from pct.evaluation.tokens.coders import Coder, build_coders
from pct.evaluation.tokens.completion import RidgeRegression
from pct.evaluation.tokens.likeness import measure_likeness
from pct.evaluation.tokens.locality import BodyLimits, measure_locality
from pct.tokenizer.codebook import CodebookUse

# Lengths of prefixes that are measured, beside a coder's shortest and its whole sequence.
_PREFIXES = {1, 2, 4, 6, 8, 10, 12, 16, 24, 34}


@dataclass(frozen=True)
class Scale:
    """How much is much, in report units.

    Attributes:
        bins: Widths of plain bins.
        step: Of the principal components.
        noise: Standard deviations.
        threshold: From which displacement on a joint counts as moved.
    """

    bins: tuple[float, ...]
    step: float
    noise: tuple[float, ...]
    threshold: float


# A person of 1.7 m is about 200 pixels tall in a crop: a pixel is not quite a centimetre.
SCALES = {
    "px": Scale((1.0, 4.0, 8.0), 4.0, (0.5, 1.0, 2.0, 4.0), 2.0),
    "mm": Scale((10.0, 40.0, 80.0), 40.0, (2.5, 5.0, 10.0, 20.0), 20.0),
}


def measure_worth(
    codecs: Sequence[Codec],
    keypoints: Tensor,
    visible: Tensor,
    baseline: RidgeRegression | None = None,
    seed: int = 0,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure what the tokens of tokenizers are worth.

    Args:
        codecs: The tokenizers, of one skeleton and pose space.
        keypoints: Test joints (N, K, D) in report units.
        visible: True where a joint is labelled (N, K).
        baseline: What was fitted to training poses, and these; without them there are only tokenizers and plain bins.
        seed: Of everything random.
        say: Called with a sentence at each stage.

    Returns:
        Names of the ``coders``, and ``rate``, ``stability``, ``likeness`` and ``locality`` as what measures them gives
        them.

    Raises:
        ValueError: If there is no tokenizer, or they are not of one skeleton and pose space.
    """
    say = say or (lambda sentence: None)
    say("writing poses in plainer ways")
    scale = SCALES[codecs[0].unit] if codecs else SCALES["px"]
    coders = build_coders(codecs, baseline, scale.bins, scale.step, seed)
    indices = [coder.encode(keypoints, visible) for coder in coders]
    say("changing poses and ids a little")
    # A test subject that is taller than all others is a person as well.
    every, known = [keypoints], [visible]
    if baseline is not None:
        every, known = [keypoints, baseline.keypoints], [visible, baseline.visible]
    limits = BodyLimits(torch.cat(every), torch.cat(known), codecs[0].tokenizer.skeleton)
    pairs = list(zip(coders, indices, strict=True))
    return {
        "coders": [coder.name for coder in coders],
        "rate": [point for coder, ids in pairs for point in measure_rate(coder, ids, keypoints, visible)],
        "stability": measure_stability(coders, indices, keypoints, visible, scale.noise, codecs[0].root, seed),
        "likeness": measure_likeness(coders, indices, keypoints, visible, seed),
        "locality": measure_locality(coders, indices, keypoints, visible, limits, scale.threshold, seed),
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
    coders: Sequence[Coder],
    indices: Sequence[Tensor],
    keypoints: Tensor,
    visible: Tensor,
    noise: Sequence[float],
    root: int | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Measure what Gaussian noise on every coordinate but the root's does to ids; all coders get the same noise.

    Args:
        coders: The coders.
        indices: The ids (N, M) that each of them gives the poses as they are.
        keypoints: Joints (N, K, D) in report units.
        visible: True where a joint is labelled (N, K).
        noise: Standard deviations in report units.
        root: Joint at the origin, if there is one.
        seed: Of the noise.

    Returns:
        For each ``noise`` and ``coder`` the share in [0, 1] of the ids that are ``kept``, of those that do not say
        that a joint is unknown, and the mean distance that labelled joints of the decoded pose ``moved``, in report
        units.
    """
    found = []
    decoded = [coder.decode(before) for coder, before in zip(coders, indices, strict=True)]
    for size in noise:
        added = size * torch.randn(keypoints.shape, generator=torch.Generator().manual_seed(seed))
        if root is not None:
            added[:, root] = 0.0
        for coder, before, pose in zip(coders, indices, decoded, strict=True):
            after = coder.encode(keypoints + added, visible)
            same = before == after if coder.unknown is None else (before == after)[before != coder.unknown]
            moved = joint_distances(coder.decode(after), pose, visible)[visible]
            shares = {"kept": float(same.double().mean()), "moved": float(moved.mean())}
            found.append({"coder": coder.name, "noise": size, **shares})
    return found


def _counts(indices: Tensor, size: int) -> Tensor:
    """Return how often each id below ``size`` occurs at each of the M positions of ids (N, M), (M, size)."""
    offsets = torch.arange(indices.shape[1], device=indices.device) * size
    return torch.bincount((indices + offsets).flatten(), minlength=len(offsets) * size).view(-1, size).cpu()
