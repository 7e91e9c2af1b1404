"""MLP-Mixer blocks: the joint-mixing layer of the compositional encoder and decoder."""

from __future__ import annotations

from torch import Tensor, nn


class Mlp(nn.Sequential):
    """Linear, exact GELU, Linear over the last axis."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class MixerBlock(nn.Module):
    """Mix over the tokens, then over the channels.

    ``y = MLP_tokens(norm1(x))``, ``z = MLP_channels(norm2(x + y))``, output ``x + y + z``
    (Tolstikhin et al., "MLP-Mixer", 2021, eq. 1; as used by PCT, 2023, section 3.1).

    Args:
        num_tokens: Length T of the token axis.
        width: Channels C.
        token_hidden: Hidden width of the MLP over the tokens.
        channel_hidden: Hidden width of the MLP over the channels.
    """

    def __init__(self, num_tokens: int, width: int, token_hidden: int, channel_hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.token_mlp = Mlp(num_tokens, token_hidden)
        self.norm2 = nn.LayerNorm(width)
        self.channel_mlp = Mlp(width, channel_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, C) to (B, T, C)."""
        x = x + self.token_mlp(self.norm1(x).transpose(1, 2)).transpose(1, 2)
        return x + self.channel_mlp(self.norm2(x))
