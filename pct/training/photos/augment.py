"""Augmentation of person crops: how strong it is, where the crops lie, and their colours."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from pct.photos.crop import CropTransform
from pct.photos.persons import PersonPhoto
from pct.skeleton import Skeleton
from pct.training.crop_jitter import CropJitterConfig

# The input size that sizes in pixels are stated for.
_REFERENCE_SIZE = 256


@dataclass(frozen=True)
class PhotoAugmentConfig(CropJitterConfig):
    """Strength of the augmentation of person crops. A strength or share of 0 switches its part off.

    Attributes:
        brightness: Largest relative change.
        contrast: Largest relative change.
        saturation: Largest relative change.
        hue: Largest change as a share of the colour circle.
        colour_prob: Share of the crops whose colours are changed.
        grid_prob: Share of the crops from which a grid of black squares is cut.
        grid_unit: Smallest and largest spacing of that grid in pixels of a 256-pixel input; other inputs scale it.
        blur_prob: Share of the crops that are blurred; not in the paper.
        blur_size: Largest side of the blur's box in pixels, odd.
    """

    below_one: ClassVar[tuple[str, ...]] = (*CropJitterConfig.below_one, "brightness", "contrast", "saturation")
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.2
    colour_prob: float = 1.0
    grid_prob: float = 0.5
    grid_unit: tuple[int, int] = (10, 40)
    blur_prob: float = 0.0
    blur_size: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"augment hue must be in [0, 0.5], got {self.hue}")
        low, high = self.grid_unit
        if not 2 <= low <= high:
            raise ValueError(f"augment grid_unit must be two sizes low <= high of at least 2 px, got {self.grid_unit}")
        if self.blur_size < 3 or self.blur_size % 2 == 0:
            raise ValueError(f"augment blur_size must be odd and at least 3, got {self.blur_size}")


def jitter_crop(
    crop: CropTransform, person: PersonPhoto, skeleton: Skeleton, config: PhotoAugmentConfig, rng: np.random.Generator
) -> CropTransform:
    """Return a crop flipped, moved to half of the body, rotated, shifted and scaled by chance; see the config.

    Where no labelled joint would be left in it, ``crop`` is returned as it is.
    """
    map_ = np.vstack([crop.frame, [0, 0, 1]])
    flip = rng.random() < config.flip_prob
    if flip:
        map_ = np.diag([-1.0, 1.0, 1.0]) @ map_
    if rng.random() < config.half_body_prob:
        map_ = _half_body(map_, person, skeleton, crop.half_size, config, rng) @ map_
    scale = np.clip(1 + rng.standard_normal() * config.scale, 1 - config.scale, 1 + config.scale)
    angle = math.radians(np.clip(rng.standard_normal(), -2, 2) * config.rotation)
    angle *= rng.random() < config.rotation_prob
    shift = (rng.random(2) * 2 - 1) * 2 * config.shift * crop.half_size
    shift *= rng.random() < config.shift_prob
    cos, sin = math.cos(angle), math.sin(angle)
    moved = np.array([[cos, -sin, -shift[0]], [sin, cos, -shift[1]], [0, 0, scale]]) / scale
    jittered = replace(crop, frame=(moved @ map_)[:2], flipped=crop.flipped ^ flip)
    # A crop without a label teaches nothing.
    kept = jittered.contains(person.keypoints[person.visibility > 0], config.outside_margin).any()
    return jittered if kept else crop


def _half_body(
    map_: np.ndarray,
    person: PersonPhoto,
    skeleton: Skeleton,
    size: np.ndarray,
    config: PhotoAugmentConfig,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return the map (3, 3) within the frame that makes upper or lower body fill it; the identity if too few joints."""
    labelled = person.visibility > 0
    lower = np.isin(np.arange(skeleton.num_keypoints), skeleton.lower_body)
    part = labelled & (lower if rng.random() < 0.5 else ~lower)
    if labelled.sum() <= config.half_body_joints or part.sum() <= 2:
        return np.eye(3)
    points = person.keypoints[part] @ map_[:2, :2].T + map_[:2, 2]
    low, high = points.min(axis=0), points.max(axis=0)
    # 1.5 is the published margin around the chosen joints; the floor keeps a single spot from filling the crop.
    factor = max(float(((high - low) / 2 * 1.5 / size).max()), 0.05)
    x, y = (low + high) / 2
    return np.array([[1, 0, -x], [0, 1, -y], [0, 0, factor]]) / factor


class ColourAugment:
    """Colour jitter, grid dropout and blur of crops, by albumentations; a pure function of crop and seed.

    Args:
        config: Strengths.
        image_size: Height and width of the crops in pixels.

    Raises:
        ValueError: If the crops are smaller than the grid's largest spacing.
    """

    def __init__(self, config: PhotoAugmentConfig, image_size: tuple[int, int]) -> None:
        factor = max(image_size) / _REFERENCE_SIZE
        low, high = (max(2, round(size * factor)) for size in config.grid_unit)
        if config.grid_prob and high >= min(image_size):
            raise ValueError(
                f"augment grid_unit {config.grid_unit} is {high} px at input size {image_size}; it must be smaller"
            )
        # The library draws below the higher one.
        self._compose = _build(config, (low, high + 1))

    def __call__(self, image: np.ndarray, seed: int) -> np.ndarray:
        """Return a changed copy of a crop (H, W, 3), uint8 RGB."""
        self._compose.set_random_seed(seed)
        return self._compose(image=image)["image"]


def _build(config: PhotoAugmentConfig, grid_unit: tuple[int, int]) -> Any:
    # Without it, the library asks the network for a newer version of itself.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    import albumentations

    steps: list[Any] = []
    if config.colour_prob and (config.brightness or config.contrast or config.saturation or config.hue):
        steps.append(
            albumentations.ColorJitter(
                brightness=config.brightness,
                contrast=config.contrast,
                saturation=config.saturation,
                hue=config.hue,
                p=config.colour_prob,
            )
        )
    if config.grid_prob:
        steps.append(albumentations.GridDropout(unit_size_range=grid_unit, random_offset=True, p=config.grid_prob))
    if config.blur_prob:
        steps.append(albumentations.Blur(blur_limit=(3, config.blur_size), p=config.blur_prob))
    return albumentations.Compose(steps)
