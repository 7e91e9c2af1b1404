"""One Gaussian over whole poses, fitted to incomplete ones, and what it expects of unknown joints."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_EM_STEPS = 6
_ROWS = 4096
# Share of the mean variance that keeps the systems of nearly dependent joints regular.
_RIDGE = 1e-6


@dataclass(frozen=True)
class PatternMoments:
    """Sums of ``[1, x][1, x]^T`` (P, 1 + KD, 1 + KD) and numbers of poses (P,) by pattern of labelled joints (P, K)."""

    patterns: Tensor
    counts: Tensor
    sums: Tensor

    @classmethod
    def of(cls, keypoints: Tensor, visible: Tensor) -> PatternMoments:
        """Sum over joints (N, K, D) with ``visible`` (N, K), in float64."""
        x = torch.where(visible[..., None], keypoints, 0.0).double().flatten(1)
        x = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x], dim=1)
        patterns, row_pattern, counts = torch.unique(visible, dim=0, return_inverse=True, return_counts=True)
        groups = x[row_pattern.argsort()].split(counts.tolist())
        return cls(patterns, counts.double(), torch.stack([group.t() @ group for group in groups]))


def conditional_mean(x: Tensor, known: Tensor, mean: Tensor, covariance: Tensor, penalty: Tensor | float) -> Tensor:
    """Return ``mean + C_.k (C_kk + penalty I)^-1 (x_k - mean_k)``: what is expected of all given the known numbers.

    Args:
        x: Numbers (N, F).
        known: True where a number counts (N, F).
        mean: Mean (F,) or (N, F).
        covariance: Covariance C (F, F) or (N, F, F).
        penalty: The lambda of the ridge.

    Returns:
        Estimates (N, F) of all numbers, in the dtype of ``mean``.
    """
    keep = known.to(mean.dtype)
    # Rows and columns of unknown numbers become those of the identity, so that all patterns go in one batch.
    system = covariance * keep[:, :, None] * keep[:, None, :] + torch.diag_embed(1 - keep + penalty * keep)
    solution = torch.linalg.solve(system, ((x - mean) * keep)[..., None])
    return mean + (covariance @ (solution * keep[..., None])).squeeze(-1)


def fill_unknown(keypoints: Tensor, visible: Tensor, mean: Tensor, covariance: Tensor) -> Tensor:
    """Return joints (N, K, D), float64, with what a Gaussian expects where they are not ``visible`` (N, K)."""
    filled = keypoints.to(torch.float64, copy=True)
    penalty = max(1e-9, _RIDGE * float(covariance.diagonal().mean()))
    for rows in (~visible.all(dim=1)).nonzero().flatten().split(_ROWS):
        known = visible[rows].repeat_interleave(keypoints.shape[2], dim=1)
        x = torch.where(known, filled[rows].flatten(1), 0.0)
        estimate = conditional_mean(x, known, mean, covariance, penalty)
        filled[rows] = torch.where(known, x, estimate).unflatten(1, keypoints.shape[1:])
    return filled


def fit_gaussian(moments: PatternMoments) -> tuple[Tensor, Tensor]:
    """Return mean (F,) and covariance (F, F) of a Gaussian, by expectation maximisation over incomplete poses.

    Filling a pose is affine and the same for all poses of a pattern, so a step works on the patterns' sums alone
    (Little and Rubin, "Statistical Analysis with Missing Data", chapter 11).
    """
    size = moments.sums.shape[-1]
    known = moments.patterns.repeat_interleave((size - 1) // moments.patterns.shape[1], dim=1).double()  # (P, F)
    number = (known * moments.counts[:, None]).sum(dim=0).clamp(min=1)
    mean = moments.sums[:, 0, 1:].sum(dim=0) / number
    variance = (moments.sums.diagonal(dim1=1, dim2=2)[:, 1:].sum(dim=0) / number - mean.square()).clamp(min=1e-9)
    covariance, ridge = torch.diag(variance), max(1e-9, _RIDGE * float(variance.mean()))
    for _ in range(_EM_STEPS):
        gain = _gains(known, covariance, ridge)
        linear = gain * (1 - known)[:, :, None] + torch.diag_embed(known)
        affine = torch.cat([(mean - linear @ mean)[..., None], linear], dim=2)
        affine = torch.cat([torch.eye(1, size, dtype=mean.dtype).expand(len(known), 1, size), affine], dim=1)
        left = (
            (covariance - gain @ (known[:, :, None] * covariance)) * (1 - known)[:, :, None] * (1 - known)[:, None, :]
        )
        total = (affine @ moments.sums @ affine.transpose(1, 2)).sum(dim=0) / moments.counts.sum()
        spread = torch.einsum("p,pij->ij", moments.counts, left) / moments.counts.sum()
        mean = total[0, 1:]
        covariance = total[1:, 1:] - mean[:, None] * mean + spread
    return mean, covariance


def _gains(known: Tensor, covariance: Tensor, penalty: float) -> Tensor:
    """Return maps (P, F, F) from known numbers to what is expected of all, by pattern ``known`` (P, F) of 0, 1."""
    within = known[:, :, None] * covariance
    system = within * known[:, None, :] + torch.diag_embed(1 - known + penalty * known)
    return torch.linalg.solve(system, within).transpose(1, 2) * known[:, None, :]
