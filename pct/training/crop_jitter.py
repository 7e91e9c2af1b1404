"""CropJitterConfig: how crops of persons are jittered, with or without their photo."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

_NOT_NEGATIVE = ("rotation", "shift", "outside_margin", "half_body_joints")


@dataclass(frozen=True)
class CropJitterConfig:
    """How crops of persons are jittered, with or without their photo. The defaults are the paper's (released configs).

    Attributes:
        below_one: Names of the strengths that must be below 1.
        rotation: Standard deviation in degrees, cut at twice that.
        rotation_prob: Share of the crops that are rotated.
        scale: Standard deviation of the crop's scale around 1, cut to [1 - scale, 1 + scale].
        shift: Largest shift of the crop as a share of its side.
        shift_prob: Share of the crops that are shifted.
        flip_prob: Share of the crops that are mirrored.
        half_body_prob: Share of the crops of upper or lower body only, where enough joints are known.
        half_body_joints: Known joints that a person must have more of for a half-body crop.
        outside_margin: Joints farther outside the crop than this share of its half side become unknown.
    """

    below_one: ClassVar[tuple[str, ...]] = ("scale",)
    rotation: float = 40.0
    rotation_prob: float = 0.6
    scale: float = 0.5
    shift: float = 0.16
    shift_prob: float = 0.3
    flip_prob: float = 0.5
    half_body_prob: float = 0.3
    half_body_joints: int = 8
    outside_margin: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith(("_prob", "_share")) and not 0 <= value <= 1:
                raise ValueError(f"augment {field.name} must be in [0, 1], got {value}")
            if field.name in _NOT_NEGATIVE and not value >= 0:
                raise ValueError(f"augment {field.name} must not be negative, got {value}")
            if field.name in self.below_one and not 0 <= value < 1:
                raise ValueError(f"augment {field.name} must be in [0, 1), got {value}")
