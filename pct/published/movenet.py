"""Conversion of MoveNet (TensorFlow.js) into a backbone, whose features are those of the published graph."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pct.photos.backbone import Backbone
from pct.photos.config import BackboneSizes
from pct.photos.movenet import MOVENETS, MoveNetFeatures
from pct.published.tfjs import TfjsModel, read_tfjs

# How the published names begin and end; each layer has a weight and a bias.
_HEAD_ROOT = "StatefulPartitionedCall/"
_ROOT = f"{_HEAD_ROOT}center_net_mobile_net_v2fpn_feature_extractor/model_1/"
# Names of the heads and numbers of their layers there: the separable convolution and the last one.
_HEADS = {
    "heatmaps": ("kpt_heatmap_0", 4, 5),
    "regression": ("kpt_regress_0", 5, 6),
    "offsets": ("kpt_offset_0", 6, 7),
    "centers": ("center_0", 3, 4),
}
_CENTER_WEIGHT = "ConstantFolding/StatefulPartitionedCall/truediv_2_recip"


def convert_movenet(path: str | Path) -> tuple[BackboneSizes, Backbone]:
    """Turn a published MoveNet (single pose, Thunder or Lightning) into a backbone.

    Args:
        path: ``movenet-thunder.json`` or ``movenet-lightning.json``, with its ``.bin`` file beside it.

    Returns:
        Its sizes, and the backbone in evaluation mode.

    Raises:
        ValueError: If the file is of another network.
    """
    model = read_tfjs(path)
    stem = model.weights.get(f"{_ROOT}model/Conv1/Conv2D_weights")
    widths = {round(32 * width): name for name, (width, _) in MOVENETS.items()}
    if stem is None or stem.shape[-1] not in widths:
        raise ValueError(
            f"{path}: not a single-pose MoveNet, Thunder or Lightning: no first layer of 56 or 32 channels"
        )
    name = widths[stem.shape[-1]]
    side = MOVENETS[name][1]
    sizes = BackboneSizes(name, (side, side))
    backbone = Backbone(sizes)
    assert isinstance(backbone.network, MoveNetFeatures)
    with torch.no_grad():
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None:
                # The published file has multiplied them in; what is left of them is their bias.
                module.weight.fill_(math.sqrt(1.0 + module.eps))
        for ours, published in _layers(backbone.network):
            for place, name_of_it in zip(ours, published, strict=True):
                _fill(place, name_of_it, model, path)
        _fill(backbone.network.center_weight, _CENTER_WEIGHT, model, path)
    return sizes, backbone.eval()


def _layers(network: Any) -> Iterator[tuple[tuple[Tensor, ...], tuple[str, ...]]]:
    """Yield the places of weights and biases of every layer, with the names of what they are filled with."""
    trunk = network.trunk

    def normed(conv: Any, norm: Any, name: str) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
        name = f"{_ROOT}model/{name}"
        return (conv.weight, norm.bias), (f"{name}_weights", f"{name}_bn_offset")

    def plain(conv: Any, name: str) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
        return (conv.weight, conv.bias), (f"{name}/Conv2D/ReadVariableOp", f"{name}/BiasAdd/ReadVariableOp")

    def separable(mix: Any, *names: str) -> tuple[tuple[Tensor, ...], tuple[str, ...]]:
        return (mix.depthwise.weight, mix.pointwise.weight, mix.pointwise.bias), names

    yield normed(trunk.conv_stem, trunk.bn1, "Conv1/Conv2D")
    first, *blocks = [block for stage in trunk.blocks for block in stage]
    yield normed(first.conv_dw, first.bn1, "expanded_conv_depthwise/depthwise")
    yield normed(first.conv_pw, first.bn2, "expanded_conv_project/Conv2D")
    for number, block in enumerate(blocks, 1):
        yield normed(block.conv_pw, block.bn1, f"block_{number}_expand/Conv2D")
        yield normed(block.conv_dw, block.bn2, f"block_{number}_depthwise/depthwise")
        yield normed(block.conv_pwl, block.bn3, f"block_{number}_project/Conv2D")
    yield normed(trunk.conv_head, trunk.bn2, "Conv_1/Conv2D")
    for number, conv in enumerate([network.top, *network.laterals]):
        yield plain(conv, f"{_ROOT}conv2d_{number}" if number else f"{_ROOT}conv2d")
    for number, mix in enumerate(network.mixes):
        inner = f"{_ROOT}separable_conv2d_{number}" if number else f"{_ROOT}separable_conv2d"
        inner = f"{inner}/separable_conv2d"
        yield separable(mix, f"{inner}/ReadVariableOp", f"{inner}_weights", f"{inner}_bn_offset")
    for ours, (published, number, last) in _HEADS.items():
        root, (mix, conv) = f"{_HEAD_ROOT}{published}", network.heads[ours]
        inner = f"{root}/separable_conv2d_{number}"
        depthwise = f"{inner}/separable_conv2d/ReadVariableOp"
        yield separable(mix, depthwise, f"{depthwise}_1", f"{inner}/BiasAdd/ReadVariableOp")
        yield plain(conv, f"{root}/conv2d_{last}")


def _fill(place: Tensor, name: str, model: TfjsModel, path: str | Path) -> None:
    """Fill a weight or bias; TensorFlow's convolutions have (height, width, in, out or multiplier)."""
    if name not in model.weights:
        raise ValueError(f"{path}: no {name}; this is another network")
    found = torch.from_numpy(model.weights[name])
    if found.ndim == 4:
        depthwise = place.shape[1] == 1 and found.shape[3] == 1
        found = found.permute(2, 3, 0, 1) if depthwise else found.permute(3, 2, 0, 1)
    elif found.ndim == 3:
        found = found[..., 0]
    if found.shape != place.shape:
        raise ValueError(f"{path}: {name} is {tuple(found.shape)}, not {tuple(place.shape)}; this is another network")
    place.copy_(found)
