"""Conversion of MoveNet (TensorFlow.js) into a backbone, whose features are those of the published graph."""

from __future__ import annotations

import math
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
    backbone = sizes.build()
    assert isinstance(backbone.network, MoveNetFeatures)
    with torch.no_grad():
        _fill(backbone.network, model, path)
    return sizes, backbone.eval()


def _fill(network: MoveNetFeatures, model: TfjsModel, path: str | Path) -> None:
    trunk: Any = network.trunk
    _fill_normed(trunk.conv_stem, trunk.bn1, model, "Conv1/Conv2D", path)
    blocks: list[Any] = [block for stage in trunk.blocks for block in stage]
    for number, block in enumerate(blocks):
        name = f"block_{number}" if number else "expanded_conv"
        if number:
            _fill_normed(block.conv_pw, block.bn1, model, f"{name}_expand/Conv2D", path)
        _fill_normed(block.conv_dw, block.bn2 if number else block.bn1, model, f"{name}_depthwise/depthwise", path)
        project, norm = (block.conv_pwl, block.bn3) if number else (block.conv_pw, block.bn2)
        _fill_normed(project, norm, model, f"{name}_project/Conv2D", path)
    _fill_normed(trunk.conv_head, trunk.bn2, model, "Conv_1/Conv2D", path)
    convs: list[Any] = [network.top, *network.laterals]
    for number, conv in enumerate(convs):
        name = f"{_ROOT}conv2d_{number}" if number else f"{_ROOT}conv2d"
        conv.weight.copy_(_weight(model, f"{name}/Conv2D/ReadVariableOp", conv, path))
        conv.bias.copy_(_tensor(model, f"{name}/BiasAdd/ReadVariableOp", conv.bias, path))
    mixes: list[Any] = list(network.mixes)
    for number, mix in enumerate(mixes):
        inner = f"{_ROOT}separable_conv2d_{number}" if number else f"{_ROOT}separable_conv2d"
        names = ("separable_conv2d/ReadVariableOp", "separable_conv2d_weights", "separable_conv2d_bn_offset")
        _fill_separable(mix, model, [f"{inner}/{name}" for name in names], path)
    for ours, (published, first, last) in _HEADS.items():
        head: Any = network.heads[ours]
        mix, conv = head[0], head[1]
        root = f"{_HEAD_ROOT}{published}"
        inner = f"{root}/separable_conv2d_{first}"
        names = ("separable_conv2d/ReadVariableOp", "separable_conv2d/ReadVariableOp_1", "BiasAdd/ReadVariableOp")
        _fill_separable(mix, model, [f"{inner}/{name}" for name in names], path)
        conv.weight.copy_(_weight(model, f"{root}/conv2d_{last}/Conv2D/ReadVariableOp", conv, path))
        conv.bias.copy_(_tensor(model, f"{root}/conv2d_{last}/BiasAdd/ReadVariableOp", conv.bias, path))
    network.center_weight.copy_(_tensor(model, _CENTER_WEIGHT, network.center_weight[..., None], path)[..., 0])


def _fill_separable(mix: Any, model: TfjsModel, names: list[str], path: str | Path) -> None:
    depthwise, pointwise = mix.depthwise, mix.pointwise
    depthwise.weight.copy_(_weight(model, names[0], depthwise, path))
    pointwise.weight.copy_(_weight(model, names[1], pointwise, path))
    pointwise.bias.copy_(_tensor(model, names[2], pointwise.bias, path))


def _fill_normed(conv: nn.Conv2d, norm: nn.BatchNorm2d, model: TfjsModel, name: str, path: str | Path) -> None:
    """Fill a convolution whose batch norm the published file has multiplied in: what is left of that is its bias."""
    conv.weight.copy_(_weight(model, f"{_ROOT}model/{name}_weights", conv, path))
    norm.bias.copy_(_tensor(model, f"{_ROOT}model/{name}_bn_offset", norm.bias, path))
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.zero_()
    norm.running_var.fill_(1.0)
    norm.weight.fill_(math.sqrt(1.0 + norm.eps))


def _weight(model: TfjsModel, name: str, conv: nn.Conv2d, path: str | Path) -> Tensor:
    """Return a convolution's weight in torch's order; TensorFlow has (height, width, in, out or multiplier)."""
    found = model.weights.get(name)
    if found is None or found.ndim != 4:
        raise ValueError(f"{path}: no convolution {name}; this is another network")
    order = (2, 3, 0, 1) if conv.groups > 1 else (3, 2, 0, 1)
    return _checked(torch.from_numpy(found).permute(*order), conv.weight, name, path)


def _tensor(model: TfjsModel, name: str, wanted: Tensor, path: str | Path) -> Tensor:
    found = model.weights.get(name)
    if found is None:
        raise ValueError(f"{path}: no {name}; this is another network")
    return _checked(torch.from_numpy(found), wanted, name, path)


def _checked(found: Tensor, wanted: Tensor, name: str, path: str | Path) -> Tensor:
    if found.shape != wanted.shape:
        raise ValueError(f"{path}: {name} is {tuple(found.shape)}, not {tuple(wanted.shape)}; this is another network")
    return found
