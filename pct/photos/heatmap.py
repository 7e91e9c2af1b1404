"""HeatmapModel: one heatmap a joint from the same backbones; the baseline, and the backbones' pre-training."""

from __future__ import annotations

from collections import OrderedDict
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
        ValueError: If the backbone gives no map of the photo (MoveNet), or the kernel has another size.
    """

    kind, config_type = "heatmap_model", HeatmapConfig

    def __init__(self, config: HeatmapConfig, pretrained: bool = False) -> None:
        if config.backbone.name in MOVENETS:
            raise ValueError(f"backbone {config.backbone.name} gives no map of the photo, which heatmaps are made from")
        super().__init__(config, pretrained)
        self.skeleton, self.space = config.skeleton, config.space
        self.head = _build_head(self.backbone.channels, config.skeleton.num_keypoints, config.heatmap)
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


def _build_head(channels: int, num_keypoints: int, sizes: HeatmapSizes) -> nn.Sequential:
    """Return the deconvolutions from features (B, C, h, w) to heatmaps (B, K, H, W)."""
    width, kernel = sizes.width, sizes.kernel
    if kernel not in (2, 4):
        raise ValueError(f"heatmap kernel must be 2 or 4, got {kernel}")
    layers: list[nn.Module] = []
    reduce = nn.Conv2d(channels, sizes.reduce, 1) if sizes.reduce else nn.Identity()
    channels = sizes.reduce or channels
    for _ in range(sizes.num_deconvs):
        layers += [
            nn.ConvTranspose2d(channels, width, kernel, stride=2, padding=kernel // 2 - 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels = width
    last = nn.Conv2d(channels, num_keypoints, 1)
    nn.init.normal_(last.weight, std=0.001)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    parts = {"reduce": reduce, "deconvs": nn.Sequential(*layers), "last": last}
    return nn.Sequential(OrderedDict(parts)).to(memory_format=torch.channels_last)


def find_tops(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Find the joints: the highest cell, refined to the top of the Gaussian through it and its neighbours.

    The refinement is that of "Distribution-Aware Coordinate Representation" (Zhang et al., 2020, eq. 8) an axis.

    Args:
        heatmaps: (B, K, h, w).

    Returns:
        Places x, y (B, K, 2) in cells, and scores (B, K) in [0, 1], the height of the highest cell.
    """
    cells, score, around = _find_highest(heatmaps)
    before, after = around.clamp(min=1e-6).log()
    middle = score.clamp(min=1e-6).log()
    curvature = 2 * middle - before - after
    offset = ((after - before) / (2 * curvature.clamp(min=1e-6))).clamp(-0.5, 0.5)
    inside = (cells > 0) & (cells < _last_cell(heatmaps))
    return cells + torch.where(inside & (curvature > 1e-6), offset, 0.0), score[..., 0].clamp(0.0, 1.0)


def find_quarter_tops(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Find the joints as PCT's release does: the highest cell, moved by a quarter of one towards the higher neighbour.

    Where the highest value is not above 0, the place is (-1, -1). Cells of the outer two rows and columns on the left
    and top, and of the last one on the right and bottom, are not moved.

    Args:
        heatmaps: (B, K, h, w).

    Returns:
        Places x, y (B, K, 2) in cells, and scores (B, K), the height of the highest cell, without bounds.
    """
    cells, score, (before, after) = _find_highest(heatmaps)
    inside = ((cells > 1) & (cells < _last_cell(heatmaps))).all(dim=-1, keepdim=True)
    cells = cells + torch.where(inside, (after - before).sign() / 4, 0.0)
    return torch.where(score > 0, cells, -1.0), score[..., 0]


def _last_cell(heatmaps: Tensor) -> Tensor:
    return torch.tensor(heatmaps.shape[:1:-1], device=heatmaps.device) - 1


def _find_highest(heatmaps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the highest cells x, y (B, K, 2), their values (B, K, 1), and those before and after them, an axis."""
    width, rows = heatmaps.shape[3], heatmaps.float().flatten(2)
    score, flat = rows.max(dim=-1, keepdim=True)
    steps = flat.new_tensor([1, width])
    around = [rows.gather(-1, (flat + sign * steps).clamp(0, rows.shape[-1] - 1)) for sign in (-1, 1)]
    return torch.cat([flat % width, flat // width], dim=-1), score, torch.stack(around)
