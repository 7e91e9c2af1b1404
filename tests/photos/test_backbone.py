"""Backbones of timm by name: shapes, sizes, cut stages, folded batch norms, clear errors."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from pct.photos.backbone import Backbone, fold_batch_norms
from pct.photos.config import BackboneSizes

TINY = {"patch_size": 4, "embed_dim": 8, "depths": (1, 1), "num_heads": (1, 1), "window_size": 4}


@pytest.mark.parametrize(
    ("name", "size", "options"),
    [
        ("swin_pico", (64, 64), {}),
        ("swinv2_pico", (64, 64), {}),
        ("swin_pico", (64, 48), TINY),
        ("swin_pico", (66, 50), TINY),
        ("resnet18", (64, 48), {}),
        ("vit_tiny_patch16_224", (64, 96), {"depth": 1}),
        ("convnext_atto", (64, 64), {"depths": (1, 1, 1, 1)}),
    ],
)
def test_features_have_the_promised_shape_and_train_every_weight(name: str, size: tuple, options: dict) -> None:
    torch.manual_seed(0)
    backbone = Backbone(BackboneSizes(name, size, options=options))
    features = backbone(torch.randn(2, 3, *size))
    assert features.shape == (2, backbone.channels, *backbone.grid)
    features.square().sum().backward()
    assert not [n for n, p in backbone.named_parameters() if p.grad is None]
    if (name, options) == ("swin_pico", {}):
        assert 0.9e6 < sum(p.numel() for p in backbone.parameters()) < 1.3e6, "the small one has about a million"


def test_features_of_an_earlier_stage_are_those_of_the_whole_network() -> None:
    torch.manual_seed(0)
    whole = Backbone(BackboneSizes("swin_pico", (64, 64), options=TINY))
    cut = Backbone(BackboneSizes("swin_pico", (64, 64), stage=0, options=TINY))
    cut.load_state_dict({k: v for k, v in whole.state_dict().items() if k in cut.state_dict()})
    images = torch.randn(1, 3, 64, 64)
    expected = whole.network.forward_intermediates(images, indices=[0], output_fmt="NCHW", intermediates_only=True)[0]
    torch.testing.assert_close(cut(images), expected)
    assert len(list(cut.parameters())) < len(list(whole.parameters()))


def test_features_change_with_the_place_in_the_photo() -> None:
    """NHWC taken for NCHW would mix channels and places."""
    torch.manual_seed(0)
    backbone = Backbone(BackboneSizes("swin_pico", (64, 64), stage=0, options={**TINY, "depths": (1, 1)}))
    images = torch.zeros(1, 3, 64, 64)
    changed = images.clone()
    changed[..., :16, 48:] = 5.0
    moved = (backbone(changed) - backbone(images)).abs().amax(dim=1)[0]
    height, width = backbone.grid
    assert moved[: height // 4, -width // 4 :].min() > 1e-3
    assert moved[height // 2 :, : width // 2].max() < 1e-5


def test_photos_reach_weights_with_the_normalisation_they_were_trained_with() -> None:
    torch.manual_seed(0)
    backbone = Backbone(BackboneSizes("vit_tiny_patch16_224", (32, 32), options={"depth": 1}))
    photo = torch.rand(1, 3, 32, 32)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    imagenet = (photo - mean[:, None, None]) / std[:, None, None]
    expected = backbone.network.forward_intermediates(
        (photo - 0.5) / 0.5, indices=[0], norm=True, output_fmt="NCHW", intermediates_only=True
    )[0]
    torch.testing.assert_close(backbone(imagenet), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "arguments", "sentence"),
    [
        ("swin_picco", {}, "knows no backbone 'swin_picco'; the nearest names are swin_pico"),
        ("resnet18", {"options": {"foo": 1}}, "foo"),
        ("resnet18", {"stage": 7}, "5 stages; stage 7 is none"),
        ("swin_pico", {"pretrained": True}, "no pretrained weights"),
        ("movenet_thunder", {"pretrained": True}, "backbone_from"),
        ("movenet_thunder", {}, "photos of 256 x 256 pixels"),
        ("swin_pico", {"options": TINY}, r"photos must be \(B, 3, 64, 64\)"),
    ],
)
def test_errors_say_what_would_be_right(name: str, arguments: dict, sentence: str) -> None:
    pretrained = arguments.pop("pretrained", False)
    with pytest.raises(ValueError, match=sentence):
        Backbone(BackboneSizes(name, (64, 64), **arguments), pretrained)(torch.zeros(1, 3, 64, 32))


@pytest.mark.parametrize("name", ["test_convnext", "test_vit2"])
def test_pretrained_weights_are_those_of_the_hub(name: str, tmp_path, monkeypatch) -> None:
    """A cache of the hub as huggingface_hub lays it out, with weights in a safetensors file, and no network."""
    donor = timm.create_model(name)
    with torch.no_grad():
        for number, parameter in enumerate(donor.parameters()):
            parameter.fill_(1e-3 * number)
    repository = tmp_path / f"models--{donor.pretrained_cfg['hf_hub_id'].replace('/', '--')}"
    snapshot = repository / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(snapshot.name)
    save_file(donor.state_dict(), snapshot / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    values = donor.state_dict()
    found = Backbone(BackboneSizes(name, (160, 160)), pretrained=True).network.state_dict()
    assert found
    assert all(torch.equal(weight, values[key]) for key, weight in found.items())
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=f"pretrained weights of backbone {name} could not be had"):
        Backbone(BackboneSizes(name, (160, 160)), pretrained=True)


@pytest.mark.parametrize(
    ("name", "size", "stage"),
    [
        ("movenet_lightning", (192, 192), -1),
        ("regnetx_002", (64, 64), 2),
        ("resnet18", (32, 32), -1),
        ("tf_efficientnet_lite0", (64, 64), 3),
        ("mobilenetv2_100", (64, 64), -1),
        ("swin_pico", (64, 64), 0),
    ],
)
def test_folded_backbones_equal_plain_ones(name: str, size: tuple[int, int], stage: int) -> None:
    torch.manual_seed(0)
    backbone = Backbone(BackboneSizes(name, size, stage=stage)).eval()
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    folded = fold_batch_norms(backbone)
    photos = torch.randn(1, 3, *size)
    with torch.inference_mode():
        plain, other = backbone(photos), folded(photos)
    # Tops of heatmaps are chosen among cells: of MoveNet only nearly all features are the same to the last digits.
    close = torch.isclose(other, plain, rtol=1e-3, atol=1e-3 * float(plain.abs().max()))
    assert close.float().mean() > (0.95 if name.startswith("movenet") else 0.9999)
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    with pytest.raises(ValueError, match="evaluation mode"):
        fold_batch_norms(backbone.train())
