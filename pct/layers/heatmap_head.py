"""HeatmapHead: deconvolutions from a feature map to one heatmap a joint, and the joints at the heatmaps' tops."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class HeatmapHead(nn.Module):
    """Deconvolutions on features ("Simple Baselines for Human Pose Estimation", Xiao et al., 2018, section 2).

    Args:
        channels: Channels of the features.
        num_keypoints: Joints K.
        num_deconvs: Deconvolutions, each doubling the resolution.
        width: Their channels.
        reduce: Channels of a 1x1 convolution before them, which makes wide features cheap; 0 is none, as published.
        skips: For each deconvolution, channels of finer features that are added to what it gives; 0 is none, as
            published.

    Attributes:
        widths: Channels of the maps of :meth:`raise_features`.
    """

    def __init__(
        self,
        channels: int,
        num_keypoints: int,
        num_deconvs: int,
        width: int,
        reduce: int = 0,
        skips: Sequence[int] = (),
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.reduce = nn.Conv2d(channels, reduce, 1) if reduce else nn.Identity()
        channels = reduce or channels
        self.widths = [channels] + [width] * num_deconvs
        for _ in range(num_deconvs):
            layers += [
                nn.ConvTranspose2d(channels, width, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
            channels = width
        self.deconvs = nn.Sequential(*layers)
        self.skips = nn.ModuleDict(
            {str(index): nn.Conv2d(finer, width, 1, bias=False) for index, finer in enumerate(skips) if finer}
        )
        self.last = nn.Conv2d(channels, num_keypoints, 1)
        nn.init.normal_(self.last.weight, std=0.001)
        if self.last.bias is not None:
            nn.init.zeros_(self.last.bias)
        self.to(memory_format=torch.channels_last)

    def forward(self, features: Tensor, finer: Sequence[Tensor] = ()) -> Tensor:
        """Map features (B, C, h, w) to heatmaps (B, K, H, W), near 1 where a joint is.

        Args:
            features: (B, C, h, w).
            finer: For each deconvolution with a skip, features of the resolution that it gives.

        Raises:
            ValueError: If there are more or fewer finer features than skips.
        """
        return self.last(self.raise_features(features, finer)[-1])

    def raise_features(self, features: Tensor, finer: Sequence[Tensor] = ()) -> list[Tensor]:
        """Return what each deconvolution gives, behind the features that the first one takes; see :meth:`forward`."""
        if len(finer) != len(self.skips):
            raise ValueError(f"heatmaps with {len(self.skips)} skips got {len(finer)} maps of finer features")
        given = dict(zip(self.skips, finer, strict=True))
        maps = [self.reduce(features)]
        for index in range(len(self.deconvs) // 3):
            deconv, norm, activation = self.deconvs[3 * index : 3 * index + 3]
            raised = deconv(maps[-1])
            if str(index) in given:
                raised = raised + self.skips[str(index)](given[str(index)])
            maps.append(activation(norm(raised)))
        return maps


def find_tops(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Find the joints: the highest cell, refined to the top of the normal bell through it and its neighbours.

    The refinement is that of "Distribution-Aware Coordinate Representation" (Zhang et al., 2020, eq. 8) an axis.

    Args:
        heatmaps: (B, K, h, w).

    Returns:
        Places x, y (B, K, 2) in cells, and scores (B, K) in [0, 1], the height of the highest cell.
    """
    height, width = heatmaps.shape[2:]
    rows = heatmaps.float().flatten(2)
    score, flat = rows.max(dim=-1, keepdim=True)
    x, y = flat % width, flat // width
    x_offset = _top(rows, flat, 1, (x > 0) & (x < width - 1))
    y_offset = _top(rows, flat, width, (y > 0) & (y < height - 1))
    return torch.cat([x + x_offset, y + y_offset], dim=-1), score[..., 0].clamp(0.0, 1.0)


def find_peaks(heatmaps: Tensor, number: int) -> tuple[Tensor, Tensor]:
    """Find the highest local maxima of each heatmap, each refined as by :func:`find_tops`.

    Args:
        heatmaps: (B, K, h, w).
        number: Peaks N a map; where a map has fewer, the others are cells of low height.

    Returns:
        Places x, y (B, K, N, 2) in cells, highest first, and heights (B, K, N).
    """
    height, width = heatmaps.shape[2:]
    heatmaps = heatmaps.float()
    highest = nn.functional.max_pool2d(heatmaps, 5, stride=1, padding=2)
    lowest = heatmaps.flatten(2).amin(dim=-1)[..., None, None]
    peaks = torch.where(heatmaps == highest, heatmaps, lowest).flatten(2)
    score, flat = peaks.topk(number, dim=-1)  # (B, K, N)
    rows = heatmaps.flatten(2)
    x, y = flat % width, flat // width
    x_offset = _top(rows, flat, 1, (x > 0) & (x < width - 1))
    y_offset = _top(rows, flat, width, (y > 0) & (y < height - 1))
    return torch.stack([x + x_offset, y + y_offset], dim=-1), score


def _top(rows: Tensor, flat: Tensor, step: int, inside: Tensor) -> Tensor:
    """Return the offsets (B, K, N) in [-0.5, 0.5] of the tops of parabolas through logarithms of three neighbours."""
    last = rows.shape[-1] - 1
    places = [(flat + shift * step).clamp(0, last) for shift in (-1, 0, 1)]
    before, middle, after = (rows.gather(-1, p).clamp(min=1e-6).log() for p in places)
    curvature = 2 * middle - before - after
    offset = (after - before) / (2 * curvature.clamp(min=1e-6))
    return torch.where(inside & (curvature > 1e-6), offset.clamp(-0.5, 0.5), 0.0)
