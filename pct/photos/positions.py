"""Sine codes of the places of a feature map, for heads that read it as a set."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def grid_positions(grid: tuple[int, int], channels: int) -> Tensor:
    """Return codes (h * w, channels) of the cells' centres, row by row.

    A quarter of the channels each holds sin and cos of x and of y in [0, 1], at frequencies from half a turn over the
    map, doubling, so that nearby cells have nearby codes and a map of another size has the same codes at the same
    places (after Vaswani et al., "Attention is all you need", 2017, section 3.5).

    Raises:
        ValueError: If ``channels`` does not divide by 4.
    """
    if channels % 4 or channels < 0:
        raise ValueError(f"position channels must be a multiple of 4, got {channels}")
    turns = math.pi * 2.0 ** (torch.arange(channels // 4) / 2)
    height, width = grid
    y = (torch.arange(height) + 0.5) / height
    x = (torch.arange(width) + 0.5) / width
    codes = [torch.stack([torch.sin(p[:, None] * turns), torch.cos(p[:, None] * turns)], dim=-1) for p in (y, x)]
    rows = codes[0].flatten(1)[:, None].expand(height, width, -1)
    columns = codes[1].flatten(1)[None].expand(height, width, -1)
    return torch.cat([columns, rows], dim=-1).flatten(0, 1).contiguous()
