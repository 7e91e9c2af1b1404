"""The Gaussian over incomplete poses: its fit, and what it expects of unknown joints."""

from __future__ import annotations

import torch
from torch import Tensor

from pct.evaluation.tokens.gaussian import PatternMoments, conditional_mean, fill_unknown, fit_gaussian


def _correlated_poses(n: int, k: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(2 * k, 2 * k, generator=generator)
    return (torch.randn(n, 2 * k, generator=generator) @ mix * 0.2 + 0.3).unflatten(1, (k, 2))


def _some_hidden(x: Tensor, share: float = 0.3) -> Tensor:
    visible = torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(1)) > share
    visible[:, 0] = True
    return visible


def test_fit_to_complete_poses_is_mean_and_covariance() -> None:
    x = _correlated_poses(500)
    mean, covariance = fit_gaussian(PatternMoments.of(x, torch.ones(x.shape[:2], dtype=torch.bool)))
    flat = x.double().flatten(1)
    torch.testing.assert_close(mean, flat.mean(0))
    torch.testing.assert_close(covariance, torch.cov(flat.t(), correction=0))


def test_fit_to_incomplete_poses_finds_the_same_gaussian() -> None:
    x = _correlated_poses(20_000)
    mean, covariance = fit_gaussian(PatternMoments.of(x, _some_hidden(x)))
    flat = x.double().flatten(1)
    torch.testing.assert_close(mean, flat.mean(0), atol=0.02, rtol=0)
    error = (covariance - torch.cov(flat.t())).norm() / torch.cov(flat.t()).norm()
    assert error < 0.05


def test_conditional_mean_is_least_squares_on_the_known_numbers() -> None:
    x = _correlated_poses(300).double().flatten(1)
    known = torch.tensor([True, True, True, True, False, False, True, True, False, True])
    mean, covariance = x.mean(0), torch.cov(x.t(), correction=0)
    estimate = conditional_mean(x, known.expand_as(x), mean, covariance, 1e-12)
    design = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x[:, known]], dim=1)
    expected = design @ torch.linalg.lstsq(design, x[:, ~known]).solution
    torch.testing.assert_close(estimate[:, ~known], expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(estimate[:, known], x[:, known], atol=1e-6, rtol=1e-6)


def test_unknown_joints_become_the_conditional_mean_and_known_ones_stay() -> None:
    x = _correlated_poses(300)
    visible = _some_hidden(x)
    flat = x.double().flatten(1)
    mean, covariance = flat.mean(0), torch.cov(flat.t(), correction=0)
    given = torch.where(visible[..., None], x, torch.nan)
    filled = fill_unknown(given, visible, mean, covariance)
    known = visible.repeat_interleave(2, dim=1)
    penalty = 1e-6 * float(covariance.diagonal().mean())
    expected = conditional_mean(torch.where(known, flat, 0.0), known, mean, covariance, penalty).unflatten(1, (5, 2))
    torch.testing.assert_close(filled[~visible], expected[~visible])
    assert torch.equal(filled[visible].float(), x[visible])
    assert torch.isnan(given[~visible]).all()
