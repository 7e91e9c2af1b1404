"""Conversion of published models that read photos: a whole PCT classifier, or the heatmap-trained backbone it uses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from pct.conventions import PUBLISHED
from pct.photos.classifier import ClassifierConfig, PoseClassifier
from pct.photos.config import HeadSizes, HeatmapSizes
from pct.photos.heatmap import HeatmapConfig, HeatmapModel
from pct.pose_space import PoseSpace
from pct.published.checkpoint import MIXER_NAMES, Names, OfficialPart, describe_parts
from pct.published.swin import PREFIX as BACKBONE
from pct.published.swin import STRIDE, convert_backbone
from pct.published.tokenizer import PREFIX as TOKENIZER
from pct.published.tokenizer import Units, convert_tokenizer
from pct.skeleton import COCO17, Skeleton

HEAD = "keypoint_head."
# How much larger than the person's box the published models' crops are when they predict.
CLASSIFIER_PADDING, HEATMAP_PADDING = 1.12, 1.25
_HEAD_NAMES: Names = {
    r"^residual\.(\d+)\.norm": r"conv_head.0.\1.bn",
    r"^residual\.": "conv_head.0.",
    r"^blocks\.": "mixer_head.",
    **MIXER_NAMES,
    r"^reduce\.": "conv_trans.0.",
    r"^reduce_norm\.": "conv_trans.1.",
    r"^to_tokens\.": "mixer_trans.ff.0.",
    r"^to_tokens_norm\.": "mixer_trans.ff.1.",
    r"^to_entries\.": "mixer_norm_layer.ff.0.",
    r"^to_entries_norm\.": "mixer_norm_layer.ff.1.",
    r"^to_logits\.": "cls_pred_layer.",
}
_HEATMAP_NAMES: Names = {r"^deconvs\.": "deconv_layers.", r"^last\.": "final_layer."}


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
    raise ValueError(
        "no official model in this checkpoint: it needs a tokenizer (names that start with "
        f"{TOKENIZER}) or a backbone with a heatmap head ({HEAD}final_layer.weight); it holds "
        + describe_parts(official)
    )


def convert_classifier(
    official: Mapping[str, Tensor], skeleton: Skeleton = COCO17, units: Units = "unit", crop_size: int = 256
) -> PoseClassifier:
    """Turn a whole published classifier (backbone, token head, tokenizer) into ours, in evaluation mode.

    With image guidance its tokenizer's encoder needs the features of another backbone at the joints: the
    ``extra_backbone`` becomes the tokenizer's guide. Predicting from photos needs neither; encoding poses, and so
    making labels to train on, needs both. Arguments and errors are those of
    :func:`~pct.published.tokenizer.convert_tokenizer`.
    """
    tokenizer = convert_tokenizer(official, skeleton, units, crop_size, CLASSIFIER_PADDING)
    backbone, backbone_state = convert_backbone(official, crop_size)
    head = OfficialPart(official, HEAD, without=TOKENIZER)
    classifier = PoseClassifier(ClassifierConfig(backbone, _read_head_sizes(head, crop_size)), tokenizer)
    classifier.backbone.load_state_dict(backbone_state)
    classifier.head.load_state_dict(head.rename(classifier.head.state_dict(), _HEAD_NAMES, "token head"))
    return classifier.eval()


def convert_heatmap_model(
    official: Mapping[str, Tensor], skeleton: Skeleton = COCO17, crop_size: int = 256
) -> HeatmapModel:
    """Turn a heatmap-trained backbone with its deconvolutions into ours, in evaluation mode.

    Raises:
        ValueError: If tensors are missing, unexpected or of another shape than the rest implies.
    """
    backbone, backbone_state = convert_backbone(official, crop_size)
    head = OfficialPart(official, HEAD)
    head.check_joints("final_layer.weight", 0, skeleton, "model")
    space = PoseSpace(padding=HEATMAP_PADDING, crop_size=crop_size, conventions=PUBLISHED)
    model = HeatmapModel(HeatmapConfig(backbone, _read_heatmap_sizes(head), skeleton, space))
    model.backbone.load_state_dict(backbone_state)
    model.head.load_state_dict(head.rename(model.head.state_dict(), _HEATMAP_NAMES, "heatmap head"))
    return model.eval()


def _read_head_sizes(head: OfficialPart, crop_size: int) -> HeadSizes:
    places = {
        "width": ("mixer_norm_layer.ff.0.weight", 0),
        "conv_channels": ("conv_trans.0.weight", 0),
        "token_hidden": ("mixer_head.0.MLP_token.ff.0.weight", 0),
        "channel_hidden": ("mixer_head.0.MLP_channel.ff.0.weight", 0),
    }
    blocks = {"num_blocks": head.count("mixer_head."), "conv_blocks": head.count("conv_head.0.")}
    sizes = HeadSizes("published", **blocks, **head.sizes(**places))
    side = crop_size // STRIDE
    positions, rest = divmod(head.size("mixer_trans.ff.0.weight", 1), sizes.conv_channels)
    if rest or positions != side * side:
        raise ValueError(
            f"the head reads {positions} positions, but a crop of {crop_size} pixels has {side} x {side}; give "
            "the side of the square crop that it was trained on"
        )
    return sizes


def _read_heatmap_sizes(head: OfficialPart) -> HeatmapSizes:
    # A deconvolution, its batch norm and the activation are three steps of one list.
    count = (head.count("deconv_layers.") + 2) // 3
    width, kernel = (head.size("deconv_layers.0.weight", axis) for axis in (1, 3))
    if kernel not in (2, 4):
        shape = tuple(head.tensors["deconv_layers.0.weight"].shape)
        raise ValueError(f"{HEAD}deconv_layers.0.weight has shape {shape}; published kernels are 2 x 2 or 4 x 4")
    return HeatmapSizes(count, width, cell_center=0.0, kernel=kernel)
