"""A small batch of person crops for tests of training steps."""

from __future__ import annotations

import torch

from pct.photos.crop import PhotoBatch


def make_batch(count: int = 4, size: int = 32) -> PhotoBatch:
    generator = torch.Generator().manual_seed(0)
    visibility = torch.randint(3, (count, 17), generator=generator)
    visibility[:, 0] = 2
    return PhotoBatch(
        pixels=torch.randint(256, (count, 3, size, size), generator=generator).to(torch.uint8),
        keypoints=(torch.rand(count, 17, 2, generator=generator) * 2 - 1) * (visibility > 0)[..., None],
        visibility=visibility,
        bbox=torch.tensor([[0.0, 0.0, 25.6, 25.6]]).repeat(count, 1),
        area=torch.full((count,), 300.0),
        affine=torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]).expand(count, 2, 3),
        image_ids=torch.arange(count),
        annotation_ids=torch.arange(count),
    )
