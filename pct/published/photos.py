"""Conversion of published models that read photos: a whole PCT classifier, or the heatmap-trained backbone it uses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from pct.conventions import PUBLISHED
from pct.photos.classifier import ClassifierConfig, PoseClassifier
from pct.photos.config import HeadSizes, HeatmapSizes
from pct.photos.heads.published import PublishedTokenHead
from pct.photos.heatmap import HeatmapConfig, HeatmapModel
from pct.pose_space import PoseSpace
from pct.published.checkpoint import MIXER_NAMES, count_numbered, rename_tensors, size_of
from pct.published.swin import PREFIX as BACKBONE
from pct.published.swin import STRIDE, convert_backbone
from pct.published.tokenizer import GUIDE, ConvertedTokenizer, convert_tokenizer
from pct.published.tokenizer import PREFIX as TOKENIZER
from pct.skeleton import COCO17, Skeleton

HEAD = "keypoint_head."
# How much larger than the person's box the published models' crops are when they predict.
CLASSIFIER_PADDING, HEATMAP_PADDING = 1.12, 1.25
# Our name -> the official one.
_HEAD_NAMES = {
    "reduce": "conv_trans.0",
    "reduce_norm": "conv_trans.1",
    "to_tokens": "mixer_trans.ff.0",
    "to_tokens_norm": "mixer_trans.ff.1",
    "to_entries": "mixer_norm_layer.ff.0",
    "to_entries_norm": "mixer_norm_layer.ff.1",
    "to_logits": "cls_pred_layer",
}
_CONV_NAMES = {"conv1": "conv1", "norm1": "bn1", "conv2": "conv2", "norm2": "bn2"}


@dataclass(frozen=True)
class ConvertedHead:
    """A published token head in our form.

    Attributes:
        sizes: What to build.
        channels: Channels C of the features it reads.
        grid: Height and width of their map.
        num_tokens: Tokens M.
        codebook_size: Entries V.
        state: Its state dict under our names.
    """

    sizes: HeadSizes
    channels: int
    grid: tuple[int, int]
    num_tokens: int
    codebook_size: int
    state: dict[str, Tensor]

    def build(self) -> PublishedTokenHead:
        """Return the head, in evaluation mode."""
        head = _empty_head(self.sizes, self.channels, self.grid, self.num_tokens, self.codebook_size)
        head.load_state_dict(self.state)
        return head.eval()


@dataclass(frozen=True)
class ConvertedClassifier:
    """A whole published classifier in our form.

    With image guidance its tokenizer's encoder needs the features of another backbone at the joints, the tokenizer's
    guide. Predicting from photos needs neither; encoding poses, and so making labels to train on, needs both.

    Attributes:
        config: Sizes of backbone and head.
        tokenizer: The tokenizer.
        state: State dict of backbone and head under our names.
        left: Number of tensors that were not taken, by part of the file.
    """

    config: ClassifierConfig
    tokenizer: ConvertedTokenizer
    state: dict[str, Tensor]
    left: dict[str, int]

    def build(self) -> PoseClassifier:
        """Return the classifier, in evaluation mode."""
        tokenizer = self.tokenizer.build()
        model = PoseClassifier(self.config, tokenizer)
        model.load_state_dict({**self.state, **_under("tokenizer.", tokenizer.state_dict())})
        return model.eval()


@dataclass(frozen=True)
class ConvertedHeatmapModel:
    """A published heatmap-trained backbone with its heatmap head in our form.

    Attributes:
        config: Sizes, skeleton and pose space.
        state: State dict under our names.
        left: Number of tensors that were not taken, by part of the file.
    """

    config: HeatmapConfig
    state: dict[str, Tensor]
    left: dict[str, int]

    def build(self) -> HeatmapModel:
        """Return the model, in evaluation mode."""
        model = HeatmapModel(self.config)
        model.load_state_dict(self.state)
        return model.eval()


def kind_of(official: Mapping[str, Tensor]) -> Literal["classifier", "heatmap", "tokenizer"]:
    """Tell what an official state dict is.

    Raises:
        ValueError: If it is none of them; the error says what it holds.
    """
    has = {part: any(n.startswith(part) for n in official) for part in (BACKBONE, TOKENIZER)}
    if has[TOKENIZER] and f"{HEAD}cls_pred_layer.weight" in official:
        return "classifier"
    if has[TOKENIZER]:
        return "tokenizer"
    if has[BACKBONE] and f"{HEAD}final_layer.weight" in official:
        return "heatmap"
    parts = ", ".join(f"{count} of {part}" for part, count in _parts(official).items()) or "nothing"
    raise ValueError(
        "no official model in this checkpoint: it needs a tokenizer (names that start with "
        f"{TOKENIZER}) or a backbone with a heatmap head ({HEAD}final_layer.weight); it holds {parts}"
    )


def convert_token_head(
    official: Mapping[str, Tensor], num_tokens: int, codebook_size: int, crop_size: int = 256
) -> ConvertedHead:
    """Turn a published token head into ours.

    Args:
        official: Official names with tensors; only those of the head are read.
        num_tokens: Tokens M of its tokenizer.
        codebook_size: Entries V of its tokenizer.
        crop_size: Side in pixels of the square crop; the backbone's stride is 32.

    Raises:
        ValueError: If tensors are missing, unexpected or of another shape than the rest implies.
    """
    tensors = {
        name.removeprefix(HEAD): t
        for name, t in official.items()
        if name.startswith(HEAD) and not name.startswith(TOKENIZER)
    }

    def size(name: str, axis: int) -> int:
        return size_of(tensors, name, axis, HEAD)

    blocks = count_numbered(tensors, "mixer_head.")
    sizes = HeadSizes(
        kind="published",
        width=size("mixer_norm_layer.ff.0.weight", 0),
        num_blocks=blocks,
        conv_channels=size("conv_trans.0.weight", 0),
        token_hidden=size("mixer_head.0.MLP_token.ff.0.weight", 0),
        channel_hidden=size("mixer_head.0.MLP_channel.ff.0.weight", 0),
        conv_blocks=count_numbered(tensors, "conv_head.0."),
    )
    grid = (crop_size // STRIDE, crop_size // STRIDE)
    positions, rest = divmod(size("mixer_trans.ff.0.weight", 1), sizes.conv_channels)
    if rest or positions != grid[0] * grid[1]:
        raise ValueError(
            f"the head reads {positions} positions, but a crop of {crop_size} pixels has {grid[0]} x {grid[1]}; give "
            "the side of the square crop that it was trained on"
        )
    channels = size("conv_trans.0.weight", 1)
    with torch.device("meta"):
        ours = _empty_head(sizes, channels, grid, num_tokens, codebook_size).state_dict()
    state = rename_tensors(tensors, {name: _official_head_name(name) for name in ours}, ours, HEAD, "token head")
    return ConvertedHead(sizes, channels, grid, num_tokens, codebook_size, state)


def convert_classifier(
    official: Mapping[str, Tensor],
    skeleton: Skeleton = COCO17,
    units: Literal["unit", "pixels"] = "unit",
    crop_size: int = 256,
    padding: float = CLASSIFIER_PADDING,
) -> ConvertedClassifier:
    """Turn a whole published classifier (backbone, token head, tokenizer) into ours.

    Args:
        official: Official names with tensors. The ``extra_backbone`` of image guidance becomes the tokenizer's guide;
            other parts beside backbone and head are left and counted.
        skeleton: Whose joints it was trained on, in its order.
        units: As for :func:`pct.published.tokenizer.convert_tokenizer`.
        crop_size: Side in pixels of the square crop it was trained on.
        padding: Side of the crop over the longer side of the person's box; the published models predict with 1.12.

    Raises:
        ValueError: If tensors are missing, unexpected or of another shape than the rest implies.
    """
    tokenizer = convert_tokenizer(official, skeleton, units, crop_size)
    space = replace(tokenizer.config.space, padding=padding)
    tokenizer = replace(tokenizer, config=replace(tokenizer.config, space=space))
    backbone = convert_backbone(official, crop_size)
    head = convert_token_head(official, tokenizer.config.num_tokens, tokenizer.config.codebook_size, crop_size)
    state = {**_under("backbone.", backbone.state), **_under("head.", head.state)}
    left = _left(official, backbone.rebuilt)
    if tokenizer.guide is not None:
        left.pop(GUIDE[:-1], None)
    return ConvertedClassifier(ClassifierConfig(backbone.sizes, head.sizes), tokenizer, state, left)


def convert_heatmap_model(
    official: Mapping[str, Tensor],
    skeleton: Skeleton = COCO17,
    crop_size: int = 256,
    padding: float = HEATMAP_PADDING,
) -> ConvertedHeatmapModel:
    """Turn a heatmap-trained backbone with its deconvolutions into ours.

    Raises:
        ValueError: If tensors are missing, unexpected or of another shape than the rest implies.
    """
    backbone = convert_backbone(official, crop_size)
    tensors = {name.removeprefix(HEAD): t for name, t in official.items() if name.startswith(HEAD)}
    num_keypoints = size_of(tensors, "final_layer.weight", 0, HEAD)
    if num_keypoints != skeleton.num_keypoints:
        raise ValueError(
            f"the model has {num_keypoints} joints, but skeleton {skeleton.name} has {skeleton.num_keypoints}; "
            "give the skeleton it was trained on"
        )
    space = PoseSpace(padding=padding, crop_size=crop_size, conventions=PUBLISHED)
    config = HeatmapConfig(backbone.sizes, _read_heatmap_sizes(tensors), skeleton, space)
    with torch.device("meta"):
        ours = {n: t for n, t in HeatmapModel(config).state_dict().items() if not n.startswith("backbone.")}
    names = {n: n.replace("head.deconvs.", "deconv_layers.").replace("head.last.", "final_layer.") for n in ours}
    state = {**_under("backbone.", backbone.state), **rename_tensors(tensors, names, ours, HEAD, "heatmap head")}
    return ConvertedHeatmapModel(config, state, _left(official, backbone.rebuilt))


def _read_heatmap_sizes(tensors: Mapping[str, Tensor]) -> HeatmapSizes:
    # A deconvolution, its batch norm and the activation are three steps of one list.
    count = (count_numbered(tensors, "deconv_layers.") + 2) // 3
    width, kernel = (size_of(tensors, "deconv_layers.0.weight", axis, HEAD) for axis in (1, 3))
    if kernel not in (2, 4):
        shape = tuple(tensors["deconv_layers.0.weight"].shape)
        raise ValueError(f"{HEAD}deconv_layers.0.weight has shape {shape}; published kernels are 2 x 2 or 4 x 4")
    return HeatmapSizes(count, width, cell_center=0.0, kernel=kernel)


def _official_head_name(name: str) -> str:
    """Turn our parameter name of the head into the official one."""
    part, *rest = name.split(".")
    if part == "blocks":
        return ".".join(["mixer_head", rest[0], MIXER_NAMES[".".join(rest[1:-1])], rest[-1]])
    if part == "residual":
        return ".".join(["conv_head.0", rest[0], _CONV_NAMES[rest[1]], rest[-1]])
    return ".".join([_HEAD_NAMES[part], *rest])


def _empty_head(
    sizes: HeadSizes, channels: int, grid: tuple[int, int], num_tokens: int, codebook_size: int
) -> PublishedTokenHead:
    return PublishedTokenHead(
        channels,
        grid,
        num_tokens,
        codebook_size,
        sizes.conv_channels,
        sizes.conv_blocks,
        sizes.width,
        sizes.num_blocks,
        sizes.token_hidden,
        sizes.channel_hidden,
    )


def _parts(official: Mapping[str, Tensor]) -> dict[str, int]:
    return dict(Counter(name.split(".")[0] for name in official))


def _left(official: Mapping[str, Tensor], rebuilt: int) -> dict[str, int]:
    left = {part: count for part, count in _parts(official).items() if part not in (BACKBONE[:-1], HEAD[:-1])}
    return {**left, **({"tables that follow from the window sizes": rebuilt} if rebuilt else {})}


def _under(prefix: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}
