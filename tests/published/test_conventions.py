"""The release's conventions by small sums that need no data: crop, mirror, peaks, boxes, saved configs, whole path."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from official_weights import make_backbone_weights, make_classifier_weights, make_heatmap_head_weights
from tiny_photo_models import make_coco_tokenizer

from pct import PoseTokenizer
from pct.cli import main as cli
from pct.conventions import PUBLISHED, CropConventions
from pct.photos.crop import plain_crop
from pct.photos.estimator import PoseEstimator
from pct.photos.heatmap import find_quarter_tops
from pct.photos.person_views import annotated_persons, clip_boxes
from pct.photos.persons import PersonPhoto
from pct.photos.predict import mirror_keypoints
from pct.pose_space import PoseSpace
from pct.published.photos import convert_classifier, convert_heatmap_model
from pct.published.tokenizer import convert_tokenizer
from pct.skeleton import COCO17

SIDE = 64
BOX = np.array([30.0, 20.0, 40.0, 80.0])


def published_space(**changes: object) -> PoseSpace:
    return PoseSpace(padding=1.12, crop_size=SIDE, conventions=PUBLISHED, **changes)  # type: ignore[arg-type]


def test_the_center_of_the_box_falls_on_half_the_side() -> None:
    """p -> (p - centre) * side / S + side / 2, where our own crops end half a pixel before."""
    crop = plain_crop(BOX, published_space(), (SIDE, SIDE))
    scale = SIDE / (1.12 * 80)
    expected = [[scale, 0, SIDE / 2 - scale * 50], [0, scale, SIDE / 2 - scale * 60]]
    np.testing.assert_allclose(crop.affine, expected, atol=1e-9)
    own = plain_crop(BOX, replace(published_space(), conventions=CropConventions()), (SIDE, SIDE))
    np.testing.assert_allclose(crop.affine - own.affine, [[0, 0, 0.5], [0, 0, 0.5]], atol=1e-9)


@pytest.mark.parametrize("units", ["unit", "pixels"])
@pytest.mark.parametrize(("conventions", "total"), [(PUBLISHED, SIDE - 1), (CropConventions(), SIDE)])
def test_mirror_axis(units: str, conventions: CropConventions, total: float) -> None:
    space = published_space(units=units)
    space = replace(space, conventions=conventions)
    poses = torch.rand(2, 17, 2) * SIDE
    given = poses if units == "pixels" else poses / (SIDE / 2) - 1
    mirrored = mirror_keypoints(given, COCO17, space)
    pixels = mirrored if units == "pixels" else (mirrored + 1) * SIDE / 2
    expected = poses[:, COCO17.flip_index] * torch.tensor([-1.0, 1.0]) + torch.tensor([total, 0.0])
    torch.testing.assert_close(pixels, expected, atol=1e-4, rtol=0)


def test_the_whole_path_is_the_published_one() -> None:
    """From photo and box to keypoints and score with flip test, written out step by step."""
    official = make_classifier_weights()
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    center, size, half = BOX[:2] + BOX[2:] / 2, 1.12 * BOX[2:].max(), SIDE / 2
    matrix = np.array([[1, 0, -center[0]], [0, 1, -center[1]]]) * SIDE / size + [[0, 0, half], [0, 0, half]]
    pixels = torch.from_numpy(cv2.warpAffine(photo, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR))
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    image = ((pixels / 255 - mean) / std).permute(2, 0, 1)[None]
    classifier = convert_classifier(official, crop_size=SIDE)
    backbone, head = classifier.backbone, classifier.head
    tokenizer = convert_tokenizer(official, units="pixels", crop_size=SIDE)
    with torch.no_grad():
        features = [backbone(view).flatten(2).transpose(1, 2) for view in (image, image.flip(-1))]
        logits = torch.cat([head(view) for view in features])
        straight, turned = tokenizer.decode_soft(logits.softmax(dim=-1)).numpy()
    turned = turned[COCO17.flip_index]
    turned[:, 0] = SIDE - 1 - turned[:, 0]
    poses = PoseEstimator(classifier).predict(photo, BOX[None])
    expected = ((straight + turned) / 2 - half) * size / SIDE + center
    np.testing.assert_allclose(poses.keypoints[0], expected, atol=2e-3)
    assert poses.pose_scores[0] == pytest.approx(float(logits.amax(dim=-1).mean()), abs=1e-5)
    assert np.array_equal(poses.indices[0], logits[0].argmax(dim=-1))


def test_quarter_cells() -> None:
    maps = torch.zeros(1, 5, 16, 16)
    maps[0, 0, 5, 7], maps[0, 0, 5, 8], maps[0, 0, 4, 7] = 1.0, 0.5, 0.2  # right and up
    maps[0, 1, 5, 7] = 1.0  # neighbours are equal
    maps[0, 2, 1, 7], maps[0, 2, 1, 8] = 2.0, 0.5  # too near to the edge
    maps[0, 3] = -0.1  # nowhere positive
    maps[0, 4, 14, 14], maps[0, 4, 14, 13] = 1.0, 0.5  # the last place that moves
    cells, scores = find_quarter_tops(maps)
    assert cells[0].tolist() == [[7.25, 4.75], [7, 5], [7, 1], [-1, -1], [13.75, 14]]
    torch.testing.assert_close(scores[0], torch.tensor([1.0, 1.0, 2.0, -0.1, 1.0]))


class OnePerson:
    """A source with one person whose box begins left of its photo."""

    skeleton = COCO17

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> PersonPhoto:
        photo, box = np.zeros((60, 100, 3), np.uint8), np.array([-5, 10, 30, 30], np.float32)
        return PersonPhoto(photo, box, np.zeros((17, 2), np.float32), np.zeros(17, np.int64), 1.0, 1, 1)


def test_boxes_are_cut_at_the_photo_for_published_models() -> None:
    boxes = [[-5, 10, 30, 30], [80, -3, 40, 200], [10, 10, 20, 20], [99, 5, 30, 30]]
    expected = [[0, 10, 30, 30], [80, 0, 19, 59], [10, 10, 20, 20], [99, 5, 30, 30]]  # the last would be empty
    assert clip_boxes(np.array(boxes), 100, 60).tolist() == expected
    assert annotated_persons(OnePerson(), published_space())[0].bbox.tolist() == [0, 10, 30, 30]
    assert annotated_persons(OnePerson(), PoseSpace())[0].bbox.tolist() == [-5, 10, 30, 30]


def test_conventions_are_saved_with_a_classifier_and_a_heatmap_model(tmp_path: Path) -> None:
    convert_classifier(make_classifier_weights(), crop_size=SIDE).save_pretrained(tmp_path / "tokens")
    estimator = PoseEstimator.from_pretrained(tmp_path / "tokens")
    assert estimator.flip
    assert (estimator.space.conventions, estimator.space.padding) == (PUBLISHED, 1.12)
    assert estimator.space.training_space.padding == 1.25
    assert not PoseEstimator.from_pretrained(tmp_path / "tokens", flip=False).flip
    official = {**make_backbone_weights(), **make_heatmap_head_weights()}
    convert_heatmap_model(official, crop_size=SIDE).save_pretrained(tmp_path / "heatmaps")
    heatmaps = PoseEstimator.from_pretrained(tmp_path / "heatmaps")
    assert heatmaps.flip
    assert (heatmaps.model.config.space.conventions, heatmaps.model.config.space.padding) == (PUBLISHED, 1.25)
    found = heatmaps.predict(np.full((90, 120, 3), 99, np.uint8), [BOX * 0.9, BOX])
    assert (found.keypoints.shape, found.scores.shape) == ((2, 17, 2), (2, 17))
    assert heatmaps.predict(np.zeros((90, 120, 3), np.uint8), np.zeros((0, 4))).keypoints.shape == (0, 17, 2)


def test_the_program_ranks_by_the_published_score_and_flips(tmp_path: Path) -> None:
    model = convert_classifier(make_classifier_weights(), crop_size=SIDE)
    model.save_pretrained(tmp_path / "model")
    photo = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "photo.png"), photo[..., ::-1])
    arguments = ["predict", str(tmp_path / "photo.png"), "--whole-photos", "--model", str(tmp_path / "model")]
    for flip in ([], ["--no-flip"]):
        out = tmp_path / f"out{len(flip)}"
        assert cli.main([*arguments, *flip, "-o", str(out)]) == 0
        (entry,) = json.loads((out / "keypoints.json").read_text())
        expected = PoseEstimator(model, flip=not flip).predict(photo)
        assert entry["score"] == pytest.approx(float(expected.pose_scores[0]), abs=1e-5)
        joints = np.array(entry["keypoints"]).reshape(17, 3)
        np.testing.assert_allclose(joints[:, :2], expected.keypoints[0], atol=0.01)
        np.testing.assert_allclose(joints[:, 2], expected.scores[0], atol=1e-3)


def test_folders_without_conventions_have_ours(tmp_path: Path) -> None:
    tokenizer = make_coco_tokenizer()
    tokenizer.save_pretrained(tmp_path / "model")
    saved = json.loads((tmp_path / "model" / "config.json").read_text())
    assert "conventions" not in json.dumps(saved)
    loaded = PoseTokenizer.from_pretrained(tmp_path / "model")
    assert loaded.space.conventions == CropConventions()
    assert loaded.fingerprint() == tokenizer.fingerprint()


def test_wrong_conventions_and_kernels_are_named() -> None:
    official = {**make_backbone_weights(), **make_heatmap_head_weights(kernel=3)}
    for act, message in (
        (lambda: CropConventions(peaks="middle"), "peaks is 'middle'; allowed are parabola, quarter"),
        (lambda: CropConventions(pixel_center=2), "pixel_center must be a number from 0 to 1, got 2"),
        (lambda: CropConventions(flip_test=1), "flip_test must be true or false, got 1"),
        (lambda: plain_crop(BOX, published_space(), (128, 128)), r"has crops of 64 pixels, not \(128, 128\)"),
        (
            lambda: convert_heatmap_model(official, crop_size=SIDE),
            r"shape \(32, 6, 3, 3\); published kernels are 2 x 2 or 4 x 4",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            act()
