"""PoseTable: the poses of a data set as tensors, whatever file they came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from pct.skeleton import Skeleton


@dataclass(frozen=True)
class PoseTable:
    """N poses of one skeleton.

    Attributes:
        skeleton: Whose joints they have.
        keypoints: Joints (N, K, 2) in image pixels, x right and y down, or (N, K, 3) in millimetres; float32.
            Unknown joints hold 0.
        visible: True where the joint is known, whether seen or occluded (N, K).
        bbox: Person boxes (N, 4) as x, y, width, height in image pixels.
        area: Segment area (N,) in square pixels, the scale of OKS.
        image_ids: Image of each person (N,), int64.
        annotation_ids: Annotation of each person (N,), int64.
    """

    skeleton: Skeleton
    keypoints: Tensor
    visible: Tensor
    bbox: Tensor
    area: Tensor
    image_ids: Tensor
    annotation_ids: Tensor

    def __post_init__(self) -> None:
        n, k = len(self.keypoints), self.skeleton.num_keypoints
        if self.keypoints.ndim != 3 or self.keypoints.shape[1] != k:
            raise ValueError(
                f"keypoints must be (N, {k}, D) for skeleton {self.skeleton.name}; got {tuple(self.keypoints.shape)}"
            )
        shapes = {"visible": (n, k), "bbox": (n, 4), "area": (n,), "image_ids": (n,), "annotation_ids": (n,)}
        for name, shape in shapes.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"{name} must have shape {shape}; got {tuple(getattr(self, name).shape)}")

    def __len__(self) -> int:
        return len(self.keypoints)

    def select(self, rows: Tensor) -> PoseTable:
        """Return the poses of ``rows``: indices, or a mask (N,)."""
        values = {f.name: getattr(self, f.name)[rows] for f in fields(self) if f.name != "skeleton"}
        return replace(self, **values)

    def split_by_image(self, share: float, seed: int = 0) -> tuple[PoseTable, PoseTable]:
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
    def concatenate(cls, tables: Sequence[PoseTable]) -> PoseTable:
        """Put tables of one skeleton one after the other.

        Raises:
            ValueError: If there is no table or their skeletons differ.
        """
        if not tables:
            raise ValueError("no pose tables to concatenate")
        names = {table.skeleton.keypoint_names for table in tables}
        if len(names) > 1:
            raise ValueError(f"pose tables have different skeletons: {', '.join(t.skeleton.name for t in tables)}")
        values: dict[str, Any] = {"skeleton": tables[0].skeleton}
        for field in fields(cls):
            if field.name != "skeleton":
                values[field.name] = torch.cat([getattr(table, field.name) for table in tables])
        return cls(**values)
