"""PoseClassifier: a photo of a person to the tokens of its pose, decoded by a frozen tokenizer; stage two's model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from pct.photos.backbone import Backbone, BackboneModel
from pct.photos.config import BackboneSizes, Calibration, HeadSizes
from pct.photos.heads.published import PublishedTokenHead
from pct.photos.heads.tokens import AnchoredTokenHead, QueryTokenHead, grid_positions
from pct.photos.movenet import MOVENETS, heatmap_heights
from pct.pose_model import ModelConfig
from pct.tokenizer import PoseTokenizer
from pct.tokenizer.own import TokenizedModel

TokenHead = AnchoredTokenHead | QueryTokenHead | PublishedTokenHead


@dataclass(frozen=True)
class ClassifierConfig(ModelConfig):
    """Everything that a classifier is built from, besides its tokenizer.

    Attributes:
        backbone: Its sizes.
        head: Its sizes.
        calibration: Of the joints' confidence.
    """

    what: ClassVar[str] = "classifier"
    backbone: BackboneSizes = field(default_factory=BackboneSizes)
    head: HeadSizes = field(default_factory=HeadSizes)
    calibration: Calibration = field(default_factory=Calibration)


@dataclass(frozen=True)
class ClassifierOutput:
    """What a classifier makes of photos.

    Attributes:
        logits: Over the codebook's entries for every token (B, M, V).
        keypoints: The expected pose (B, K, D) in model units: the decoded mixture of the entries.
        heights: How high the backbone's own heatmaps are at each joint (B, K), in [0, 1]; None if it has none.
    """

    logits: Tensor
    keypoints: Tensor
    heights: Tensor | None = None

    @property
    def probs(self) -> Tensor:
        """Probabilities of the entries (B, M, V)."""
        return self.logits.softmax(dim=-1)


class PoseClassifier(TokenizedModel, BackboneModel):
    """Reads the tokens of a person's pose off a photo ("Human Pose as Compositional Tokens", 2023, section 3.2).

    The tokenizer's codebook and decoder are part of it and frozen; its encoder only makes labels for training.

    Args:
        config: Sizes.
        tokenizer: Trained tokenizer; it is frozen.
        pretrained: Take timm's weights for the backbone.

    Attributes:
        skeleton: Whose joints the poses have.
        space: What the coordinates of the poses mean.
    """

    kind, config_type = "pose_classifier", ClassifierConfig
    positions: Tensor

    def __init__(self, config: ClassifierConfig, tokenizer: PoseTokenizer, pretrained: bool = False) -> None:
        super().__init__(config, pretrained)
        if tokenizer is None:
            raise ValueError("a classifier needs the tokenizer that its head was trained for; none is named")
        self.tokenizer = tokenizer.requires_grad_(False).eval()
        self.skeleton, self.space = tokenizer.skeleton, tokenizer.space
        self.head = _build_head(config.head, self.backbone, tokenizer)
        positions = grid_positions(self.backbone.grid, self.head.position_channels)
        self.register_buffer("positions", positions, persistent=False)

    def forward(self, images: Tensor, features: Tensor | None = None) -> ClassifierOutput:
        """Map normalised crops to logits and expected poses in model units.

        Args:
            images: (B, 3, H, W).
            features: The backbone's features (B, C, h, w) of these crops, if they are known: it then does not run.
        """
        features = self.backbone(images) if features is None else features
        rows = features.flatten(2).transpose(1, 2)
        positions = self.positions.to(rows.dtype).expand(rows.shape[0], -1, -1)
        logits = self.head(torch.cat([rows, positions], dim=-1))
        heights = heatmap_heights(features) if isinstance(self.head, AnchoredTokenHead) else None
        return ClassifierOutput(logits, self.decode(logits), heights)

    def decode(self, logits: Tensor, sharpness: float | None = None) -> Tensor:
        """Return the expected poses (B, K, D) of logits (B, M, V), in model units.

        Args:
            logits: Of the head.
            sharpness: What logits are multiplied by; the calibration's by default.
        """
        sharpness = self.config.calibration.sharpness if sharpness is None else sharpness
        return self.tokenizer.decode_soft((logits * sharpness).softmax(dim=-1))


def _build_head(sizes: HeadSizes, backbone: Backbone, tokenizer: PoseTokenizer) -> TokenHead:
    channels, tables = backbone.channels, tokenizer.quantizer.embeddings().detach()
    if sizes.kind == "published":
        return PublishedTokenHead(channels, backbone.grid, len(tables), tables.shape[1], sizes)
    if sizes.kind == "query":
        return QueryTokenHead(channels, tables, sizes)
    joints = tokenizer.skeleton.num_keypoints
    if backbone.name not in MOVENETS or backbone.grid[0] != joints:
        raise ValueError(
            f"an anchored head takes the features of {' or '.join(MOVENETS)}, which say where COCO's joints may be; "
            f"the backbone is {backbone.name}, and the tokenizer has {joints} joints"
        )
    return AnchoredTokenHead(channels, backbone.grid, tables, tokenizer.encode_whole, sizes)
