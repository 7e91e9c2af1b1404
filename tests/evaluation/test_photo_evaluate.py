"""Evaluation of models of photos: aligned with the labels, equal to what the estimator gives, right on known poses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_photo_models import make_classifier, make_coco_tokenizer, make_heatmap_model, make_varied_classifier
from tiny_photos import BOX, write_boxes, write_mpii, write_people

from pct.evaluation.photos import evaluate as photo_evaluate
from pct.evaluation.photos.evaluate import DetectedBoxes, evaluate_photos
from pct.evaluation.photos.files import read_all_labels
from pct.evaluation.photos.predictions import (
    EXPECTED,
    LIKELY,
    ORACLE,
    SAMPLED,
    TOP,
    ModelPoses,
    NotedPersons,
    PredictionOptions,
    predict_persons,
)
from pct.people.scene import GeneratedPersons
from pct.photos.classifier import PoseClassifier
from pct.photos.detection.boxes import DetectedPersons, load_photo_boxes
from pct.photos.estimator import PoseEstimator
from pct.photos.persons import CocoPersons, MpiiPersons
from pct.photos.predict import score_poses
from pct.pose_space import PoseSpace
from pct.poses import Poses
from pct.skeleton import COCO17, CROWDPOSE14, MPII16

MODEL, HEATMAPS = make_varied_classifier(), make_heatmap_model()
OPTIONS = PredictionOptions(num_samples=4, batch_size=5)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO file of 12 persons on 6 photos, which lie beside it."""
    return write_people(tmp_path_factory.mktemp("people"))


def open_people(path: Path) -> CocoPersons:
    return CocoPersons(path, path.parent)


def know(monkeypatch: pytest.MonkeyPatch, poses_of: Callable[[Poses], torch.Tensor]) -> None:
    """Let every model predict what ``poses_of`` makes of the labels, with full confidence."""

    def predict(model, persons, options, report=None, bar="") -> ModelPoses:  # type: ignore[no-untyped-def]
        for i in range(len(persons)):
            persons[i]
        labels = persons.table(model.space).labels
        return ModelPoses({TOP: poses_of(labels)}, torch.ones(labels.visible.shape), torch.ones(len(labels)))

    monkeypatch.setattr(photo_evaluate, "predict_persons", predict)


def test_poses_are_those_of_the_estimator_and_true_tokens_those_of_the_labels(people: Path) -> None:
    source, tokenizer = open_people(people), MODEL.tokenizer
    persons = NotedPersons(source)
    found = predict_persons(MODEL, persons, OPTIONS)
    estimator, likely = PoseEstimator(MODEL, flip=True), []
    for i in range(12):
        person = source[i]
        alone = estimator.predict(person.image, person.bbox[None])
        np.testing.assert_allclose(found.keypoints[i].numpy(), alone.keypoints[0], atol=1e-3)
        np.testing.assert_allclose(found.poses[LIKELY][i].numpy(), alone.likely_keypoints[0], atol=1e-3)
        likely.append(alone.indices)
    labels = persons.table(MODEL.space).labels
    indices = tokenizer.encode(labels.keypoints, labels.visible, labels.bbox)
    torch.testing.assert_close(found.poses[ORACLE], tokenizer.decode(indices, labels.bbox), atol=1e-3, rtol=0)
    tokens = evaluate_photos({"PCT": MODEL}, source, OPTIONS).numbers["models"]["PCT"]["tokens"]
    assert tokens["top1"] == pytest.approx((np.concatenate(likely) == indices.numpy()).mean())


def test_labels_are_noted_in_the_order_of_the_poses_and_broken_photos_are_skipped(tmp_path: Path) -> None:
    path = write_people(tmp_path)
    whole = NotedPersons(open_people(path))
    all_poses = predict_persons(MODEL, whole, OPTIONS).keypoints
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:-400])
    said: list[str] = []
    persons = NotedPersons(open_people(path))
    poses = predict_persons(MODEL, persons, OPTIONS, report=said.append).keypoints
    table = persons.table(MODEL.space)
    assert table.rows.tolist() == [0, 1, *range(4, 12)]
    torch.testing.assert_close(poses, all_poses[table.rows], atol=1e-3, rtol=0)
    assert torch.equal(table.labels.keypoints, whole.table(MODEL.space).labels.keypoints[table.rows])
    assert table.visibility[0].tolist() == (np.arange(17)[::-1] % 3).tolist()
    assert len(said) == 1
    assert "2.png" in said[0]


def test_batches_and_the_limit_do_not_change_the_poses(people: Path) -> None:
    source = open_people(people)
    for model in (MODEL, HEATMAPS):
        whole = predict_persons(model, NotedPersons(source), OPTIONS).keypoints
        some = predict_persons(model, NotedPersons(source, 7), replace(OPTIONS, batch_size=3)).keypoints
        torch.testing.assert_close(some, whole[:7], atol=1e-3, rtol=0)
        straight = predict_persons(model, NotedPersons(source), replace(OPTIONS, flip=False)).keypoints
        assert (straight - whole).abs().max() > 0.1


def test_perfect_poses_have_perfect_numbers_and_others_errors_in_pixels_of_the_crop(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    know(monkeypatch, lambda labels: labels.keypoints)
    found = evaluate_photos({"all-knowing": HEATMAPS}, open_people(people))
    numbers, model = found.numbers, found.numbers["models"]["all-knowing"]
    main = model["poses"][TOP]
    assert (main["coco"]["ap"], main["occluded"]["ap"], main["mean_oks"]) == (1, 1, 1)
    assert (main["error"]["mean"], model["calibration"]["ece"], model["pck_torso"]["mean"]) == (0, 0, 1)
    assert (numbers["num_persons"], numbers["num_images"], numbers["num_detections"]) == (12, 6, None)
    assert numbers["num_joints"] == 12 * 11
    assert numbers["num_occluded"] == 12 * 6  # of 17 joints 2, 1, 0, 2, ... are labelled
    assert main["occluded_error"]["count"] == 12 * 6
    assert main["seen_error"]["count"] + main["occluded_error"]["count"] == main["error"]["count"]
    assert len(found.table.rows) == 12
    know(monkeypatch, lambda labels: labels.keypoints + torch.tensor([3.0, 4.0]))
    model = evaluate_photos({"off": HEATMAPS}, open_people(people)).numbers["models"]["off"]
    main = model["poses"][TOP]
    # The boxes are 0.6 of 48 pixels long, the crop 1.25 times that.
    assert main["error"]["median"] == pytest.approx(5 * 256 / (1.25 * 0.6 * 48), rel=1e-4)
    assert model["calibration"]["ece"] == pytest.approx(1 - main["mean_oks"], abs=0.05)


def test_both_kinds_of_model_are_measured_on_the_same_persons(capsys: pytest.CaptureFixture[str]) -> None:
    source, models = GeneratedPersons(6, seed=5, image_size=64), {"PCT": MODEL, "heatmaps": HEATMAPS}
    found = evaluate_photos(models, source, OPTIONS, progress=True, data="people")
    bars = capsys.readouterr().err
    assert all(f"{name}: 100%" in bars for name in models)
    tokens, heatmaps = found.numbers["models"].values()
    assert list(tokens["poses"]) == [EXPECTED, LIKELY, SAMPLED, ORACLE]
    assert list(heatmaps["poses"]) == [TOP]
    assert 0 <= tokens["tokens"]["top1"] <= tokens["tokens"]["top5"] <= 1
    assert heatmaps["tokens"] is None
    assert tokens["fingerprint"] != heatmaps["fingerprint"]
    assert sum(b["count"] for b in tokens["calibration"]["bins"]) == found.numbers["num_joints"]
    assert found.poses["PCT"].keypoints.shape == (6, 17, 2)
    assert torch.equal(found.poses["PCT"].scores, score_poses(found.poses["PCT"].confidence))
    json.dumps(found.numbers, allow_nan=False)
    again = evaluate_photos(models, source, OPTIONS).numbers["models"]
    time = {"seconds": 0, "ms_per_photo": 0}
    for name, result in found.numbers["models"].items():
        assert result["seconds"] > 0
        assert again[name] | time == result | time


def open_boxes(path: Path, boxes: list[tuple[int, list[float], float]]) -> DetectedBoxes:
    written = write_boxes(path.parent / "boxes.json", boxes)
    persons = DetectedPersons(load_photo_boxes(written), path, path.parent, COCO17)
    return DetectedBoxes(persons, *read_all_labels(path, COCO17, range(100), print))


def test_the_annotated_boxes_given_as_detected_ones_have_the_same_ap(tmp_path: Path) -> None:
    path = write_people(tmp_path, num_photos=8, persons_per_photo=1)
    boxes = [(i, BOX, 1.0) for i in range(1, 9)]
    model = make_varied_classifier(3)
    for values in (boxes, [*boxes, *((i, box, 0.5) for i, box, _ in boxes[:3])]):
        result = evaluate_photos({"PCT": model}, open_people(path), OPTIONS, boxes=open_boxes(path, values)).numbers
        # A box that is there twice is found once: the poses are the same.
        expected = result["models"]["PCT"]["poses"][EXPECTED]["coco"]
        assert result["models"]["PCT"]["detected"] == expected
        assert result["num_detections"] == len(values)


def test_missed_persons_and_boxes_of_nobody_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_people(tmp_path, num_photos=8, persons_per_photo=1)
    source = open_people(path)
    truth = {int(i): source.poses.keypoints[row] for row, i in enumerate(source.poses.image_ids)}

    def poses_of(labels: Poses) -> torch.Tensor:
        poses = torch.stack([truth[int(i)] for i in labels.image_ids])
        return poses + torch.where(labels.bbox[:, 0] > 40, 500.0, 0.0)[:, None, None]  # boxes of nobody hold something

    know(monkeypatch, poses_of)
    boxes = [(i, BOX, 0.9) for i in range(1, 7)] + [(i, [41.0, 9.6, 7.0, 28.0], 1.0) for i in (1, 2)]
    found = evaluate_photos({"PCT": HEATMAPS}, source, boxes=open_boxes(path, boxes)).numbers["models"]["PCT"]
    assert found["poses"][TOP]["coco"]["ap"] == 1
    assert found["detected"]["ar"] == pytest.approx(6 / 8)
    assert found["detected"]["ap"] == pytest.approx(6 / 8 * 76 / 101, abs=1e-6)  # precision 6/8 up to recall 0.75


def test_unlabelled_persons_and_crowds_are_read_for_detected_boxes(tmp_path: Path) -> None:
    path = write_people(tmp_path, num_photos=3, persons_per_photo=1)
    content = json.loads(path.read_text())
    first, second, third = content["annotations"]
    second["keypoints"] = [0] * 51
    del third["keypoints"]
    third["iscrowd"] = 1
    content["annotations"].append({**first, "image_id": [1]})  # on none of the images
    path.write_text(json.dumps(content))
    said: list[str] = []
    labels, crowd = read_all_labels(path, COCO17, [1, 2, 3], said.append)
    assert labels.visible.any(dim=1).tolist() == [True, False, False]
    assert crowd.tolist() == [False, False, True]
    assert read_all_labels(path, COCO17, [2], said.append)[0].image_ids.tolist() == [2]
    with pytest.raises(ValueError, match="no person on the 1 images"):
        read_all_labels(path, COCO17, [7], said.append)
    assert not said
    first["bbox"] = [1, 2, 0, 4]
    path.write_text(json.dumps(content))
    assert len(read_all_labels(path, COCO17, [1, 2], said.append)[0]) == 1
    assert len(said) == 1
    assert "annotation 101: bbox is" in said[0]


def test_models_that_do_not_fit_are_refused(people: Path) -> None:
    crowd = make_classifier()
    other = PoseClassifier(crowd.config, make_coco_tokenizer(skeleton=CROWDPOSE14)).eval()
    with pytest.raises(ValueError, match="skeleton coco17; the model's is crowdpose14"):
        evaluate_photos({"PCT": other}, GeneratedPersons(1, seed=0))
    lifted = PoseClassifier(crowd.config, make_coco_tokenizer(space=PoseSpace("root3d"))).eval()
    with pytest.raises(ValueError, match="only models of crop2d poses are measured here; this one's are root3d"):
        evaluate_photos({"PCT": crowd, "lifted": lifted}, GeneratedPersons(1, seed=0))
    with pytest.raises(ValueError, match="no model"):
        evaluate_photos({}, open_people(people))


def test_pckh_counts_joints_within_half_a_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    source = MpiiPersons(write_mpii(tmp_path), tmp_path, report=said.append)
    assert len(source) == 3
    assert "b.jpg" in said[0]
    (tmp_path / "bad.json").write_text((tmp_path / "mpii.json").read_text().replace("[30, 30]", '"here"'))
    with pytest.raises(ValueError, match=r"bad\.json: none of 4 poses is good; the first: person 0"):
        MpiiPersons(tmp_path / "bad.json", tmp_path, report=said.append)
    offset = torch.zeros(3, 16, 2)
    offset[0, 1] = 4.9  # 6.9 pixels: too far
    offset[1, 2, 0] = 4.9  # near enough
    offset[1, MPII16.keypoint_names.index("pelvis")] = 50  # not in the mean
    offset[2] = 100  # no head size: does not count
    know(monkeypatch, lambda labels: labels.keypoints + offset)
    model = make_heatmap_model()
    model.skeleton = MPII16
    found = evaluate_photos({"heatmaps": model}, source).numbers["models"]["heatmaps"]["pckh"]
    assert found["right_ankle"] is None
    assert (found["right_knee"], found["right_hip"], found["pelvis"]) == (0.5, 1, 0.5)
    assert found["mean"] == pytest.approx(1 - 1 / (2 * 13))
