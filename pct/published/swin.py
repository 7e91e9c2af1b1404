"""Conversion of published backbones: a Swin Transformer V2 of the PCT release becomes ours, built by timm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from pct.photos.backbone import Backbone
from pct.photos.config import BackboneSizes
from pct.published.checkpoint import Names, OfficialPart

PREFIX = "backbone."
# Pixels a step of the last feature map.
STRIDE = 32
# Windows span a 16th of the crop's side (16 cells at 256 pixels), or the whole map where that is smaller.
_PIXELS_PER_WINDOW_CELL = 16
_NUM_STAGES = 4
_BASE = "swinv2_base_window12to16_192to256"
# Width, blocks and heads a stage -> timm's name of exactly these sizes at 256 pixels.
_KNOWN: dict[tuple[int, tuple[int, ...], tuple[int, ...]], str] = {
    (128, (2, 2, 18, 2), (4, 8, 16, 32)): _BASE,
    (192, (2, 2, 18, 2), (6, 12, 24, 48)): "swinv2_large_window12to16_192to256",
}
# timm's downsampling starts a stage, the published one ends the stage before.
_DOWNSAMPLING = {rf"^layers\.{i}\.downsample": f"layers.{i - 1}.downsample" for i in (1, 2, 3)}
_NAMES: Names = {r"^network\.": "", r"\.cpb_mlp\.": ".rpe_mlp.", **_DOWNSAMPLING, r"^norm\.": "norm3."}
# Functions of the window sizes, which some checkpoints store; timm computes them.
_TABLE, _INDEX, _MASK = "relative_coords_table", "relative_position_index", "attn_mask"


def convert_backbone(
    official: Mapping[str, Tensor], crop_size: int = 256, prefix: str = PREFIX
) -> tuple[BackboneSizes, dict[str, Tensor]]:
    """Turn a published Swin Transformer V2 into ours. Widths, depths and heads are read off the shapes.

    Args:
        official: Official names with tensors; those that do not start with ``prefix`` are not looked at.
        crop_size: Side in pixels of the square crop it was trained on.
        prefix: ``backbone.``, or ``extra_backbone.`` for the one that guides a published tokenizer.

    Returns:
        What to build, and its state dict.

    Raises:
        ValueError: If tensors are missing, unexpected or of another shape than the rest implies, or a stored table is
            that of other window sizes.
    """
    if crop_size < STRIDE or crop_size % STRIDE:
        raise ValueError(f"the crop of a published backbone has a multiple of {STRIDE} pixels a side, got {crop_size}")
    part = OfficialPart(official, prefix)
    if not part.tensors:
        raise ValueError(f"no backbone in this checkpoint: no name starts with {prefix}")
    sizes = _read_sizes(part, crop_size)
    tables = {name: part.tensors.pop(name) for name in list(part.tensors) if is_table(name)}
    stored = {name: table for name, table in tables.items() if not name.endswith(_MASK)}
    # Tables are numbers, which a network without weights does not have.
    with torch.device("cpu" if stored else "meta"):
        ours = Backbone(sizes)
    buffers = dict(ours.network.named_buffers())
    for name, table in sorted(stored.items()):
        own = buffers.get(name, torch.empty(0)).double().flatten()
        # Tables of half precision are right to three digits.
        tolerance = 1e-2 if table.dtype in (torch.float16, torch.bfloat16) else 1e-4
        if table.numel() != len(own) or (table.double().flatten() - own).abs().max() > tolerance:
            raise ValueError(
                f"{prefix}{name} is not that of the windows that a crop of {crop_size} pixels has; give the side of "
                "the crop that the model was trained on"
            )
    return sizes, part.rename(ours.state_dict(), _NAMES, "backbone")


def is_table(name: str) -> bool:
    """Whether an official tensor follows from the sizes of the windows, so that it is not taken."""
    return name.rsplit(".", 1)[-1] in (_TABLE, _INDEX, _MASK)


def _read_sizes(part: OfficialPart, crop_size: int) -> BackboneSizes:
    depths = [part.count(f"layers.{i}.blocks.") for i in range(part.count("layers."))]
    heads = [part.size(f"layers.{i}.blocks.0.attn.logit_scale", 0) for i in range(len(depths))]
    width = part.size("patch_embed.proj.weight", 0)
    if len(depths) != _NUM_STAGES:
        raise ValueError(f"a published backbone has {_NUM_STAGES} stages; this one has {len(depths)}")
    if any(width * 2**i % n for i, n in enumerate(heads)):
        raise ValueError(f"a backbone of width {width} cannot have {heads} attention heads in its stages")
    name = _KNOWN.get((width, tuple(depths), tuple(heads)))
    options: dict[str, Any] = {} if name else {"embed_dim": width, "depths": depths, "num_heads": heads}
    if crop_size != 256:
        options["window_size"] = max(1, crop_size // _PIXELS_PER_WINDOW_CELL)
    return BackboneSizes(name=name or _BASE, image_size=(crop_size, crop_size), options=options)
