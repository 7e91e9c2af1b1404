"""PoseSpace: what a model's numbers mean; from image pixels or millimetres to model units and back."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor

from pct.conventions import CropConventions
from pct.geometry import crop_from_bbox

_KINDS = ("crop2d", "root3d")
_UNITS = ("unit", "pixels")
# Poses that are held in float64 at once.
_ROWS = 8192


@dataclass(frozen=True)
class PoseSpace:
    """The meaning of a model's coordinates. It is part of every saved model.

    ``crop2d``: image pixels and a person box become a square crop, ``padding`` times the longer side of the box.
    With ``units="unit"`` the crop is [-1, 1] in both axes (x right, y down); with ``units="pixels"`` it is
    [0, crop_size], the convention of the published PCT weights.

    ``root3d``: joints relative to joint ``root``, divided by ``millimetres``.

    Attributes:
        kind: ``crop2d`` or ``root3d``.
        padding: Crop side over the longer side of the box (``crop2d``).
        crop_size: Side in pixels of the crop that errors are reported at, and the range of ``units="pixels"``.
        units: ``unit`` or ``pixels`` (``crop2d``).
        millimetres: Length of one model unit (``root3d``).
        root: Index of the joint at the origin (``root3d``).
        conventions: Of whoever trained the model (``crop2d``).
    """

    kind: Literal["crop2d", "root3d"] = "crop2d"
    padding: float = 1.25
    crop_size: int = 256
    units: Literal["unit", "pixels"] = "unit"
    millimetres: float = 1000.0
    root: int = 0
    conventions: CropConventions = field(default_factory=CropConventions)

    def __post_init__(self) -> None:
        if isinstance(self.conventions, dict):  # as to_dict gives them
            object.__setattr__(self, "conventions", CropConventions(**self.conventions))
        if self.kind not in _KINDS:
            raise ValueError(f"pose space kind is {self.kind!r}; allowed are {', '.join(_KINDS)}")
        if self.units not in _UNITS:
            raise ValueError(f"pose space units are {self.units!r}; allowed are {', '.join(_UNITS)}")
        for name in ("padding", "crop_size", "millimetres"):
            value = getattr(self, name)
            if not isinstance(value, (int, float)) or not 0 < value < math.inf:
                raise ValueError(f"pose space {name} must be a positive number, got {value!r}")
        if not isinstance(self.root, int) or self.root < 0:
            raise ValueError(f"pose space root must be the index of a joint, got {self.root!r}")

    @property
    def num_dims(self) -> int:
        """Coordinates a joint: 2 or 3."""
        return 2 if self.kind == "crop2d" else 3

    @property
    def reference_name(self) -> str:
        """What places a pose, by the name of its column in tables: ``bbox``, or in 3D ``root``."""
        return "bbox" if self.kind == "crop2d" else "root"

    @property
    def report_scale(self) -> float:
        """Factor from model units to the unit errors are reported in: pixels of the crop, or millimetres."""
        if self.kind == "root3d":
            return self.millimetres
        return 1.0 if self.units == "pixels" else self.crop_size / 2

    @property
    def report_unit(self) -> str:
        """Name of the unit errors are reported in."""
        return "mm" if self.kind == "root3d" else "px"

    @property
    def report_space(self) -> PoseSpace:
        """This space in the unit errors are reported in: pixels of the crop, or millimetres from the root."""
        return replace(self, units="pixels") if self.kind == "crop2d" else replace(self, millimetres=1.0)

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest coordinate inside the crop, in model units; one unit around the root for ``root3d``."""
        return (0.0, float(self.crop_size)) if (self.kind, self.units) == ("crop2d", "pixels") else (-1.0, 1.0)

    @property
    def crop_space(self) -> PoseSpace:
        """Where joints lie in the crops of photos that models see: this space, or for ``root3d`` the default one."""
        return self if self.kind == "crop2d" else PoseSpace()

    @property
    def training_space(self) -> PoseSpace:
        """Where joints lie in the crops that models are trained on: this space with the padding of training."""
        return replace(self, padding=self.conventions.train_padding or self.padding)

    @property
    def mirror_sum(self) -> float:
        """What x and the x of its mirror image add up to, in model units (``crop2d``)."""
        low, high = self.bounds
        return low + high + (2 * self.conventions.pixel_center - 1) * (high - low) / self.crop_size

    def normalise(self, keypoints: Tensor, reference: Tensor) -> Tensor:
        """Bring joints into model units.

        Args:
            keypoints: Joints (B, K, 2) in image pixels, or (B, K, 3) in millimetres.
            reference: Boxes (B, 4) as x, y, width, height in image pixels, or the root's position (B, 3) in
                millimetres.

        Returns:
            Joints (B, K, D) in model units, float32.

        Raises:
            ValueError: If the number of coordinates is wrong or a box has no area.
        """
        parts = self._in_parts(keypoints, reference)
        return torch.cat([((x.double() - origin) / unit).float() for x, origin, unit in parts])

    def restore(self, keypoints: Tensor, reference: Tensor) -> Tensor:
        """Undo :meth:`normalise`: joints (B, K, D) in model units back to image pixels or millimetres."""
        parts = self._in_parts(keypoints, reference)
        return torch.cat([(x.double() * unit + origin).float() for x, origin, unit in parts])

    def standard_reference(self) -> Tensor:
        """Return a place for poses that have none, float32.

        It is the box (4,) whose crop is ``crop_size`` pixels square with a corner at the origin, or a root (3,) there.
        """
        if self.kind == "root3d":
            return torch.zeros(3)
        side = self.crop_size / self.padding
        corner = (self.crop_size - side) / 2
        return torch.tensor([corner, corner, side, side])

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; ``PoseSpace(**values)`` is the same space."""
        values = asdict(self)
        # Left out where they are ours: models that know nothing of conventions keep their fingerprints.
        if self.conventions == CropConventions():
            del values["conventions"]
        return values

    def _in_parts(self, keypoints: Tensor, reference: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield joints, origin and length of a unit in blocks, so that little is held in float64 at once."""
        self._check(keypoints)
        if len(reference) != len(keypoints):
            raise ValueError(f"{len(reference)} boxes or root positions for {len(keypoints)} poses; give one for each")
        origin, scale = self.frame(reference)
        origin, scale = origin.expand(len(keypoints), -1)[:, None], scale.expand(len(keypoints))[:, None, None]
        return zip(keypoints.split(_ROWS), origin.split(_ROWS), scale.split(_ROWS), strict=True)

    def _check(self, keypoints: Tensor) -> None:
        if keypoints.ndim != 3 or keypoints.shape[-1] != self.num_dims:
            raise ValueError(
                f"a {self.kind} pose space takes keypoints (B, K, {self.num_dims}); got shape {tuple(keypoints.shape)}"
            )

    def frame(self, reference: Tensor) -> tuple[Tensor, Tensor]:
        """Return origin (B, D) and length of a unit (B,) of places, float64: large images keep sub-pixel precision."""
        reference = reference.double()
        if self.kind == "root3d":
            if reference.ndim != 2 or reference.shape[1] != 3:
                raise ValueError(f"root positions must be (B, 3) in millimetres; got shape {tuple(reference.shape)}")
            return reference, torch.full_like(reference[:, 0], self.millimetres)
        center, side = crop_from_bbox(reference, self.padding)
        if self.units == "pixels":
            return center - side[:, None] / 2, side / self.crop_size
        return center, side / 2
