"""Completion: how well joints that were hidden are filled in, and the baselines: mean pose and ridge regression."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
# Lambda as a share of the mean variance, and as how many poses the prior counts: values around these give the same.
_LAMBDA, _PRIOR_POSES = 1e-3, 10.0
_ROWS = 4096


def hide_joints(visible: Tensor, number: int, seed: int) -> Tensor:
    """Choose ``number`` of the ``visible`` joints (N, K) of each pose at random.

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
    errors: Mapping[str, Any] = next((row["errors"] for row in rows if row["hidden"] == hidden), {})
    if not {"tokenizer", "ridge"} <= set(errors) or not errors["ridge"]["mean"]:
        return None
    return errors["tokenizer"]["mean"] / errors["ridge"]["mean"]


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
    cases, so all training poses weigh in as a few more, with the mean where a joint is not labelled. Covariances from
    jointly labelled pairs would be simpler and far worse: pairs taken from different poses need not fit together.

    Args:
        keypoints: Training joints (N, K, D); one unit for all.
        visible: True where a joint is labelled (N, K).

    Attributes:
        keypoints: The training joints.
        visible: Which of them are labelled.

    Raises:
        ValueError: If there are fewer than two training poses.
    """

    def __init__(self, keypoints: Tensor, visible: Tensor) -> None:
        if len(keypoints) < 2:
            raise ValueError(f"ridge regression needs at least 2 training poses, got {len(keypoints)}")
        self.keypoints, self.visible = keypoints, visible
        x = torch.where(visible[..., None], keypoints, 0.0).double()
        self._patterns, row_pattern, counts = torch.unique(visible, dim=0, return_inverse=True, return_counts=True)
        groups = _with_one(x)[row_pattern.argsort()].split(counts.tolist())
        # Sums of [1, x][1, x]^T by pattern of labelled joints (P, 1 + F, 1 + F), where F = KD.
        self._sums, self._counts = torch.stack([group.t() @ group for group in groups]), counts.double()
        mean = x.sum(dim=0) / visible.sum(dim=0).clamp(min=1)[:, None]
        filled = _with_one(torch.where(visible[..., None], x, mean))
        self._prior = _PRIOR_POSES * (filled.t() @ filled) / len(x)
        variance = torch.cov(filled[:, 1:].t(), correction=0).diagonal().mean()
        # The least value keeps the system regular where all training poses are the same.
        self._penalty = max(1e-9, _LAMBDA * float(variance))

    def __call__(self, keypoints: Tensor, visible: Tensor, wanted: Tensor) -> Tensor:
        """Fill joints (N, K, D) where ``wanted`` (N, K) from those that are ``visible`` (N, K); float64."""
        asked, row_pattern = torch.unique(visible | wanted, dim=0, return_inverse=True)
        lacking = asked.double() @ (~self._patterns).double().t()  # (T, P): asked joints that a pattern has not
        complete = (lacking == 0).double()
        sums = (complete @ self._sums.flatten(1)).unflatten(1, self._prior.shape) + self._prior
        sums = sums / (complete @ self._counts + _PRIOR_POSES)[:, None, None]
        mean = sums[:, 0, 1:]
        covariance = sums[:, 1:, 1:] - mean[:, :, None] * mean[:, None, :]
        known = visible.repeat_interleave(keypoints.shape[-1], dim=1)
        x = torch.where(known, keypoints.double().flatten(1), 0.0)
        rows = []
        for part in torch.arange(len(x)).split(_ROWS):
            pattern = row_pattern[part]
            rows.append(conditional_mean(x[part], known[part], mean[pattern], covariance[pattern], self._penalty))
        return torch.where(known, x, torch.cat(rows)).unflatten(1, keypoints.shape[1:])


def conditional_mean(x: Tensor, known: Tensor, mean: Tensor, covariance: Tensor, penalty: float) -> Tensor:
    """Return ``mean + C_.k (C_kk + penalty I)^-1 (x_k - mean_k)``: what is expected of all given the known numbers.

    Of ``x`` (N, F) those count that are ``known`` (N, F); ``mean`` is (F,) or (N, F), ``covariance`` C (F, F) or
    (N, F, F). The estimates (N, F) have the dtype of ``mean``.
    """
    keep = known.to(mean.dtype)
    # Rows and columns of unknown numbers become those of the identity, so that all patterns go in one batch.
    system = covariance * keep[:, :, None] * keep[:, None, :] + torch.diag_embed(1 - keep + penalty * keep)
    solution = torch.linalg.solve(system, ((x - mean) * keep)[..., None])
    return mean + (covariance @ (solution * keep[..., None])).squeeze(-1)


def _with_one(x: Tensor) -> Tensor:
    """Return joints (N, K, D) as rows (N, 1 + KD) that begin with a 1."""
    return F.pad(x.flatten(1), (1, 0), value=1.0)
