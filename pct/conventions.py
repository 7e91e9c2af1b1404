"""CropConventions: what publishers of models do differently about crops, mirrors, peaks and scores, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_CHOICES = {"peaks": ("parabola", "quarter"), "score": ("confidence", "published")}


@dataclass(frozen=True)
class CropConventions:
    """How a model was used where it was trained. The defaults are ours; :data:`PUBLISHED` are those of PCT's release.

    They are part of the model's pose space and so of its ``config.json``.

    Attributes:
        pixel_center: Where in a pixel of the crop its value lies, in pixels from the crop's frame: 0.5 is the middle,
            so that a mirrored crop negates x about the box's centre; with 0 the box's centre is on coordinate side / 2
            of the pixel grid, half a pixel right of and below its middle, and a mirror is side - 1 - x.
        train_padding: Padding of the crops in training, before augmentation; 0 is that of the pose space, which
            predictions are made with.
        clip_boxes: Whether annotated boxes are cut at the photo's edges (:func:`pct.photos.person_views.clip_boxes`).
        flip_test: Whether poses are the mean over the photo and its mirror image unless something else is asked for.
        peaks: How joints are found in heatmaps: ``parabola`` (the top of the Gaussian through the highest cell and its
            neighbours) or ``quarter`` (a quarter of a cell towards the higher neighbour).
        score: What poses are ranked by: our ``confidence`` in [0, 1], or the ``published`` score, which has no bounds.
    """

    pixel_center: float = 0.5
    train_padding: float = 0.0
    clip_boxes: bool = False
    flip_test: bool = False
    peaks: Literal["parabola", "quarter"] = "parabola"
    score: Literal["confidence", "published"] = "confidence"

    def __post_init__(self) -> None:
        for name, most in (("pixel_center", 1.0), ("train_padding", 100.0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= most:
                raise ValueError(f"conventions {name} must be a number from 0 to {most:g}, got {value!r}")
        for name in ("clip_boxes", "flip_test"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"conventions {name} must be true or false, got {getattr(self, name)!r}")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"conventions {name} is {getattr(self, name)!r}; allowed are {', '.join(allowed)}")


PUBLISHED = CropConventions(0.0, 1.25, clip_boxes=True, flip_test=True, peaks="quarter", score="published")
