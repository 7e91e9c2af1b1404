"""Training as released where a config says it is the paper's, and guided classifiers measured like any other."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from official_weights import make_classifier_weights, make_tokenizer_weights
from tiny_batches import make_batch
from tiny_photo_models import make_classifier
from tiny_photos import write_people

from pct.conventions import PUBLISHED
from pct.evaluation.photos.calibration import calibrate_classifier
from pct.evaluation.photos.evaluate import evaluate_photos
from pct.evaluation.photos.predictions import NotedPersons, PredictionOptions, predict_persons
from pct.layers.losses import keypoint_loss
from pct.photos.classifier import PoseClassifier
from pct.photos.config import Calibration
from pct.photos.crop import plain_crop
from pct.photos.persons import CocoPersons
from pct.pose_space import PoseSpace
from pct.published.photos import convert_classifier
from pct.published.tokenizer import convert_tokenizer
from pct.training.kinds import load_run
from pct.training.photos.augment import PhotoAugmentConfig, jitter_crop
from pct.training.photos.batches import PhotoBatches
from pct.training.photos.config import TokenLoss
from pct.training.photos.crops import crop_person
from pct.training.photos.recipe import crop_space
from pct.training.photos.steps import TokenStep
from pct.training.tokenizer.config import TokenizerRun

CONFIGS = Path(__file__).parents[2] / "configs"
SIDE = 64
RELEASED_WIDTHS = {"base": 32, "large": 48, "huge": 64}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> CocoPersons:
    path = write_people(tmp_path_factory.mktemp("people"), num_photos=2)
    return CocoPersons(path, path.parent)


@pytest.fixture(scope="module")
def guided() -> PoseClassifier:
    return convert_classifier(make_classifier_weights(guided=True), crop_size=SIDE)


def test_the_tokenizer_config_is_as_released() -> None:
    run = load_run("tokenizer", CONFIGS / "tokenizer_coco_paper.yaml", [])
    assert run.space == PoseSpace(padding=1.12, units="pixels", conventions=PUBLISHED)
    assert (run.loss.beta, run.loss.commitment_weight, run.loss.normalisation) == (0.05, 15, "published")
    assert (run.optim.lr, run.optim.min_lr_ratio, run.optim.clip) == (0.01, 1e-5, 0)
    assert run.augment.outside_margin == math.inf
    assert TokenizerRun().loss.normalisation == "per_pose"  # ours


@pytest.mark.parametrize("size", RELEASED_WIDTHS)
def test_the_photo_configs_are_as_released(size: str) -> None:
    run = load_run("classifier", CONFIGS / f"classifier_coco_{size}.yaml", [])
    assert (run.loss.token_weight, run.loss.keypoint_weight, run.loss.beta) == (1, 1, 0.05)
    assert run.loss.normalisation == "published"
    assert run.augment.outside_margin == math.inf
    heatmaps = load_run("heatmap", CONFIGS / f"heatmap_coco_{size}.yaml", [])
    sizes = heatmaps.heatmap
    assert (sizes.num_deconvs, sizes.width, sizes.kernel) == (3, RELEASED_WIDTHS[size], 2)
    assert sizes.cell_center == 0
    tokenizer = convert_tokenizer(make_tokenizer_weights())
    space = crop_space(heatmaps, tokenizer)
    assert (space.padding, space.conventions) == (1.25, replace(PUBLISHED, train_padding=0.0))
    assert crop_space(run, tokenizer) == tokenizer.space
    assert run.optim.min_lr_ratio == heatmaps.optim.min_lr_ratio == 1e-5


def test_a_pose_counts_by_its_labelled_joints_as_published() -> None:
    model, batch = make_classifier(), make_batch()
    visibility = batch.visibility.clone()
    visibility[0, 3:] = 0
    batch = replace(batch, visibility=visibility)
    step = TokenStep(model.tokenizer, TokenLoss(beta=0.05, normalisation="published"))
    with torch.no_grad():
        found = step(model, batch)["keypoint_loss"]
        poses = model(batch.images).keypoints
    expected = keypoint_loss(poses, batch.keypoints, batch.visible, 0.05, "published")
    torch.testing.assert_close(found, expected)
    assert abs(found - keypoint_loss(poses, batch.keypoints, batch.visible, 0.05)) > 1e-3


def test_joints_outside_the_crop_keep_their_labels(people: CocoPersons) -> None:
    person, space = people[0], PoseSpace()
    config = PhotoAugmentConfig(outside_margin=math.inf, shift=0.9, shift_prob=1.0, scale=0.5)
    rng = np.random.default_rng(0)
    plain = plain_crop(person.bbox, space, (32, 32))
    crops = [jitter_crop(plain, person, people.skeleton, config, rng) for _ in range(8)]
    outside = [~crop.contains(person.keypoints) & (person.visibility > 0) for crop in crops]
    assert any(rows.any() for rows in outside)
    for crop, rows in zip(crops, outside, strict=True):
        kept = crop_person(person, people.skeleton, crop, config.outside_margin)
        order = people.skeleton.flip_index if crop.flipped else slice(None)
        assert (kept.visibility[rows[order]] > 0).all()
        assert (np.abs(kept.keypoints[rows[order]]).max(axis=1) > 1).all()


def test_training_crops_have_the_padding_of_training(people: CocoPersons, guided: PoseClassifier) -> None:
    space = guided.tokenizer.space
    batch = PhotoBatches(people, space.training_space, (SIDE, SIDE), 2)[0]
    assert space.training_space.padding == 1.25
    truth = {person.annotation_id: person.keypoints for person in people}
    expected = torch.from_numpy(np.stack([truth[i] for i in batch.annotation_ids.tolist()]))
    pixels = space.training_space.restore(batch.keypoints, batch.bbox)
    torch.testing.assert_close(pixels[batch.visible], expected[batch.visible], atol=1e-3, rtol=0)
    assert plain_crop(people[0].bbox, space, (SIDE, SIDE)).affine[0, 0] == pytest.approx(
        SIDE / (1.12 * people[0].bbox[2:].max())
    )


def test_a_guided_classifier_is_evaluated_and_calibrated_like_any_other(
    people: CocoPersons, guided: PoseClassifier
) -> None:
    options = PredictionOptions(num_samples=4)
    evaluation = evaluate_photos({"PCT": guided}, people, options)
    assert evaluation.numbers["models"]["PCT"]["tokens"] is not None
    persons = NotedPersons(people)
    found = predict_persons(guided, persons, options)
    assert torch.equal(evaluation.poses["PCT"].scores, found.scores)
    assert found.scores.shape == (len(people),)
    assert 0 <= float(found.confidence.min()) <= float(found.confidence.max()) <= 1
    calibration = calibrate_classifier(guided, people, options)
    assert calibration != Calibration()
    assert calibration.sharpness == 1  # the published pose is the mixture as it is
