"""Predictions from crops: the forms of a pose, the flip test, samples, spread and confidence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_photo_models import BACKBONE, make_heatmap_model, make_varied_classifier
from torch import Tensor

from pct.evaluation.metrics import joint_scale
from pct.photos.config import Calibration, HeatmapSizes
from pct.photos.crop import fit_bbox_to_aspect
from pct.photos.heatmap import HeatmapConfig, HeatmapModel
from pct.photos.predict import (
    PhotoPrediction,
    area_in_model_units,
    confidence_from_spread,
    joint_spread,
    mirror_keypoints,
    predict_heatmaps,
    predict_tokens,
    sample_tokens,
    score_found_joints,
    score_poses,
)
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17

MODEL = make_varied_classifier()
SPACE = MODEL.tokenizer.space
SIGMAS = torch.from_numpy(COCO17.oks_sigmas)


def make_images(count: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def predict(images: Tensor, flip: bool = False, num_samples: int = 8, seed: int = 0) -> PhotoPrediction:
    return predict_tokens(MODEL, images, flip, num_samples, torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_the_expected_pose_is_that_of_the_model_and_the_likely_one_that_of_the_tokens() -> None:
    images = make_images()
    prediction, output = predict(images), MODEL(images)
    torch.testing.assert_close(prediction.keypoints, output.keypoints)
    assert torch.equal(prediction.indices, output.logits.argmax(dim=-1))
    torch.testing.assert_close(prediction.token_probs, output.probs.amax(dim=-1))
    likely = MODEL.tokenizer.decode(prediction.indices)
    torch.testing.assert_close(prediction.likely_keypoints, likely)
    torch.testing.assert_close(MODEL.decode(output.logits), output.keypoints)
    away = [float((MODEL.decode(output.logits, sharpness) - likely).norm()) for sharpness in (1.0, 1e6)]
    assert away[1] < 1e-3 < away[0], "sharper logits give a pose nearer to that of the likeliest tokens"


def test_samples_follow_the_probabilities() -> None:
    probs = torch.tensor([[[0.5, 0.0, 0.3, 0.2, 0.0], [0.0, 0.0, 0.0, 0.0, 1.0]], [[0.1] * 4 + [0.6], [0.2] * 5]])
    samples = sample_tokens(probs, 400, torch.Generator().manual_seed(0))
    assert samples.shape == (400, 2, 2)
    # Evenly spread random numbers: a share is off by less than one sample at each of its two ends.
    shares = torch.nn.functional.one_hot(samples, 5).float().mean(dim=0)
    torch.testing.assert_close(shares, probs, atol=2.01 / 400, rtol=0)
    assert abs(np.corrcoef(samples[:, 1].T)[0, 1]) < 0.15  # the tokens of a pose are independent


def test_samples_depend_on_the_generator_only() -> None:
    images = make_images()
    torch.testing.assert_close(predict(images).samples, predict(images).samples)
    assert not torch.equal(predict(images).samples, predict(images, seed=1).samples)
    assert predict(images, num_samples=1).samples.shape == (1, 3, 17, 2)
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        predict(images, num_samples=0)


def test_spread_is_measured_in_the_scale_of_the_keypoint_similarity() -> None:
    keypoints, area = torch.zeros(2, 17, 2), torch.tensor([4.0, 9.0])
    # Two samples, both one deviation of annotators away: 2 sigma times the root of the area.
    step = (2 * SIGMAS * area[:, None].sqrt()).float()
    samples = torch.stack(
        [keypoints + torch.stack([step, 0 * step], -1), keypoints - torch.stack([0 * step, step], -1)]
    )
    torch.testing.assert_close(joint_spread(keypoints, samples, joint_scale(SPACE, COCO17, area)), torch.ones(2, 17))


@pytest.mark.parametrize("num_dims", [2, 3])
def test_confidence_is_the_mean_similarity_of_normal_errors(num_dims: int) -> None:
    spread = torch.tensor([0.0, 0.1, 1.0, 10.0])
    calibration = Calibration(factor=0.5, floor=0.3)
    error = torch.randn(200_000, 1, num_dims, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    error = error * ((0.5 * spread.double() + 0.09) / num_dims).sqrt()[:, None]
    similarity = torch.exp(-error.square().sum(dim=-1) / 2).mean(dim=0)
    confidence = confidence_from_spread(spread, calibration, num_dims=num_dims)
    torch.testing.assert_close(confidence.double(), similarity, atol=3e-3, rtol=0)
    assert float(confidence_from_spread(torch.zeros(1), Calibration())) == 1.0


def test_confidence_uses_the_area_and_the_calibration_of_the_model() -> None:
    images = make_images()
    thin, wide = (torch.tensor([[5, 6, width, 60]]).expand(3, -1) for width in (0.1, 60.0))
    small, large = (predict_tokens(MODEL, images, boxes=boxes).confidence for boxes in (thin, wide))
    assert (small < large).all()
    assert (small > 0).all()
    assert (large <= 1).all()


@pytest.mark.parametrize("space", [PoseSpace(), PoseSpace(units="pixels"), PoseSpace(padding=2.0)])
def test_areas_are_measured_in_squared_model_units(space: PoseSpace) -> None:
    bbox = torch.tensor([[10.0, 20, 30, 60], [5, 5, 120, 40]])
    corners = torch.stack([bbox[:, :2], bbox[:, :2] + bbox[:, 2:]], dim=1)
    low, high = space.normalise(corners, bbox).unbind(1)
    areas = area_in_model_units(bbox, (64, 64), space)
    torch.testing.assert_close(areas, 0.52 * (high - low).prod(dim=1))
    torch.testing.assert_close(area_in_model_units(7 * bbox, (64, 64), space), areas)
    fitted = torch.from_numpy(fit_bbox_to_aspect(bbox.numpy(), (64, 48)))
    low, high = space.normalise(corners, fitted).unbind(1)
    torch.testing.assert_close(area_in_model_units(bbox, (64, 48), space), 0.52 * (high - low).prod(dim=1))


@pytest.mark.parametrize("millimetres", [1000.0, 500.0])
def test_the_doubt_of_poses_in_space_is_measured_by_a_tenth_of_a_metre(millimetres: float) -> None:
    model = make_varied_classifier(space=PoseSpace("root3d", millimetres=millimetres))
    prediction = predict_tokens(model, make_images(), flip=True, num_samples=2)
    assert prediction.keypoints.shape == (3, 17, 3)
    assert prediction.samples.shape == (2, 3, 17, 3)
    error = (prediction.samples - prediction.keypoints).square().sum(dim=-1).mean(dim=0) * millimetres**2
    torch.testing.assert_close(prediction.spread, error / 100**2)
    torch.testing.assert_close(prediction.confidence, (1 + prediction.spread / 3) ** -1.5)


def test_predictions_can_be_used_where_gradients_are_recorded() -> None:
    weight = torch.ones(1, requires_grad=True)
    prediction = predict(make_images(), flip=True)
    (prediction.keypoints * weight + prediction.likely_keypoints * weight).sum().backward()
    (prediction.token_probs * weight).sum().backward()
    (prediction.probs * weight).sum().backward()
    assert weight.grad is not None
    assert math.isfinite(float(weight.grad))


class _Bells(HeatmapModel):
    """Stands for a trained model: a Gaussian for every joint where the photo is brightest."""

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        brightest = images[:, 0].flatten(1).argmax(dim=-1)
        x, y = (brightest % width).float(), (brightest // width).float()
        place = torch.stack([(x + 0.5) / width * 2 - 1, (y + 0.5) / height * 2 - 1], dim=-1)
        return self.cells.heatmaps(place[:, None].expand(-1, 17, -1), sigma=1.5)


@pytest.mark.parametrize("cell_center", [0.5, 0.0])
def test_turned_heatmaps_lie_on_the_straight_ones(cell_center: float) -> None:
    model = _Bells(HeatmapConfig(BACKBONE, HeatmapSizes(1, 8, cell_center=cell_center))).eval()
    images = torch.zeros(2, 3, 32, 32)
    images[0, :, 9, 6] = images[1, :, 20, 25] = 1
    straight, averaged = predict_heatmaps(model, images, flip=False), predict_heatmaps(model, images)
    torch.testing.assert_close(averaged.keypoints, straight.keypoints, atol=0.02, rtol=0)
    assert (averaged.confidence > 0.9).all()


def test_heatmaps_of_mirrored_crops_give_mirrored_joints() -> None:
    model, images = make_heatmap_model(), make_images()
    straight, mirrored = predict_heatmaps(model, images), predict_heatmaps(model, images.flip(-1))
    back = mirror_keypoints(mirrored.keypoints, COCO17, SPACE)
    torch.testing.assert_close(straight.keypoints, back, atol=1e-5, rtol=0)
    torch.testing.assert_close(straight.confidence, mirrored.confidence[:, torch.from_numpy(COCO17.flip_index)])


def test_poses_are_scored_by_the_joints_that_are_there() -> None:
    joints = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.1, 0.0], [0.0, 0.0, 0.0]])
    assert score_found_joints(joints).tolist() == pytest.approx([0.7, 0.0, 0.0])
    assert score_poses(joints).tolist() == pytest.approx([1.07 / 1.5, 0.05 / 0.3, 0.0])
    # A joint outside the photo costs nothing; a doubtful one does.
    assert score_poses(torch.tensor([[0.9, 0.9, 0.0]])).item() == pytest.approx(0.9)
    assert score_poses(torch.tensor([[0.9, 0.9, 0.4]])).item() < 0.85
