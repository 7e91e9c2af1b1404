"""Convert the tokenizer of a published PCT checkpoint: ``tools/convert_pct.py official.pth OUT``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from pct.models.convert import ConversionCheck, ConvertedTokenizer, check_conversion, convert_tokenizer
from pct.models.official import read_official
from pct.skeleton import get_skeleton


def main(argv: Sequence[str] | None = None) -> int:
    """Convert one checkpoint and return the exit status: 0, or 1 with a sentence on stderr."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="official checkpoint (.pth without pickled objects, or .safetensors)")
    parser.add_argument("out", help="model folder to write")
    parser.add_argument("--skeleton", default="coco17", help="whose joints the tokenizer has (default: coco17)")
    parser.add_argument("--crop-size", type=int, default=256, help="side of its square crop in pixels (default: 256)")
    parser.add_argument("--keep-pixels", action="store_true", help="keep pixels of the crop as the model's unit")
    parser.add_argument("--force", action="store_true", help="replace a model that OUT holds")
    args = parser.parse_args(argv)
    try:
        skeleton = get_skeleton(args.skeleton)
        official = read_official(args.checkpoint)
        units = "pixels" if args.keep_pixels else "unit"
        converted = convert_tokenizer(official, skeleton, units, args.crop_size)
        check = check_conversion(official, skeleton, args.crop_size)
        _require_agreement(check)
        converted.build().save_pretrained(args.out, force=args.force)
    except (ValueError, OSError) as error:
        print(f"convert_pct: {error}", file=sys.stderr)
        return 1
    print(_summary(converted, check, args.out))
    return 0


def _require_agreement(check: ConversionCheck) -> None:
    if check.feature_error > 1e-3 or check.keypoint_error > 0.01 or check.equal_tokens < 0.99:
        raise ValueError(f"self-check failed, so nothing was written: units and pixels disagree: {check}")


def _summary(converted: ConvertedTokenizer, check: ConversionCheck, out: str) -> str:
    config = converted.config
    weights = sum(p.numel() for p in converted.build().parameters())
    guidance = f"image guidance of {config.guidance_channels} channels" if config.guidance_channels else "no guidance"
    ignored = ", ".join(f"{count} tensors of {part}" for part, count in converted.ignored.items()) or "nothing"
    return "\n".join(
        [
            f"converted to {out}: {config.skeleton.name}, {config.num_tokens} tokens, "
            f"codebook {config.codebook_size} x {config.codebook_dim}, "
            f"encoder {config.encoder_blocks} x {config.encoder_width}, "
            f"decoder {config.decoder_blocks} x {config.decoder_width}, {guidance}",
            f"parameters: {weights:,} and a codebook of {config.codebook_size * config.codebook_dim:,} numbers",
            f"units of the model: {config.space.units} (crop of {config.space.crop_size} pixels)",
            f"ignored: {ignored}",
            f"self-check, folded units against pixels on random poses: features within {check.feature_error:.1e} "
            f"relative, {check.equal_tokens:.2%} equal tokens, decoded poses within {check.keypoint_error:.1e} px",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
