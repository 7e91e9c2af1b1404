"""MoveNetFeatures: the features of MoveNet at the places where its heatmaps see the joints of a person."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.photos.config import BackboneSizes

# Width of the MobileNetV2 of each published network, and the side of its photos in pixels.
MOVENETS = {"movenet_thunder": (1.75, 256), "movenet_lightning": (1.0, 192)}
# MobileNetV2 (Sandler et al., 2018, table 2) in timm's notation.
_BLOCKS = [
    ["ds_r1_k3_s1_c16"],
    ["ir_r2_k3_s2_e6_c24"],
    ["ir_r3_k3_s2_e6_c32"],
    ["ir_r4_k3_s2_e6_c64"],
    ["ir_r3_k3_s1_e6_c96"],
    ["ir_r3_k3_s2_e6_c160"],
    ["ir_r1_k3_s1_e6_c320"],
]
_LAST = 1280
# Stages whose maps the pyramid takes, at strides 16, 8 and 4, and the channels that it gives there.
_LATERAL_STAGES = (3, 2, 1)
_WIDTHS = (64, 32, 24, 24)
# The published heads: a heatmap a joint; from the person's centre to each joint (y, x); from a cell to a joint in it
# (y, x); a heatmap of the person's centre.
_HEADS = {"heatmaps": 17, "regression": 34, "offsets": 34, "centers": 1}
_NUM_JOINTS, _HEAD_WIDTH = 17, 96
# Places of each joint that are told: tops of its heatmap, best first, and where the centre says that it is.
_TOPS = 4
# Cells within which a top is the highest, and what is added to a distance in cells before a height is divided by it.
_TOP_WINDOW, _NEAR = 5, 1.8
# Frequencies of the sines that say where a place lies, from a quarter of a turn over half of the photo, doubling.
_TURNS = 6
_CHANNELS = 4 + _WIDTHS[3] + _WIDTHS[1] + 4 * _TURNS
# Which channel holds the heatmaps' logits, and what they are multiplied by there.
_HEAT_CHANNEL, _HEAT_SCALE = 2, 0.25


class MoveNetFeatures(nn.Module):
    """MoveNet up to its heads (Google, 2021; the layers are read off the published graph).

    Fits in the place of a network of timm in :class:`~pct.photos.backbone.Backbone`. What it gives is no map of the
    photo: its 17 rows are joints, its 5 columns places where the joint may be (the four highest tops of its heatmap
    near where the person's centre expects it, and that place itself), and its channels say where that is, how sure the
    heatmap is, and what the pyramid's finest and coarsest maps hold there. A head sees with 85 places what it would
    otherwise have to look for in thousands.

    Args:
        width: Multiplier of MobileNetV2's channels.
        image_size: Side of the photos in pixels.
    """

    def __init__(self, width: float, image_size: int) -> None:
        super().__init__()
        from timm.models import EfficientNet
        from timm.models._efficientnet_builder import decode_arch_def, round_channels

        self.trunk: Any = EfficientNet(
            block_args=decode_arch_def(_BLOCKS),
            num_classes=0,
            num_features=_LAST,
            stem_size=32,
            round_chs_fn=partial(round_channels, multiplier=width),
            pad_type="same",
            act_layer=nn.ReLU6,
        )
        stages: list[Any] = [self.trunk.blocks[stage] for stage in _LATERAL_STAGES]
        self.top = nn.Conv2d(_LAST, _WIDTHS[0], 1)
        self.laterals = nn.ModuleList(
            nn.Conv2d(stage[-1].conv_pwl.out_channels, channels, 1)
            for stage, channels in zip(stages, _WIDTHS[:3], strict=True)
        )
        self.mixes = nn.ModuleList(SeparableConv(_WIDTHS[i], _WIDTHS[i + 1]) for i in range(3))
        self.heads = nn.ModuleDict({name: _head(outputs) for name, outputs in _HEADS.items()})
        # The centre's heatmap counts less, the farther from the middle of the photo.
        self.register_buffer("center_weight", torch.ones(image_size // 4, image_size // 4))
        self.grid = (_NUM_JOINTS, _TOPS + 1)
        self.feature_info = [{"num_chs": _CHANNELS, "reduction": 4, "module": "heads"}]
        self.pretrained_cfg: dict[str, Any] = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}

    def forward(self, images: Tensor) -> Tensor:
        """Map photos (B, 3, H, W) in [-1, 1] to features (B, 84, 17, 5)."""
        fine, coarse = self.pyramid(images)
        return _at_tops({name: head(fine) for name, head in self.heads.items()}, fine, coarse, self.center_weight)

    def pyramid(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pyramid's finest map (B, 24, H / 4, W / 4) and its coarsest (B, 32, H / 16, W / 16)."""
        maps, x = [], self.trunk.bn1(self.trunk.conv_stem(images))
        for stage, block in enumerate(self.trunk.blocks):
            x = block(x)
            if stage in _LATERAL_STAGES:
                maps.append(x)
        x = self.top(self.trunk.bn2(self.trunk.conv_head(x)))
        levels = []
        for lateral, mix, finer in zip(self.laterals, self.mixes, reversed(maps), strict=True):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False) + lateral(finer)
            x = mix(x)
            levels.append(x)
        return levels[2], levels[0]

    center_weight: Tensor

    def forward_intermediates(self, images: Tensor, **_options: Any) -> list[Tensor]:
        """Return the one map, as timm's networks return theirs."""
        return [self(images)]

    def prune_intermediate_layers(self, *_stages: Any, **_options: Any) -> None:
        """Nothing of it is left unused."""


def create_movenet(sizes: BackboneSizes, pretrained: bool) -> MoveNetFeatures:
    """Build the network of a name in :data:`MOVENETS`; a ValueError says what it does not take."""
    name, (width, side) = sizes.name, MOVENETS[sizes.name]
    if pretrained:
        raise ValueError(f"the hub has no weights of {name}; convert the published ones and give backbone_from=FOLDER")
    if sizes.drop_path or sizes.options:
        given = f"{sizes.drop_path} and {dict(sizes.options)}"
        raise ValueError(f"backbone {name} takes no drop_path and no options; got {given}")
    if tuple(sizes.image_size) != (side, side):
        raise ValueError(f"backbone {name} takes photos of {side} x {side} pixels, not {tuple(sizes.image_size)}")
    return MoveNetFeatures(width, side)


def heatmap_heights(features: Tensor) -> Tensor:
    """Return how high the heatmaps are at the best place of each joint (B, 17), in [0, 1].

    Args:
        features: Of :class:`MoveNetFeatures` (B, 84, 17, 5).
    """
    return (features[:, _HEAT_CHANNEL, :, 0].float() / _HEAT_SCALE).sigmoid()


class SeparableConv(nn.Module):
    """A 3x3 convolution within each channel, a 1x1 convolution across them, ReLU."""

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out_channels, h, w)."""
        return F.relu(self.pointwise(self.depthwise(x)))


def _head(outputs: int) -> nn.Sequential:
    channels = _WIDTHS[3]
    return nn.Sequential(SeparableConv(channels, _HEAD_WIDTH), nn.Conv2d(_HEAD_WIDTH, outputs, 1))


def _at_tops(found: dict[str, Tensor], fine: Tensor, coarse: Tensor, center_weight: Tensor) -> Tensor:
    """Return what the heads and maps say at the places where each joint may be: (B, 84, 17, 5)."""
    batch, _, height, width = fine.shape
    heat, cells = found["heatmaps"], height * width
    centers = (found["centers"][:, 0].sigmoid() * center_weight).flatten(1).argmax(dim=1)
    towards = found["regression"].flatten(2)[torch.arange(batch, device=fine.device), :, centers]
    towards = towards.view(batch, _NUM_JOINTS, 2)
    expected_y = towards[..., 0] + (centers // width)[:, None]
    expected_x = towards[..., 1] + (centers % width)[:, None]
    rows = torch.arange(height, device=fine.device, dtype=fine.dtype)[:, None]
    columns = torch.arange(width, device=fine.device, dtype=fine.dtype)
    distance = ((rows - expected_y[..., None, None]).square() + (columns - expected_x[..., None, None]).square()).sqrt()
    height_near = heat.sigmoid() / (distance + _NEAR)
    is_top = height_near >= F.max_pool2d(height_near, _TOP_WINDOW, 1, _TOP_WINDOW // 2)
    tops = torch.where(is_top, height_near, torch.zeros_like(height_near)).flatten(2).topk(_TOPS, dim=-1).indices
    expected = expected_y.round().clamp(0, height - 1) * width + expected_x.round().clamp(0, width - 1)
    places = torch.cat([tops, expected.long()[..., None]], dim=-1)  # (B, 17, 5)

    def gather(maps: Tensor) -> Tensor:
        """Return maps of joints (B, 17, C, h, w) or of all of them (B, 1, C, h, w) there: (B, 17, C, 5)."""
        flat = maps.flatten(3).expand(batch, _NUM_JOINTS, maps.shape[2], cells)
        return flat.gather(-1, places[:, :, None].expand(-1, -1, maps.shape[2], -1))

    offsets = gather(found["offsets"].view(batch, _NUM_JOINTS, 2, height, width))
    y, x = (places // width) + offsets[:, :, 0], (places % width) + offsets[:, :, 1]
    y = torch.cat([y[..., :_TOPS], expected_y[..., None]], dim=-1)
    x = torch.cat([x[..., :_TOPS], expected_x[..., None]], dim=-1)
    xy = torch.stack([x / (width / 2) - 1, y / (height / 2) - 1], dim=2)
    turns = math.pi * 2.0 ** torch.arange(_TURNS, device=fine.device) / 2
    angles = (xy[:, :, :, None] * turns[:, None]).flatten(2, 3)
    coarse = F.interpolate(coarse, size=(height, width), mode="bilinear", align_corners=False)
    said = [
        xy,
        gather(heat[:, :, None]) * _HEAT_SCALE,
        gather(height_near[:, :, None]) * 4,
        gather(fine[:, None]),
        gather(coarse[:, None]),
        angles.sin(),
        angles.cos(),
    ]
    return torch.cat(said, dim=2).transpose(1, 2)
