#!/usr/bin/env python
"""Convert a published PCT checkpoint to a model folder: ``tools/convert_pct.py official.pth OUT``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from pct.models.convert import ConversionCheck, check_conversion, convert_tokenizer
from pct.models.convert_photo import convert_classifier, convert_heatmap_model, kind_of
from pct.models.official import read_official
from pct.models.photo_config import BackboneSizes
from pct.models.tokenizer import TokenizerConfig
from pct.skeleton import Skeleton, get_skeleton


def main(argv: Sequence[str] | None = None) -> int:
    """Convert one checkpoint and return the exit status: 0, or 1 with a sentence on stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="official checkpoint (.pth without pickled objects, or .safetensors)")
    parser.add_argument("out", help="model folder to write")
    parser.add_argument("--skeleton", default="coco17", help="whose joints the model has (default: coco17)")
    parser.add_argument("--crop-size", type=int, default=256, help="side of its square crop in pixels (default: 256)")
    parser.add_argument("--keep-pixels", action="store_true", help="keep pixels of the crop as the tokenizer's unit")
    parser.add_argument("--tokenizer-only", action="store_true", help="take only the tokenizer of a whole classifier")
    parser.add_argument("--force", action="store_true", help="replace a model that OUT holds")
    args = parser.parse_args(argv)
    try:
        skeleton = get_skeleton(args.skeleton)
        official = read_official(args.checkpoint)
        kind = "tokenizer" if args.tokenizer_only else kind_of(official)
        if kind == "heatmap":
            lines = _convert_heatmap(official, skeleton, args)
        else:
            lines = _convert_tokens(official, skeleton, args, whole=kind == "classifier")
    except (ValueError, OSError) as error:
        print(f"convert_pct: {error}", file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0


def _convert_tokens(
    official: Mapping[str, Tensor], skeleton: Skeleton, args: argparse.Namespace, whole: bool
) -> list[str]:
    """Write a classifier, or a tokenizer where the file is not ``whole``, and return what to say."""
    units = "pixels" if args.keep_pixels else "unit"
    check = check_conversion(official, skeleton, args.crop_size)
    _require_agreement(check)
    if whole:
        classifier = convert_classifier(official, skeleton, units, args.crop_size)
        tokenizer, left, backbone = classifier.tokenizer, classifier.left, classifier.config.backbone
        model = classifier.build()
        what = f"a classifier with {_backbone(backbone)}, its token head and tokenizer: "
    else:
        tokenizer = convert_tokenizer(official, skeleton, units, args.crop_size)
        left, what = tokenizer.ignored, "a tokenizer: "
        model = tokenizer.build()
    model.save_pretrained(args.out, force=args.force)
    config = tokenizer.config
    codebook = config.codebook_size * config.codebook_dim
    lines = [
        f"converted to {args.out}: {what}{_tokenizer(config)}; left: {_left(left)}",
        f"parameters: {_count(model):,} and a codebook of {codebook:,} numbers",
        f"units of the model: {config.space.units} (crop of {config.space.crop_size} pixels, {config.space.padding} "
        "times the longer side of the person's box)",
        f"self-check, folded units against pixels on random poses: features within {check.feature_error:.1e} "
        f"relative, {check.equal_tokens:.2%} equal tokens, decoded poses within {check.keypoint_error:.1e} px",
    ]
    if config.guidance_channels:
        lines.append(
            f"guided: turning poses into tokens needs {config.guidance_channels} image features at each joint, of the "
            "backbone it was trained with; decoding tokens"
            + (" and predicting from photos do" if whole else " does")
            + " not"
        )
    return lines


def _convert_heatmap(official: Mapping[str, Tensor], skeleton: Skeleton, args: argparse.Namespace) -> list[str]:
    """Write a heatmap model and return what to say."""
    if args.keep_pixels:
        raise ValueError("--keep-pixels is for tokenizers and classifiers; heatmaps have no coordinates in pixels")
    converted = convert_heatmap_model(official, skeleton, args.crop_size)
    model = converted.build()
    model.save_pretrained(args.out, force=args.force)
    config = converted.config
    return [
        f"converted to {args.out}: a heatmap model with {_backbone(config.backbone)} and "
        f"{config.heatmap.num_deconvs} deconvolutions of {config.heatmap.width} channels, {config.skeleton.name}; "
        f"left: {_left(converted.left)}",
        f"parameters: {_count(model):,}",
        f"crop of {config.space.crop_size} pixels, {config.space.padding} times the longer side of the person's box",
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


if __name__ == "__main__":
    sys.exit(main())
