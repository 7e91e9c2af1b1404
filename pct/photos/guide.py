"""ImageGuide: the frozen backbone whose features at the joints guide a tokenizer, saved beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from pct import checkpoint
from pct.photos.backbone import BackboneModel
from pct.photos.cells import CellGrid
from pct.photos.config import BackboneSizes
from pct.pose_model import ModelConfig


@dataclass(frozen=True)
class GuideConfig(ModelConfig):
    """Everything that a guide is built from.

    Attributes:
        backbone: Its sizes.
        bounds: Lowest and highest coordinate inside the crop, in the model units of the guided tokenizer.
        cell_center: Where in a cell of the feature map its value lies, as a share of the cell, so that a joint takes
            the nearest one's: with 0.5 that of the cell it lies in; the published models have 0.
    """

    what: ClassVar[str] = "guide"
    backbone: BackboneSizes = field(default_factory=BackboneSizes)
    bounds: tuple[float, float] = (-1.0, 1.0)
    cell_center: float = 0.5


class ImageGuide(BackboneModel):
    """Image features at the joints of a pose, from a frozen backbone ("Human Pose as Compositional Tokens", 2023, 3.1).

    Args:
        config: Sizes.

    Attributes:
        channels: Channels F of the features.
        cells: Where the cells of the feature map lie in the crop.
    """

    kind, config_type = "image_guide", GuideConfig

    def __init__(self, config: GuideConfig) -> None:
        super().__init__(config)
        self.backbone.freeze()
        self.channels = self.backbone.channels
        self.cells = CellGrid(self.backbone.grid, self.image_size, config.bounds, config.cell_center)

    @torch.no_grad()
    def forward(self, images: Tensor, keypoints: Tensor) -> Tensor:
        """Return the features (B, K, F), float32, of the cells nearest to the joints.

        Joints outside the crop take the cell at its edge, unknown ones may hold anything.

        Args:
            images: Normalised crops (B, 3, H, W).
            keypoints: Joints (B, K, 2) in model units.

        Raises:
            ValueError: If the crops do not have the backbone's size.
        """
        # Training and tokens made later must see the same features.
        with torch.autocast(images.device.type, enabled=False):
            return features_at_joints(self.backbone(images.float()), self.cells.to_cells(keypoints.float()), stride=1.0)

    def fingerprint(self) -> str:
        """Return 16 hex digits that name these weights and sizes; the guided tokenizer's config carries them."""
        return checkpoint.fingerprint(self.config.to_dict(), self.state_dict())


def features_at_joints(feature_map: Tensor, keypoints: Tensor, stride: float) -> Tensor:
    """Take the feature of the cell ``floor(coordinate / stride + 0.5)`` at each joint, clamped to the map.

    This is the rule of the published PCT release (its reference uses stride 32).

    Args:
        feature_map: Last feature map (B, F, h, w) of a backbone over the crop.
        keypoints: Joints (B, K, 2) in pixels of the crop, x right and y down; unknown ones may hold anything (one that
            is not finite takes cell 0).
        stride: Pixels of the crop per cell.

    Returns:
        Features (B, K, F).

    Raises:
        ValueError: If the shapes do not fit together or the stride is not positive.
    """
    if feature_map.ndim != 4 or keypoints.ndim != 3 or keypoints.shape[-1] != 2:
        raise ValueError(
            "image guidance takes a feature map (B, F, h, w) and keypoints (B, K, 2); "
            f"got shapes {tuple(feature_map.shape)} and {tuple(keypoints.shape)}"
        )
    if len(feature_map) != len(keypoints):
        raise ValueError(f"{len(feature_map)} feature maps for {len(keypoints)} poses")
    if not stride > 0:
        raise ValueError(f"stride must be positive, got {stride}")
    height, width = feature_map.shape[2:]
    cells = torch.where(torch.isfinite(keypoints), keypoints, 0.0).div(stride).add(0.5).floor()
    column = cells[..., 0].clamp(0, width - 1).long()
    row = cells[..., 1].clamp(0, height - 1).long()
    cell = (row * width + column)[:, :, None].expand(-1, -1, feature_map.shape[1])
    return feature_map.flatten(2).transpose(1, 2).gather(1, cell)
