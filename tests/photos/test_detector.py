"""The person detector: boxes and scores of torchvision's detectors, weights from local files, clear errors."""

from __future__ import annotations

from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from pct.checkpoint import CheckpointError
from pct.photos.detection.detector import TorchvisionDetector, load_detector

SMALL = "ssdlite320_mobilenet_v3_large"
PHOTO = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


class _Fixed(nn.Module):
    """Finds the same on every photo and keeps what it was given."""

    def forward(self, photos: list[torch.Tensor]) -> list[dict[str, torch.Tensor]]:
        self.photos = photos
        boxes = torch.tensor([[1.0, 2, 11, 32], [5, 5, 25, 15], [3, 3, 9, 9], [7, 7, 7, 20], [0, 0, 80, 60]])
        scores = torch.tensor([0.6, 0.9, 0.95, 0.8, 0.4])
        return [{"boxes": boxes, "labels": torch.tensor([1, 1, 3, 1, 1]), "scores": scores}]


def test_persons_are_given_best_first_as_xywh() -> None:
    boxes, scores = TorchvisionDetector(_Fixed()).detect(PHOTO)
    assert boxes.tolist() == [[5, 5, 20, 10], [1, 2, 10, 30]]  # no dog, no box without area, none of low score
    assert scores.tolist() == pytest.approx([0.9, 0.6])
    assert len(TorchvisionDetector(_Fixed(), min_score=0.3).detect(PHOTO)[0]) == 3
    assert TorchvisionDetector(_Fixed(), min_score=0.99).detect(PHOTO)[0].shape == (0, 4)


def test_the_model_sees_the_photo_in_unit_range() -> None:
    model = _Fixed()
    TorchvisionDetector(model).detect(PHOTO)
    np.testing.assert_allclose(model.photos[0].numpy(), PHOTO.transpose(2, 0, 1) / np.float32(255), atol=1e-7)


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = torchvision.models.get_model(SMALL, weights=None, weights_backbone=None).eval()
    with torch.no_grad():
        for layer in model.head.classification_head.module_list:
            layer[-1].bias.view(-1, 91)[:, 1] += 3  # untrained, it would hardly ever see persons
    folder = tmp_path_factory.mktemp("weights")
    torch.save(model.state_dict(), folder / "ssd.pth")
    save_file(model.state_dict(), folder / "ssd.safetensors")
    return model, folder


@pytest.mark.parametrize("name", ["ssd.pth", "ssd.safetensors"])
def test_weights_of_a_local_file_are_those_that_detect(weights, name: str) -> None:
    model, folder = weights
    detector = load_detector(SMALL, folder / name, min_score=0.0)
    boxes, scores = detector.detect(PHOTO)
    with torch.no_grad():
        found = model([torch.from_numpy(PHOTO).permute(2, 0, 1) / 255])[0]
    persons = found["labels"] == 1
    assert len(boxes) == persons.sum() > 0
    np.testing.assert_allclose(boxes[:, :2] + boxes[:, 2:], found["boxes"][persons][:, 2:].numpy(), atol=1e-3)
    np.testing.assert_allclose(scores, found["scores"][persons].numpy(), atol=1e-6)


def test_unknown_detectors_are_refused_with_the_nearest_names() -> None:
    with pytest.raises(ValueError, match=r"no detector 'fasterrcnn_resnet50'; .*fasterrcnn_resnet50_fpn"):
        load_detector("fasterrcnn_resnet50")


def test_without_a_network_the_error_says_what_to_do(monkeypatch) -> None:
    def fail(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fail)
    with pytest.raises(ValueError, match=r"could not be fetched .*--detector-weights FILE"):
        load_detector(SMALL)


def test_files_that_are_not_its_weights_are_refused(tmp_path, weights) -> None:
    _, folder = weights
    with pytest.raises(CheckpointError, match="no such file of weights"):
        load_detector(SMALL, tmp_path / "none.pth")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=f"not the weights of {SMALL}"):
        load_detector(SMALL, tmp_path / "other.pth")
    (tmp_path / "cut.pth").write_bytes((folder / "ssd.pth").read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"cut\.pth is not a readable PyTorch checkpoint"):
        load_detector(SMALL, tmp_path / "cut.pth")


class _Trap:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_weights_are_read_without_running_code(tmp_path, capsys) -> None:
    torch.save({"weight": _Trap()}, tmp_path / "trap.pth")
    with pytest.raises(ValueError, match="holds pickled objects, which can run code and are refused"):
        load_detector(SMALL, tmp_path / "trap.pth")
    assert "never" not in capsys.readouterr().out
