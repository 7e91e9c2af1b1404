"""Poses: the table of poses of a data set, in images or in space, whatever file they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from pct.skeleton import Skeleton

Table = TypeVar("Table", bound="Poses")


def _no_column() -> Tensor:
    return torch.empty(0)


@dataclass(frozen=True)
class Poses:
    """N poses of one skeleton, in 2D or 3D. Columns from ``bbox`` on may be left out: they are then empty, (0,).

    Attributes:
        skeleton: Whose joints they have.
        keypoints: Joints (N, K, 2) in image pixels, x right and y down, or (N, K, 3) in millimetres, x right, y down
            and z forward as an upright camera has them, the origin anywhere; float32. Unknown joints hold 0.
        visible: True where the joint is known, whether seen or occluded (N, K).
        bbox: Person boxes (N, 4) as x, y, width, height in image pixels.
        area: Segment area (N,) in square pixels, the scale of OKS.
        image_ids: Image of each person (N,), int64.
        annotation_ids: Annotation of each person (N,), int64.
        clip_index: Clip that each pose is a frame of (N,), int64: a row of the tuples below.
        clip_ids: Name of each clip.
        subject_ids: Who is seen in each clip.
        actions: What they do in each clip.
    """

    skeleton: Skeleton
    keypoints: Tensor
    visible: Tensor
    bbox: Tensor = field(default_factory=_no_column)
    area: Tensor = field(default_factory=_no_column)
    image_ids: Tensor = field(default_factory=_no_column)
    annotation_ids: Tensor = field(default_factory=_no_column)
    clip_index: Tensor = field(default_factory=_no_column)
    clip_ids: tuple[str, ...] = ()
    subject_ids: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n, k = len(self.keypoints), self.skeleton.num_keypoints
        if self.keypoints.ndim != 3 or self.keypoints.shape[1] != k or self.num_dims not in (2, 3):
            raise ValueError(
                f"keypoints must be (N, {k}, 2 or 3) for skeleton {self.skeleton.name} ({k} joints); "
                f"got {tuple(self.keypoints.shape)}"
            )
        for name, width in self._widths().items():
            shape, got = (n, *width), tuple(getattr(self, name).shape)
            if got not in (shape, (0,)):
                raise ValueError(f"{name} must have shape {shape}; got {got}")
        clips = len(self.clip_ids)
        if not clips == len(self.subject_ids) == len(self.actions):
            raise ValueError(
                f"{clips} clips, {len(self.subject_ids)} subjects and {len(self.actions)} actions; give one of each "
                "for every clip"
            )
        if len(self.clip_index) and not 0 <= int(self.clip_index.min()) <= int(self.clip_index.max()) < clips:
            raise ValueError(f"clip_index must be from 0 to {clips - 1}, the clips that are named")

    def __len__(self) -> int:
        return len(self.keypoints)

    @property
    def num_dims(self) -> int:
        """Coordinates a joint: 2 or 3."""
        return self.keypoints.shape[-1]

    def reference(self, root: int = 0) -> Tensor:
        """Return where each pose is: boxes (N, 4), or in 3D the position (N, 3) of joint ``root``."""
        return self.bbox if self.num_dims == 2 else self.keypoints[:, root]

    def root_relative(self, root: int = 0) -> Tensor:
        """Return the joints (N, K, 3) in millimetres relative to joint ``root``; unknown joints hold 0.

        Raises:
            ValueError: If the root of a pose is not known.
        """
        if not self.visible[:, root].all():
            row = int((~self.visible[:, root]).nonzero()[0])
            raise ValueError(
                f"pose {row} has no known {self.skeleton.keypoint_names[root]}, so its joints have no root to be "
                "relative to"
            )
        return torch.where(self.visible[..., None], self.keypoints - self.keypoints[:, root : root + 1], 0.0)

    def select(self: Table, rows: Tensor) -> Table:
        """Return the poses of ``rows``: indices, or a mask (N,). All clips keep their number."""
        columns = {name: getattr(self, name) for name in ("keypoints", *self._widths())}
        return replace(self, **{name: column[rows] for name, column in columns.items() if len(column)})

    def split_by_image(self: Table, share: float, seed: int = 0) -> tuple[Table, Table]:
        """Split into a larger and a smaller table with no image in both; ``share`` of the images go to the smaller.

        Raises:
            ValueError: If all poses are of one image.
        """
        images = torch.unique(self.image_ids)
        if len(images) < 2:
            raise ValueError(
                f"all {len(self):,} poses are of one image, so none is left to train on when images are held out"
            )
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        held_out = images[order[: min(max(1, round(share * len(images))), len(images) - 1)]]
        mask = torch.isin(self.image_ids, held_out)
        return self.select(~mask), self.select(mask)

    @classmethod
    def concatenate(cls: type[Table], tables: Sequence[Table]) -> Table:
        """Put tables of one skeleton one after the other; their clips are numbered on.

        Raises:
            ValueError: If there is no table, or their skeletons or columns differ.
        """
        if not tables:
            raise ValueError("no pose tables to concatenate")
        if len({table.skeleton.keypoint_names for table in tables}) > 1:
            raise ValueError(f"pose tables have different skeletons: {', '.join(t.skeleton.name for t in tables)}")
        values: dict[str, Any] = {"skeleton": tables[0].skeleton}
        for column in fields(cls)[1:]:
            parts = [getattr(table, column.name) for table in tables]
            values[column.name] = torch.cat(parts) if isinstance(parts[0], Tensor) else sum(parts, ())
        if len(values["clip_index"]):
            first = torch.tensor([0, *(len(table.clip_ids) for table in tables[:-1])]).cumsum(0)
            values["clip_index"] += first.repeat_interleave(torch.tensor([len(table) for table in tables]))
        return cls(**values)

    def _widths(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of a row of every column but the joints."""
        single = ("area", "image_ids", "annotation_ids", "clip_index")
        return {"visible": (self.skeleton.num_keypoints,), "bbox": (4,), **dict.fromkeys(single, ())}
