"""HeatmapModel: one heatmap a joint from the same backbones; the baseline, and the backbones' pre-training."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pct import checkpoint
from pct.photos.backbone import BackboneModel
from pct.photos.cells import CellGrid
from pct.photos.config import BackboneSizes, HeatmapSizes
from pct.photos.heads.heatmap import HeatmapHead, find_quarter_tops, find_tops
from pct.photos.movenet import MOVENETS
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, Skeleton

KIND = "heatmap_model"


@dataclass(frozen=True)
class HeatmapConfig:
    """Everything that a heatmap model is built from.

    Attributes:
        backbone: Its sizes.
        heatmap: Sizes of the deconvolutions.
        skeleton: Whose joints it finds.
        space: What model units mean (``crop2d``).
    """

    backbone: BackboneSizes = field(default_factory=BackboneSizes)
    heatmap: HeatmapSizes = field(default_factory=HeatmapSizes)
    skeleton: Skeleton = COCO17
    space: PoseSpace = field(default_factory=PoseSpace)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``config.json``."""
        return {**asdict(self), "space": self.space.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> HeatmapConfig:
        """Build the config from the plain values of :meth:`to_dict`."""
        skeleton, space = Skeleton.from_dict(values["skeleton"]), PoseSpace(**values["space"])
        return cls(BackboneSizes.from_dict(values["backbone"]), HeatmapSizes(**values["heatmap"]), skeleton, space)


class HeatmapModel(BackboneModel):
    """Deconvolutions on a backbone ("Simple Baselines for Human Pose Estimation", Xiao et al., 2018, section 2).

    Args:
        config: Sizes.
        pretrained: Take timm's weights for the backbone.

    Raises:
        ValueError: If the backbone gives no map of the photo (MoveNet).
    """

    def __init__(self, config: HeatmapConfig, pretrained: bool = False) -> None:
        super().__init__()
        if config.backbone.name in MOVENETS:
            raise ValueError(f"backbone {config.backbone.name} gives no map of the photo, which heatmaps are made from")
        self.config = config
        self.backbone = config.backbone.build(pretrained)
        self.head = HeatmapHead(self.backbone.channels, config.skeleton.num_keypoints, config.heatmap)

    @property
    def space(self) -> PoseSpace:
        """What the coordinates of the poses mean."""
        return self.config.space

    @property
    def skeleton(self) -> Skeleton:
        """Whose joints the poses have."""
        return self.config.skeleton

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the heatmaps."""
        scale = 2**self.config.heatmap.num_deconvs
        return self.backbone.grid[0] * scale, self.backbone.grid[1] * scale

    @property
    def cells(self) -> CellGrid:
        """Where the heatmaps' cells lie in the crop."""
        height, width = self.config.backbone.image_size
        return CellGrid(self.grid, (height, width), self.config.space.bounds, self.config.heatmap.cell_center)

    def forward(self, images: Tensor, features: Tensor | None = None) -> Tensor:
        """Map normalised crops to heatmaps (B, K, h, w), near 1 where a joint is.

        Args:
            images: (B, 3, H, W).
            features: The backbone's features (B, C, h, w) of these crops, if they are known: it then does not run.
        """
        return self.head(self.backbone(images) if features is None else features)

    def targets(self, keypoints: Tensor, sigma: float) -> Tensor:
        """Return normal bells (B, K, h, w) of height 1 and deviation ``sigma`` cells around joints (B, K, 2)."""
        return self.cells.bells(keypoints, sigma)

    def decode(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the joints (B, K, 2) in model units at the tops of heatmaps (B, K, h, w), and scores (B, K).

        Tops are found by the rule of the pose space's conventions; scores are in [0, 1], of the quarter rule unbounded.
        """
        quarter = self.config.space.conventions.peaks == "quarter"
        cells, scores = find_quarter_tops(heatmaps) if quarter else find_tops(heatmaps)
        return self.cells.from_cells(cells), scores

    def save_pretrained(self, folder: str | Path, card: str | None = None, force: bool = False) -> None:
        """Write ``config.json`` and ``model.safetensors`` into ``folder``.

        Raises:
            FileExistsError: If the folder holds a model and ``force`` is not set.
        """
        checkpoint.save_model(folder, KIND, self.config.to_dict(), self.state_dict(), card, force)

    @classmethod
    def from_pretrained(cls, name: str | Path, device: str | torch.device = "cpu") -> HeatmapModel:
        """Load a heatmap model in evaluation mode from a folder, by the name of a shipped one, or from the hub.

        Raises:
            CheckpointError: If there is no such model or its files do not fit together.
        """
        values, state = checkpoint.load_model(name, KIND)
        with checkpoint.explain(name):
            model = cls(HeatmapConfig.from_dict(values))
            model.load_state_dict(state)
        return model.to(device).eval()
