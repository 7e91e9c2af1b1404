"""Heatmap models: heatmaps of joints and back, crops that are not square."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_photo_models import BACKBONE, make_heatmap_model

from pct.photos.config import BackboneSizes, HeatmapSizes
from pct.photos.heatmap import HeatmapConfig, HeatmapModel
from pct.pose_space import PoseSpace


@pytest.mark.parametrize("size", [(32, 32), (64, 48), (32, 64)])
@pytest.mark.parametrize("units", ["unit", "pixels"])
def test_decoding_bells_gives_their_joints(size: tuple[int, int], units: str) -> None:
    space = PoseSpace(units=units)
    model = HeatmapModel(HeatmapConfig(replace(BACKBONE, image_size=size), HeatmapSizes(2, 8), space=space))
    low, high = space.bounds
    # The square frame reaches beyond the shorter side of the photo.
    extent = torch.tensor([size[1], size[0]]) / max(size) * 0.8
    unit = (torch.rand(5, 17, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1) * extent
    keypoints = (unit + 1) / 2 * (high - low) + low
    found, scores = model.decode(model.cells.heatmaps(keypoints, sigma=1.5))
    torch.testing.assert_close(found, keypoints, atol=2e-3 * (high - low), rtol=0)
    assert scores.min() > 0.8
    assert scores.max() <= 1


def test_the_middle_of_the_crop_is_between_the_middle_cells() -> None:
    model = make_heatmap_model()
    height, width = model.cells.grid
    middle = model.cells.to_cells(torch.zeros(1, 1, 2))[0, 0]
    torch.testing.assert_close(middle, torch.tensor([(width - 1) / 2, (height - 1) / 2]))
    assert model.cells.heatmaps(torch.full((1, 17, 2), 3.0), sigma=1.0).max() < 1e-3, (
        "a joint outside has its Gaussian outside"
    )


def test_heatmaps_have_the_promised_grid_train_every_weight_and_broken_ones_give_numbers() -> None:
    model = make_heatmap_model().train()
    heatmaps = model(torch.randn(2, 3, 32, 32))
    assert heatmaps.shape == (2, 17, *model.cells.grid)
    (heatmaps - 1).square().mean().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]
    for value in (0.0, -1.0, 5.0):
        keypoints, scores = model.decode(torch.full((1, 17, *model.cells.grid), value))
        assert torch.isfinite(keypoints).all()
        assert ((scores >= 0) & (scores <= 1)).all()


def test_a_backbone_without_a_map_and_other_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="movenet_thunder gives no map of the photo"):
        make_heatmap_model(backbone=BackboneSizes("movenet_thunder", (256, 256)))
    with pytest.raises(ValueError, match="kernel must be 2 or 4, got 3"):
        HeatmapModel(HeatmapConfig(BACKBONE, HeatmapSizes(kernel=3)))
