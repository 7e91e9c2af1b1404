"""COCO's AP: equal to what the evaluator gives for files, to an independent sum, and alike by both engines; OKS-NMS."""

from __future__ import annotations

import contextlib
import io
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import hotcoco
import numpy as np
import pytest
import torch
from tiny_cli import expect_error, write_poses

from pct.evaluation.coco_ap import (
    PoseResults,
    coco_engine,
    coco_results_ap,
    given_box_ap,
    oks_nms,
    suppress_doubles,
    use_coco_engine,
)
from pct.evaluation.metrics import oks
from pct.files.coco_writer import write_coco_poses
from pct.poses import Poses
from pct.skeleton import COCO17

SIGMAS = torch.tensor(COCO17.oks_sigmas)


def make_labels(n: int = 40, seed: int = 0, images: int = 12) -> Poses:
    """Persons of two sizes, some of whose joints are not labelled."""
    g = torch.Generator().manual_seed(seed)
    sizes = torch.where(torch.arange(n) % 3 == 0, 220.0, 90.0)[:, None, None]
    keypoints = torch.rand(n, 17, 2, generator=g) * sizes + 300 * torch.rand(n, 1, 2, generator=g)
    visible = torch.rand(n, 17, generator=g) < 0.7
    visible[:, 3] = True
    low, high = keypoints.amin(1), keypoints.amax(1)
    area = (0.5 * (high - low).prod(dim=1)).double()
    return Poses(COCO17, keypoints, visible, torch.cat([low, high - low], 1), area, torch.arange(n) % images + 5)


def make_results(labels: Poses, noise: float = 4.0, seed: int = 1) -> PoseResults:
    """Poses near every person, some of them found twice, and some of nobody."""
    g = torch.Generator().manual_seed(seed)
    rows = torch.cat([torch.arange(len(labels)), torch.arange(0, len(labels), 3)])
    keypoints = labels.keypoints[rows] + noise * torch.randn(len(rows), 17, 2, generator=g)
    keypoints[::7] += 200
    return PoseResults(keypoints, labels.image_ids[rows], torch.rand(len(rows), generator=g).round(decimals=2))


def ones(labels: Poses) -> torch.Tensor:
    return torch.ones(len(labels))


def evaluate_files(folder: Path, labels: Poses, results: PoseResults, crowd: list[bool] | None = None) -> list:
    """Run pycocotools as its users do: files, ``evaluate``, ``accumulate``, ``summarize``."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    write_coco_poses(folder / "truth.json", [replace(labels, annotation_ids=torch.arange(len(labels)) + 100)])
    content = json.loads((folder / "truth.json").read_text())
    for annotation, is_crowd in zip(content["annotations"], crowd or [], strict=False):
        annotation["iscrowd"] = int(is_crowd)
    (folder / "truth.json").write_text(json.dumps(content))
    flat = torch.cat([results.keypoints, torch.ones(len(results), 17, 1)], dim=-1).flatten(1).double()
    rows = zip(results.image_ids.tolist(), flat.tolist(), results.scores.tolist(), strict=True)
    found = [{"image_id": i, "category_id": 1, "keypoints": keypoints, "score": s} for i, keypoints, s in rows]
    (folder / "found.json").write_text(json.dumps(found))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(folder / "truth.json"))
        evaluator = COCOeval(truth, truth.loadRes(str(folder / "found.json")), "keypoints")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return evaluator.stats.tolist()  # AP, AP50, AP75, APm, APl, AR, AR50, AR75, ARm, ARl


def test_any_predictions_get_the_numbers_of_cocos_evaluator(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = make_labels()
    visible, crowd = labels.visible.clone(), torch.zeros(40, dtype=torch.bool)
    visible[4:8] = False  # nothing labelled: neither right nor wrong
    crowd[6:8] = True
    labels = replace(labels, visible=visible)
    results = make_results(labels)
    stats = evaluate_files(tmp_path, labels, results, crowd.tolist())
    coco = coco_results_ap(results, labels, crowd)
    ours = [coco[key] for key in ("ap", "ap50", "ap75", "ap_medium", "ap_large", "ar", "ar50", "ar75")]
    assert ours == pytest.approx(stats[:8], abs=1e-12)
    assert 0.05 < stats[0] < 0.95
    assert np.mean(list(coco["by_threshold"].values())) == pytest.approx(stats[0], abs=1e-12)
    assert (coco["by_threshold"]["0.50"], coco["by_threshold"]["0.75"]) == (coco["ap50"], coco["ap75"])
    assert capsys.readouterr().out == ""


def test_ap_of_hidden_joints_is_cocos_on_labels_with_nothing_else(tmp_path: Path) -> None:
    labels, g = make_labels(), torch.Generator().manual_seed(4)
    hidden = torch.rand(40, 17, generator=g) < 0.15
    keypoints = labels.keypoints + 6 * torch.randn(40, 17, 2, generator=g) * (1 + 2 * hidden[..., None])
    scores = torch.rand(40, generator=g)
    coco = given_box_ap(keypoints, scores, labels, hidden)
    only = replace(labels, visible=hidden & labels.visible)
    left = only.visible.any(dim=1)
    assert 0 < int((~left).sum()) < 40  # some persons have no hidden joint
    results = PoseResults(keypoints[left], labels.image_ids[left], scores[left])
    stats = evaluate_files(tmp_path, only.select(left), results)
    assert (coco["ap"], coco["ar"]) == pytest.approx((stats[0], stats[5]), abs=1e-12)
    assert coco["ap"] != given_box_ap(keypoints, scores, labels)["ap"]
    # Only the hidden joints matter: others may be anywhere. (AP by size does look at the size of wrong predictions.)
    moved = given_box_ap(torch.where(hidden[..., None], keypoints, -1000.0), scores, labels, hidden)
    assert (moved["by_threshold"], moved["ar"]) == (coco["by_threshold"], coco["ar"])


@pytest.mark.parametrize("seed", range(4))
def test_hotcoco_gives_the_same_numbers(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    labels = replace(make_labels(90, seed), image_ids=torch.randint(12, (90,), generator=g) + 2**40)
    labels = replace(labels, area=torch.exp(torch.rand(90, generator=g) * 8 + 3))
    labels.visible[:3] = False
    results, crowd = make_results(labels, 6.0, seed), torch.rand(90, generator=g) < 0.1
    results = replace(results, image_ids=results.image_ids + (results.scores > 0.9))
    hidden = torch.rand(labels.visible.shape, generator=g) < 0.3

    def measure() -> list:
        nothing = PoseResults(*(column[:0] for column in vars(results).values()))
        given = given_box_ap(results.keypoints[:90], results.scores[:90], labels, hidden)
        measured = [coco_results_ap(found, labels, crowd) for found in (results, nothing)]
        return [*measured, coco_results_ap(results, labels, crowd, 3), given]

    reference = measure()
    with use_coco_engine("hotcoco"):
        assert coco_engine()[0] is hotcoco.COCO
        assert measure() == reference
    assert coco_engine()[0] is not hotcoco.COCO
    assert 0.02 < reference[0]["ap"] < 0.95


def test_an_engine_that_is_not_there_is_one_sentence(here: Path, capsys, monkeypatch) -> None:
    with pytest.raises(ValueError, match="'fast'; allowed are pycocotools, hotcoco"), use_coco_engine("fast"):
        pass
    monkeypatch.setitem(sys.modules, "hotcoco", None)
    command = ["evaluate", write_poses(here / "p.json"), "-o", "out", "--coco-engine", "hotcoco"]
    expect_error(capsys, command, 'pip install "pct[hotcoco]"')


@pytest.mark.parametrize("noise", [0.0, 2.0, 6.0])
def test_ap_of_equal_scores_equals_an_independent_calculation(noise: float) -> None:
    labels = make_labels(60, seed=1, images=60)
    keypoints = labels.keypoints + noise * torch.randn(60, 17, 2, generator=torch.Generator().manual_seed(2))
    similarity = oks(keypoints, labels.keypoints, labels.visible, labels.area, SIGMAS).numpy()
    precisions = []
    for threshold in np.arange(0.5, 0.96, 0.05):
        hits = np.cumsum(similarity >= threshold)
        recall, precision = hits / 60, hits / np.arange(1, 61)
        precisions += [precision[recall >= r].max(initial=0.0) for r in np.linspace(0, 1, 101)]
    result = given_box_ap(keypoints, ones(labels), labels)
    assert result["ap"] == pytest.approx(np.mean(precisions), abs=1e-9)
    assert (result["ap"] == 1) == (noise == 0)
    recall = np.mean([(similarity >= t).mean() for t in np.arange(0.5, 0.96, 0.05)])
    assert result["ar"] == pytest.approx(recall, abs=1e-9)


def test_an_image_with_more_than_twenty_persons_counts_all_of_them() -> None:
    labels = make_labels(25, images=1)
    apart = replace(labels, keypoints=labels.keypoints + torch.arange(25.0)[:, None, None] * 500)
    assert given_box_ap(apart.keypoints, ones(apart), apart)["ap"] == 1


def test_ap_uses_the_sigmas_of_the_skeleton_and_is_none_where_nothing_is_to_be_found() -> None:
    labels = make_labels(20, seed=4)
    strict, lenient = (
        replace(labels, skeleton=replace(COCO17, sigmas=tuple(s * f for s in COCO17.sigmas))) for f in (1 / 4, 4)
    )
    first, second = (given_box_ap(part.keypoints + 4, ones(part), part)["ap"] for part in (strict, lenient))
    assert first is not None
    assert second is not None
    assert first < second
    large = replace(labels, area=torch.full((20,), 50_000.0))
    result = given_box_ap(large.keypoints, ones(large), large)
    assert (result["ap_medium"], result["ap_large"]) == (None, 1)
    nothing = given_box_ap(labels.keypoints, ones(labels), labels, torch.zeros(20, 17, dtype=torch.bool))
    assert (nothing["ap"], nothing["ar"], nothing["by_threshold"]) == (None, None, {})


def test_predictions_on_a_photo_without_persons_are_wrong() -> None:
    labels = make_labels(6, images=6)
    right = PoseResults(labels.keypoints, labels.image_ids, torch.full((6,), 0.5))
    wrong = PoseResults(right.keypoints[:2], torch.tensor([90, 91]), torch.full((2,), 0.9))
    both = PoseResults(*(torch.cat([getattr(part, name) for part in (right, wrong)]) for name in vars(right)))
    assert coco_results_ap(right, labels)["ap"] == 1
    assert coco_results_ap(both, labels)["ap"] == pytest.approx(6 / 8)
    nothing = coco_results_ap(PoseResults(*(column[:0] for column in vars(right).values())), labels)
    assert (nothing["ap"], nothing["ar"]) == (0, 0)


@pytest.mark.parametrize("threshold", [0.3, 0.6, 0.9])
def test_nms_equals_a_slow_loop(threshold: float) -> None:
    g = torch.Generator().manual_seed(3)
    people = torch.rand(6, 17, 2, generator=g)[torch.arange(40) % 6] * 100
    keypoints = people + torch.randn(40, 1, 1, generator=g) * torch.linspace(0, 12, 40)[:, None, None]
    scores, areas = torch.rand(40, generator=g), torch.rand(40, generator=g) * 9000 + 1000

    def alike(i: int, j: int) -> float:
        squares = (keypoints[i] - keypoints[j]).double().square().sum(dim=1).tolist()
        sizes = [(2 * sigma) ** 2 * float(areas[i] + areas[j]) / 2 for sigma in COCO17.oks_sigmas]
        return sum(math.exp(-square / size / 2) for square, size in zip(squares, sizes, strict=True)) / 17

    slow: list[int] = []
    for i in scores.argsort(descending=True).tolist():
        if all(alike(i, j) <= threshold for j in slow):
            slow.append(i)
    assert oks_nms(keypoints, scores, areas, SIGMAS, threshold).tolist() == slow
    assert 6 <= len(slow) < 40


def test_doubles_are_taken_out_image_by_image_and_the_order_stays() -> None:
    one = torch.rand(1, 17, 2, generator=torch.Generator().manual_seed(0)) * 100
    results = PoseResults(one.repeat(5, 1, 1), torch.tensor([9, 2, 9, 2, 9]), torch.tensor([0.1, 0.9, 0.3, 0.8, 0.2]))
    left = suppress_doubles(results, torch.full((5,), 4000.0), SIGMAS)
    assert left.image_ids.tolist() == [2, 9]
    assert left.scores.tolist() == pytest.approx([0.9, 0.3])
    assert len(oks_nms(one[:0], torch.zeros(0), torch.zeros(0), SIGMAS)) == 0
