"""Completion: how well joints that were hidden are filled in, and the baselines: mean pose and ridge regression."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pct.evaluation.metrics import summarise

# ``fill(keypoints, visible, wanted)`` returns joints (N, K, D), good at least where ``wanted`` (N, K). The keypoints it
# gets are NaN where not ``visible`` (N, K).
Fill = Callable[[Tensor, Tensor, Tensor], Tensor]

# A pose takes part only if this many joints are left after hiding: with fewer there is little to complete from.
MIN_LEFT = 4
# Candidates: lambda as a share of the mean variance, and the weight of the prior in poses.
_LAMBDAS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
_PRIOR_WEIGHTS = (10.0, 100.0, 1000.0)
_HELD_OUT_SHARE, _HELD_OUT_MOST = 0.1, 3000
_ROWS, _EM_STEPS = 4096, 6
# Share of the mean variance that keeps the systems of nearly dependent joints regular.
_RIDGE = 1e-6


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


class RidgeRegression:
    """Linear regression of the hidden joints on the known ones, for any pattern of joints.

    For each pose the regression, with intercept, is the one fitted to all training poses in which every joint labelled
    there (the known and the hidden ones) is labelled too: means and covariances come from these complete cases, and
    ``x_hidden = mean_hidden + C_hk (C_kk + lambda I)^-1 (x_known - mean_known)``. Rare patterns have few complete
    cases, so a prior weighs in with ``prior_weight`` poses: mean and covariance of one Gaussian for all training poses,
    incomplete ones included, by expectation maximisation (Little and Rubin, "Statistical Analysis with Missing Data",
    chapter 11). A tenth of the training poses is held out to choose lambda and the weight, on 4 hidden joints; the
    complete cases are then taken from all of them. Covariances from jointly labelled pairs would be simpler and far
    worse: pairs taken from different poses need not fit together.

    Args:
        keypoints: Training joints (N, K, D); one unit for all.
        visible: True where a joint is labelled (N, K).
        seed: Of the held-out part and its hidden joints.

    Attributes:
        keypoints: The training joints.
        visible: Which of them are labelled.
        prior: Mean (K * D,) and covariance of the Gaussian, float64.
        penalty: The lambda chosen, as a share of the mean variance of a coordinate.
        prior_weight: The weight chosen, in poses.

    Raises:
        ValueError: If there are fewer than two training poses.
    """

    def __init__(self, keypoints: Tensor, visible: Tensor, seed: int = 0) -> None:
        if len(keypoints) < 2:
            raise ValueError(f"ridge regression needs at least 2 training poses, got {len(keypoints)}")
        order = torch.randperm(len(keypoints), generator=torch.Generator().manual_seed(seed))
        number = max(1, min(_HELD_OUT_MOST, round(_HELD_OUT_SHARE * len(keypoints))))
        held_out, fitted = order[:number], order[number:]
        self.moments = PatternMoments.of(keypoints[fitted], visible[fitted])
        self.prior = fit_gaussian(self.moments)
        self.keypoints, self.visible = keypoints, visible
        self.penalty, self.prior_weight = self._choose(keypoints[held_out], visible[held_out], seed)
        self.moments = PatternMoments.of(keypoints, visible)

    def __call__(self, keypoints: Tensor, visible: Tensor, wanted: Tensor) -> Tensor:
        """Fill joints (N, K, D) where ``wanted`` (N, K) from those that are ``visible`` (N, K)."""
        cases = _CompleteCases.of(self.moments, visible | wanted)
        return self._solve(keypoints, visible, cases, self.penalty, self.prior_weight)

    def _choose(self, keypoints: Tensor, visible: Tensor, seed: int) -> tuple[float, float]:
        hidden = hide_joints(visible, 4, seed + 1)
        chosen = hidden.any(dim=1)
        x, labelled, hidden = keypoints[chosen], visible[chosen], hidden[chosen]
        if not len(x):
            return _LAMBDAS[2], _PRIOR_WEIGHTS[1]

        cases = _CompleteCases.of(self.moments, labelled)

        def error(choice: tuple[float, float]) -> float:
            filled = self._solve(x, labelled & ~hidden, cases, *choice)
            return float((filled - x).norm(dim=-1)[hidden].mean())

        return min(((penalty, weight) for weight in _PRIOR_WEIGHTS for penalty in _LAMBDAS), key=error)

    def _solve(
        self, keypoints: Tensor, visible: Tensor, cases: _CompleteCases, penalty: float, weight: float
    ) -> Tensor:
        dims = keypoints.shape[-1]
        mean, covariance = cases.with_prior(*self.prior, weight)
        # The least value keeps the system regular where all training poses are the same.
        level = (penalty * self.prior[1].diagonal().mean()).clamp(min=1e-9)
        filled = []
        for start in range(0, len(keypoints), _ROWS):
            rows = slice(start, start + _ROWS)
            known = visible[rows].repeat_interleave(dims, dim=1)
            x = torch.where(known, keypoints[rows].double().flatten(1), 0.0)
            mu, cov = mean[cases.row_pattern[rows]], covariance[cases.row_pattern[rows]]
            estimate = conditional_mean(x, known, mu, cov, level)
            filled.append(torch.where(known, x, estimate).unflatten(1, (-1, dims)))
        return torch.cat(filled)


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


@dataclass(frozen=True)
class _CompleteCases:
    """Sums (T, 1 + F, 1 + F) over the training poses that label all joints of a pattern, and their numbers (T,).

    ``row_pattern`` (N,) says which pattern each pose asks for. Only entries of a pattern's own joints mean anything.
    """

    row_pattern: Tensor
    sums: Tensor
    counts: Tensor

    @classmethod
    def of(cls, moments: PatternMoments, labelled: Tensor) -> _CompleteCases:
        patterns, row_pattern = torch.unique(labelled, dim=0, return_inverse=True)
        lacking = patterns.double() @ (~moments.patterns).double().t()  # (T, P): asked joints that a pattern has not
        complete = (lacking == 0).double()
        sums = (complete @ moments.sums.flatten(1)).unflatten(1, moments.sums.shape[1:])
        return cls(row_pattern, sums, complete @ moments.counts)

    def with_prior(self, mean: Tensor, covariance: Tensor, weight: float) -> tuple[Tensor, Tensor]:
        """Return means (T, F) and covariances (T, F, F), with a prior that counts as ``weight`` poses."""
        first = torch.cat([torch.ones_like(mean[:1]), mean])
        base = F.pad(covariance, (1, 0, 1, 0)) + first[:, None] * first
        sums = (self.sums + weight * base) / (self.counts + weight)[:, None, None]
        mu = sums[:, 0, 1:]
        return mu, sums[:, 1:, 1:] - mu[:, :, None] * mu[:, None, :]


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
