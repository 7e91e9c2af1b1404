"""PublishedTokenHead: the convolutional token head of the published PCT classifiers, for their weights."""

from __future__ import annotations

from torch import Tensor, nn

from pct.layers.mixer import MixerBlock
from pct.photos.config import HeadSizes


class ResidualConv(nn.Module):
    """Two 3x3 convolutions with batch norm beside the identity (He et al., "Deep Residual Learning", 2016, fig. 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C, h, w)."""
        residual = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        return (x + residual).relu()


class PublishedTokenHead(nn.Module):
    """The token head of the paper ("Human Pose as Compositional Tokens", CVPR 2023, section 3.2), as released.

    The whole feature map goes through one linear layer, so a head fits one input size only; at the published size that
    layer holds 35.7 of the head's 38.6 million weights.

    Args:
        channels: Channels C of the features.
        grid: Height and width (h, w) of the feature map.
        num_tokens: Tokens M.
        codebook_size: Entries V of the codebook.
        sizes: Of its layers.

    Attributes:
        position_channels: 0; the place of a feature is its row in the linear layer.
    """

    position_channels = 0

    def __init__(
        self, channels: int, grid: tuple[int, int], num_tokens: int, codebook_size: int, sizes: HeadSizes
    ) -> None:
        super().__init__()
        width, channels_between = sizes.width, sizes.conv_channels
        self.channels, self.grid, self.num_tokens = channels, (int(grid[0]), int(grid[1])), num_tokens
        self.reduce = nn.Conv2d(channels, channels_between, 1, bias=False)
        self.reduce_norm = nn.BatchNorm2d(channels_between)
        self.residual = nn.Sequential(*(ResidualConv(channels_between) for _ in range(sizes.conv_blocks)))
        self.to_tokens = nn.Linear(self.grid[0] * self.grid[1] * channels_between, num_tokens * width)
        self.to_tokens_norm = nn.LayerNorm(num_tokens * width)
        self.blocks = nn.ModuleList(
            MixerBlock(num_tokens, width, sizes.token_hidden, sizes.channel_hidden) for _ in range(sizes.num_blocks)
        )
        self.to_entries = nn.Linear(width, width)
        self.to_entries_norm = nn.LayerNorm(width)
        self.to_logits = nn.Linear(width, codebook_size)

    def forward(self, features: Tensor) -> Tensor:
        """Map features (B, P, C), the positions of the grid row by row, to logits (B, M, V).

        Raises:
            ValueError: If the features do not have the head's positions and channels.
        """
        expected = (self.grid[0] * self.grid[1], self.channels)
        if features.ndim != 3 or tuple(features.shape[1:]) != expected:
            raise ValueError(
                f"features must be (B, {expected[0]}, {expected[1]}), a grid of {self.grid}; "
                f"got shape {tuple(features.shape)}"
            )
        x = features.transpose(1, 2).unflatten(2, self.grid)  # (B, C, h, w)
        x = self.residual(self.reduce_norm(self.reduce(x)).relu())
        # Position by position, the channels of a position side by side.
        x = self.to_tokens_norm(self.to_tokens(x.flatten(2).transpose(1, 2).flatten(1))).relu()
        x = x.unflatten(1, (self.num_tokens, -1))  # (B, M, width)
        for block in self.blocks:
            x = block(x)
        return self.to_logits(self.to_entries_norm(self.to_entries(x)).relu())
