"""Conversion of NanoDet-g (TensorFlow.js) into our person detector."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from pct.photos.detection.nanodet import NanoDet
from pct.published.tfjs import read_tfjs

# Classes of the published heads, of which the first are persons.
_NUM_CLASSES = 80


def convert_nanodet(path: str | Path) -> NanoDet:
    """Turn a published NanoDet-g into our detector; of its 80 classes persons are kept.

    Args:
        path: ``nanodet.json``, with its ``.bin`` file beside it.

    Raises:
        ValueError: If the file is of another network.
    """
    model, detector = read_tfjs(path), NanoDet()
    adds = [node["input"] for node in model.nodes if node["op"] == "Add" and len(node["input"]) == 2]
    biases = {conv: bias for conv, bias in adds if bias in model.weights}
    # Weight and bias of every convolution by the number in its name, which is also the order of ours.
    layers = {}
    for node in model.nodes:
        if node["op"] == "Conv2D":
            number = node["name"].rpartition("convolution")[2].lstrip("_")
            layers[int(number or 0)] = node["input"][1], biases.get(node["name"], "")
    ours = [module for module in detector.modules() if isinstance(module, nn.Conv2d)]
    if len(layers) != len(ours):
        raise ValueError(f"{path}: {len(layers)} convolutions, not {len(ours)}; this is another network")
    last = [head[-1] for head in detector.heads]  # type: ignore[index]
    with torch.no_grad():
        for conv, (_, names) in zip(ours, sorted(layers.items()), strict=True):
            added = _NUM_CLASSES - 1 if conv in last else 0
            rows = [0, *range(1 + added, conv.out_channels + added)]
            for place, name in zip(conv.parameters(), names, strict=True):
                place.copy_(model.tensor(name, (len(place) + added, *place.shape[1:]))[rows])
    return detector.eval()
