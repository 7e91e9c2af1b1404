"""Encoder and decoder networks of the pose tokenizer: from joints to what is quantized, and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pct.layers.mixer import MixerBlock
from pct.tokenizer.config import TokenizerConfig


class JointEmbedding(nn.Module):
    """One vector a joint: linear in its coordinates, a learned mask vector where the joint is unknown.

    With image guidance the first half comes from the coordinates and the second from the image features at the joint
    (PCT, 2023, section 3.1).
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        width, self.guidance_channels = config.encoder_width, config.guidance_channels
        if self.guidance_channels and width % 2:
            raise ValueError(f"image guidance takes half of the embedding, so the width must be even; got {width}")
        self.coordinates = nn.Linear(config.space.num_dims, width // 2 if self.guidance_channels else width)
        self.guidance = nn.Linear(self.guidance_channels, width // 2) if self.guidance_channels else None
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)

    def forward(self, keypoints: Tensor, visible: Tensor, features: Tensor | None = None) -> Tensor:
        """Embed joints (B, K, D) with ``visible`` (B, K) and, if guided, image features (B, K, F) to (B, K, C).

        Raises:
            ValueError: If a guided network gets no features, an unguided one gets some, or their shape is wrong.
        """
        self.check_features(keypoints, features)
        known = visible[..., None]
        # Half precision would round a coordinate to half a pixel of the crop.
        with torch.autocast(keypoints.device.type, enabled=False):
            embedded = self.coordinates(torch.where(known, keypoints, 0.0).to(self.mask_token.dtype))
        if self.guidance is not None and features is not None:
            embedded = torch.cat([embedded, self.guidance(torch.where(known, features, 0.0))], dim=-1)
        return torch.where(known, embedded, self.mask_token.to(embedded.dtype))

    def check_features(self, keypoints: Tensor, features: Tensor | None) -> None:
        """Refuse image features that do not belong to ``keypoints`` (B, K, D) or to this network."""
        if self.guidance is None:
            if features is not None:
                raise ValueError("this tokenizer takes no image features")
            return
        expected = (*keypoints.shape[:2], self.guidance_channels)
        if features is None or tuple(features.shape) != expected:
            got = "none" if features is None else f"shape {tuple(features.shape)}"
            raise ValueError(f"this tokenizer needs image features (B, K, {self.guidance_channels}); got {got}")


class JointMixer(nn.Module):
    """The compositional trunk of the paper: mixer blocks over the joints, then a norm.

    Args:
        config: Of the tokenizer.
        part: ``encoder`` or ``decoder``: which of its sizes are taken.
    """

    def __init__(self, config: TokenizerConfig, part: str) -> None:
        super().__init__()
        names = ("width", "blocks", "token_hidden", "channel_hidden")
        self.width, blocks, token_hidden, channel_hidden = (getattr(config, f"{part}_{name}") for name in names)
        sizes = (config.skeleton.num_keypoints, self.width, token_hidden, channel_hidden or self.width)
        self.blocks = nn.ModuleList(MixerBlock(*sizes) for _ in range(blocks))
        self.norm = nn.LayerNorm(self.width)

    def mixed(self, x: Tensor) -> Tensor:
        """Map joint vectors (B, K, C) to normed ones (B, K, C), each of which knows the others."""
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class TokenEncoder(JointMixer):
    """The encoder of the paper: the trunk, linear over the joint axis to the tokens, linear over the channels."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__(config, "encoder")
        self.to_tokens = nn.Linear(config.skeleton.num_keypoints, config.num_tokens)
        self.to_features = nn.Linear(self.width, config.codebook_dim)

    def forward(self, x: Tensor, keypoints: Tensor, visible: Tensor) -> Tensor:
        """Map embedded joints (B, K, C) to token features (B, M, D); the joints themselves are not looked at."""
        return self.to_features(self.to_tokens(self.mixed(x).transpose(1, 2)).transpose(1, 2))


class PoseEncoder(JointMixer):
    """The trunk, then the whole pose as the encoder believes it to be: unknown joints found, known ones mended.

    A known joint starts at where it was given, so that the network learns only what is to be added.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__(config, "encoder")
        self.to_joints = _small(nn.Linear(self.width, config.space.num_dims))

    def forward(self, x: Tensor, keypoints: Tensor, visible: Tensor) -> Tensor:
        """Map embedded joints (B, K, C) of a pose (B, K, D) with ``visible`` (B, K) to joints (B, K, D)."""
        mixed = self.mixed(x)
        with torch.autocast(x.device.type, enabled=False):
            return self.to_joints(mixed.to(self.to_joints.weight.dtype)) + torch.where(
                visible[..., None], keypoints, 0.0
            )


class TokenDecoder(JointMixer):
    """The decoder of the paper: linear over the token axis, linear over the channels, few mixer blocks, coordinates."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__(config, "decoder")
        self.to_coordinates = nn.Linear(self.width, config.space.num_dims)
        self.to_joints = nn.Linear(config.num_tokens, config.skeleton.num_keypoints)
        self.start = nn.Linear(config.codebook_dim, self.width)

    def forward(self, z_q: Tensor) -> Tensor:
        """Map codebook entries or mixtures (B, M, D) to joints (B, K, num_dims) in model units."""
        return self.to_coordinates(self.mixed(self.start(self.to_joints(z_q.transpose(1, 2)).transpose(1, 2))))


class PoseDecoder(JointMixer):
    """Mends a pose that tokens say: what quantisation rounded, and what a prefix leaves open."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__(config, "decoder")
        self.to_coordinates = nn.Linear(self.width, config.space.num_dims)
        self.start = nn.Linear(config.space.num_dims + 1, self.width)
        _small(self.to_coordinates)

    def forward(self, z_q: Tensor) -> Tensor:
        """Map joints in model units with how much is said of each (B, K, num_dims + 1) to joints (B, K, num_dims)."""
        return z_q[..., :-1] + self.to_coordinates(self.mixed(self.start(z_q)))


def _small(layer: nn.Linear) -> nn.Linear:
    """Start a layer that adds to something with a tenth of its usual weights."""
    with torch.no_grad():
        layer.weight.mul_(0.1)
        layer.bias.zero_()
    return layer
