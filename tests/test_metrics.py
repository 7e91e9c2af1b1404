"""Tests of the pose measures: hand calculations and an independent AP."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pct.evaluation.metrics import ErrorSummary, coco_keypoint_ap, joint_distances, joint_errors, oks, pck
from pct.skeleton import COCO17

SIGMAS = torch.tensor(COCO17.oks_sigmas)


def _poses(n: int, seed: int = 0) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    target = torch.rand(n, 17, 2, generator=g) * 100 + 20
    visible = torch.rand(n, 17, generator=g) < 0.8
    visible[:, 0] = True
    area = torch.rand(n, generator=g) * 20000 + 1500
    bbox = torch.cat([target.amin(1), target.amax(1) - target.amin(1)], dim=1)
    return {
        "target_keypoints": target,
        "visible": visible,
        "bbox": bbox,
        "area": area,
        "image_ids": torch.arange(n) + 7,
    }


def test_oks_equals_a_hand_calculation() -> None:
    keypoints = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [9.0, 9.0]]])
    target = torch.tensor([[[0.0, 0.0], [0.0, 2.0], [float("nan"), 0.0]]])
    visible = torch.tensor([[True, True, False]])
    value = oks(keypoints, target, visible, torch.tensor([100.0]), torch.tensor([0.1, 0.05, 0.1], dtype=torch.float64))
    first = math.exp(-25 / (2 * 100 * 0.2**2))
    second = math.exp(-4 / (2 * 100 * 0.1**2))
    assert value.item() == pytest.approx((first + second) / 2, rel=1e-12)


def test_perfect_poses_have_ap_one_and_error_zero() -> None:
    poses = _poses(12)
    result = coco_keypoint_ap(poses["target_keypoints"], sigmas=SIGMAS, **poses)
    assert (result.ap, result.ap50, result.ap75, result.ar) == (1, 1, 1, 1)
    distances = joint_distances(poses["target_keypoints"], poses["target_keypoints"], poses["visible"])
    assert distances.abs().max() == 0
    assert pck(distances, poses["visible"], torch.ones(12), 0.05) == 1


def _independent_ap(similarity: np.ndarray) -> float:
    """AP with one person an image and equal scores: best precision at each of 101 recalls or above."""
    per_threshold = []
    for threshold in np.arange(0.5, 0.96, 0.05):
        hits = np.cumsum(similarity >= threshold)
        recall, precision = hits / len(similarity), hits / np.arange(1, len(similarity) + 1)
        at = [precision[recall >= r].max(initial=0.0) for r in np.linspace(0, 1, 101)]
        per_threshold.append(np.mean(at))
    return float(np.mean(per_threshold))


@pytest.mark.parametrize("noise", [2.0, 6.0])
def test_ap_equals_an_independent_calculation(noise: float) -> None:
    poses = _poses(60, seed=1)
    keypoints = poses["target_keypoints"] + noise * torch.randn(60, 17, 2, generator=torch.Generator().manual_seed(2))
    result = coco_keypoint_ap(keypoints, sigmas=SIGMAS, **poses)
    similarity = oks(keypoints, poses["target_keypoints"], poses["visible"], poses["area"], SIGMAS).numpy()
    assert 0 < _independent_ap(similarity) < 1
    assert result.ap == pytest.approx(_independent_ap(similarity), abs=1e-9)
    recall = np.mean([(similarity >= t).mean() for t in np.arange(0.5, 0.96, 0.05)])
    assert result.ar == pytest.approx(recall, abs=1e-9)


def test_an_image_with_more_than_twenty_persons_counts_all_of_them() -> None:
    poses = _poses(25, seed=3)
    offset = torch.arange(25).float()[:, None, None] * 500
    poses["target_keypoints"] = poses["target_keypoints"] + offset
    poses["image_ids"] = torch.zeros(25, dtype=torch.int64)
    assert coco_keypoint_ap(poses["target_keypoints"], sigmas=SIGMAS, **poses).ap == 1


def test_ap_uses_the_sigmas_of_the_skeleton() -> None:
    poses = _poses(20, seed=4)
    keypoints = poses["target_keypoints"] + 4
    strict = coco_keypoint_ap(keypoints, sigmas=SIGMAS / 4, **poses)
    lenient = coco_keypoint_ap(keypoints, sigmas=SIGMAS * 4, **poses)
    assert strict.ap is not None
    assert lenient.ap is not None
    assert strict.ap < lenient.ap


def test_ap_without_poses_is_refused() -> None:
    poses = {name: value[:0] for name, value in _poses(1).items()}
    with pytest.raises(ValueError, match="at least one pose"):
        coco_keypoint_ap(poses["target_keypoints"], sigmas=SIGMAS, **poses)


def test_a_class_without_persons_has_no_ap() -> None:
    poses = _poses(3)
    poses["area"] = torch.full((3,), 50_000.0)
    result = coco_keypoint_ap(poses["target_keypoints"], sigmas=SIGMAS, **poses)
    assert result.ap_medium is None
    assert result.ap_large == 1


def test_evaluator_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    poses = _poses(2)
    coco_keypoint_ap(poses["target_keypoints"], sigmas=SIGMAS, **poses)
    assert capsys.readouterr().out == ""


def test_errors_and_pck_count_labelled_joints_only() -> None:
    target = torch.zeros(2, 2, 2)
    keypoints = torch.tensor([[[3.0, 4.0], [100.0, 0.0]], [[0.0, 1.0], [6.0, 8.0]]])
    visible = torch.tensor([[True, False], [True, True]])
    distances = joint_distances(keypoints, target, visible)
    first, second = joint_errors(distances, visible)
    assert (first.count, first.mean, second.count, second.mean) == (2, 3.0, 1, 10.0)
    summary = ErrorSummary.of(distances[visible])
    assert (summary.count, summary.median) == (3, 5.0)
    assert summary.mean == pytest.approx(16 / 3)
    assert pck(distances, visible, torch.tensor([100.0, 50.0]), 0.1) == pytest.approx(2 / 3)
    assert pck(distances, torch.zeros(2, 2, dtype=torch.bool), torch.ones(2), 0.1) is None
    assert ErrorSummary.of(distances[:0]).mean is None
