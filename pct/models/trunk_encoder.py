"""TrunkEncoder: a lifting network as the encoder of a pose tokenizer."""

from __future__ import annotations

from torch import Tensor, nn

from pct.models.lifter_trunk import Trunk


class TrunkEncoder(nn.Module):
    """A lifting network over the embedded joints, then linear maps to the tokens' features.

    Args:
        trunk: The network; its own coordinate head goes.
        num_tokens: Tokens M.
        codebook_dim: Width D of a token feature.
    """

    def __init__(self, trunk: Trunk, num_tokens: int, codebook_dim: int) -> None:
        super().__init__()
        trunk.drop_head()
        self.trunk, self.num_tokens, self.codebook_dim = trunk, num_tokens, codebook_dim
        self.norm = nn.LayerNorm(trunk.channels)
        apart = trunk.num_positions > 1
        self.to_tokens = nn.Linear(trunk.num_positions, num_tokens) if apart else None
        self.to_features = nn.Linear(trunk.channels, codebook_dim if apart else num_tokens * codebook_dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map embedded joints (B, K, C) to token features (B, M, D)."""
        features = self.norm(self.trunk.embed(x))
        if self.to_tokens is None:
            flat: Tensor = self.to_features(features)
            return flat.reshape(len(x), self.num_tokens, self.codebook_dim)
        tokens = self.to_tokens(features.transpose(1, 2)).transpose(1, 2)
        mapped: Tensor = self.to_features(tokens)
        return mapped
