"""Sizes of the models that read photos, as plain values: backbone, token head, heatmap head."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from pct.layers.backbone import Backbone
from pct.layers.heatmap_head import HeatmapHead


@dataclass(frozen=True)
class BackboneSizes:
    """Which backbone, and how much of it.

    Attributes:
        name: A name of timm, or ``swin_pico`` / ``swinv2_pico`` (ours, about 1 M parameters).
        image_size: Height and width of the crops it sees, in pixels.
        stage: Which stage's features; -1 is the last.
        drop_path: Highest rate of stochastic depth in training.
        options: Further arguments of timm's constructor.
    """

    name: str = "swin_pico"
    image_size: tuple[int, int] = (128, 128)
    stage: int = -1
    drop_path: float = 0.0
    options: dict[str, Any] = field(default_factory=dict)

    def build(self, pretrained: bool = False) -> Backbone:
        """Build it with random weights, or timm's pretrained ones."""
        height, width = self.image_size
        return Backbone(self.name, (height, width), pretrained, self.stage, self.drop_path, self.options)


@dataclass(frozen=True)
class HeatmapSizes:
    """Sizes of the deconvolutions of the heatmap baseline.

    Attributes:
        num_deconvs: Deconvolutions, each doubling the resolution.
        width: Their channels.
        reduce: Channels of a 1x1 convolution before them, which makes wide features cheap; 0 is none, as published.
        cell_center: Where in its cell a value of a heatmap lies, in cells from the upper left corner: 0.5 is the
            middle; the published models have 0.
        skips: Whether each deconvolution also takes the backbone's features of the resolution that it gives, where
            there are any; not so as published.
    """

    num_deconvs: int = 2
    width: int = 64
    reduce: int = 0
    cell_center: float = 0.5
    skips: bool = False

    def build(self, backbone: Backbone, num_keypoints: int) -> HeatmapHead:
        """Build the layers from a backbone's features to heatmaps.

        Raises:
            ValueError: If finer features are wanted and the backbone has none.
        """
        finer = [backbone.finer.get(stride, 0) if self.skips else 0 for stride in self._strides(backbone)]
        if self.skips and not any(finer):
            raise ValueError(f"heatmap.skips: backbone {backbone.name} has no features finer than its last ones")
        return HeatmapHead(backbone.channels, num_keypoints, self.num_deconvs, self.width, self.reduce, finer)

    def finer_strides(self, backbone: Backbone) -> list[int]:
        """Return the strides of a backbone's earlier features that the layers take."""
        return [stride for stride in self._strides(backbone) if self.skips and stride in backbone.finer]

    def _strides(self, backbone: Backbone) -> list[int]:
        return [backbone.stride // 2 ** (index + 1) for index in range(self.num_deconvs)]


@dataclass(frozen=True)
class HeadSizes:
    """Sizes of the token head.

    Attributes:
        kind: ``joint`` (a heatmap for each joint, then mixers from joints to tokens), ``query`` (learned queries attend
            to the features) or ``published`` (the paper's, for one input size).
        heatmap: The heatmaps (``joint``).
        refine_blocks: Blocks of a second look at all joints' heatmaps together (``joint``); 0 leaves it out.
        refine_width: Channels of the second look.
        refine_kernel: Cells of half the heatmaps' resolution that its blocks see along an axis; odd.
        foresee_similarity: Whether the head learns how similar to the truth each joint of its poses is (``joint``);
            confidence then rests on that and on the spread of samples, not on the heatmaps' heights.
        temperature: What logits are divided by for the probabilities of tokens; the expected pose takes them as they
            are, and so a sharper mixture.
        width: Width of a token's hidden vector.
        num_heads: Attention heads (``query``).
        num_blocks: Mixer blocks over the joints and as many over the tokens (``joint``), pairs of attention and mixer
            (``query``), or mixer blocks (``published``).
        conv_channels: Channels of the convolutions (``published``).
        token_hidden: Hidden width of the mixers' MLPs over the tokens (``published``).
        channel_hidden: Hidden width of the mixers' MLPs over the channels (``published``).
        conv_blocks: Residual blocks of two convolutions (``published``).
    """

    kind: Literal["joint", "query", "published"] = "joint"
    heatmap: HeatmapSizes = field(default_factory=HeatmapSizes)
    refine_blocks: int = 0
    refine_width: int = 64
    refine_kernel: int = 5
    foresee_similarity: bool = False
    temperature: float = 1.0
    width: int = 128
    num_heads: int = 8
    num_blocks: int = 2
    conv_channels: int = 256
    token_hidden: int = 64
    channel_hidden: int = 256
    conv_blocks: int = 2

    def __post_init__(self) -> None:
        if self.kind not in ("joint", "query", "published"):
            raise ValueError(f"head kind is {self.kind!r}; allowed are joint, query, published")
        if not self.temperature > 0:
            raise ValueError(f"head temperature must be positive, got {self.temperature}")
        for name, value in vars(self).items():
            least = 0 if name == "refine_blocks" else 1
            if isinstance(value, int) and not isinstance(value, bool) and value < least:
                raise ValueError(f"head {name} must be at least {least}, got {value}")
        if self.refine_kernel % 2 == 0:
            raise ValueError(f"head refine_kernel must be odd, got {self.refine_kernel}")
        if self.refine_blocks and not (self.kind == "joint" and self.heatmap.num_deconvs):
            raise ValueError("head refine_blocks needs heatmaps to look at again: kind joint, with a deconvolution")


@dataclass(frozen=True)
class Calibration:
    """What is fitted on held-out persons: from a model's doubt to the expected error of a joint, in squared OKS scales.

    ``error^2 = factor * spread^2 + unclear * (1 / height - 1) + floor^2``, with the spread of the sampled poses and,
    for heads with heatmaps, the height of the joint's heatmap. Fitted on poses that the model was not trained on; until
    then the spread is taken as it is. A joint's OKS scale is twice its sigma times the root of the person's area.

    Attributes:
        factor: Of the squared spread.
        floor: The error where there is no doubt at all.
        unclear: Of how far the heatmap's height is below 1.
        sharpness: What logits are multiplied by for the expected pose: training spreads them over more entries than
            the best pose needs.
    """

    factor: float = 1.0
    floor: float = 0.0
    unclear: float = 0.0
    sharpness: float = 1.0
