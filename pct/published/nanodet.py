"""Conversion of NanoDet-g (TensorFlow.js) into our person detector."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from pct.photos.detection.nanodet import NanoDet
from pct.published.tfjs import TfjsModel, read_tfjs

_NUM_CLASSES = 80
_PERSON = 0


def convert_nanodet(path: str | Path) -> NanoDet:
    """Turn a published NanoDet-g into our detector; of its 80 classes persons are kept.

    Args:
        path: ``nanodet.json``, with its ``.bin`` file beside it.

    Raises:
        ValueError: If the file is of another network.
    """
    model = read_tfjs(path)
    detector = NanoDet()
    convs = _convolutions(model, path)
    ours = _in_published_order(detector)
    if len(convs) != len(ours):
        raise ValueError(f"{path}: {len(convs)} convolutions, not {len(ours)}; this is another network")
    with torch.no_grad():
        for conv, (name, weight, bias) in zip(ours, convs, strict=True):
            if weight.shape[0] == _NUM_CLASSES + conv.out_channels - 1:
                rows = [_PERSON, *range(_NUM_CLASSES, weight.shape[0])]
                weight, bias = weight[rows], bias[rows]
            if weight.shape != conv.weight.shape:
                found, wanted = tuple(weight.shape), tuple(conv.weight.shape)
                raise ValueError(f"{path}: {name} is {found}, not {wanted}; this is another network")
            conv.weight.copy_(weight)
            assert conv.bias is not None
            conv.bias.copy_(bias)
    return detector.eval()


def _in_published_order(detector: NanoDet) -> list[nn.Conv2d]:
    """Return our convolutions in the order of the published numbers."""
    parts = [detector.stem, *detector.stages, *detector.laterals, *detector.heads]
    return [module for part in parts for module in part.modules() if isinstance(module, nn.Conv2d)]


def _convolutions(model: TfjsModel, path: str | Path) -> list[tuple[str, torch.Tensor, torch.Tensor]]:
    """Return name, weight in torch's order and bias of every convolution, by the number in its name."""
    biases = {}
    for node in model.nodes:
        if node["op"] == "Add" and len(node["input"]) == 2 and node["input"][1] in model.weights:
            biases[node["input"][0]] = torch.from_numpy(model.weights[node["input"][1]])
    found = []
    for node in model.nodes:
        if node["op"] != "Conv2D":
            continue
        weight = model.weights.get(node["input"][1])
        if weight is None or weight.ndim != 4 or node["name"] not in biases:
            raise ValueError(f"{path}: convolution {node['name']} has no weight or no bias; this is another network")
        _, _, number = node["name"].rpartition("convolution")
        order = int(number.lstrip("_") or 0)
        found.append((order, node["name"], torch.from_numpy(weight).permute(3, 2, 0, 1), biases[node["name"]]))
    return [(name, weight, bias) for _, name, weight, bias in sorted(found, key=lambda entry: entry[0])]
