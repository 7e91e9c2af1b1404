"""Tests of the 3D measures: independent calculations, invariances, and the traps of published code."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from pct.evaluation.metrics3d import (
    AUC_THRESHOLDS,
    align_by_similarity,
    joint_errors_3d,
    mpjpe,
    n_mpjpe,
    p_mpjpe,
    pck3d,
    per_action_mean,
    summarise_3d,
)
from pct.skeleton import COCO17, H36M16, H36M17


def _poses(n: int = 6, seed: int = 0) -> Tensor:
    return torch.randn(n, 17, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 400


def _rotations(n: int, seed: int = 1) -> Tensor:
    q, r = np.linalg.qr(np.random.default_rng(seed).normal(size=(n, 3, 3)))
    q = q * np.sign(np.diagonal(r, axis1=1, axis2=2))[:, None]
    q[np.linalg.det(q) < 0, :, 0] *= -1
    return torch.from_numpy(q)


def _quaternion_alignment(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Align one pose by Horn's quaternions (1987): another way to the best rotation than singular values."""
    p, g = source - source.mean(0), target - target.mean(0)
    s = p.T @ g
    delta = np.array([s[1, 2] - s[2, 1], s[2, 0] - s[0, 2], s[0, 1] - s[1, 0]])
    n = np.zeros((4, 4))
    n[0, 0], n[0, 1:], n[1:, 0] = np.trace(s), delta, delta
    n[1:, 1:] = s + s.T - np.trace(s) * np.eye(3)
    w, *v = np.linalg.eigh(n)[1][:, -1]
    cross = np.cross(np.eye(3), v)
    rotation = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    turned = p @ rotation.T
    return (turned * g).sum() / (p * p).sum() * turned + target.mean(0)


def test_mpjpe_and_n_mpjpe_equal_loops() -> None:
    a, b = _poses(), _poses(seed=1)
    for row in range(len(a)):
        p, g = (a[row] - a[row, 0]).tolist(), (b[row] - b[row, 0]).tolist()
        error = sum(math.dist(x, y) for x, y in zip(p, g, strict=True)) / 17
        assert mpjpe(a, b)[row].item() == pytest.approx(error, rel=1e-12)
        scale = sum(x * y for i in range(17) for x, y in zip(p[i], g[i], strict=True)) / sum(
            x * x for joint in p for x in joint
        )
        error = sum(math.dist([scale * x for x in p[i]], g[i]) for i in range(17)) / 17
        assert n_mpjpe(a, b)[row].item() == pytest.approx(error, rel=1e-12)


def test_alignment_equals_the_quaternion_method() -> None:
    a, b = _poses(20), _poses(20, seed=1)
    aligned = align_by_similarity(a, b).numpy()
    for row in range(20):
        expected = _quaternion_alignment(a[row].numpy(), b[row].numpy())
        np.testing.assert_allclose(aligned[row], expected, atol=1e-8)


def test_similarities_are_undone_but_a_mirror_is_not() -> None:
    target = _poses()
    turned = 1.7 * target @ _rotations(6).transpose(1, 2) + torch.tensor([100.0, -2000.0, 5000.0])
    assert p_mpjpe(turned, target).max() < 1e-9
    assert p_mpjpe(target * torch.tensor([-1.0, 1.0, 1.0]), target).min() > 50
    flat = target * torch.tensor([1.0, 1.0, 0.0])
    assert p_mpjpe(flat @ _rotations(6).transpose(1, 2), flat).max() < 1e-9


def test_each_measure_ignores_what_it_should() -> None:
    a, b = _poses(), _poses(seed=1)
    shift, scale = torch.tensor([10.0, 20.0, 3000.0], dtype=torch.float64), 0.3
    torch.testing.assert_close(mpjpe(a + shift, b), mpjpe(a, b))
    torch.testing.assert_close(mpjpe(a, b - shift), mpjpe(a, b))
    torch.testing.assert_close(n_mpjpe(scale * a, b), n_mpjpe(a, b))
    assert not torch.allclose(mpjpe(scale * a, b), mpjpe(a, b))
    r = _rotations(1)[0]
    torch.testing.assert_close(mpjpe(a @ r.T, b @ r.T), mpjpe(a, b))
    assert (n_mpjpe(a, b) <= mpjpe(a, b).max()).all()
    squared = [float((align_by_similarity(a, b) - b).square().sum()), float((a - b).square().sum())]
    assert squared[0] < squared[1]


def test_a_pose_in_one_point_has_finite_errors() -> None:
    target = _poses()
    point = torch.zeros_like(target)
    for measure in (mpjpe, p_mpjpe, n_mpjpe):
        assert torch.isfinite(measure(point, target)).all()
    assert torch.isfinite(p_mpjpe(target, point)).all()


def test_pck_and_auc_count_the_official_joints_where_a_skeleton_has_them() -> None:
    target = _poses()
    wrong = target.clone()
    wrong[:, [7, 9]] += 500
    some, every = (summarise_3d(wrong, target, skeleton) for skeleton in (H36M17, COCO17))
    assert (some["pck"], some["auc"]) == (1, pytest.approx(30 / 31))
    assert (every["pck"], every["mpjpe"]) == pytest.approx((15 / 17, 2 * 500 * math.sqrt(3) / 17))
    assert (len(some["pck_joints"]), every["pck_joints"]) == (14, list(COCO17.keypoint_names))
    assert set(H36M17.keypoint_names) - set(some["pck_joints"]) == {H36M17.keypoint_names[i] for i in (0, 7, 9)}
    assert summarise_3d(wrong[:, 1:], target[:, 1:], H36M16)["pck_joints"] == some["pck_joints"]


def test_median_and_90th_percentile_are_over_poses() -> None:
    target, wrong = torch.zeros(101, 17, 3), torch.zeros(101, 17, 3)
    wrong[:, 1:, 0] = torch.arange(101.0)[:, None] * 17 / 16  # pose i is wrong by i, the root by nothing
    found = summarise_3d(wrong, target, H36M17)
    assert (found["mpjpe"], found["median"], found["p90"]) == pytest.approx((50, 50, 90))


def test_pck_and_auc_equal_a_hand_calculation() -> None:
    target = torch.zeros(1, 4, 3)
    moved = torch.tensor([[[0.0, 0, 0], [150, 0, 0], [0, 149.9, 0], [0, 0, 12]]])
    errors = joint_errors_3d(moved, target)
    assert pck3d(errors) == 3 / 4  # exactly 150 is not below 150
    hand = [(t > 0) + (t > 150) + (t > 149.9) + (t > 12) for t in range(0, 151, 5)]
    assert pck3d(errors, AUC_THRESHOLDS) == pytest.approx(sum(hand) / 4 / 31)
    assert (len(AUC_THRESHOLDS), AUC_THRESHOLDS[0], AUC_THRESHOLDS[-1]) == (31, 0, 150)
    with pytest.raises(ValueError, match="at least one pose"):
        pck3d(errors[:0])


def test_actions_are_told_apart_by_their_whole_name() -> None:
    values = torch.tensor([1.0, 3.0, 10.0, 100.0])
    mean, by_action = per_action_mean(values, ["Sitting 1", "Sitting 2", "SittingDown", "directing traffic"])
    assert by_action == {"Sitting": 2.0, "SittingDown": 10.0, "directing traffic": 100.0}
    assert mean == pytest.approx(112 / 3)  # of the actions, not of the poses
    with pytest.raises(ValueError, match="3 actions for values of shape"):
        per_action_mean(values, ["a", "b", "c"])


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(ValueError, match=r"got shapes \(6, 17, 2\) and \(6, 17, 3\)"):
        mpjpe(_poses()[..., :2], _poses())
    with pytest.raises(ValueError, match="root is joint 17; the poses have joints 0 to 16"):
        mpjpe(_poses(), _poses(), root=17)
