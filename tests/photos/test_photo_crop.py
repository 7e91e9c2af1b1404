"""Person crops: picture and joints go through one map, and the plain one is the pose space's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pct.photos.crop import CropTransform, fit_bbox_to_aspect, normalise_pixels, plain_crop
from pct.photos.persons import PersonPhoto
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17
from pct.training.photos.augment import PhotoAugmentConfig, jitter_crop
from pct.training.photos.crops import PhotoBatch, crop_person

SPACE, SIZE = PoseSpace(), (128, 128)
OFF = PhotoAugmentConfig(rotation=0, scale=0, shift=0, flip_prob=0, half_body_prob=0, colour_prob=0, grid_prob=0)
LEFT, RIGHT = (COCO17.keypoint_names.index(f"{side}_wrist") for side in ("left", "right"))


def person(seed: int = 0, **changes) -> PersonPhoto:
    rng = np.random.default_rng(seed)
    visibility = rng.integers(0, 3, 17)
    keypoints = np.where(visibility[:, None] > 0, rng.uniform((110, 90), (190, 270), (17, 2)), 0).astype(np.float32)
    values = {
        "image": rng.integers(0, 256, (320, 300, 3), dtype=np.uint8),
        "bbox": np.array([100.5, 80.25, 101, 203.5], np.float32),
        "keypoints": keypoints,
        "visibility": visibility,
        "area": 9000.0,
        "image_id": 3,
        "annotation_id": 4,
        **changes,
    }
    return PersonPhoto(**values)


def crop_of(sample: PersonPhoto, size: tuple[int, int] = SIZE, space: PoseSpace = SPACE) -> CropTransform:
    return plain_crop(sample.bbox, space, size)


def jitter(crop: CropTransform, sample: PersonPhoto, config: PhotoAugmentConfig, seed: int = 0) -> CropTransform:
    return jitter_crop(crop, sample, COCO17, config, np.random.default_rng(seed))


def spot(keypoint: tuple[float, float], radius: float = 6.0) -> np.ndarray:
    """A photo that is black but for a soft white spot around a point."""
    y, x = np.mgrid[0:320, 0:300]
    squared = (x - keypoint[0]) ** 2 + (y - keypoint[1]) ** 2
    return np.repeat((255 * np.exp(-squared / radius**2)).round().astype(np.uint8)[..., None], 3, axis=2)


def centroid(image: np.ndarray) -> np.ndarray:
    weight = image[..., 0].astype(np.float64)
    y, x = np.mgrid[0 : weight.shape[0], 0 : weight.shape[1]]
    return np.array([(x * weight).sum(), (y * weight).sum()]) / weight.sum()


@pytest.mark.parametrize("size", [(128, 128), (256, 256)])
@pytest.mark.parametrize("space", [SPACE, PoseSpace(units="pixels"), PoseSpace(padding=1.0)], ids=str)
def test_the_plain_crop_is_the_pose_space(size: tuple[int, int], space: PoseSpace) -> None:
    for seed in range(5):
        sample = person(seed, visibility=np.full(17, 2))
        crop = crop_person(sample, COCO17, crop_of(sample, size, space))
        expected = space.normalise(torch.from_numpy(sample.keypoints)[None], torch.from_numpy(sample.bbox)[None])[0]
        np.testing.assert_allclose(crop.keypoints, expected, atol=1e-5 * space.bounds[1])


@pytest.mark.parametrize("size", [(128, 96), (96, 128)])
def test_a_batch_gives_image_pixels_back_for_any_input_shape(size: tuple[int, int]) -> None:
    samples = [person(seed, visibility=np.full(17, 2)) for seed in range(4)]
    batch = PhotoBatch.from_crops([crop_person(s, COCO17, crop_of(s, size)) for s in samples])
    expected = torch.from_numpy(np.stack([s.keypoints for s in samples]))
    torch.testing.assert_close(SPACE.restore(batch.keypoints, batch.bbox), expected, atol=1e-3, rtol=0)


@pytest.mark.parametrize("size", [(128, 128), (128, 96), (96, 160)])
@pytest.mark.parametrize("flip", [0, 1])
@pytest.mark.parametrize(
    "config", [OFF, replace(OFF, rotation=40, rotation_prob=1, scale=0.3, shift=0.1, shift_prob=1)]
)
def test_a_white_spot_lands_where_the_joint_lands(size: tuple[int, int], flip: int, config: PhotoAugmentConfig) -> None:
    for seed in range(6):
        keypoint = np.random.default_rng(seed).uniform((140, 160), (160, 200))
        keypoints = np.tile(keypoint, (17, 1)).astype(np.float32)
        sample = person(image=spot(tuple(keypoint)), keypoints=keypoints, visibility=np.full(17, 2))
        crop = jitter(crop_of(sample, size), sample, replace(config, flip_prob=flip), seed)
        assert crop.flipped == bool(flip)
        result = crop_person(sample, COCO17, crop)
        found = centroid(result.image)
        np.testing.assert_allclose(found, crop.affine[:, :2] @ keypoint + crop.affine[:, 2], atol=0.1)
        # Model units: the frame ends at the outer edges of the input's outermost pixels.
        height, width = size
        in_pixels = result.keypoints[0] * max(size) / 2 + (width / 2 - 0.5, height / 2 - 0.5)
        np.testing.assert_allclose(found, in_pixels, atol=0.1)


def test_a_mirrored_input_has_negated_x() -> None:
    """What flip tests rely on: turning the pixels round is the same as the mirrored crop."""
    sample = person(bbox=np.array([100, 80, 102.4, 102.4], np.float32))
    plain = crop_of(sample)
    mirrored = jitter(plain, sample, replace(OFF, flip_prob=1))
    ahead, turned = crop_person(sample, COCO17, plain), crop_person(sample, COCO17, mirrored)
    np.testing.assert_allclose(turned.image.astype(int), ahead.image[:, ::-1].astype(int), atol=8)
    expected = ahead.keypoints[COCO17.flip_index] * (-1, 1)
    np.testing.assert_allclose(turned.keypoints, expected, atol=1e-6)
    np.testing.assert_array_equal(turned.visibility, ahead.visibility[COCO17.flip_index])


def test_flipping_twice_and_everything_off_are_the_plain_crop() -> None:
    sample, always = person(), replace(OFF, flip_prob=1)
    crop = crop_of(sample)
    twice = jitter(jitter(crop, sample, always), sample, always)
    np.testing.assert_allclose(twice.frame, crop.frame, atol=1e-12)
    assert not twice.flipped
    np.testing.assert_array_equal(jitter(crop, sample, OFF).frame, crop.frame)


def test_an_aligned_crop_copies_pixels() -> None:
    """A crop as large as the input, whose edges lie on pixel edges, is a cut-out; outside the photo it is black."""
    sample = person(bbox=np.array([-20.5, 29.5, 64, 64], np.float32))
    image = crop_person(sample, COCO17, crop_of(sample, space=PoseSpace(padding=2.0))).image
    left, top = -20 - 32, 30 - 32
    np.testing.assert_array_equal(image[2:, -left:], sample.image[0 : top + 128, 0 : left + 128])
    assert not image[:, : -left - 1].any()


def test_jitter_stays_within_its_strengths() -> None:
    sample, size = person(visibility=np.full(17, 2), keypoints=np.full((17, 2), 160, np.float32)), (128, 96)
    config = PhotoAugmentConfig(half_body_prob=0, flip_prob=0)
    plain = crop_of(sample, size)
    center = np.array([[151.0, 182.0]], np.float32)
    scales, angles, shifts = [], [], []
    for seed in range(1000):
        frame = jitter(plain, sample, config, seed).frame
        scales.append(np.sqrt(np.linalg.det(plain.frame[:, :2]) / np.linalg.det(frame[:, :2])))
        angles.append(np.degrees(np.arctan2(frame[1, 0], frame[0, 0])))
        shifts.append(-(frame[:, :2] @ center[0] + frame[:, 2]) * scales[-1])
    assert 0.4999 < min(scales) < 0.53
    assert 1.47 < max(scales) < 1.5001
    assert 70 < np.abs(angles).max() < 80.01
    assert abs(np.mean(np.abs(angles) > 1e-6) - 0.6) < 0.05
    extent = np.abs(shifts).max(axis=0)
    assert (extent <= 2 * 0.16 * np.array([0.75, 1]) + 1e-3).all()
    assert (extent > 1.9 * 0.16 * np.array([0.75, 1])).all()
    assert abs(np.mean(np.abs(shifts).max(axis=1) > 1e-3) - 0.3) < 0.05


def test_a_half_body_crop_holds_the_chosen_half_in_its_middle() -> None:
    lower = np.isin(np.arange(17), COCO17.lower_body)
    sample = person(visibility=np.full(17, 2))
    plain = crop_of(sample, (128, 96))
    halves, half = [], replace(OFF, half_body_prob=1)
    for seed in range(20):
        crop = jitter(plain, sample, half, seed)
        points = crop.to_frame(sample.keypoints)
        extents = [(points[part].min(axis=0), points[part].max(axis=0)) for part in (lower, ~lower)]
        middle = [np.allclose(low + high, 0, atol=1e-9) for low, high in extents]
        assert sum(middle) == 1
        halves.append(middle.index(True))
        low, high = extents[halves[-1]]
        assert ((high - low) / 2 * 1.5 / (0.75, 1)).max() == pytest.approx(1)
    assert set(halves) == {0, 1}


def test_a_half_body_needs_more_than_eight_joints() -> None:
    plain, half = crop_of(person()), replace(OFF, half_body_prob=1)
    for labelled, changes in ((8, False), (9, True)):
        sample = person(visibility=np.where(np.arange(17) < labelled, 2, 0), keypoints=person(1).keypoints + 100)
        crops = [jitter(plain, sample, half, seed) for seed in range(10)]
        assert any(not np.array_equal(crop.frame, plain.frame) for crop in crops) == changes


@pytest.mark.parametrize(("margin", "kept"), [(0.0, False), (0.1, False), (0.3, True)])
def test_joints_outside_the_crop_become_unlabelled(margin: float, kept: bool) -> None:
    # The crop of this box is 125 px wide around x = 150, so x = 225 lies 1.2 half sides from the middle.
    points = np.tile(np.array([[150, 150]], np.float32), (17, 1))
    points[LEFT] = (225, 150)
    sample = person(keypoints=points, visibility=np.full(17, 2), bbox=np.array([100, 100, 100, 100], np.float32))
    crop = crop_person(sample, COCO17, crop_of(sample), margin)
    assert bool(crop.visibility[LEFT]) == kept
    assert (crop.keypoints[LEFT] != 0).any() == kept
    assert (np.delete(crop.visibility, LEFT) == 2).all()
    assert crop_person(sample, COCO17, crop_of(sample)).visibility[LEFT] == 2


def test_a_crop_never_loses_all_its_labels() -> None:
    points = np.zeros((17, 2), np.float32)
    points[0] = (105, 105)
    nose_only, bbox = np.eye(17, dtype=np.int64)[0] * 2, np.array([100, 100, 100, 100], np.float32)
    sample = person(keypoints=points, visibility=nose_only, bbox=bbox)
    plain = crop_of(sample)
    config = PhotoAugmentConfig(scale=0.9, shift=0.3, shift_prob=1)
    crops = [jitter(plain, sample, config, seed) for seed in range(100)]
    assert any(np.array_equal(crop.frame, plain.frame) for crop in crops)
    for crop in crops:
        assert crop_person(sample, COCO17, crop, config.outside_margin).visibility.any()


def test_unlabelled_joints_are_zero_and_arguments_stay() -> None:
    sample = person()
    before = sample.keypoints.copy(), sample.image.copy()
    result = crop_person(sample, COCO17, jitter(crop_of(sample), sample, PhotoAugmentConfig(), seed=5))
    assert (result.keypoints[result.visibility == 0] == 0).all()
    np.testing.assert_array_equal(sample.keypoints, before[0])
    np.testing.assert_array_equal(sample.image, before[1])


def test_boxes_grow_to_the_aspect_around_their_centre() -> None:
    boxes = np.array([[0, 0, 10, 40], [5, 5, 40, 10], [1, 2, 30, 40]], np.float32)
    fitted = fit_bbox_to_aspect(boxes, (64, 48))
    np.testing.assert_allclose(fitted[:, 2] / fitted[:, 3], 0.75)
    np.testing.assert_allclose(fitted[:, :2] + fitted[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2)
    assert (fitted[:, 2:] >= boxes[:, 2:]).all()
    np.testing.assert_allclose(fitted[2], boxes[2])
    assert (np.isclose(fitted[:, 2:], boxes[:, 2:]).any(axis=1)).all(), "no box grows both ways"


def test_bad_boxes_and_spaces_are_refused() -> None:
    with pytest.raises(ValueError, match="width and height must be positive"):
        plain_crop(np.array([1, 2, 0, 0]), SPACE, SIZE)
    with pytest.raises(ValueError, match="crop2d"):
        plain_crop(np.array([1, 2, 3, 4]), PoseSpace(kind="root3d"), SIZE)


def test_batch_keeps_rows_together() -> None:
    samples = [person(seed, image_id=seed, annotation_id=10 + seed, area=100.0 + seed) for seed in range(5)]
    crops = [crop_person(s, COCO17, crop_of(s, (64, 48))) for s in samples]
    batch = PhotoBatch.from_crops(crops)
    assert len(batch) == 5
    assert batch.images.shape == (5, 3, 64, 48)
    part = batch.rows(slice(2, 4)).to(torch.device("cpu"))
    assert part.image_ids.tolist() == [2, 3]
    assert part.annotation_ids.tolist() == [12, 13]
    np.testing.assert_array_equal(part.pixels[1].permute(1, 2, 0), crops[3].image)
    np.testing.assert_array_equal(part.keypoints[0], crops[2].keypoints)
    np.testing.assert_array_equal(part.visible, part.visibility > 0)


def test_images_have_imagenet_mean_and_deviation_taken_out() -> None:
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    pixels = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    expected = (pixels / 255 - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(normalise_pixels(pixels), expected)
