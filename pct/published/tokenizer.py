"""Conversion of published PCT weights: the official release's tokenizer becomes our config and state dict."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from pct.conventions import PUBLISHED
from pct.photos.guide import GuideConfig, ImageGuide
from pct.pose_space import PoseSpace
from pct.published.checkpoint import MIXER_NAMES, count_numbered, rename_tensors, size_of
from pct.published.swin import convert_backbone
from pct.skeleton import COCO17, Skeleton
from pct.tokenizer import PoseTokenizer, TokenizerConfig

PREFIX = "keypoint_head.tokenizer."
# The second backbone, whose features at the joints guide the tokenizer.
GUIDE = "extra_backbone."
# Our name -> the official one; block numbers and the mixers' inner names are filled in by _official_name.
_NAMES = {
    "embedding.mask_token": "invisible_token",
    "embedding.coordinates": "start_embed",
    "embedding.guidance": "start_img_embed",
    "encoder.norm": "encoder_layer_norm",
    "encoder.to_tokens": "token_mlp",
    "encoder.to_features": "feature_embed",
    "quantizer.codebook.codebook_buffer": "codebook",
    "quantizer.codebook.ema_count": "ema_cluster_size",
    "quantizer.codebook.ema_sum": "ema_w",
    "decoder.to_joints": "decoder_token_mlp",
    "decoder.start": "decoder_start",
    "decoder.norm": "decoder_layer_norm",
    "decoder.to_coordinates": "recover_embed",
}
# Ours only: the official release does not count its updates.
_UPDATES = "quantizer.codebook.updates"


@dataclass(frozen=True)
class ConvertedTokenizer:
    """A published tokenizer in our form.

    Attributes:
        config: Its sizes, skeleton and pose space.
        state: Its state dict under our names.
        ignored: Number of tensors of the other parts of the file, by part (``backbone``, ``keypoint_head``, ...).
        guide: The second backbone of a file with image guidance, which gives its features; None where there is none.
    """

    config: TokenizerConfig
    state: dict[str, Tensor]
    ignored: dict[str, int]
    guide: ImageGuide | None = None

    def build(self) -> PoseTokenizer:
        """Return the tokenizer, in evaluation mode."""
        tokenizer = PoseTokenizer(self.config, self.guide)
        guide = {} if self.guide is None else self.guide.state_dict()
        tokenizer.load_state_dict({**self.state, **{f"guide.{name}": tensor for name, tensor in guide.items()}})
        return tokenizer.eval()


@dataclass(frozen=True)
class ConversionCheck:
    """How far the tokenizer in units of the crop is from the one in pixels, on random poses.

    Attributes:
        feature_error: Largest difference of the token features, relative to the largest feature.
        keypoint_error: Largest difference of poses decoded from the same tokens, in pixels of the crop.
        equal_tokens: Share of equal tokens, in [0, 1]; a feature half-way between two entries may go either way.
    """

    feature_error: float
    keypoint_error: float
    equal_tokens: float


def convert_tokenizer(
    official: Mapping[str, Tensor],
    skeleton: Skeleton = COCO17,
    units: Literal["unit", "pixels"] = "unit",
    crop_size: int = 256,
    ema_decay: float = 0.9,
) -> ConvertedTokenizer:
    """Turn the tokenizer of an official state dict into ours. All sizes are read off the shapes.

    Args:
        official: Official names with tensors. Of a guided tokenizer ``extra_backbone`` is taken as its guide, where the
            file has it; other parts than ``keypoint_head.tokenizer`` are ignored and counted.
        skeleton: Whose joints the tokenizer was trained on, in its order.
        units: ``unit`` folds the pixels of the crop into the first and the last linear layer, so that the crop is
            [-1, 1]; ``pixels`` keeps the weights as they are, which training losses comparable to published ones need.
        crop_size: Side in pixels of the square crop the tokenizer was trained on.
        ema_decay: Of the codebook; it is not in the weights.

    Raises:
        ValueError: If tensors are missing, unexpected or of another shape than the rest implies, or the number of
            joints is not the skeleton's.
    """
    space = PoseSpace(units=units, crop_size=crop_size, conventions=PUBLISHED)
    tensors = {name.removeprefix(PREFIX): t for name, t in official.items() if name.startswith(PREFIX)}
    ignored = dict(Counter(name.split(".")[0] for name in official if not name.startswith(PREFIX)))
    if not tensors:
        parts = ", ".join(f"{n} of {part}" for part, n in ignored.items()) or "nothing"
        raise ValueError(f"no tokenizer in this checkpoint: no name starts with {PREFIX}; it holds {parts}")
    config = _read_config(tensors, skeleton, space, ema_decay)
    ours = PoseTokenizer(config).state_dict()
    names = {name: _official_name(name) for name in ours if name != _UPDATES}
    state = rename_tensors(tensors, names, ours, PREFIX, "tokenizer")
    state[_UPDATES] = torch.ones((), dtype=torch.int64)
    if units == "unit":
        state = _fold_units(state, crop_size)
    guided = config.guidance_channels > 0 and GUIDE[:-1] in ignored
    guide = _convert_guide(official, space) if guided else None
    if guide is not None:
        _check_guide(guide, config)
        config, ignored = replace(config, guidance_from=guide.fingerprint()), {**ignored}
        del ignored[GUIDE[:-1]]
    return ConvertedTokenizer(config, state, ignored, guide)


@torch.no_grad()
def check_conversion(
    official: Mapping[str, Tensor], skeleton: Skeleton = COCO17, crop_size: int = 256
) -> ConversionCheck:
    """Convert in both units and compare them on 64 random poses, a fifth of the joints unknown."""
    official = {name: tensor for name, tensor in official.items() if name.startswith(PREFIX)}
    pixels = convert_tokenizer(official, skeleton, "pixels", crop_size).build()
    unit = convert_tokenizer(official, skeleton, "unit", crop_size).build()
    generator = torch.Generator().manual_seed(0)
    poses = torch.rand(64, skeleton.num_keypoints, 2, generator=generator) * crop_size
    visible = torch.rand(poses.shape[:2], generator=generator) < 0.8
    channels, features = pixels.config.guidance_channels, None
    if channels:
        features = torch.randn(*poses.shape[:2], channels, generator=generator)
    half = crop_size / 2
    z = pixels.encode_features(poses, visible, features)
    unit_z = unit.encode_features(poses / half - 1, visible, features)
    indices = pixels.quantizer.assign(z)
    return ConversionCheck(
        feature_error=float((z - unit_z).abs().max() / z.abs().max()),
        keypoint_error=float((pixels.decode(indices) - (unit.decode(indices) + 1) * half).abs().max()),
        equal_tokens=float((indices == unit.quantizer.assign(unit_z)).double().mean()),
    )


def _convert_guide(official: Mapping[str, Tensor], space: PoseSpace) -> ImageGuide:
    """Return the second backbone as a guide; the published cells have their values at their upper left corners."""
    backbone = convert_backbone(official, space.crop_size, GUIDE)
    guide = ImageGuide(GuideConfig(backbone.sizes, space.bounds, cell_center=0.0))
    guide.backbone.load_state_dict(backbone.state)
    return guide


def _check_guide(guide: ImageGuide, config: TokenizerConfig) -> None:
    if guide.channels != config.guidance_channels:
        raise ValueError(
            f"{PREFIX}start_img_embed.weight reads {config.guidance_channels} image features, but {GUIDE[:-1]} gives "
            f"{guide.channels}"
        )


def _read_config(
    tensors: Mapping[str, Tensor], skeleton: Skeleton, space: PoseSpace, ema_decay: float
) -> TokenizerConfig:
    """Read all sizes off the shapes; whether the shapes agree with each other is checked afterwards."""

    def size(name: str, axis: int) -> int:
        return size_of(tensors, name, axis, PREFIX)

    num_keypoints = size("token_mlp.weight", 1)
    if num_keypoints != skeleton.num_keypoints:
        raise ValueError(
            f"the tokenizer has {num_keypoints} joints, but skeleton {skeleton.name} has {skeleton.num_keypoints}; "
            "give the skeleton it was trained on"
        )
    blocks = {side: count_numbered(tensors, f"{side}.") for side in ("encoder", "decoder")}
    hidden = {
        (side, mlp): size(f"{side}.0.MLP_{mlp}.ff.0.weight", 0) if blocks[side] else 1
        for side in blocks
        for mlp in ("token", "channel")
    }
    return TokenizerConfig(
        skeleton=skeleton,
        space=space,
        num_tokens=size("token_mlp.weight", 0),
        codebook_size=size("codebook", 0),
        codebook_dim=size("codebook", 1),
        encoder_width=size("feature_embed.weight", 1),
        encoder_blocks=blocks["encoder"],
        encoder_token_hidden=hidden["encoder", "token"],
        encoder_channel_hidden=hidden["encoder", "channel"],
        decoder_width=size("decoder_start.weight", 0),
        decoder_blocks=blocks["decoder"],
        decoder_token_hidden=hidden["decoder", "token"],
        decoder_channel_hidden=hidden["decoder", "channel"],
        guidance_channels=size("start_img_embed.weight", 1) if "start_img_embed.weight" in tensors else 0,
        ema_decay=ema_decay,
        ema_rule="published",
    )


def _official_name(name: str) -> str:
    """Turn our parameter name into the official one, without the prefix."""
    block = re.fullmatch(r"(encoder|decoder)\.blocks\.(\d+)\.(.+)\.(weight|bias)", name)
    if block:
        side, number, inner, kind = block.groups()
        return f"{side}.{number}.{MIXER_NAMES[inner]}.{kind}"
    if name in _NAMES:
        return _NAMES[name]
    stem, kind = name.rsplit(".", 1)
    return f"{_NAMES[stem]}.{kind}"


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
