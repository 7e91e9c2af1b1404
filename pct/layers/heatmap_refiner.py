"""HeatmapRefiner: a second look at all joints' heatmaps together, which mends what the first look got wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class HeatmapRefiner(nn.Module):
    """Adds to heatmaps what they and the features say together, as a later stage of "Convolutional Pose Machines".

    A joint's first heatmap knows the photo around the joint; here each place also sees where the other joints may be,
    over many cells, so that a hidden joint is looked for where the rest of the body wants it (Wei et al., 2016, section
    3.2). It works at half the heatmaps' resolution, which makes wide views cheap.

    Args:
        num_keypoints: Joints K.
        coarse_channels: Channels of the features at half the heatmaps' resolution.
        fine_channels: Channels of the features at the heatmaps' resolution.
        width: Width of the hidden maps.
        num_blocks: Residual blocks.
        kernel: Cells that a block sees along an axis; odd.

    Attributes:
        channels: Channels of the features that it gives.
    """

    def __init__(
        self, num_keypoints: int, coarse_channels: int, fine_channels: int, width: int, num_blocks: int, kernel: int
    ) -> None:
        super().__init__()
        self.channels = fine_channels
        self.enter = nn.Conv2d(4 * num_keypoints + coarse_channels, width, 1)
        self.blocks = nn.Sequential(*(_WideBlock(width, kernel) for _ in range(num_blocks)))
        self.up = nn.ConvTranspose2d(width, fine_channels, 4, stride=2, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(fine_channels)
        self.last = nn.Conv2d(fine_channels, num_keypoints, 1)
        nn.init.normal_(self.last.weight, std=0.001)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, heatmaps: Tensor, coarse: Tensor, fine: Tensor) -> tuple[Tensor, Tensor]:
        """Return mended heatmaps (B, K, H, W) and the features (B, C', H, W) that mended them.

        Args:
            heatmaps: (B, K, H, W).
            coarse: Features (B, C, H / 2, W / 2).
            fine: Features (B, C', H, W).
        """
        seen = torch.cat([F.pixel_unshuffle(heatmaps, 2), coarse], dim=1)
        mended = F.relu(self.norm(self.up(self.blocks(self.enter(seen)))) + fine)
        return heatmaps + self.last(mended), mended


class _WideBlock(nn.Module):
    """A wide convolution a channel, then an MLP a cell, added to what came in; at first it adds nothing."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        last = nn.BatchNorm2d(width)
        nn.init.zeros_(last.weight)
        self.layers = nn.Sequential(
            nn.Conv2d(width, width, kernel, padding=kernel // 2, groups=width, bias=False),
            nn.BatchNorm2d(width),
            nn.Conv2d(width, 2 * width, 1),
            nn.ReLU(),
            nn.Conv2d(2 * width, width, 1, bias=False),
            last,
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)
