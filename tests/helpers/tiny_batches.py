"""A small batch of person crops, and persons that tell their number, for tests of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pct.files.photo import PhotoError
from pct.photos.persons import PersonPhoto
from pct.skeleton import COCO17, Skeleton
from pct.training.photos.crops import PhotoBatch


def make_batch(count: int = 4, size: int = 32) -> PhotoBatch:
    generator = torch.Generator().manual_seed(0)
    visibility = torch.randint(3, (count, 17), generator=generator)
    visibility[:, 0] = 2
    return PhotoBatch(
        pixels=torch.randint(256, (count, 3, size, size), generator=generator).to(torch.uint8),
        keypoints=(torch.rand(count, 17, 2, generator=generator) * 2 - 1) * (visibility > 0)[..., None],
        visibility=visibility,
        bbox=torch.tensor([[0.0, 0.0, 25.6, 25.6]]).repeat(count, 1),
        image_ids=torch.arange(count),
        annotation_ids=torch.arange(count),
    )


def fit(model: nn.Module, step: Callable[[nn.Module, Any], dict[str, Tensor]], batch: Any, steps: int) -> list[dict]:
    """Train on one batch again and again, and return the losses of every step."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    rows = []
    for _ in range(steps):
        losses = step(model.train(), batch)
        optimizer.zero_grad()
        losses["loss"].backward()
        optimizer.step()
        rows.append({name: value.detach() for name, value in losses.items()})
    return rows


class Numbered:
    """Persons whose box, ids and every pixel tell their number; those of ``broken`` have no readable photo."""

    def __init__(self, n: int, broken: tuple[int, ...] = ()) -> None:
        self.n, self.broken, self.read = n, broken, list[int]()

    @property
    def skeleton(self) -> Skeleton:
        return COCO17

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> PersonPhoto:
        self.read.append(index)
        if index in self.broken:
            raise PhotoError(f"{index // 2}.jpg: broken")
        return PersonPhoto(
            image=np.full((40, 40, 3), index, np.uint8),
            bbox=np.array([5, 5, 20, 30], np.float32),
            keypoints=np.full((17, 2), 15, np.float32),
            visibility=np.full(17, 2),
            area=1.0,
            image_id=index,
            annotation_id=100 + index,
        )
