"""Conversion of published PCT weights: the official release's tokenizer becomes our config and state dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from pct.conventions import PUBLISHED
from pct.photos.guide import GuideConfig, ImageGuide
from pct.pose_space import PoseSpace
from pct.published.checkpoint import MIXER_NAMES, Names, OfficialPart, describe_parts
from pct.published.swin import convert_backbone
from pct.skeleton import COCO17, Skeleton
from pct.tokenizer import PoseTokenizer, TokenizerConfig

Units = Literal["unit", "pixels"]
PREFIX = "keypoint_head.tokenizer."
# The second backbone, whose features at the joints guide the tokenizer.
GUIDE = "extra_backbone."
TOKENIZER_NAMES: Names = {
    r"^(encoder|decoder)\.blocks\.": r"\1.",
    **MIXER_NAMES,
    r"^embedding\.mask_token$": "invisible_token",
    r"^embedding\.coordinates\.": "start_embed.",
    r"^embedding\.guidance\.": "start_img_embed.",
    r"^(encoder|decoder)\.norm\.": r"\1_layer_norm.",
    r"^encoder\.to_tokens\.": "token_mlp.",
    r"^encoder\.to_features\.": "feature_embed.",
    r"^quantizer\.codebook\.codebook_buffer$": "codebook",
    r"^quantizer\.codebook\.ema_count$": "ema_cluster_size",
    r"^quantizer\.codebook\.ema_sum$": "ema_w",
    r"^decoder\.to_joints\.": "decoder_token_mlp.",
    r"^decoder\.start\.": "decoder_start.",
    r"^decoder\.to_coordinates\.": "recover_embed.",
}
_GUIDANCE = "start_img_embed.weight"
# Ours only: the official release does not count its updates.
_UPDATES = "quantizer.codebook.updates"


def convert_tokenizer(
    official: Mapping[str, Tensor],
    skeleton: Skeleton = COCO17,
    units: Units = "unit",
    crop_size: int = 256,
    padding: float = 1.25,
) -> PoseTokenizer:
    """Turn the tokenizer of an official state dict into ours. All sizes are read off the shapes.

    Args:
        official: Official names with tensors. Of a guided tokenizer ``extra_backbone`` is taken as its guide, where the
            file has it; other parts than ``keypoint_head.tokenizer`` are ignored.
        skeleton: Whose joints the tokenizer was trained on, in its order.
        units: ``unit`` folds the pixels of the crop into the first and the last linear layer, so that the crop is
            [-1, 1]; ``pixels`` keeps the weights as they are, which training losses comparable to published ones need.
        crop_size: Side in pixels of the square crop the tokenizer was trained on.
        padding: Side of the crop over the longer side of the person's box; the published one was trained with 1.25.

    Returns:
        The tokenizer, in evaluation mode.

    Raises:
        ValueError: If tensors are missing, unexpected or of another shape than the rest implies, or the number of
            joints is not the skeleton's.
    """
    space = PoseSpace(padding=padding, units=units, crop_size=crop_size, conventions=PUBLISHED)
    part = OfficialPart(official, PREFIX)
    if not part.tensors:
        held = describe_parts(official)
        raise ValueError(f"no tokenizer in this checkpoint: no name starts with {PREFIX}; it holds {held}")
    config, guide = _read_config(part, skeleton, space), None
    if config.guidance_channels and any(name.startswith(GUIDE) for name in official):
        guide = _convert_guide(official, space, config.guidance_channels)
        config = replace(config, guidance_from=guide.fingerprint())
    tokenizer = PoseTokenizer(config, guide)
    ours = {n: t for n, t in tokenizer.state_dict().items() if n != _UPDATES and not n.startswith("guide.")}
    state = part.rename(ours, TOKENIZER_NAMES, "tokenizer")
    if units == "unit":
        state = _fold_units(state, crop_size)
    tokenizer.load_state_dict({**tokenizer.state_dict(), **state, _UPDATES: torch.ones((), dtype=torch.int64)})
    return tokenizer.eval()


def _convert_guide(official: Mapping[str, Tensor], space: PoseSpace, channels: int) -> ImageGuide:
    """Return the second backbone as a guide; the published cells have their values at their upper left corners."""
    sizes, state = convert_backbone(official, space.crop_size, GUIDE)
    guide = ImageGuide(GuideConfig(sizes, space.bounds, cell_center=0.0))
    guide.backbone.load_state_dict(state)
    if guide.channels != channels:
        raise ValueError(
            f"{PREFIX}{_GUIDANCE} reads {channels} image features, but {GUIDE[:-1]} gives {guide.channels}"
        )
    return guide


def _read_config(part: OfficialPart, skeleton: Skeleton, space: PoseSpace) -> TokenizerConfig:
    """Read all sizes off the shapes; whether the shapes agree with each other is checked afterwards."""
    part.check_joints("token_mlp.weight", 1, skeleton, "tokenizer")
    sizes: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        sizes[f"{side}_blocks"] = part.count(f"{side}.")
        for mlp in ("token", "channel"):
            hidden = part.size(f"{side}.0.MLP_{mlp}.ff.0.weight", 0) if sizes[f"{side}_blocks"] else 1
            sizes[f"{side}_{mlp}_hidden"] = hidden
    sizes |= part.sizes(
        num_tokens=("token_mlp.weight", 0),
        codebook_size=("codebook", 0),
        codebook_dim=("codebook", 1),
        encoder_width=("feature_embed.weight", 1),
        decoder_width=("decoder_start.weight", 0),
        **({"guidance_channels": (_GUIDANCE, 1)} if _GUIDANCE in part.tensors else {}),
    )
    # The decay is not in the weights.
    return TokenizerConfig(skeleton=skeleton, space=space, ema_decay=0.9, ema_rule="published", **sizes)


def _fold_units(state: Mapping[str, Tensor], crop_size: int) -> dict[str, Tensor]:
    """Fold ``pixels = (units + 1) * crop_size / 2`` into the linear layers that read and write coordinates."""
    half = crop_size / 2
    read, write = "embedding.coordinates", "decoder.to_coordinates"
    weight = state[f"{read}.weight"].double() * half
    folded = {
        f"{read}.weight": weight,
        f"{read}.bias": state[f"{read}.bias"].double() + weight.sum(dim=1),
        f"{write}.weight": state[f"{write}.weight"].double() / half,
        f"{write}.bias": state[f"{write}.bias"].double() / half - 1,
    }
    return {**state, **{name: tensor.float() for name, tensor in folded.items()}}
