"""A published PCT checkpoint to a model folder, with lines that say what was taken and what was left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from pct.photos.classifier import PoseClassifier
from pct.photos.config import BackboneSizes
from pct.photos.heatmap import HeatmapModel
from pct.pose_space import PoseSpace
from pct.published.checkpoint import read_official
from pct.published.photos import HEAD, convert_classifier, convert_heatmap_model, kind_of
from pct.published.swin import PREFIX as BACKBONE
from pct.published.swin import is_table
from pct.published.tokenizer import GUIDE, Units, convert_tokenizer
from pct.published.tokenizer import PREFIX as TOKENIZER
from pct.skeleton import COCO17, Skeleton
from pct.tokenizer import PoseTokenizer


def convert_checkpoint(
    checkpoint: str | Path,
    out: str | Path,
    skeleton: Skeleton = COCO17,
    units: Units = "unit",
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
    model: PoseClassifier | PoseTokenizer | HeatmapModel
    if kind == "heatmap":
        if units == "pixels":
            raise ValueError("pixels are kept by tokenizers and classifiers; heatmaps have no coordinates in pixels")
        model = convert_heatmap_model(official, skeleton, crop_size)
        lines = _describe_heatmap(model)
    else:
        convert = convert_classifier if kind == "classifier" else convert_tokenizer
        model = convert(official, skeleton, units, crop_size)
        lines = _describe(model)
    model.save_pretrained(out, force=force)
    return [f"converted to {out}: {lines[0]}; left: {_left(official, model)}", *lines[1:]]


def _describe(model: PoseClassifier | PoseTokenizer) -> list[str]:
    tokenizer, what = (model, "a tokenizer") if isinstance(model, PoseTokenizer) else (model.tokenizer, "")
    if isinstance(model, PoseClassifier):
        what = f"a classifier with {_backbone(model.config.backbone)}, its token head and tokenizer"
    config, space = tokenizer.config, tokenizer.space
    guidance = f"image guidance of {config.guidance_channels} channels" if config.guidance_channels else "no guidance"
    lines = [
        f"{what}: {config.skeleton.name}, {config.num_tokens} tokens, codebook {config.codebook_size} x "
        f"{config.codebook_dim}, encoder {config.encoder_blocks} x {config.encoder_width}, decoder "
        f"{config.decoder_blocks} x {config.decoder_width}, {guidance}",
        f"parameters: {_count(model):,} and a codebook of {config.codebook_size * config.codebook_dim:,} numbers",
        f"units of the model: {space.units} ({_crops(space)}",
    ]
    if config.guidance_channels:
        given = "was converted with it" if tokenizer.guide else "is not in the file, so that they must be had elsewhere"
        lines.append(
            f"guided: turning poses into tokens needs the photo, for {config.guidance_channels} image features at each "
            f"joint; the backbone that gives them {given}"
        )
    return lines


def _describe_heatmap(model: HeatmapModel) -> list[str]:
    sizes = model.config.heatmap
    return [
        f"a heatmap model with {_backbone(model.config.backbone)} and {sizes.num_deconvs} deconvolutions of "
        f"{sizes.width} channels ({sizes.kernel} x {sizes.kernel}), {model.config.skeleton.name}",
        f"parameters: {_count(model):,}",
        f"inputs ({_crops(model.config.space)}",
    ]


def _left(official: Mapping[str, Tensor], model: nn.Module) -> str:
    """Say how many tensors of which parts of the file the model did not take."""
    tokenizer = model if isinstance(model, PoseTokenizer) else getattr(model, "tokenizer", None)
    taken = [TOKENIZER] if tokenizer is model else [BACKBONE, HEAD]
    taken += [GUIDE] if tokenizer is not None and tokenizer.guide is not None else []
    left = Counter(name.split(".")[0] for name in official if not name.startswith(tuple(taken)))
    if tokenizer is not model:
        tables = [name for name in official if name.startswith(BACKBONE) and is_table(name)]
        left["tables that follow from the window sizes"] += len(tables)
    return ", ".join(f"{count} tensors of {part}" for part, count in left.items() if count) or "nothing"


def _crops(space: PoseSpace) -> str:
    return (
        f"crop of {space.crop_size} pixels, {space.padding} times the longer side of the person's box); crops, flip "
        "test and scores are the release's (docs/published.md)"
    )


def _backbone(sizes: BackboneSizes) -> str:
    return sizes.name + "".join(f" {name}={value}" for name, value in sizes.options.items())


def _count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())
