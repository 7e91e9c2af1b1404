"""Encoder and decoder networks of the pose tokenizer: from joints to token features and back."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pct.layers.gaussian_fill import GaussianFill
from pct.layers.mixer import MixerBlock, ResidualBlock


class JointEmbedding(nn.Module):
    """One vector a joint: linear in its coordinates, a learned mask vector where the joint is unknown.

    With image guidance the first half comes from the coordinates and the second from the image features at the joint
    (PCT, 2023, section 3.1). With ``fill`` an unknown joint is embedded at its estimate from the known ones, and
    the mask vector is added to say so (not in the paper; it helps completion, see docs/experiments.md).

    Args:
        num_dims: Coordinates a joint, 2 or 3.
        width: Width C of the embedding.
        guidance_channels: Channels F of the image features; 0 turns guidance off.
        fill: Estimates unknown joints first.
    """

    def __init__(self, num_dims: int, width: int, guidance_channels: int = 0, fill: GaussianFill | None = None) -> None:
        super().__init__()
        if guidance_channels and width % 2:
            raise ValueError(f"image guidance takes half of the embedding, so the width must be even; got {width}")
        self.guidance_channels = guidance_channels
        self.coordinates = nn.Linear(num_dims, width // 2 if guidance_channels else width)
        self.guidance = nn.Linear(guidance_channels, width // 2) if guidance_channels else None
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        self.fill = fill

    def forward(self, keypoints: Tensor, visible: Tensor, features: Tensor | None = None) -> Tensor:
        """Embed joints (B, K, D) with ``visible`` (B, K) and, if guided, image features (B, K, F) to (B, K, C).

        Raises:
            ValueError: If a guided network gets no features, an unguided one gets some, or their shape is wrong.
        """
        return self.embed(self.start(keypoints, visible), visible, features)

    def embed(self, joints: Tensor, visible: Tensor, features: Tensor | None = None) -> Tensor:
        """Embed what :meth:`start` returns."""
        self.check_features(joints, features)
        # Half precision would round a coordinate to half a pixel of the crop.
        with torch.autocast(joints.device.type, enabled=False):
            embedded = self.coordinates(joints)
        if self.guidance is not None and features is not None:
            embedded = torch.cat([embedded, self.guidance(torch.where(visible[..., None], features, 0.0))], dim=-1)
        mask_token = self.mask_token.to(embedded.dtype)
        return torch.where(visible[..., None], embedded, mask_token if self.fill is None else embedded + mask_token)

    def start(self, keypoints: Tensor, visible: Tensor) -> Tensor:
        """Return joints (B, K, D) in float32; where unknown, whatever they hold, with the estimate or 0."""
        if self.fill is not None:
            return self.fill(keypoints, visible)
        return torch.where(visible[..., None], keypoints.float(), 0.0)

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


class MixerEncoder(nn.Module):
    """The compositional encoder of the paper: mixer blocks over the joints, then linear over the joint axis.

    Args:
        num_keypoints: Joints K.
        num_tokens: Tokens M.
        width: Channels C of joints and blocks.
        num_blocks: Mixer blocks.
        token_hidden: Hidden width of the MLP over the joints.
        channel_hidden: Hidden width of the MLP over the channels.
        codebook_dim: Width D of a token feature.
    """

    def __init__(
        self,
        num_keypoints: int,
        num_tokens: int,
        width: int,
        num_blocks: int,
        token_hidden: int,
        channel_hidden: int,
        codebook_dim: int,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            MixerBlock(num_keypoints, width, token_hidden, channel_hidden) for _ in range(num_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.to_tokens = nn.Linear(num_keypoints, num_tokens)
        self.to_features = nn.Linear(width, codebook_dim)

    def trunk(self, x: Tensor) -> Tensor:
        """Map embedded joints (B, K, C) to normed joint features (B, K, C)."""
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def forward(self, x: Tensor) -> Tensor:
        """Map embedded joints (B, K, C) to token features (B, M, D)."""
        tokens = self.to_tokens(self.trunk(x).transpose(1, 2)).transpose(1, 2)
        return self.to_features(tokens)


class MlpEncoder(nn.Module):
    """A residual MLP over all joints at once: every layer mixes joints and channels in one product.

    A linear path from the joints to the features runs beside it, so that the network need only learn what a linear code
    cannot do. It is not in the paper. A mixer spends its time on many small products, this one on few large ones, which
    is several times faster at the same accuracy (docs/experiments.md).

    Args:
        num_keypoints: Joints K.
        num_tokens: Tokens M.
        joint_width: Width C of a joint's embedding.
        width: Width H of the trunk.
        num_blocks: Residual blocks.
        codebook_dim: Width D of a token feature.
    """

    def __init__(
        self, num_keypoints: int, num_tokens: int, joint_width: int, width: int, num_blocks: int, codebook_dim: int
    ) -> None:
        super().__init__()
        self.num_tokens, self.codebook_dim = num_tokens, codebook_dim
        self.start = nn.Linear(num_keypoints * joint_width, width)
        self.blocks = nn.ModuleList(ResidualBlock(width, width) for _ in range(num_blocks))
        self.norm = nn.LayerNorm(width)
        self.to_features = nn.Linear(width, num_tokens * codebook_dim)
        self.shortcut = nn.Linear(num_keypoints * joint_width, num_tokens * codebook_dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map embedded joints (B, K, C) to token features (B, M, D)."""
        joints = x.flatten(1)
        x = self.start(joints)
        for block in self.blocks:
            x = block(x)
        # The linear path carries the position to a fraction of a pixel, which needs float32.
        with torch.autocast(x.device.type, enabled=False):
            features = self.to_features(self.norm(x.float())) + self.shortcut(joints.float())
        return features.unflatten(1, (self.num_tokens, self.codebook_dim))


class PoseDecoder(nn.Module):
    """What decoders share: mixer blocks of a small width over the joints, then coordinates.

    Args:
        num_keypoints: Joints K.
        width: Channels of the blocks.
        num_blocks: Mixer blocks.
        token_hidden: Hidden width of the MLP over the joints.
        channel_hidden: Hidden width of the MLP over the channels.
        num_dims: Coordinates a joint.
    """

    def __init__(
        self,
        num_keypoints: int,
        width: int,
        num_blocks: int,
        token_hidden: int,
        channel_hidden: int,
        num_dims: int,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            MixerBlock(num_keypoints, width, token_hidden, channel_hidden) for _ in range(num_blocks)
        )
        self.norm = nn.LayerNorm(width)
        self.to_coordinates = nn.Linear(width, num_dims)

    def tail(self, x: Tensor) -> Tensor:
        """Map started joint features (B, K, width) to joints (B, K, num_dims)."""
        for block in self.blocks:
            x = block(x)
        return self.to_coordinates(self.norm(x))


class MixerDecoder(PoseDecoder):
    """The decoder of the paper: linear over the token axis, linear over the channels, few mixer blocks, coordinates.

    Args:
        num_keypoints: Joints K.
        num_tokens: Tokens M.
        codebook_dim: Width D of a codebook entry.
        width: Channels of the blocks.
        sizes: The other arguments of :class:`PoseDecoder`.
    """

    def __init__(self, num_keypoints: int, num_tokens: int, codebook_dim: int, width: int, **sizes: int) -> None:
        super().__init__(num_keypoints, width, **sizes)
        self.to_joints = nn.Linear(num_tokens, num_keypoints)
        self.start = nn.Linear(codebook_dim, width)

    def forward(self, z_q: Tensor) -> Tensor:
        """Map codebook entries or mixtures (B, M, D) to joints (B, K, num_dims) in model units."""
        return self.tail(self.start(self.to_joints(z_q.transpose(1, 2)).transpose(1, 2)))


class FlatDecoder(PoseDecoder):
    """A decoder for narrow codebooks: one linear map from all tokens to all joints, then as the paper's.

    The paper's first two layers carry K x D numbers from the tokens to the joints, half of what narrow tokens hold; one
    full map carries everything. A linear path from tokens to coordinates runs beside the blocks.

    Args:
        num_keypoints: Joints K.
        num_tokens: Tokens M.
        codebook_dim: Width D of a codebook entry.
        width: Channels of the blocks.
        sizes: The other arguments of :class:`PoseDecoder`.
    """

    def __init__(self, num_keypoints: int, num_tokens: int, codebook_dim: int, width: int, **sizes: int) -> None:
        super().__init__(num_keypoints, width, **sizes)
        self.joints = num_keypoints
        self.start = nn.Linear(num_tokens * codebook_dim, num_keypoints * width)
        self.shortcut = nn.Linear(
            num_tokens * codebook_dim, num_keypoints * self.to_coordinates.out_features, bias=False
        )

    def forward(self, z_q: Tensor) -> Tensor:
        """Map codebook entries or mixtures (B, M, D) to joints (B, K, num_dims) in model units."""
        tokens = z_q.flatten(1)
        x = self.start(tokens).unflatten(1, (self.joints, -1))
        return self.tail(x) + self.shortcut(tokens).unflatten(1, (self.joints, -1))
