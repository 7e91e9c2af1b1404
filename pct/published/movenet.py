"""Conversion of MoveNet (TensorFlow.js) into a backbone, whose features are those of the published graph."""

from __future__ import annotations

import math
from pathlib import Path

from torch import nn

from pct.photos.backbone import Backbone
from pct.photos.config import BackboneSizes
from pct.photos.movenet import MOVENETS
from pct.published.tfjs import read_tfjs

_HEAD_ROOT = "StatefulPartitionedCall/"
_ROOT = f"{_HEAD_ROOT}center_net_mobile_net_v2fpn_feature_extractor/model_1/"
_STEM = f"{_ROOT}model/Conv1/Conv2D_weights"
# Published names of the heads and numbers of their layers there: the separable convolution and the last one.
_HEADS = {
    "heatmaps": ("kpt_heatmap_0", 4, 5),
    "regression": ("kpt_regress_0", 5, 6),
    "offsets": ("kpt_offset_0", 6, 7),
    "centers": ("center_0", 3, 4),
}
# Convolution and batch norm of our blocks, and what the published layers are called; the first block has no expansion.
_FIRST = (("conv_dw", "bn1", "depthwise/depthwise"), ("conv_pw", "bn2", "project/Conv2D"))
_BLOCK = (
    ("conv_pw", "bn1", "expand/Conv2D"),
    ("conv_dw", "bn2", "depthwise/depthwise"),
    ("conv_pwl", "bn3", "project/Conv2D"),
)


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
    widths = {round(32 * width): name for name, (width, _) in MOVENETS.items()}
    name = widths.get(model.weights[_STEM].shape[-1]) if _STEM in model.weights else None
    if name is None:
        raise ValueError(
            f"{path}: not a single-pose MoveNet, Thunder or Lightning: no first layer of 56 or 32 channels"
        )
    side = MOVENETS[name][1]
    sizes = BackboneSizes(name, (side, side))
    backbone = Backbone(sizes)
    state = backbone.network.state_dict()
    for ours, published in _published_names(backbone).items():
        state[ours] = model.tensor(published, state[ours].shape)
    backbone.network.load_state_dict(state)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            # The published file has multiplied them in; what is left of them is their bias.
            nn.init.constant_(module.weight, math.sqrt(1.0 + module.eps))
    return sizes, backbone.eval()


def _published_names(backbone: Backbone) -> dict[str, str]:
    """Return the published name of every weight and bias, by the names in our network."""
    names = {"center_weight": "ConstantFolding/StatefulPartitionedCall/truediv_2_recip"}
    layers = [("conv_stem", "bn1", "Conv1/Conv2D"), ("conv_head", "bn2", "Conv_1/Conv2D")]
    places = [f"blocks.{i}.{j}" for i, stage in enumerate(backbone.network.trunk.blocks) for j in range(len(stage))]
    for number, block in enumerate(places):
        start = f"block_{number}" if number else "expanded_conv"
        parts = _BLOCK if number else _FIRST
        layers += [(f"{block}.{conv}", f"{block}.{norm}", f"{start}_{name}") for conv, norm, name in parts]
    for conv, norm, name in layers:
        names[f"trunk.{conv}.weight"] = f"{_ROOT}model/{name}_weights"
        names[f"trunk.{norm}.bias"] = f"{_ROOT}model/{name}_bn_offset"
    plain = {"top": f"{_ROOT}conv2d"} | {f"laterals.{i}": f"{_ROOT}conv2d_{i + 1}" for i in range(3)}
    mixes = {}
    for i in range(3):
        inner = f"{_ROOT}separable_conv2d{f'_{i}' if i else ''}/separable_conv2d"
        mixes[f"mixes.{i}"] = (f"{inner}/ReadVariableOp", f"{inner}_weights", f"{inner}_bn_offset")
    for head, (name, number, last) in _HEADS.items():
        inner = f"{_HEAD_ROOT}{name}/separable_conv2d_{number}"
        depthwise = f"{inner}/separable_conv2d/ReadVariableOp"
        mixes[f"heads.{head}.0"] = (depthwise, f"{depthwise}_1", f"{inner}/BiasAdd/ReadVariableOp")
        plain[f"heads.{head}.1"] = f"{_HEAD_ROOT}{name}/conv2d_{last}"
    for place, name in plain.items():
        names[f"{place}.weight"] = f"{name}/Conv2D/ReadVariableOp"
        names[f"{place}.bias"] = f"{name}/BiasAdd/ReadVariableOp"
    for place, published in mixes.items():
        for kind, name in zip(("depthwise.weight", "pointwise.weight", "pointwise.bias"), published, strict=True):
            names[f"{place}.{kind}"] = name
    return names
