"""Converted models give the published keypoints, from photo and box to photo pixels, against stored vectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from official_weights import assert_relative, read_arrays, state_of
from torch import Tensor

from pct.photos.classifier import PoseClassifier
from pct.photos.crop import plain_crop
from pct.photos.estimator import PoseEstimator
from pct.photos.heatmap import HeatmapModel
from pct.photos.person_views import clip_boxes
from pct.photos.persons import PersonPhoto
from pct.published.photos import convert_classifier, convert_heatmap_model
from pct.skeleton import COCO17
from pct.training.kinds import load_run
from pct.training.photos.crops import PhotoBatch, crop_person
from pct.training.photos.steps import TokenStep
from pct.training.photos.token_targets import photo_labels

pytestmark = pytest.mark.shared
# Pixels of the photo; what the reference's README calls sensible for crops of another implementation.
KEYPOINTS, SCORES = 0.05, 1e-4
CONFIGS = Path(__file__).parents[2] / "configs"


@dataclass(frozen=True)
class Pipeline:
    """One file of vectors of the whole published path, and its model in our form."""

    name: str
    arrays: dict[str, Tensor]

    def __getitem__(self, name: str) -> np.ndarray:
        return self.arrays[name].numpy()

    @cached_property
    def model(self):  # type: ignore[no-untyped-def]
        state = state_of(self.arrays)
        return (convert_heatmap_model if self.name == "heatmap" else convert_classifier)(state)

    def predict(self, boxes: np.ndarray, flip: bool | None) -> list:
        """Predict each box by itself, as its photo may differ; a converted model's own conventions do the rest."""
        estimator = PoseEstimator(self.model, flip)
        return [estimator.predict(self.photo(i), box[None]) for i, box in enumerate(boxes)]

    def photo(self, box: int) -> np.ndarray:
        return self[f"in/photo_{self['in/photo_of_box'][box]}"]


@pytest.fixture(scope="module", params=["classifier", "guided", "heatmap"])
def pipeline(request: pytest.FixtureRequest, shared_dir: Path) -> Pipeline:
    return Pipeline(request.param, read_arrays(shared_dir / "reference" / f"pipeline_{request.param}.npz"))


@pytest.fixture(scope="module")
def guided(shared_dir: Path) -> Pipeline:
    return Pipeline("guided", read_arrays(shared_dir / "reference" / "pipeline_guided.npz"))


@pytest.mark.parametrize(("key", "flip"), [("predict", False), ("predict_flip", None)])
def test_final_keypoints_and_scores_equal_reference(pipeline: Pipeline, key: str, flip: bool | None) -> None:
    poses = pipeline.predict(pipeline["in/boxes"], flip)
    keypoints = np.concatenate([pose.keypoints for pose in poses])
    assert np.abs(keypoints - pipeline[f"{key}/keypoints"]).max() < KEYPOINTS
    assert np.abs(_scores(poses) - pipeline[f"{key}/score"]).max() < SCORES
    if pipeline.name != "heatmap":
        assert np.array_equal(np.concatenate([pose.indices for pose in poses]), pipeline["classify/indices"])


def test_annotated_boxes_are_cleaned_as_in_the_reference(pipeline: Pipeline) -> None:
    boxes = pipeline["in/boxes"]
    sizes = [pipeline.photo(i).shape for i in range(len(boxes))]
    cleaned = np.stack([clip_boxes(b, width, height) for b, (height, width, _) in zip(boxes, sizes, strict=True)])
    np.testing.assert_allclose(cleaned, pipeline["cleaned/boxes"], atol=1e-9)
    assert not np.array_equal(cleaned, boxes)
    poses = pipeline.predict(cleaned, None)
    keypoints = np.concatenate([pose.keypoints for pose in poses])
    assert np.abs(keypoints - pipeline["cleaned/keypoints"]).max() < KEYPOINTS
    assert np.abs(_scores(poses) - pipeline["cleaned/score"]).max() < SCORES


def test_crops_equal_reference(pipeline: Pipeline) -> None:
    model = pipeline.model
    space = model.config.space if isinstance(model, HeatmapModel) else model.tokenizer.space
    assert space.padding == float(pipeline["crop/padding"])
    crops = [plain_crop(box, space, (256, 256)) for box in pipeline["in/boxes"]]
    np.testing.assert_allclose([crop.affine for crop in crops], pipeline["crop/affine"], atol=3e-4)
    for row, pixels in zip(pipeline["crop/rows"], pipeline["crop/pixels"], strict=True):
        differences = np.abs(crops[row].warp(pipeline.photo(row)).astype(int) - pixels)
        assert differences.max() <= 1
        assert (differences > 0).mean() < 1e-3


def test_stored_heatmaps_decode_as_in_the_reference(shared_dir: Path) -> None:
    pipeline = Pipeline("heatmap", read_arrays(shared_dir / "reference" / "pipeline_heatmap.npz"))
    rows = torch.from_numpy(pipeline["crop/rows"])
    for key in ("predict", "predict_flip"):
        keypoints, scores = pipeline.model.decode(pipeline.arrays[f"{key}/heatmaps"])
        bbox = pipeline.arrays["in/boxes"][rows].float()
        longer = bbox[:, 2:].amax(dim=1, keepdim=True)
        square = torch.cat([bbox[:, :2] + bbox[:, 2:] / 2 - longer / 2, longer, longer], dim=1)
        restored = pipeline.model.config.space.restore(keypoints, square).numpy()
        np.testing.assert_allclose(restored, pipeline[f"{key}/keypoints"][rows], atol=1e-3)
        np.testing.assert_allclose(scores, pipeline[f"{key}/score"][rows], atol=1e-6)


def test_labels_of_a_guided_classifier_equal_reference(guided: Pipeline) -> None:
    """Crops of the training padding, features of the second backbone, and tokens."""
    model = guided.model
    batch, joints = _training_batch(guided, model), guided.arrays["label/joints"]
    tokenizer = model.tokenizer
    points, visible = joints[..., :2], joints[..., 2] > 0
    low, _ = tokenizer.space.bounds
    pixels = (batch.keypoints - low) * tokenizer.space.report_scale
    torch.testing.assert_close(pixels[visible], points[visible], atol=1e-3, rtol=0)
    assert torch.equal(batch.visible, visible)
    with torch.no_grad():
        features = tokenizer.guide(batch.images, batch.keypoints)
        labels = photo_labels(tokenizer, batch)
    assert_relative(features[visible], guided.arrays["label/joint_features"][visible], 3e-4)
    assert_relative(labels.z, guided.arrays["label/token_features"], 3e-4)
    assert torch.equal(labels.indices, guided.arrays["label/indices"])


def test_the_step_of_stage_two_loses_what_the_reference_loses(guided: Pipeline) -> None:
    """With the losses of the paper's configs, on a model whose units are pixels, as theirs are."""
    model = convert_classifier(state_of(guided.arrays), units="pixels")
    run = load_run("classifier", CONFIGS / "classifier_coco_base.yaml", [])
    with torch.no_grad():
        losses = TokenStep(model.tokenizer, run.loss)(model, _training_batch(guided, model))
    expected = {name: float(guided[f"label/{name}"]) for name in ("token_loss", "joint_loss")}
    assert losses["token_loss"].item() == pytest.approx(expected["token_loss"], rel=1e-4)
    assert losses["keypoint_loss"].item() == pytest.approx(expected["joint_loss"], rel=1e-4)
    assert losses["loss"].item() == pytest.approx(sum(expected.values()), rel=1e-4)


def _training_batch(guided: Pipeline, model: PoseClassifier) -> PhotoBatch:
    space = model.tokenizer.space.training_space
    assert space.padding == float(guided["label/padding"])
    crops = []
    for i, (box, joints) in enumerate(zip(guided["in/boxes"], guided["in/joints"], strict=True)):
        known = joints[:, 2] > 0
        visibility = np.where(known, 2, 0)
        person = PersonPhoto(guided.photo(i), box.astype(np.float32), joints[:, :2], visibility, 1.0, i, i)
        crops.append(crop_person(person, COCO17, plain_crop(box, space, (256, 256))))
    return PhotoBatch.from_crops(crops)


def _scores(poses: list) -> np.ndarray:
    """The published scores (N, K): of a classifier one number a pose."""
    if poses[0].indices.size:
        return np.repeat(np.concatenate([pose.pose_scores for pose in poses])[:, None], 17, axis=1)
    return np.concatenate([pose.scores for pose in poses])
