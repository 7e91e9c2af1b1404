"""Tests of the completion: hidden joints are measured and never seen; the ridge and its Gaussian are real ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pct.evaluation.tokens.completion import (
    MIN_LEFT,
    RidgeRegression,
    conditional_mean,
    hide_joints,
    hide_part,
    mean_pose,
    measure_completion,
)


def _linear_poses(n: int, k: int = 9, noise: float = 0.05, seed: int = 0) -> Tensor:
    """Poses from few common factors, so that known joints say much about hidden ones."""
    g = torch.Generator().manual_seed(7)
    basis, offset = torch.randn(4, k * 2, generator=g), torch.randn(k * 2, generator=g)
    g = torch.Generator().manual_seed(seed)
    factors = torch.randn(n, 4, generator=g)
    return (factors @ basis + offset + noise * torch.randn(n, k * 2, generator=g)).unflatten(1, (k, 2))


def _random_visible(n: int, k: int, share: float, seed: int = 1) -> Tensor:
    visible = torch.rand(n, k, generator=torch.Generator().manual_seed(seed)) < share
    visible[:, 0] = True
    return visible


def test_hidden_joints_are_known_ones_of_the_asked_number_and_enough_are_left() -> None:
    visible = _random_visible(200, 17, 0.6)
    hidden = hide_joints(visible, 4, seed=3)
    assert not (hidden & ~visible).any()
    number, known = hidden.sum(dim=1), visible.sum(dim=1)
    assert ((number == 4) == (known >= 4 + MIN_LEFT)).all()
    assert (number[known < 4 + MIN_LEFT] == 0).all()
    assert torch.equal(hidden, hide_joints(visible, 4, seed=3))
    assert not torch.equal(hidden, hide_joints(visible, 4, seed=4))
    every = hide_joints(torch.ones(500, 9, dtype=torch.bool), 2, seed=0)
    assert ((every.double().mean(dim=0) - 2 / 9).abs() < 0.07).all()
    visible = torch.ones(2, 9, dtype=torch.bool)
    visible[1, :6] = False
    part = hide_part(visible, (7, 8))
    assert part[0].nonzero().flatten().tolist() == [7, 8]
    assert not part[1].any()


def test_only_hidden_joints_are_measured_and_methods_never_get_them() -> None:
    visible = _random_visible(50, 9, 0.9)
    # Every joint tells whose it is, so that a method can know what it must fill in.
    row, joint = torch.meshgrid(torch.arange(50.0), torch.arange(9.0), indexing="ij")
    keypoints = torch.where(visible[..., None], torch.stack([row, joint], dim=-1), 1e9)

    def method(given: Tensor, known: Tensor, wanted: Tensor) -> Tensor:
        assert torch.isnan(given[~known]).all()
        assert torch.isfinite(given[known]).all()
        assert not (known & wanted).any()
        rows = given[..., 0].nan_to_num(-1.0).amax(dim=1)
        true = torch.stack([rows[:, None].expand(-1, 9), torch.arange(9.0).expand(len(rows), -1)], dim=-1)
        # Far off at the known joints, which must not count; 5 off at every hidden one.
        return torch.where(known[..., None], 1e6, true + torch.tensor([3.0, 4.0]))

    result = measure_completion(keypoints, visible, {"method": method}, most_hidden=3)
    assert [measured["hidden"] for measured in result] == ["1", "2", "3"]
    for measured in result:
        summary = measured["errors"]["method"]
        assert summary["count"] == int(measured["hidden"]) * measured["num_poses"]
        assert (summary["mean"], summary["median"]) == pytest.approx((5, 5), abs=1e-5)


def test_values_of_hidden_joints_do_not_change_a_completion() -> None:
    keypoints, visible = _linear_poses(80), _random_visible(80, 9, 0.95)
    fill = RidgeRegression(_linear_poses(200, seed=5), torch.ones(200, 9, dtype=torch.bool))
    hidden = hide_joints(visible, 2, 0)
    known = visible & ~hidden
    clean = fill(keypoints, known, hidden)
    for poison in (torch.nan, 1e30):
        assert torch.equal(clean, fill(torch.where(known[..., None], keypoints, poison), known, hidden))


def test_mean_pose_is_the_mean_over_labelled_joints() -> None:
    keypoints = torch.tensor([[[2.0, 0.0], [1.0, 1.0]], [[4.0, 2.0], [99.0, 99.0]]])
    visible = torch.tensor([[True, True], [True, False]])
    filled = mean_pose(keypoints, visible)(torch.full((1, 2, 2), torch.nan), torch.zeros(1, 2, dtype=torch.bool), None)  # type: ignore[arg-type]
    assert torch.equal(filled[0].float(), torch.tensor([[3.0, 1.0], [1.0, 1.0]]))


def _closed_form(train: Tensor, given: Tensor, known: list[int], hidden: list[int], penalty: float) -> Tensor:
    """Ridge with an intercept that is not penalised, by its normal equations on centred data."""
    x, y = train[:, known].flatten(1).double(), train[:, hidden].flatten(1).double()
    mean_x, mean_y = x.mean(dim=0), y.mean(dim=0)
    gram = (x - mean_x).t() @ (x - mean_x) / len(x) + penalty * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, (x - mean_x).t() @ (y - mean_y) / len(x))
    return ((given[:, known].flatten(1).double() - mean_x) @ weights + mean_y).unflatten(1, (-1, 2))


def test_ridge_of_a_pattern_is_the_closed_form_on_the_poses_that_label_all_of_it() -> None:
    train, test = _linear_poses(40_000, seed=2), _linear_poses(30, seed=3)
    visible = torch.ones(40_000, 9, dtype=torch.bool)
    visible[39_900:, 5] = False
    moved = train.clone()
    moved[39_900:] += 10.0  # another population, which never labels joint 5
    known = torch.ones(30, 9, dtype=torch.bool)
    known[:, [2, 5]] = False
    level = 1e-3 * float(train.double().flatten(1).var(dim=0).mean())
    expected = _closed_form(train, test, [0, 1, 3, 4, 6, 7, 8], [2, 5], level)
    for poses, labelled in ((train, torch.ones_like(visible)), (moved, visible)):
        filled = RidgeRegression(poses, labelled)(test, known, ~known)
        # All training poses weigh in as ten of 40,000.
        assert torch.allclose(filled[:, [2, 5]], expected, atol=2e-2)
        assert torch.equal(filled[known].float(), test[known])


def test_ridge_learns_from_incomplete_poses_alone() -> None:
    train, visible = _linear_poses(3000, seed=2), _random_visible(3000, 9, 0.6)
    visible &= ~visible.all(dim=1, keepdim=True)
    ridge = RidgeRegression(torch.where(visible[..., None], train, torch.nan), visible)
    test = _linear_poses(200, seed=3)
    full = torch.ones(200, 9, dtype=torch.bool)
    hidden = hide_joints(full, 3, 0)
    filled = ridge(test, full & ~hidden, hidden)
    mean = mean_pose(train, visible)(test, full & ~hidden, hidden)
    ridge_error = (filled - test)[hidden].norm(dim=-1).mean()
    mean_error = (mean - test)[hidden].norm(dim=-1).mean()
    assert ridge_error < 0.5 * mean_error


@pytest.mark.parametrize("train", [_linear_poses(2), _linear_poses(1).expand(6, 9, 2), _linear_poses(7)])
def test_ridge_of_few_or_equal_poses_stays_finite(train: Tensor) -> None:
    ridge = RidgeRegression(train, torch.ones(len(train), 9, dtype=torch.bool))
    visible = torch.ones(3, 9, dtype=torch.bool)
    visible[:, 2:5] = False
    filled = ridge(_linear_poses(3, seed=1), visible, ~visible)
    assert torch.isfinite(filled).all()
    with pytest.raises(ValueError, match="at least 2"):
        RidgeRegression(_linear_poses(1), torch.ones(1, 9, dtype=torch.bool))


def test_conditional_mean_is_least_squares_on_the_known_numbers() -> None:
    x = _linear_poses(300, 5, noise=0.5).double().flatten(1)
    known = torch.tensor([True, True, True, True, False, False, True, True, False, True])
    mean, covariance = x.mean(0), torch.cov(x.t(), correction=0)
    estimate = conditional_mean(x, known.expand_as(x), mean, covariance, 1e-12)
    design = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x[:, known]], dim=1)
    expected = design @ torch.linalg.lstsq(design, x[:, ~known]).solution
    torch.testing.assert_close(estimate[:, ~known], expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(estimate[:, known], x[:, known], atol=1e-6, rtol=1e-6)
