"""HeatmapModel: one heatmap a joint from the same backbones; the baseline, and the backbones' pre-training."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from pct.photos.backbone import BackboneModel
from pct.photos.cells import CellGrid
from pct.photos.config import BackboneSizes, HeatmapSizes
from pct.photos.movenet import MOVENETS
from pct.pose_model import ModelConfig
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, Skeleton

KIND = "heatmap_model"


@dataclass(frozen=True)
class HeatmapConfig(ModelConfig):
    """Everything that a heatmap model is built from.

    Attributes:
        backbone: Its sizes.
        heatmap: Sizes of the deconvolutions.
        skeleton: Whose joints it finds.
        space: What model units mean (``crop2d``).
    """

    what: ClassVar[str] = "heatmap model"
    backbone: BackboneSizes = field(default_factory=BackboneSizes)
    heatmap: HeatmapSizes = field(default_factory=HeatmapSizes)
    skeleton: Skeleton = COCO17
    space: PoseSpace = field(default_factory=PoseSpace)


class HeatmapModel(BackboneModel):
    """Deconvolutions on a backbone ("Simple Baselines for Human Pose Estimation", Xiao et al., 2018, section 2).

    Args:
        config: Sizes.
        pretrained: Take timm's weights for the backbone.

    Attributes:
        skeleton: Whose joints the poses have.
        space: What the coordinates of the poses mean.
        cells: Where the heatmaps' cells lie in the crop.

    Raises:
        ValueError: If the backbone gives no map of the photo (MoveNet).
    """

    kind, config_type = KIND, HeatmapConfig

    def __init__(self, config: HeatmapConfig, pretrained: bool = False) -> None:
        if config.backbone.name in MOVENETS:
            raise ValueError(f"backbone {config.backbone.name} gives no map of the photo, which heatmaps are made from")
        super().__init__(config, pretrained)
        self.skeleton, self.space = config.skeleton, config.space
        self.head = HeatmapHead(self.backbone.channels, config.skeleton.num_keypoints, config.heatmap)
        height, width = (cells * 2**config.heatmap.num_deconvs for cells in self.backbone.grid)
        self.cells = CellGrid((height, width), self.image_size, config.space.bounds, config.heatmap.cell_center)

    def forward(self, images: Tensor, features: Tensor | None = None) -> Tensor:
        """Map normalised crops to heatmaps (B, K, h, w), near 1 where a joint is.

        Args:
            images: (B, 3, H, W).
            features: The backbone's features (B, C, h, w) of these crops, if they are known: it then does not run.
        """
        return self.head(self.backbone(images) if features is None else features)

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the joints (B, K, 2) in model units at the tops of heatmaps (B, K, h, w), and scores (B, K).

        Tops are found by the rule of the pose space's conventions; scores are in [0, 1], of the quarter rule unbounded.
        """
        quarter = self.space.conventions.peaks == "quarter"
        cells, scores = find_quarter_tops(heatmaps) if quarter else find_tops(heatmaps)
        return self.cells.from_cells(cells), scores


class HeatmapHead(nn.Module):
    """Deconvolutions on features ("Simple Baselines for Human Pose Estimation", Xiao et al., 2018, section 2).

    Args:
        channels: Channels of the features.
        num_keypoints: Joints K.
        sizes: Of the deconvolutions.
    """

    def __init__(self, channels: int, num_keypoints: int, sizes: HeatmapSizes) -> None:
        super().__init__()
        width, kernel = sizes.width, sizes.kernel
        if kernel not in (2, 4):
            raise ValueError(f"heatmap kernel must be 2 or 4, got {kernel}")
        layers: list[nn.Module] = []
        self.reduce = nn.Conv2d(channels, sizes.reduce, 1) if sizes.reduce else nn.Identity()
        channels = sizes.reduce or channels
        for _ in range(sizes.num_deconvs):
            layers += [
                nn.ConvTranspose2d(channels, width, kernel, stride=2, padding=kernel // 2 - 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels = width
        self.deconvs = nn.Sequential(*layers)
        self.last = nn.Conv2d(channels, num_keypoints, 1)
        nn.init.normal_(self.last.weight, std=0.001)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, C, h, w) to heatmaps (B, K, H, W), near 1 where a joint is."""
        heatmaps: Tensor = self.last(self.deconvs(self.reduce(features)))
        return heatmaps


def find_tops(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Find the joints: the highest cell, refined to the top of the Gaussian through it and its neighbours.

    The refinement is that of "Distribution-Aware Coordinate Representation" (Zhang et al., 2020, eq. 8) an axis.

    Args:
        heatmaps: (B, K, h, w).

    Returns:
        Places x, y (B, K, 2) in cells, and scores (B, K) in [0, 1], the height of the highest cell.
    """
    height, width = heatmaps.shape[2:]
    rows = heatmaps.float().flatten(2)
    score, flat = rows.max(dim=-1, keepdim=True)
    x, y = flat % width, flat // width
    x_offset = _top(rows, flat, 1, (x > 0) & (x < width - 1))
    y_offset = _top(rows, flat, width, (y > 0) & (y < height - 1))
    return torch.cat([x + x_offset, y + y_offset], dim=-1), score[..., 0].clamp(0.0, 1.0)


def find_quarter_tops(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Find the joints as PCT's release does: the highest cell, moved by a quarter of one towards the higher neighbour.

    Where the highest value is not above 0, the place is (-1, -1). Cells of the outer two rows and columns on the left
    and top, and of the last one on the right and bottom, are not moved.

    Args:
        heatmaps: (B, K, h, w).

    Returns:
        Places x, y (B, K, 2) in cells, and scores (B, K), the height of the highest cell, without bounds.
    """
    height, width = heatmaps.shape[2:]
    rows = heatmaps.float().flatten(2)
    score, flat = rows.max(dim=-1, keepdim=True)
    x, y = flat % width, flat // width
    inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    places = [(flat + step).clamp(0, rows.shape[-1] - 1) for step in (-1, 1, -width, width)]
    left, right, above, below = (rows.gather(-1, place) for place in places)
    moves = torch.cat([(right - left).sign(), (below - above).sign()], dim=-1) / 4
    cells = torch.cat([x, y], dim=-1) + torch.where(inside, moves, 0.0)
    return torch.where(score > 0, cells, -1.0), score[..., 0]


def _top(rows: Tensor, flat: Tensor, step: int, inside: Tensor) -> Tensor:
    """Return the offsets (B, K, N) in [-0.5, 0.5] of the tops of parabolas through logarithms of three neighbours."""
    last = rows.shape[-1] - 1
    places = [(flat + shift * step).clamp(0, last) for shift in (-1, 0, 1)]
    before, middle, after = (rows.gather(-1, p).clamp(min=1e-6).log() for p in places)
    curvature = 2 * middle - before - after
    offset = (after - before) / (2 * curvature.clamp(min=1e-6))
    return torch.where(inside & (curvature > 1e-6), offset.clamp(-0.5, 0.5), 0.0)
