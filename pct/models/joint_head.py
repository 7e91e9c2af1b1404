"""JointTokenHead: finds the joints, completes the pose, and says its tokens by way of the tokenizer's own encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pct.layers.cells import CellGrid
from pct.layers.heatmap_head import HeatmapHead, find_peaks
from pct.layers.heatmap_refiner import HeatmapRefiner
from pct.layers.mixer import MixerBlock
from pct.layers.positions import grid_positions
from pct.models.token_head import CodebookLogits

_POSITION_CHANNELS = 32
# How much a cell of height 1 outweighs one of height 0 when the features under a heatmap are read.
_SHARPNESS = 8.0
# Peaks of a joint's heatmap that it may be at, and how much the highest is trusted at the start (a logit).
_PEAKS, _TRUST = 4, 4.0


@dataclass(frozen=True)
class JointReading:
    """What the head makes of features.

    Attributes:
        logits: Over the codebook's entries (B, M, V), float32.
        estimate: The joints (B, K, D) in model units that the tokens are made from.
        similarity: Of the expected pose to the true one, as the head foresees it for each joint: logarithms of odds
            (B, K), float32; None from heads that do not foresee it.
    """

    logits: Tensor
    estimate: Tensor
    similarity: Tensor | None = None


@dataclass(frozen=True)
class JointMaps:
    """Where a head sees the joints.

    Attributes:
        heatmaps: One a joint (B, K, H, W), near 1 where it is; of the second look if there is one.
        first: Those of the first look, if there is a second.
        fine: Features (B, C, H, W) of the second look.
    """

    heatmaps: Tensor
    first: Tensor | None = None
    fine: Tensor | None = None

    def detach(self) -> JointMaps:
        """Return the same maps without their gradients."""
        first = self.first.detach() if self.first is not None else None
        fine = self.fine.detach() if self.fine is not None else None
        return JointMaps(self.heatmaps.detach(), first, fine)


class JointTokenHead(nn.Module):
    """Joints as they are seen, the pose that they make together, and its tokens.

    1. A heatmap a joint, mended by a second look at all of them together if wanted. The joint may be at one of its
       highest peaks; the features under it are the joint's evidence.
    2. Mixer blocks over the joints choose among the peaks, and a place that no peak marks, given the other joints: a
       joint that is hidden, or mistaken for its partner or another person's, moves to where the pose wants it. For
       3D poses, the person's size and the joints' depths bring these places into space.
    3. The frozen encoder of stage one turns that pose into token features, around which the logits are a bell; mixer
       blocks over the tokens say how wide it is.

    So the tokens are nearly right as soon as the joints are found, which takes far fewer photos than a codebook of
    1,024 strange entries. Its backbone and heatmaps may come from a heatmap model. The number of positions is free.

    Args:
        channels: Channels of the features.
        cells: Where the cells of the heatmaps lie.
        grid: Height and width of the features' map.
        maps: The layers from features to heatmaps.
        num_keypoints: Joints K.
        num_tokens: Tokens M.
        codebook: Entries (V, D) of the tokenizer's codebook.
        encode: The tokenizer's encoder, from joints in model units to features (B, M, D), frozen; without it the bells
            are learned from nothing.
        width: Width of the hidden vectors.
        num_blocks: Mixer blocks over the joints, and as many over the tokens.
        root: The joint that 3D poses are relative to; None for poses on the photo.
        refiner: A second look at all joints' heatmaps together.
        foresees_similarity: Whether the head also says how near to the truth it expects each joint to be.
    """

    positions: Tensor

    def __init__(
        self,
        channels: int,
        cells: CellGrid,
        grid: tuple[int, int],
        maps: HeatmapHead,
        num_keypoints: int,
        num_tokens: int,
        codebook: Tensor,
        encode: Callable[[Tensor], Tensor] | None,
        width: int = 128,
        num_blocks: int = 2,
        root: int | None = None,
        refiner: HeatmapRefiner | None = None,
        foresees_similarity: bool = False,
    ) -> None:
        super().__init__()
        self.cells, self.grid, self.maps, self.encode, self.root = cells, grid, maps, encode, root
        self.refiner = refiner
        self.register_buffer("positions", grid_positions(grid, _POSITION_CHANNELS), persistent=False)
        self.evidence = nn.Linear(channels + _POSITION_CHANNELS, width)
        self.seen = nn.Linear(3 * _PEAKS + 3, width)
        self.fine_evidence = nn.Linear(refiner.channels, width) if refiner is not None else None
        self.joints = nn.Parameter(torch.randn(num_keypoints, width) * 0.5)
        self.joint_blocks = _mixers(num_keypoints, width, num_blocks)
        self.norm = nn.LayerNorm(width)
        self.trust, self.guess = nn.Linear(width, _PEAKS + 1), nn.Linear(width, 2)
        nn.init.zeros_(self.trust.weight)
        with torch.no_grad():
            self.trust.bias.copy_(torch.tensor([_TRUST] + [0.0] * _PEAKS))
        self.similarity = _similarity(width) if foresees_similarity else None
        self.lift = _Lift(width, root) if root is not None else None
        self.to_tokens = nn.Linear(num_keypoints, num_tokens)
        self.token_blocks = _mixers(num_tokens, width, num_blocks)
        self.last_norm = nn.LayerNorm(width)
        self.logits = CodebookLogits(width, codebook, anchored=encode is not None)

    def look(self, features: Tensor, finer: Sequence[Tensor] = ()) -> JointMaps:
        """Find the joints in features (B, P, C).

        Args:
            features: (B, P, C).
            finer: Maps of finer features, for layers with skips; see :class:`pct.layers.heatmap_head.HeatmapHead`.
        """
        maps = self.maps.raise_features(features.transpose(1, 2).unflatten(2, self.grid), finer)
        first = self.maps.last(maps[-1])
        if self.refiner is None:
            return JointMaps(first)
        heatmaps, fine = self.refiner(first, *maps[-2:])
        return JointMaps(heatmaps, first, fine)

    def forward(self, features: Tensor, finer: Sequence[Tensor] = ()) -> Tensor:
        """Map features (B, P, C), and finer ones if the heatmaps want them, to logits (B, M, V), float32."""
        return self.read(features, self.look(features, finer)).logits

    def read(self, features: Tensor, maps: JointMaps) -> JointReading:
        """Read features (B, P, C) and what the head sees in them."""
        heatmaps = maps.heatmaps.float()
        peaks, numbers = self._look(heatmaps.detach())
        positions = self.positions.to(features.dtype).expand(len(features), -1, -1)
        weights = (heatmaps * _SHARPNESS).flatten(2).softmax(dim=-1)  # (B, K, H * W)
        evidence = self._under(weights, heatmaps).to(features.dtype) @ torch.cat([features, positions], dim=-1)
        seen = self.evidence(evidence) + self.seen(numbers)
        if self.fine_evidence is not None and maps.fine is not None:
            fine = weights.to(maps.fine.dtype) @ maps.fine.flatten(2).transpose(1, 2)
            seen = seen + self.fine_evidence(fine)
        x = self.joint_blocks(seen + self.joints)
        estimate = self._pose(self.norm(x), peaks)
        anchor = self.encode(estimate) if self.encode is not None else None
        tokens = self.token_blocks(self.to_tokens(x.transpose(1, 2)).transpose(1, 2))
        similarity = self.similarity(x)[..., 0].float() if self.similarity is not None else None
        return JointReading(self.logits(self.last_norm(tokens), anchor), estimate, similarity)

    def _look(self, heatmaps: Tensor) -> tuple[Tensor, Tensor]:
        """Return peaks (B, K, N, 2) in model units, and all that the maps say in numbers (B, K, 3 * N + 3)."""
        cells, heights = find_peaks(heatmaps, _PEAKS)
        peaks = self.cells.from_cells(cells)
        height, width = heatmaps.shape[2:]
        weights = heatmaps.flatten(2).clamp(min=1e-4)
        weights = weights / weights.sum(dim=-1, keepdim=True)
        y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        places = self.cells.from_cells(torch.stack([x, y], dim=-1).flatten(0, 1).to(heatmaps))
        mean = weights @ places
        spread = (weights @ places.square() - mean.square()).sum(dim=-1, keepdim=True).clamp(min=0).sqrt()
        return peaks, torch.cat([peaks.flatten(2), heights, mean, spread], dim=-1)

    def _under(self, weights: Tensor, heatmaps: Tensor) -> Tensor:
        """Return how much of each position's features a joint's evidence takes (B, K, P), sums 1."""
        scale = heatmaps.shape[2] // self.grid[0]
        cells = weights.unflatten(2, tuple(heatmaps.shape[2:]))
        return nn.functional.avg_pool2d(cells, scale).flatten(2) * scale**2

    def _pose(self, x: Tensor, peaks: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            trust = self.trust(x.float()).softmax(dim=-1)
            candidates = torch.cat([peaks, self.guess(x.float())[:, :, None]], dim=2)  # (B, K, N + 1, 2)
            places = (trust[..., None] * candidates).sum(dim=2)
            return places if self.lift is None else self.lift(x.float(), places)


class _Lift(nn.Module):
    """Places in the crop to joints in space: times the size of the crop there, plus what perspective and depth add.

    Args:
        width: Width of the joints' hidden vectors.
        root: The joint at the origin.
    """

    def __init__(self, width: int, root: int) -> None:
        super().__init__()
        self.root = root
        self.size, self.offset = nn.Linear(width, 1), nn.Linear(width, 3)
        # Half a crop is about a metre where a person fills it.
        nn.init.zeros_(self.size.weight)
        nn.init.zeros_(self.size.bias)

    def forward(self, x: Tensor, places: Tensor) -> Tensor:
        """Map hidden vectors (B, K, width) and places (B, K, 2) to joints (B, K, 3) in model units from the root."""
        size = self.size(x.mean(dim=1, keepdim=True)).clamp(-3, 3).exp()
        joints = nn.functional.pad(places * size, (0, 1)) + self.offset(x)
        return joints - joints[:, self.root : self.root + 1]


def _mixers(num_rows: int, width: int, num_blocks: int) -> nn.Sequential:
    return nn.Sequential(*(MixerBlock(num_rows, width, 2 * num_rows, 2 * width) for _ in range(num_blocks)))


def _similarity(width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1))
