"""PoseEstimator: poses that move with the photo, batches, kinds of photos, bad boxes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_photo_models import make_varied_classifier

import pct
from pct.checkpoint import CheckpointError
from pct.files.photo import PhotoError
from pct.photos.estimator import PoseEstimator
from pct.photos.results.result import PersonPoses
from pct.photos.results.sources import BoxError
from pct.pose_space import PoseSpace

ESTIMATOR = PoseEstimator(make_varied_classifier())
BOXES = np.array([[20, 10, 30, 60], [50, 30, 25.5, 25], [-10, 40, 40, 50]])


def make_photo(height: int = 90, width: int = 100, seed: int = 0) -> np.ndarray:
    """A photo of soft colours: what lies between the pixels is what lies around."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8))
    return np.array(small.resize((width, height), Image.Resampling.BICUBIC))


def assert_same(a: PersonPoses, b: PersonPoses, shift: tuple[float, float] = (0, 0), atol: float = 2e-3) -> None:
    for name in ("keypoints", "likely_keypoints", "samples"):
        np.testing.assert_allclose(getattr(a, name) + np.float32(shift), getattr(b, name), atol=atol, rtol=0)
    np.testing.assert_array_equal(a.indices, b.indices)
    np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
    np.testing.assert_allclose(a.token_probs, b.token_probs, atol=1e-4)


def test_poses_are_where_the_box_is_and_their_tokens_decode_to_them() -> None:
    poses = ESTIMATOR.predict(make_photo(), BOXES)
    assert poses.keypoints.shape == (3, 17, 2)
    assert poses.samples.shape == (16, 3, 17, 2)
    assert ((poses.scores > 0) & (poses.scores <= 1)).all()
    decoded = ESTIMATOR.model.tokenizer.decode(torch.from_numpy(poses.indices), torch.from_numpy(poses.bbox))
    np.testing.assert_allclose(poses.likely_keypoints, decoded.numpy(), atol=1e-3)
    assert poses.keypoints.std(axis=0).max() > 3  # they are not all in one place


@pytest.mark.parametrize("image_size", [(32, 32), (64, 32)])
def test_a_moved_photo_with_a_moved_box_gives_moved_poses(image_size: tuple[int, int]) -> None:
    estimator = PoseEstimator(make_varied_classifier(image_size=image_size))
    photo, boxes = make_photo(), BOXES[:2]
    padded = np.zeros((120, 140, 3), np.uint8)
    padded[13:103, 37:137] = photo
    moved = estimator.predict(padded, boxes + np.array([37, 13, 0, 0]))
    assert_same(estimator.predict(photo, boxes), moved, shift=(37, 13))


@pytest.mark.parametrize("flip", [False, True])
def test_a_mirrored_photo_gives_mirrored_poses_with_the_flip_test_only(flip: bool) -> None:
    estimator = PoseEstimator(ESTIMATOR.model, flip)
    photo = make_photo()
    mirrored_boxes = BOXES * [-1, 1, 1, 1] + [99, 0, 0, 0] - BOXES[:, 2:3] * [1, 0, 0, 0]
    there, mirrored = estimator.predict(photo, BOXES), estimator.predict(photo[:, ::-1], mirrored_boxes)
    for name in ("keypoints", "likely_keypoints"):
        back = getattr(mirrored, name)[:, estimator.skeleton.flip_index] * [-1, 1] + [99, 0]
        assert (np.abs(getattr(there, name) - back).max() < 2e-2) == flip, name


@pytest.mark.parametrize(("batch_size", "flip"), [(1, False), (2, True), (32, False), (32, True)])
def test_many_photos_together_are_as_one_by_one(batch_size: int, flip: bool) -> None:
    photos, boxes = [make_photo(seed=seed) for seed in range(5)], [BOXES[:count] for count in (2, 0, 1, 3, 0)]
    together = PoseEstimator(ESTIMATOR.model, flip, batch_size=batch_size)(photos, boxes)
    assert [len(result) for result in together] == [2, 0, 1, 3, 0]
    for result, *item in zip(together, photos, boxes, strict=True):
        assert_same(result.persons, PoseEstimator(ESTIMATOR.model, flip).predict(*item))


def test_photos_are_read_as_they_are_needed() -> None:
    read = []

    def photos():
        for number in range(100):
            read.append(number)
            yield make_photo()

    next(PoseEstimator(ESTIMATOR.model, batch_size=4).stream(photos(), itertools.repeat(BOXES[:0])))
    assert len(read) == 8, "a batch of four, and as many ahead"


def test_without_boxes_the_whole_photo_is_one_person_and_with_none_nobody() -> None:
    photo = make_photo()
    assert_same(ESTIMATOR.predict(photo), ESTIMATOR.predict(photo, [[0, 0, 100, 90]]))
    for boxes in ([], np.zeros((0, 4)), np.zeros(0)):
        poses = ESTIMATOR.predict(photo, boxes, num_samples=3)
        assert len(poses) == 0
        assert poses.keypoints.shape == (0, 17, 2)
        assert poses.samples.shape == (3, 0, 17, 2)
        assert poses.indices.shape == (0, 6)


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        ([BOXES[0], [100, 10, 30, 60]], "row 1 is .*outside the photo of 100x90"),
        ([BOXES[0], [-40, 10, 40, 60]], "row 1 is .*outside the photo"),
        ([BOXES[0], [10, 10, 0, 60]], "row 1 is .*width and height must be positive"),
        ([BOXES[0], [10, 10, 5, -6]], "row 1 is .*width and height must be positive"),
        ([BOXES[0], [np.nan, 10, 5, 6]], "row 1 is .*must be finite"),
        ([BOXES[0], [10, 10, np.inf, 6]], "row 1 is .*must be finite"),
        ([BOXES[0], [-1e30, -1e30, 2e30, 2e30]], "row 1 is .*below 1000000"),
        ([20, 10, 30, 60], r"bboxes must be \(N, 4\)"),
        ([[20, 10, 30]], r"bboxes must be \(N, 4\)"),
        (np.zeros((1, 2, 4)), r"bboxes must be \(N, 4\)"),
    ],
)
def test_bad_boxes_are_named_by_row(boxes, reason: str) -> None:
    with pytest.raises(BoxError, match=reason):
        ESTIMATOR.predict(make_photo(), boxes)


def test_grey_and_transparent_arrays_and_files_are_seen_as_people_see_them(tmp_path) -> None:
    """What kinds of files there are is the matter of tests/files; here, that arrays and files go the same way."""
    photo = make_photo()
    grey = photo[..., 0]
    colours, half = np.repeat(grey[..., None], 3, axis=2), photo.copy()
    half[:, 50:] = 255
    alpha = np.where(np.arange(100) < 50, 255, 0).astype(np.uint8)[None].repeat(90, 0)
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    Image.fromarray(np.rot90(colours)).save(tmp_path / "turned.png", exif=exif)
    expected = ESTIMATOR.predict(colours, BOXES)
    for image in (grey, grey[..., None], np.dstack([colours, np.full_like(grey, 255)]), tmp_path / "turned.png"):
        assert_same(ESTIMATOR.predict(image, BOXES), expected)
    assert_same(ESTIMATOR.predict(np.dstack([photo, alpha]), BOXES), ESTIMATOR.predict(half, BOXES))


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.zeros((9, 9, 3), np.float32), "must be uint8, 0 to 255; got float32"),
        (np.zeros((9, 9, 3), np.uint16), "got uint16"),
        (np.zeros((3, 9, 9), np.uint8), r"\(H, W, 3\).* got shape \(3, 9, 9\)"),
        (np.zeros((0, 9, 3), np.uint8), "no pixels"),
        (np.zeros((1, 40_000, 3), np.uint8), "at most 32,766"),
        (torch.zeros(9, 9, 3, dtype=torch.uint8), "got Tensor"),
        ("missing.jpg", "cannot be opened"),
        (7, "got int"),
    ],
)
def test_what_is_no_photo_is_refused(image, reason: str) -> None:
    with pytest.raises(PhotoError, match=reason):
        ESTIMATOR.predict(image)


def test_models_of_3d_poses_give_millimetres_from_the_root() -> None:
    estimator = PoseEstimator(make_varied_classifier(space=PoseSpace("root3d", millimetres=500.0, root=2)))
    poses = estimator.predict(make_photo(), BOXES)
    decoded = estimator.model.tokenizer.decode(torch.from_numpy(poses.indices)) * 500
    decoded = decoded - decoded[:, 2:3]
    np.testing.assert_allclose(poses.likely_keypoints, decoded.numpy(), rtol=1e-4, atol=1e-2)
    assert poses.samples.shape == (16, 3, 17, 3)
    assert not poses.keypoints[:, 2].any()
    assert not poses.samples[:, :, 2].any()


def test_a_saved_estimator_is_loaded_by_the_name_of_its_folder(tmp_path) -> None:
    model = make_varied_classifier(image_size=(64, 32))
    model.save_pretrained(tmp_path / "model")
    loaded = pct.PoseEstimator.from_pretrained(tmp_path / "model")
    assert_same(loaded.predict(make_photo(), BOXES), PoseEstimator(model).predict(make_photo(), BOXES), atol=0)
    assert not any(p.requires_grad for p in loaded.model.tokenizer.parameters())
    with pytest.raises(CheckpointError, match="no model 'nothing'"):
        PoseEstimator.from_pretrained("nothing")
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        PoseEstimator(ESTIMATOR.model, batch_size=0)
