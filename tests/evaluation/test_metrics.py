"""Tests of the pose measures against hand calculations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from pct.evaluation.metrics import (
    expected_calibration_error,
    joint_distances,
    joint_errors,
    joint_scale,
    joint_similarity,
    measure_torso_pck,
    oks,
    pck,
    summarise,
)
from pct.pose_space import PoseSpace
from pct.poses import Poses
from pct.skeleton import COCO17, Skeleton


def test_oks_equals_a_hand_calculation_and_is_the_mean_similarity_of_the_labelled_joints() -> None:
    keypoints = torch.tensor([[[3.0, 4.0], [0.0, 0.0], [9.0, 9.0]]])
    target = torch.tensor([[[0.0, 0.0], [0.0, 2.0], [float("nan"), 0.0]]])
    visible = torch.tensor([[True, True, False]])
    sigmas = torch.tensor([0.1, 0.05, 0.1], dtype=torch.float64)
    value = oks(keypoints, target, visible, torch.tensor([100.0]), sigmas)
    first = math.exp(-25 / (2 * 100 * 0.2**2))
    second = math.exp(-4 / (2 * 100 * 0.1**2))
    assert value.item() == pytest.approx((first + second) / 2, rel=1e-12)
    scale = joint_scale(PoseSpace(units="pixels"), COCO17, torch.tensor([100.0], dtype=torch.float64))
    assert scale[0].tolist() == pytest.approx([20 * sigma for sigma in COCO17.oks_sigmas])
    assert joint_similarity(keypoints, target, scale[:, :3])[0, 0].item() == pytest.approx(
        math.exp(-25 / (2 * scale[0, 0].item() ** 2))
    )
    metres = joint_scale(PoseSpace("root3d"), COCO17, torch.ones(1))
    assert metres[0].tolist() == pytest.approx([0.1] * 17)


def test_errors_and_pck_count_labelled_joints_only_and_one_at_the_threshold_is_correct() -> None:
    target = torch.zeros(2, 2, 2)
    keypoints = torch.tensor([[[3.0, 4.0], [100.0, 0.0]], [[0.0, 1.0], [6.0, 8.0]]])
    visible = torch.tensor([[True, False], [True, True]])
    distances = joint_distances(keypoints, target, visible)
    skeleton = Skeleton("two", ("nose", "neck"), (), (), (0.1, 0.2))
    first, second = joint_errors(distances, Poses(skeleton, target, visible))
    assert (first["name"], first["sigma"], second["name"], second["sigma"]) == ("nose", 0.1, "neck", 0.2)
    assert joint_errors(distances, Poses(skeleton, torch.zeros(2, 2, 3), visible))[0]["sigma"] is None
    assert [(row["error"]["count"], row["error"]["mean"]) for row in (first, second)] == [(2, 3.0), (1, 10.0)]
    summary = summarise(distances[visible])
    assert (summary["count"], summary["median"]) == (3, 5.0)
    assert summary["mean"] == pytest.approx(16 / 3)
    assert pck(distances, visible, torch.tensor([100.0, 50.0]), 0.1) == pytest.approx(2 / 3)
    assert pck(distances, torch.zeros(2, 2, dtype=torch.bool), torch.ones(2), 0.1) is None
    at, all_visible = torch.tensor([[0.5, 0.75], [1.0, 2.0]]), torch.ones(2, 2, dtype=torch.bool)
    assert pck(at, all_visible, torch.tensor([2.0, 4.0]), 0.25) == 0.5
    assert summarise(distances[:0])["mean"] is None
    summary = summarise(torch.arange(101.0).flip(0))
    assert (summary["median"], summary["p90"]) == (50.0, 90.0)


def test_pck_goes_by_the_torso_of_each_person() -> None:
    names = COCO17.keypoint_names
    shoulder, hip, wrist = (names.index(name) for name in ("left_shoulder", "right_hip", "left_wrist"))
    visible = torch.zeros(3, 17, dtype=torch.bool)
    visible[:, [shoulder, hip, wrist]] = True
    visible[2, hip] = False  # no torso: does not count
    target = torch.rand(3, 17, 2, generator=torch.Generator().manual_seed(0)) * 100
    target[:, shoulder], target[:, hip] = torch.tensor([0.0, 0.0]), torch.tensor([30.0, 40.0])
    labels, moved = Poses(COCO17, target, visible), target.clone()
    moved[0, wrist, 0] += 9.9  # a fifth of 50 pixels is 10
    moved[1, wrist, 0] += 10.1
    moved[2] += 500
    found = measure_torso_pck(moved, labels)
    assert found is not None
    assert (found["left_wrist"], found["left_shoulder"], found["nose"]) == (0.5, 1, None)
    assert found["mean"] == pytest.approx(5 / 6)
    other = replace(COCO17, keypoint_names=tuple(name.replace("hip", "hub") for name in names))
    assert measure_torso_pck(moved, replace(labels, skeleton=other)) is None


def test_calibration_error_equals_a_hand_calculation() -> None:
    confidence = torch.tensor([0.05, 0.15, 0.9, 1.0, 0.8])
    similarity = torch.tensor([0.25, 0.15, 0.5, 0.6, 0.8])
    table = expected_calibration_error(confidence, similarity, num_bins=5)
    assert [b["count"] for b in table["bins"]] == [2, 0, 0, 0, 3]
    assert (table["bins"][4]["confidence"], table["bins"][4]["similarity"]) == pytest.approx((0.9, 1.9 / 3))
    assert table["bins"][1]["confidence"] is None
    assert table["ece"] == pytest.approx((2 * abs(0.1 - 0.2) + 3 * abs(0.9 - 1.9 / 3)) / 5)
    assert [(b["low"], b["high"]) for b in table["bins"]][:2] == [(0.0, 0.2), (0.2, 0.4)]
    assert expected_calibration_error(confidence[:0], similarity[:0])["ece"] is None


def test_calibrated_confidence_has_no_error_and_boasting_has() -> None:
    g = torch.Generator().manual_seed(0)
    confidence = torch.rand(200_000, generator=g)
    outcome = (torch.rand(200_000, generator=g) < confidence).float()
    assert expected_calibration_error(confidence, outcome)["ece"] < 0.005
    assert expected_calibration_error(confidence.sqrt(), outcome)["ece"] == pytest.approx(2 / 3 - 1 / 2, abs=0.005)


@pytest.mark.parametrize("bad", [1.5, -0.1, math.nan])
def test_confidence_outside_its_range_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\]; got"):
        expected_calibration_error(torch.tensor([0.5, bad]), torch.zeros(2))
    with pytest.raises(ValueError, match="one similarity a confidence"):
        expected_calibration_error(torch.zeros(3), torch.zeros(2))
