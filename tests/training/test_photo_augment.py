"""Colour augmentation: a function of crop and seed alone, each part with a switch, and strengths that are checked."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from pct.training.photos.augment import ColourAugment, PhotoAugmentConfig

SIZE = (64, 48)
OFF = {"colour_prob": 0, "grid_prob": 0, "blur_prob": 0}


def crop(seed: int = 0) -> np.ndarray:
    """A crop of random smooth colours without black."""
    rng = np.random.default_rng(seed)
    return np.repeat(np.repeat(rng.integers(60, 200, (8, 6, 3), dtype=np.uint8), 8, axis=0), 8, axis=1)


def augment(seed: int = 0, **strengths) -> np.ndarray:
    return ColourAugment(PhotoAugmentConfig(**{**OFF, **strengths}), SIZE)(crop(), seed)


def test_the_seed_alone_decides_whatever_was_done_before() -> None:
    config = PhotoAugmentConfig(blur_prob=0.5)
    used, fresh = ColourAugment(config, SIZE), ColourAugment(config, SIZE)
    for seed in range(20):
        used(crop(1), 1000 + seed)
        np.random.seed(seed)
        np.testing.assert_array_equal(used(crop(), seed), fresh(crop(), seed))
    copy = pickle.loads(pickle.dumps(used))
    np.testing.assert_array_equal(copy(crop(), 3), fresh(crop(), 3))
    assert len({used(crop(), seed).tobytes() for seed in range(20)}) == 20


def test_the_crop_given_is_left_as_it_is_and_everything_off_changes_nothing() -> None:
    image = crop()
    image.setflags(write=False)
    result = ColourAugment(PhotoAugmentConfig(blur_prob=1, grid_prob=1), SIZE)(image, 0)
    np.testing.assert_array_equal(image, crop())
    assert (result.dtype, result.shape) == (np.uint8, image.shape)
    for seed in range(5):
        np.testing.assert_array_equal(augment(seed), crop())


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_each_kind_of_jitter_works_alone_and_zero_switches_it_off(name: str) -> None:
    none = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "colour_prob": 1}
    np.testing.assert_array_equal(augment(1, **none), crop())
    assert not np.array_equal(augment(1, **{**none, name: 0.4}), crop())
    factors = [augment(seed, **{**none, "brightness": 0.3}).mean() / crop().mean() for seed in range(60)]
    assert 0.69 < min(factors) < 0.75 < 1.25 < max(factors) < 1.31


def test_the_grid_cuts_a_quarter_out_in_its_share_of_the_crops() -> None:
    black = [(augment(seed, grid_prob=0.5) == 0).all(axis=2) for seed in range(100)]
    cut = [mask.mean() for mask in black if mask.any()]
    assert abs(len(cut) / 100 - 0.5) < 0.15
    assert 0.15 < np.mean(cut) < 0.35
    kept = ~black[[mask.any() for mask in black].index(True)]
    first = next(seed for seed in range(100) if black[seed].any())
    np.testing.assert_array_equal(augment(first, grid_prob=0.5)[kept], crop()[kept])


def test_the_grid_scales_with_the_input() -> None:
    def widest(size: tuple[int, int]) -> int:
        cut = ColourAugment(PhotoAugmentConfig(**{**OFF, "grid_prob": 1, "grid_unit": (40, 40)}), size)
        black = (cut(np.full((*size, 3), 255, np.uint8), 0) == 0).all(axis=2)
        runs = np.diff(np.flatnonzero(np.diff(np.pad(black[black.any(axis=1)][0], 1).astype(int))))[::2]
        return int(runs.max())

    for side, width in ((256, 20), (128, 10), (64, 5)):
        assert widest((side, side)) in (width, width + 1)


def test_blur_smooths() -> None:
    difference = np.abs(np.diff(augment(0, blur_prob=1).astype(int), axis=0)).max()
    assert difference < np.abs(np.diff(crop().astype(int), axis=0)).max()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rotation", -1),
        ("rotation_prob", 1.5),
        ("scale", 1.0),
        ("shift", -0.1),
        ("flip_prob", float("nan")),
        ("half_body_joints", -1),
        ("outside_margin", -0.1),
        ("brightness", 1.0),
        ("saturation", -0.1),
        ("hue", 0.6),
        ("grid_prob", 2),
        ("grid_unit", (1, 40)),
        ("grid_unit", (40, 10)),
        ("blur_size", 4),
    ],
)
def test_strengths_out_of_range_are_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"augment {name}"):
        PhotoAugmentConfig(**{name: value})


def test_a_grid_wider_than_the_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"grid_unit .* must be smaller"):
        ColourAugment(PhotoAugmentConfig(grid_unit=(10, 192)), (64, 48))
