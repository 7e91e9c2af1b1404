"""A published PCT checkpoint to a model folder, with lines that say what was taken and what was left."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from pct.photos.classifier import PoseClassifier
from pct.photos.config import BackboneSizes
from pct.published.checkpoint import read_official
from pct.published.photos import convert_classifier, convert_heatmap_model, kind_of
from pct.published.tokenizer import ConversionCheck, ConvertedTokenizer, check_conversion, convert_tokenizer
from pct.skeleton import COCO17, Skeleton
from pct.tokenizer import PoseTokenizer, TokenizerConfig

_CONVENTIONS = "crops, flip test and scores are the release's (docs/published.md)"


def convert_checkpoint(
    checkpoint: str | Path,
    out: str | Path,
    skeleton: Skeleton = COCO17,
    units: Literal["unit", "pixels"] = "unit",
    crop_size: int = 256,
    tokenizer_only: bool = False,
    force: bool = False,
) -> list[str]:
    """Convert an official classifier, heatmap model or tokenizer, whichever a file holds, and write it.

    Args:
        checkpoint: ``.pth`` without pickled objects, or ``.safetensors``.
        out: Model folder to write.
        skeleton: Whose joints the model has, in its order.
        units: As for :func:`pct.published.tokenizer.convert_tokenizer`; heatmap models have none.
        crop_size: Side in pixels of the square crop that the model was trained on.
        tokenizer_only: Take only the tokenizer of a whole classifier.
        force: Replace a model that ``out`` holds.

    Returns:
        Lines that say what was written.

    Raises:
        ValueError: If the file is broken, is none of these models, or does not fit the skeleton or the crop.
        FileExistsError: If ``out`` holds a model and ``force`` is not set.
        OSError: If a file cannot be read or written.
    """
    official = read_official(checkpoint)
    kind = "tokenizer" if tokenizer_only else kind_of(official)
    if kind == "heatmap":
        if units == "pixels":
            raise ValueError("pixels are kept by tokenizers and classifiers; heatmaps have no coordinates in pixels")
        return _convert_heatmap(official, skeleton, crop_size, out, force)
    check = check_conversion(official, skeleton, crop_size)
    _require_agreement(check)
    model: PoseClassifier | PoseTokenizer
    if kind == "classifier":
        classifier = convert_classifier(official, skeleton, units, crop_size)
        tokenizer, left, model = classifier.tokenizer, classifier.left, classifier.build()
        what = f"a classifier with {_backbone(classifier.config.backbone)}, its token head and tokenizer"
    else:
        tokenizer = convert_tokenizer(official, skeleton, units, crop_size)
        left, model, what = tokenizer.ignored, tokenizer.build(), "a tokenizer"
    model.save_pretrained(out, force=force)
    first = f"converted to {out}: {what}: {_tokenizer(tokenizer.config)}; left: {_left(left)}"
    return [first, *_describe(model, tokenizer, check)]


def _describe(model: nn.Module, tokenizer: ConvertedTokenizer, check: ConversionCheck) -> list[str]:
    config, space = tokenizer.config, tokenizer.config.space
    lines = [
        f"parameters: {_count(model):,} and a codebook of {config.codebook_size * config.codebook_dim:,} numbers",
        f"units of the model: {space.units} (crop of {space.crop_size} pixels, {space.padding} times the longer side "
        f"of the person's box); {_CONVENTIONS}",
        f"self-check, folded units against pixels on random poses: features within {check.feature_error:.1e} "
        f"relative, {check.equal_tokens:.2%} equal tokens, decoded poses within {check.keypoint_error:.1e} px",
    ]
    if config.guidance_channels:
        given = "was converted with it" if tokenizer.guide else "is not in the file, so that they must be had elsewhere"
        lines.append(
            f"guided: turning poses into tokens needs the photo, for {config.guidance_channels} image features at each "
            f"joint; the backbone that gives them {given}"
        )
    return lines


def _convert_heatmap(
    official: Mapping[str, Tensor], skeleton: Skeleton, crop_size: int, out: str | Path, force: bool
) -> list[str]:
    """Write a heatmap model and return what to say."""
    converted = convert_heatmap_model(official, skeleton, crop_size)
    model, config = converted.build(), converted.config
    model.save_pretrained(out, force=force)
    sizes = config.heatmap
    return [
        f"converted to {out}: a heatmap model with {_backbone(config.backbone)} and {sizes.num_deconvs} deconvolutions "
        f"of {sizes.width} channels ({sizes.kernel} x {sizes.kernel}), {config.skeleton.name}; "
        f"left: {_left(converted.left)}",
        f"parameters: {_count(model):,}",
        f"crop of {config.space.crop_size} pixels, {config.space.padding} times the longer side of the person's box; "
        + _CONVENTIONS,
    ]


def _require_agreement(check: ConversionCheck) -> None:
    if check.feature_error > 1e-3 or check.keypoint_error > 0.01 or check.equal_tokens < 0.99:
        raise ValueError(f"self-check failed, so nothing was written: units and pixels disagree: {check}")


def _tokenizer(config: TokenizerConfig) -> str:
    guidance = f"image guidance of {config.guidance_channels} channels" if config.guidance_channels else "no guidance"
    return (
        f"{config.skeleton.name}, {config.num_tokens} tokens, codebook {config.codebook_size} x {config.codebook_dim}, "
        f"encoder {config.encoder_blocks} x {config.encoder_width}, "
        f"decoder {config.decoder_blocks} x {config.decoder_width}, {guidance}"
    )


def _backbone(sizes: BackboneSizes) -> str:
    return sizes.name + "".join(f" {name}={value}" for name, value in sizes.options.items())


def _left(left: Mapping[str, int]) -> str:
    return ", ".join(f"{count} tensors of {part}" for part, count in left.items()) or "nothing"


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
