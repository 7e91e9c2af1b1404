"""Detectors: NanoDet's boxes and published files, boxes of torchvision's, weights from local files, clear errors."""

from __future__ import annotations

import json
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from tiny_tfjs import write_tfjs
from torch import nn
from torchvision.ops import box_iou

from pct.checkpoint import CheckpointError
from pct.files.photo import read_photo
from pct.photos.detection.detector import TorchvisionDetector, load_detector
from pct.photos.detection.nanodet import NanoDet, _read_boxes, fit_photo
from pct.published.nanodet import convert_nanodet

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
    model = _Fixed()
    boxes, scores = TorchvisionDetector(model).detect(PHOTO)
    np.testing.assert_allclose(model.photos[0].numpy(), PHOTO.transpose(2, 0, 1) / np.float32(255), atol=1e-7)
    assert boxes.tolist() == [[5, 5, 20, 10], [1, 2, 10, 30]]  # no dog, no box without area, none of low score
    assert scores.tolist() == pytest.approx([0.9, 0.6])
    assert len(TorchvisionDetector(_Fixed(), min_score=0.3).detect(PHOTO)[0]) == 3
    assert TorchvisionDetector(_Fixed(), min_score=0.99).detect(PHOTO)[0].shape == (0, 4)


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


def test_without_a_network_the_error_says_what_to_do(monkeypatch) -> None:
    def fail(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fail)
    with pytest.raises(ValueError, match=r"could not be fetched .*--detector-weights FILE"):
        load_detector(SMALL)


def write_cut(path) -> None:
    torch.save({"weight": torch.zeros(900)}, path)
    path.write_bytes(path.read_bytes()[:1000])


class _Trap:
    def __reduce__(self):
        return (print, ("this must never run",))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda path: None, "no such file of weights"),
        (lambda path: torch.save({"weight": torch.zeros(2)}, path), f"not the weights of {SMALL}"),
        (write_cut, r"w\.pth is not a readable PyTorch checkpoint"),
        (lambda path: torch.save({"weight": _Trap()}, path), "which can run code and are refused"),
    ],
)
def test_files_that_are_not_its_weights_are_refused(tmp_path, capsys, write, reason: str) -> None:
    write(tmp_path / "w.pth")
    with pytest.raises(ValueError, match=reason):
        load_detector(SMALL, tmp_path / "w.pth")
    assert "never" not in capsys.readouterr().out


def test_unknown_detectors_and_models_of_another_kind_are_refused(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"no detector 'fasterrcnn_resnet50'; .*fasterrcnn_resnet50_fpn"):
        load_detector("fasterrcnn_resnet50")
    NanoDet().save_pretrained(tmp_path / "mine")
    assert isinstance(load_detector(tmp_path / "mine", min_score=0.7), NanoDet)
    with pytest.raises(CheckpointError, match="is not a person_detector, but a pose_tokenizer"):
        NanoDet.from_pretrained("coco17")
    with pytest.raises(ValueError, match="are weights of a detector of torchvision"):
        load_detector(weights="w.pth")


def test_a_box_is_the_mean_of_its_sides_distributions() -> None:
    found = torch.zeros(1, 45, 2, 3)
    found[0, 0, 1, 2] = 2.0
    found[0, 1:12, 1, 2] = torch.where(torch.arange(11) == 3, 50.0, 0.0)  # left: 3 steps
    found[0, 12:23, 1, 2] = torch.where((torch.arange(11) == 1) | (torch.arange(11) == 2), 50.0, 0.0)  # top: 1.5
    boxes, scores = _read_boxes(found, 16)
    assert boxes.shape == (1, 6, 4)
    assert scores[0].argmax() == 5
    # The cell's centre is (2.5, 1.5) steps of 16 pixels; a flat distribution over 0 to 10 has the mean 5.
    torch.testing.assert_close(boxes[0, 5], torch.tensor([-0.5, 0.0, 7.5, 6.5]) * 16)
    assert float(scores[0, 5]) == pytest.approx(1 / (1 + np.exp(-2)))


def write_graph(path, drop: int = 0):
    """Write a file of the published layout with random weights; return the weights by the number of the layer."""
    shapes = [module.weight.shape for module in NanoDet().modules() if isinstance(module, nn.Conv2d)]
    assert len(shapes) == 34
    generator = torch.Generator().manual_seed(0)
    nodes, weights, kept = [], dict[str, np.ndarray](), {}
    for number, shape in enumerate(shapes[: len(shapes) - drop]):
        out = shape[0] + 79 if shape[0] == 45 else shape[0]
        weight = torch.randn(out, *shape[1:], generator=generator).half()
        bias = torch.randn(out, generator=generator).half()
        name = f"PartitionedCall/convolution{f'_{number}' if number else ''}"
        nodes.append({"name": name, "op": "Conv2D", "input": ["x", f"w{number}"]})
        nodes.append({"name": f"Add_{number}", "op": "Add", "input": [name, f"b{number}"]})
        weights |= {f"w{number}": weight.permute(2, 3, 1, 0).contiguous().numpy(), f"b{number}": bias.numpy()}
        kept[number] = (weight.float(), bias.float())
    write_tfjs(path, weights, nodes[::-1])
    return kept


def test_a_file_of_the_published_layout_converts_with_persons_alone(tmp_path) -> None:
    weights = write_graph(tmp_path / "nanodet.json")
    detector = convert_nanodet(tmp_path / "nanodet.json")
    torch.testing.assert_close(detector.stem.weight, weights[0][0])
    torch.testing.assert_close(detector.laterals[2].bias, weights[27][1])
    last = detector.heads[2][2]
    torch.testing.assert_close(last.weight[0], weights[33][0][0])  # class 0 is persons
    torch.testing.assert_close(last.bias[1:], weights[33][1][80:])
    detector.save_pretrained(tmp_path / "model")
    again = NanoDet.from_pretrained(tmp_path / "model", min_score=0.0)
    for name, values in detector.state_dict().items():
        assert (again.state_dict()[name] - values).abs().max() <= 0.005 * values.abs().max(), name

    write_graph(tmp_path / "other.json", drop=1)
    with pytest.raises(ValueError, match="33 convolutions, not 34"):
        convert_nanodet(tmp_path / "other.json")


@pytest.mark.parametrize("shape", [(300, 100), (64, 900), (5, 5)])
def test_the_shipped_detector_gives_boxes_inside_the_photo(shape) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    boxes, scores = NanoDet.from_pretrained(min_score=0.02).detect(image)
    assert boxes.shape == (len(scores), 4)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] > 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= np.array(shape[::-1]) + 1e-3).all()
    assert (np.diff(scores) <= 0).all()


def test_nobody_is_on_an_empty_photo() -> None:
    boxes, scores = load_detector().detect(np.full((300, 200, 3), 128, np.uint8))
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))


@pytest.mark.parametrize(("shape", "padded"), [((60, 80), (320, 416)), ((200, 9), (416, 32)), ((1, 1), (416, 416))])
def test_photos_keep_their_shape(shape: tuple[int, int], padded: tuple[int, int]) -> None:
    pixels, scale = fit_photo(np.full((*shape, 3), 7, np.uint8))
    assert pixels.shape == (*padded, 3)
    assert scale == 416 / max(shape)
    assert (pixels[: round(shape[0] * scale), : round(shape[1] * scale)] == 7).all()


@pytest.mark.shared
def test_persons_of_real_photos_are_found(shared_dir) -> None:
    folder = shared_dir / "data" / "coco_photos"
    coco = json.loads((folder / "annotations.json").read_text())
    persons: dict[int, list] = {}
    for annotation in coco["annotations"]:
        persons.setdefault(annotation["image_id"], []).append(annotation["bbox"])
    images = [i for i in coco["images"] if i["coco_split"] == "val2017" and len(persons.get(i["id"], ())) == 1][:12]
    detector, hits = load_detector(), 0
    for image in images:
        boxes, _ = detector.detect(read_photo(folder / "images" / image["file_name"]))
        corners = torch.tensor([*persons[image["id"]], *boxes.tolist()])
        corners[:, 2:] += corners[:, :2]
        hits += bool((box_iou(corners[:1], corners[1:]) > 0.5).any())
    assert hits >= 10
