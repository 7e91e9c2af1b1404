"""Measures of poses read off photos, against slow and independent calculations and against COCO's evaluator."""

from __future__ import annotations

import contextlib
import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pct.evaluation.metrics import (
    PersonLabels,
    PoseResults,
    coco_results_ap,
    given_box_ap,
    joint_similarity,
    oks,
)
from pct.evaluation.photos.metrics import (
    expected_calibration_error,
    measure_torso_pck,
    oks_nms,
    rescore,
    rows_by_image,
    suppress_doubles,
)
from pct.skeleton import COCO17

SIGMAS = torch.tensor(COCO17.oks_sigmas)


def make_labels(n: int = 40, seed: int = 0, images: int = 12) -> PersonLabels:
    g = torch.Generator().manual_seed(seed)
    sizes = torch.where(torch.arange(n) % 3 == 0, 220.0, 90.0)[:, None, None]
    keypoints = torch.rand(n, 17, 2, generator=g) * sizes + 300 * torch.rand(n, 1, 2, generator=g)
    visible = torch.rand(n, 17, generator=g) < 0.7
    visible[:, 3] = True
    low, high = keypoints.amin(1), keypoints.amax(1)
    area = (0.5 * (high - low).prod(dim=1)).double()
    return PersonLabels(keypoints, visible, torch.cat([low, high - low], 1), area, torch.arange(n) % images + 5)


def make_results(labels: PersonLabels, noise: float = 4.0, seed: int = 1) -> PoseResults:
    """Poses near every person, some of them found twice, and some of nobody."""
    g = torch.Generator().manual_seed(seed)
    rows = torch.cat([torch.arange(len(labels)), torch.arange(0, len(labels), 3)])
    keypoints = labels.keypoints[rows] + noise * torch.randn(len(rows), 17, 2, generator=g)
    keypoints[::7] += 200
    return PoseResults(keypoints, labels.image_ids[rows], torch.rand(len(rows), generator=g))


def slow_nms(keypoints: np.ndarray, scores: np.ndarray, areas: np.ndarray, threshold: float) -> list[int]:
    """Every pair by hand: a pose stays if no better one that stays is too much like it."""
    kept: list[int] = []
    for i in sorted(range(len(scores)), key=lambda row: -scores[row]):
        for j in kept:
            total = 0.0
            for joint in range(17):
                dx, dy = keypoints[i, joint] - keypoints[j, joint]
                scale = (2 * COCO17.oks_sigmas[joint]) ** 2 * (areas[i] + areas[j]) / 2
                total += math.exp(-(dx * dx + dy * dy) / scale / 2)
            if total / 17 > threshold:
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
def test_nms_equals_a_slow_loop(threshold: float) -> None:
    g = torch.Generator().manual_seed(3)
    people = torch.rand(6, 17, 2, generator=g) * 100
    keypoints = (
        people[torch.arange(40) % 6] + torch.randn(40, 1, 1, generator=g) * torch.linspace(0, 12, 40)[:, None, None]
    )
    scores, areas = torch.rand(40, generator=g), torch.rand(40, generator=g) * 9000 + 1000
    kept = oks_nms(keypoints, scores, areas, SIGMAS, threshold).tolist()
    assert kept == slow_nms(keypoints.double().numpy(), scores.numpy(), areas.double().numpy(), threshold)
    assert 6 <= len(kept) < 40


def test_doubles_are_taken_out_image_by_image_and_the_order_stays() -> None:
    one = torch.rand(1, 17, 2, generator=torch.Generator().manual_seed(0)) * 100
    results = PoseResults(one.repeat(5, 1, 1), torch.tensor([9, 2, 9, 2, 9]), torch.tensor([0.1, 0.9, 0.3, 0.8, 0.2]))
    left = suppress_doubles(results, torch.full((5,), 4000.0), SIGMAS)
    assert left.image_ids.tolist() == [2, 9]
    assert left.scores.tolist() == pytest.approx([0.9, 0.3])
    assert len(oks_nms(one[:0], torch.zeros(0), torch.zeros(0), SIGMAS)) == 0
    assert [rows.tolist() for rows in rows_by_image(results.image_ids)] == [[1, 3], [0, 2, 4]]


def test_scores_are_the_boxs_times_the_mean_of_the_joints_that_were_found() -> None:
    joints = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.1, 0.0], [0.4, 0.4, 1.0]])
    assert rescore(joints).tolist() == pytest.approx([0.7, 0.0, 0.6])
    assert rescore(joints, torch.tensor([0.5, 1.0, 0.1])).tolist() == pytest.approx([0.35, 0.0, 0.06])
    assert rescore(joints, threshold=-1.0).tolist() == pytest.approx([0.5, 0.1, 0.6])


def test_oks_is_the_mean_similarity_of_the_labelled_joints() -> None:
    labels = make_labels()
    keypoints = labels.keypoints + 5 * torch.randn(40, 17, 2, generator=torch.Generator().manual_seed(2))
    similarity = joint_similarity(keypoints, labels.keypoints, labels.area, SIGMAS)
    whole = oks(keypoints, labels.keypoints, labels.visible, labels.area, SIGMAS)
    mean = (similarity * labels.visible).sum(dim=1) / labels.visible.sum(dim=1)
    torch.testing.assert_close(mean, whole, rtol=1e-12, atol=0)


def test_calibration_error_equals_a_hand_calculation() -> None:
    confidence = torch.tensor([0.05, 0.15, 0.9, 1.0, 0.8])
    similarity = torch.tensor([0.25, 0.15, 0.5, 0.6, 0.8])
    table = expected_calibration_error(confidence, similarity, num_bins=5)
    assert [b["count"] for b in table["bins"]] == [2, 0, 0, 0, 3]
    assert (table["bins"][4]["confidence"], table["bins"][4]["similarity"]) == pytest.approx((0.9, 1.9 / 3))
    assert table["bins"][1]["confidence"] is None
    assert table["ece"] == pytest.approx((2 * abs(0.1 - 0.2) + 3 * abs(0.9 - 1.9 / 3)) / 5)
    assert [(b["low"], b["high"]) for b in table["bins"]][:2] == [(0.0, 0.2), (0.2, 0.4)]


def test_calibrated_confidence_has_no_error_and_boasting_has() -> None:
    g = torch.Generator().manual_seed(0)
    confidence = torch.rand(200_000, generator=g)
    outcome = (torch.rand(200_000, generator=g) < confidence).float()
    ece = expected_calibration_error(confidence, outcome)["ece"]
    boasting = expected_calibration_error(confidence.sqrt(), outcome)["ece"]
    assert ece is not None
    assert boasting is not None
    assert ece < 0.005
    assert boasting == pytest.approx(2 / 3 - 1 / 2, abs=0.005)
    assert expected_calibration_error(confidence[:0], outcome[:0])["ece"] is None


@pytest.mark.parametrize("bad", [1.5, -0.1, math.nan])
def test_confidence_outside_its_range_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\]; got"):
        expected_calibration_error(torch.tensor([0.5, bad]), torch.zeros(2))
    with pytest.raises(ValueError, match="one similarity a confidence"):
        expected_calibration_error(torch.zeros(3), torch.zeros(2))


def evaluate_files(folder: Path, labels: PersonLabels, results: PoseResults, flags: np.ndarray) -> np.ndarray:
    """Run pycocotools as its users do: files, ``evaluate``, ``accumulate``, ``summarize``."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations = []
    for i in range(len(labels)):
        points = np.column_stack([labels.keypoints[i].numpy(), flags[i]]) * (flags[i] > 0)[:, None]
        annotations.append(
            {
                "id": 100 + i,
                "image_id": int(labels.image_ids[i]),
                "category_id": 1,
                "iscrowd": int(labels.crowd[i]) if labels.crowd is not None else 0,
                "keypoints": points.astype(float).ravel().tolist(),
                "num_keypoints": int((flags[i] > 0).sum()),
                "bbox": labels.bbox[i].tolist(),
                "area": float(labels.area[i]),
            }
        )
    images = [{"id": int(i)} for i in torch.cat([labels.image_ids, results.image_ids]).unique()]
    found = [
        {
            "image_id": int(results.image_ids[i]),
            "category_id": 1,
            "keypoints": np.column_stack([results.keypoints[i].numpy(), np.ones(17)]).astype(float).ravel().tolist(),
            "score": float(results.scores[i]),
        }
        for i in range(len(results))
    ]
    content = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "person"}]}
    (folder / "truth.json").write_text(json.dumps(content))
    (folder / "found.json").write_text(json.dumps(found))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "truth.json"))
        evaluator = COCOeval(truth, truth.loadRes(str(folder / "found.json")), "keypoints")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats  # AP, AP50, AP75, APm, APl, AR, AR50, AR75, ARm, ARl


def test_any_predictions_get_the_numbers_of_cocos_evaluator(tmp_path: Path) -> None:
    labels = make_labels()
    visible = labels.visible.clone()
    visible[4:8] = False  # nothing labelled: neither right nor wrong
    crowd = torch.zeros(40, dtype=torch.bool)
    crowd[6:8] = True
    labels = PersonLabels(labels.keypoints, visible, labels.bbox, labels.area, labels.image_ids, crowd)
    results = make_results(labels)
    stats = evaluate_files(tmp_path, labels, results, 2 * visible.int().numpy())
    coco = coco_results_ap(results, labels, SIGMAS)
    ours = [coco[key] for key in ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75")]
    assert ours == pytest.approx(stats[:8].tolist(), abs=1e-12)
    assert 0.05 < stats[0] < 0.95
    assert np.mean(list(coco["by_threshold"].values())) == pytest.approx(stats[0], abs=1e-12)
    assert coco["by_threshold"]["0.50"] == coco["ap50"]
    assert coco["by_threshold"]["0.75"] == coco["ap75"]


def test_predictions_on_a_photo_without_persons_are_wrong() -> None:
    labels = make_labels(6, images=6)
    right = PoseResults(labels.keypoints, labels.image_ids, torch.full((6,), 0.5))
    wrong = PoseResults(right.keypoints[:2], torch.tensor([90, 91]), torch.full((2,), 0.9))
    both = PoseResults(*(torch.cat([getattr(part, name) for part in (right, wrong)]) for name in vars(right)))
    assert coco_results_ap(right, labels, SIGMAS)["ap"] == 1
    assert coco_results_ap(both, labels, SIGMAS)["ap"] == pytest.approx(6 / 8)
    nothing = PoseResults(right.keypoints[:0], right.image_ids[:0], right.scores[:0])
    found = coco_results_ap(nothing, labels, SIGMAS)
    assert (found["ap"], found["ar"]) == (0, 0)


def test_ap_of_hidden_joints_is_cocos_on_labels_with_nothing_else(tmp_path: Path) -> None:
    labels = make_labels()
    g = torch.Generator().manual_seed(4)
    hidden = torch.rand(40, 17, generator=g) < 0.15
    noise = 6 * torch.randn(40, 17, 2, generator=g) * (1 + 2 * hidden[..., None])
    results = PoseResults(labels.keypoints + noise, labels.image_ids, torch.rand(40, generator=g))
    coco = given_box_ap(results, labels, SIGMAS, hidden)
    flags = (hidden & labels.visible).int().numpy()
    left = torch.from_numpy(flags.any(axis=1))
    assert 0 < int((~left).sum()) < 40  # some persons have no hidden joint
    columns = ("keypoints", "visible", "bbox", "area", "image_ids")
    fewer = PersonLabels(*(getattr(labels, name)[left] for name in columns))
    stats = evaluate_files(tmp_path, fewer, PoseResults(*(v[left] for v in vars(results).values())), flags[left])
    assert (coco["ap"], coco["ar"]) == pytest.approx((stats[0], stats[5]), abs=1e-12)
    assert coco["ap"] != given_box_ap(results, labels, SIGMAS)["ap"]
    # Only the hidden joints matter: others may be anywhere. (AP by size does look at the size of wrong predictions.)
    elsewhere = torch.where(hidden[..., None], results.keypoints, torch.tensor(-1000.0))
    moved = given_box_ap(PoseResults(elsewhere, results.image_ids, results.scores), labels, SIGMAS, hidden)
    assert (moved["by_threshold"], moved["ar"]) == (coco["by_threshold"], coco["ar"])


def test_without_a_joint_that_counts_there_is_no_ap() -> None:
    labels = make_labels(3)
    results = PoseResults(labels.keypoints, labels.image_ids, torch.ones(3))
    nothing = given_box_ap(results, labels, SIGMAS, torch.zeros(3, 17, dtype=torch.bool))
    assert (nothing["ap"], nothing["ar"], nothing["by_threshold"]) == (None, None, {})


def test_pck_goes_by_the_torso_of_each_person() -> None:
    names = COCO17.keypoint_names
    shoulder, hip, wrist = (names.index(name) for name in ("left_shoulder", "right_hip", "left_wrist"))
    labels = make_labels(3)
    visible = torch.zeros_like(labels.visible)
    visible[:, [shoulder, hip, wrist]] = True
    visible[2, hip] = False  # no torso: does not count
    target = labels.keypoints.clone()
    target[:, shoulder], target[:, hip] = torch.tensor([0.0, 0.0]), torch.tensor([30.0, 40.0])
    labels = PersonLabels(target, visible, labels.bbox, labels.area, labels.image_ids)
    moved = target.clone()
    moved[0, wrist, 0] += 9.9  # a fifth of 50 pixels is 10
    moved[1, wrist, 0] += 10.1
    moved[2] += 500
    found = measure_torso_pck(moved, labels, COCO17)
    assert found is not None
    assert (found["left_wrist"], found["left_shoulder"], found["nose"]) == (0.5, 1, None)
    assert found["mean"] == pytest.approx(5 / 6)
    other = replace(COCO17, keypoint_names=tuple(name.replace("hip", "hub") for name in names))
    assert measure_torso_pck(moved, labels, other) is None
