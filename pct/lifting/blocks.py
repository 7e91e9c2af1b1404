"""Blocks that lifting networks are built of: residual units, attention, and those of AMPose and the local-to-global."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pct.layers.mixer import Mlp
from pct.lifting.joint_groups import body_parts, cai_groups, pooled_cai_groups
from pct.lifting.joint_layers import GraphConv, JointNorm
from pct.lifting.trunk import NUM_DIMS, Trunk, TrunkSizes

# The published code of the local-to-global network sets what it means as a momentum as its first norm's epsilon.
_STGCN_EPS = 0.1


def make_unit(layer: nn.Module, width: int, activation: nn.Module, dropout: float = 0.0) -> nn.Sequential:
    """Return a layer, batch normalisation over poses and positions, an activation, dropout."""
    return nn.Sequential(layer, JointNorm(width), activation, nn.Dropout(dropout))


class Residual(nn.Sequential):
    """``x + layers(x)``."""

    def forward(self, input: Tensor) -> Tensor:
        """Add the layers' result to their input."""
        return input + super().forward(input)


class SelfAttention(nn.Module):
    """Multi-head self-attention (Vaswani et al., "Attention is all you need", 2017, section 3.2).

    Args:
        width: Channels C.
        num_heads: Heads, which share the channels evenly.
        printed: As AMPose prints it: queries, keys and values without biases, their products divided by the root of the
            width of all heads together instead of one.

    Raises:
        ValueError: If the width does not divide by the heads.
    """

    def __init__(self, width: int, num_heads: int, printed: bool = False) -> None:
        super().__init__()
        if num_heads < 1 or width % num_heads:
            raise ValueError(f"attention width {width} must divide by its {num_heads} heads")
        self.num_heads, self.scale = num_heads, width**-0.5 if printed else None
        self.query_key_value = nn.Linear(width, 3 * width, bias=not printed)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, K, C) to (B, K, C)."""
        parts = self.query_key_value(x).chunk(3, dim=-1)
        query, key, value = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in parts)
        read = F.scaled_dot_product_attention(query, key, value, scale=self.scale)  # (B, heads, K, C / heads)
        attended: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return attended


class EncoderBlock(nn.Module):
    """``x + attention(norm(x))``, then ``x + MLP(norm(x))``.

    Args:
        sizes: Of the network; what is added is dropped in training as its ``dropout`` says.
        num_heads, printed: Of the attention; see :class:`SelfAttention`.
        ratio: Hidden width of the MLP over the network's.
    """

    def __init__(self, sizes: TrunkSizes, num_heads: int, ratio: float, printed: bool = False) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(sizes.width), nn.LayerNorm(sizes.width)
        self.attention = SelfAttention(sizes.width, num_heads, printed)
        self.mlp = Mlp(sizes.width, round(ratio * sizes.width))
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, K, C) to (B, K, C)."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        return x + self.dropout(self.mlp(self.norm2(x)))


class AmposeBlock(nn.Module):
    """A position embedding, an encoder block, and a graph block: ``y = first(x)``, ``y + second(y)``.

    Args:
        sizes: Of the network.
        num_heads, ratio: Of the encoder block.
        groups: Matrices of the graph (3, K, K), whose convolutions are normalised and rectified.
    """

    def __init__(self, sizes: TrunkSizes, num_heads: int, ratio: float, groups: np.ndarray) -> None:
        super().__init__()
        width = sizes.width
        self.position, self.encoder = sizes.joint_codes(), EncoderBlock(sizes, num_heads, ratio, printed=True)
        convs = {n: GraphConv(width, width, groups, bias="group", gain=1.0) for n in ("first", "second")}
        self.graph = nn.ModuleDict({name: make_unit(conv, width, nn.ReLU()) for name, conv in convs.items()})

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, K, C) to (B, K, C)."""
        y: Tensor = self.graph["first"](self.encoder(x + self.position))
        return y + self.graph["second"](y)


class StgcnBlock(nn.Module):
    """A graph convolution and a map of each joint, both normalised, beside a shortcut.

    Args:
        in_channels: Channels of a joint.
        out_channels: Channels of a joint of the result.
        groups: Matrices of the graph (G, K, K).
        dropout: Share of features dropped in training.
        residual: Whether there is a shortcut: the identity, or a normalised map to ``out_channels``.
    """

    def __init__(
        self, in_channels: int, out_channels: int, groups: np.ndarray, dropout: float, residual: bool = True
    ) -> None:
        super().__init__()
        conv = GraphConv(in_channels, out_channels, groups, bias="group")
        mapped = (nn.Linear(out_channels, out_channels), JointNorm(out_channels), nn.Dropout(dropout))
        self.layers = nn.Sequential(*make_unit(conv, out_channels, nn.ReLU(), dropout), *mapped)
        self.shortcut: nn.Module | None = None
        if residual:
            wider = nn.Sequential(nn.Linear(in_channels, out_channels), JointNorm(out_channels))
            self.shortcut = nn.Identity() if in_channels == out_channels else wider

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, K, in_channels) to (B, K, out_channels)."""
        y: Tensor = self.layers(x)
        return torch.relu(y if self.shortcut is None else y + self.shortcut(x))


class NonLocalBlock(nn.Module):
    """Embedded Gaussian non-local block (Wang et al., "Non-local Neural Networks", 2018, eq. 4); starts as identity.

    Args:
        channels: Channels C of a joint.
        width: Width of the embeddings.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.theta, self.phi, self.value = (nn.Linear(channels, width) for _ in range(3))
        self.out, self.norm = nn.Linear(width, channels), JointNorm(channels)
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, K, C) to (B, K, C)."""
        attention = (self.theta(x) @ self.phi(x).transpose(1, 2)).softmax(dim=-1)
        return x + self.norm(self.out(attention @ self.value(x)))


class StgcnTrunk(Trunk):
    """Local-to-global graph network of a single frame.

    Cai et al., "Exploiting Spatial-temporal Relationships for 3D Pose Estimation via Graph Convolutional Networks",
    2019: 3,627,847 parameters for 17 joints. Features of the joints, of five body parts, and of the whole body are
    brought together; a non-local block follows. The refinement network, which needs the root's true depth, is left out.

    Args:
        sizes: Of the network; blocks after the first have up to four times its width, and their number is fixed.
    """

    def __init__(self, sizes: TrunkSizes) -> None:
        joints, width, wide, dropout = sizes.skeleton.num_keypoints, sizes.width, 4 * sizes.width, sizes.dropout
        head = nn.Sequential(nn.Dropout(0.1), nn.Linear(wide, NUM_DIMS))
        super().__init__(nn.Identity(), [], head, joints, wide)
        joint_graph, part_graph = cai_groups(sizes.skeleton), pooled_cai_groups(sizes.skeleton)
        self.parts = [list(joints) for joints in body_parts(sizes.skeleton).values()]
        self.part_of = [next(i for i, part in enumerate(self.parts) if joint in part) for joint in range(joints)]
        self.input_norm = nn.BatchNorm1d(joints * sizes.in_channels, eps=_STGCN_EPS)
        self.fine = nn.Sequential(
            StgcnBlock(sizes.in_channels, width, joint_graph, dropout, residual=False),
            StgcnBlock(width, width, joint_graph, dropout),
            StgcnBlock(width, 2 * width, joint_graph, dropout),
        )
        self.coarse = nn.Sequential(*(StgcnBlock(c, wide, part_graph, dropout) for c in (2 * width, wide)))
        self.whole = make_unit(nn.Linear(wide, wide), wide, nn.ReLU(), 0.25)
        self.join = make_unit(nn.Linear(2 * wide, 2 * width), 2 * width, nn.ReLU(), 0.1)
        self.non_local = NonLocalBlock(wide, 2 * width)

    def embed(self, x: Tensor) -> Tensor:
        """Map joints (B, K, in_channels) to features (B, K, 4 * width)."""
        fine = self.fine(self.input_norm(x.flatten(1)).view_as(x))
        pooled = torch.stack([fine[:, part].amax(dim=1) for part in self.parts], dim=1)
        coarse = self.coarse(pooled)
        whole = self.whole(coarse.amax(dim=1, keepdim=True)).expand_as(coarse)
        joined = self.join(torch.cat([whole, coarse], dim=-1))[:, self.part_of]
        features: Tensor = self.non_local(torch.cat([joined, fine], dim=-1))
        return features
