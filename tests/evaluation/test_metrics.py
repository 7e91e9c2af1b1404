"""Tests of the pose measures: hand calculations and an independent AP."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pct.evaluation.metrics import (
    CocoAP,
    PersonLabels,
    PoseResults,
    given_box_ap,
    joint_distances,
    joint_errors,
    oks,
    pck,
    summarise,
)
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


def _ap(
    keypoints: torch.Tensor, poses: dict[str, torch.Tensor], sigmas: torch.Tensor = SIGMAS, scores: float = 1.0
) -> CocoAP:
    """Return the AP of one prediction a person, all with one score."""
    target, *columns = poses.values()
    results = PoseResults(keypoints, poses["image_ids"], torch.full((len(keypoints),), scores))
    return given_box_ap(results, PersonLabels(target, *columns), sigmas)


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
    result = _ap(poses["target_keypoints"], poses)
    assert (result["ap"], result["ap50"], result["ap75"], result["ar"]) == (1, 1, 1, 1)
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
    result = _ap(keypoints, poses)
    similarity = oks(keypoints, poses["target_keypoints"], poses["visible"], poses["area"], SIGMAS).numpy()
    assert 0 < _independent_ap(similarity) < 1
    assert result["ap"] == pytest.approx(_independent_ap(similarity), abs=1e-9)
    recall = np.mean([(similarity >= t).mean() for t in np.arange(0.5, 0.96, 0.05)])
    assert result["ar"] == pytest.approx(recall, abs=1e-9)


def test_an_image_with_more_than_twenty_persons_counts_all_of_them() -> None:
    poses = _poses(25, seed=3)
    offset = torch.arange(25).float()[:, None, None] * 500
    poses["target_keypoints"] = poses["target_keypoints"] + offset
    poses["image_ids"] = torch.zeros(25, dtype=torch.int64)
    assert _ap(poses["target_keypoints"], poses)["ap"] == 1


def test_ap_uses_the_sigmas_of_the_skeleton() -> None:
    poses = _poses(20, seed=4)
    keypoints = poses["target_keypoints"] + 4
    strict, lenient = (_ap(keypoints, poses, SIGMAS * factor)["ap"] for factor in (1 / 4, 4))
    assert strict is not None
    assert lenient is not None
    assert strict < lenient


def test_a_class_without_persons_has_no_ap() -> None:
    poses = _poses(3)
    poses["area"] = torch.full((3,), 50_000.0)
    result = _ap(poses["target_keypoints"], poses)
    assert result["ap_medium"] is None
    assert result["ap_large"] == 1


def test_evaluator_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    poses = _poses(2)
    _ap(poses["target_keypoints"], poses)
    assert capsys.readouterr().out == ""


def test_errors_and_pck_count_labelled_joints_only() -> None:
    target = torch.zeros(2, 2, 2)
    keypoints = torch.tensor([[[3.0, 4.0], [100.0, 0.0]], [[0.0, 1.0], [6.0, 8.0]]])
    visible = torch.tensor([[True, False], [True, True]])
    distances = joint_distances(keypoints, target, visible)
    first, second = joint_errors(("nose", "neck"), distances, visible, (0.1, 0.2))
    assert (first["name"], first["sigma"], second["name"], second["sigma"]) == ("nose", 0.1, "neck", 0.2)
    assert [(row["error"]["count"], row["error"]["mean"]) for row in (first, second)] == [(2, 3.0), (1, 10.0)]
    summary = summarise(distances[visible])
    assert (summary["count"], summary["median"]) == (3, 5.0)
    assert summary["mean"] == pytest.approx(16 / 3)
    assert pck(distances, visible, torch.tensor([100.0, 50.0]), 0.1) == pytest.approx(2 / 3)
    assert pck(distances, torch.zeros(2, 2, dtype=torch.bool), torch.ones(2), 0.1) is None
    assert summarise(distances[:0])["mean"] is None


def test_nine_tenths_of_the_joints_stay_below_p90() -> None:
    summary = summarise(torch.arange(101.0).flip(0))
    assert (summary["median"], summary["p90"]) == (50.0, 90.0)


def test_a_joint_exactly_at_the_threshold_is_correct() -> None:
    distances, visible = torch.tensor([[0.5, 0.75], [1.0, 2.0]]), torch.ones(2, 2, dtype=torch.bool)
    assert pck(distances, visible, torch.tensor([2.0, 4.0]), 0.25) == 0.5
