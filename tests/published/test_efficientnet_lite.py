"""EfficientNet-Lite as a backbone: tensors of other names in the same order give timm's features; refusals."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch

from pct.cli import main as cli
from pct.photos.backbone import IMAGE_MEAN, IMAGE_STD, Backbone, load_backbone


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    network = timm.create_model("tf_efficientnet_lite0").eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def published(network: torch.nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lite") / "lite0.pth"
    torch.save({f"_layer{i}": value for i, value in enumerate(network.state_dict().values())}, path)
    return path


@torch.no_grad()
def test_the_tools_backbone_has_the_networks_features(
    network: torch.nn.Module, published: Path, tmp_path: Path
) -> None:
    arguments = ["efficientnet-lite", str(published), str(tmp_path / "out"), "--image-size", "64", "32", "--stage", "3"]
    assert cli.main(["convert", *arguments]) == 0
    sizes, state = load_backbone(tmp_path / "out")
    backbone = Backbone(sizes).eval()
    backbone.load_state_dict(state)
    pixels = torch.rand(2, 3, 64, 32, generator=torch.Generator().manual_seed(1))
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGE_MEAN, IMAGE_STD))
    expected = network.forward_intermediates((pixels - 0.5) / 0.5, indices=[3], intermediates_only=True)[0]
    torch.testing.assert_close(backbone((pixels - mean) / std), expected, rtol=1e-3, atol=1e-4)


def test_another_network_and_no_weights_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pth")
    (tmp_path / "broken.pth").write_bytes(b"nothing")
    for kind, name, sentence in (
        ("efficientnet-lite", "other.pth", "not an EfficientNet-Lite 0 to 4"),
        ("efficientnet-lite", "broken.pth", "is broken or holds pickled objects"),
        ("movenet", "missing.json", "No such file"),
        ("movenet", "other.pth", "not a TensorFlow.js graph"),
        ("pct", "missing.pth", "No such file"),
    ):
        assert cli.main(["convert", kind, str(tmp_path / name), str(tmp_path / "out")]) == 1
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
