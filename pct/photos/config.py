"""Sizes of the models that read photos, as plain values: backbone, token head, heatmap head."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal


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


@dataclass(frozen=True)
class HeatmapSizes:
    """Sizes of the deconvolutions of the heatmap baseline.

    Attributes:
        num_deconvs: Deconvolutions, each doubling the resolution.
        width: Their channels.
        reduce: Channels of a 1x1 convolution before them, which makes wide features cheap; 0 is none, as published.
        cell_center: Where in its cell a value of a heatmap lies, in cells from the upper left corner: 0.5 is the
            middle; the published models have 0.
        kernel: Cells of the finer map that each cell of a deconvolution's input reaches along an axis: 4 as in the
            paper, or 2 as in the published PCT release.
    """

    num_deconvs: int = 2
    width: int = 64
    reduce: int = 0
    cell_center: float = 0.5
    kernel: int = 4


@dataclass(frozen=True)
class HeadSizes:
    """Sizes of the token head.

    Attributes:
        kind: ``query`` (learned queries attend to the features, of any input size), ``anchored`` (chooses among the
            places where MoveNet's features say that joints may be) or ``published`` (the paper's, for one input size).
        width: Width of a token's hidden vector.
        num_heads: Attention heads (``query``, ``anchored``).
        num_blocks: Pairs of attention and mixer block (``query``, ``anchored``), or mixer blocks (``published``).
        conv_channels: Channels of the convolutions (``published``).
        token_hidden: Hidden width of the mixers' MLPs over the tokens (``published``).
        channel_hidden: Hidden width of the mixers' MLPs over the channels (``published``).
        conv_blocks: Residual blocks of two convolutions (``published``).
    """

    kind: Literal["query", "anchored", "published"] = "query"
    width: int = 128
    num_heads: int = 8
    num_blocks: int = 2
    conv_channels: int = 256
    token_hidden: int = 64
    channel_hidden: int = 256
    conv_blocks: int = 2

    def __post_init__(self) -> None:
        if self.kind not in ("query", "anchored", "published"):
            raise ValueError(f"head kind is {self.kind!r}; allowed are query, anchored, published")
        for name, value in vars(self).items():
            if isinstance(value, int) and value < 1:
                raise ValueError(f"head {name} must be at least 1, got {value}")


@dataclass(frozen=True)
class Calibration:
    """What is fitted on held-out persons: from a model's doubt to the confidence in a joint.

    The expected error in squared OKS scales is ``error^2 = factor * spread^2 + floor^2``, with the spread of the
    sampled poses. Fitted on poses that the model was not trained on; until then the spread is taken as it is. A
    joint's OKS scale is twice its sigma times the root of the person's area. To the log-odds of the confidence that
    this gives those of the backbone's own heatmap are added, ``height`` times.

    Attributes:
        factor: Of the squared spread.
        floor: The error where there is no doubt at all.
        sharpness: What logits are multiplied by for the expected pose: training spreads them over more entries than
            the best pose needs.
        height: Weight of the log-odds of the heatmaps' heights; 0 where the backbone has none.
    """

    factor: float = 1.0
    floor: float = 0.0
    sharpness: float = 1.0
    height: float = 0.0
