"""Folded networks give the features of plain ones."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pct.photos.backbone import Backbone, fold_batch_norms


@pytest.mark.parametrize(
    ("name", "size", "stage"),
    [
        ("movenet_lightning", (192, 192), -1),
        ("regnetx_002", (64, 64), 2),
        ("resnet18", (64, 64), -1),
        ("tf_efficientnet_lite0", (64, 64), 3),
        ("mobilenetv2_100", (64, 64), -1),
        ("swin_pico", (64, 64), -1),
    ],
)
def test_folded_backbones_equal_plain_ones(name: str, size: tuple[int, int], stage: int) -> None:
    torch.manual_seed(0)
    backbone = Backbone(name, size, stage=stage).eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    folded = fold_batch_norms(backbone)
    photos = torch.randn(2, 3, *size)
    with torch.inference_mode():
        plain, other = backbone(photos), folded(photos)
    # Tops of heatmaps are chosen among cells: of MoveNet only nearly all features are the same to the last digits.
    close = torch.isclose(other, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))
    assert close.float().mean() > (0.95 if name.startswith("movenet") else 0.9999)
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())


def test_networks_in_training_are_refused() -> None:
    with pytest.raises(ValueError, match="evaluation mode"):
        fold_batch_norms(Backbone("resnet18", (64, 64)))
