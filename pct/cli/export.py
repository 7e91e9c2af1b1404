"""A model to ONNX files.

Write the networks of a tokenizer or a classifier as ONNX files, for runtimes without
Python: encoder.onnx (joints to ids), decoder.onnx (ids to joints), of classifiers also
estimator.onnx (a person's crop to logits, joints and ids), and model.json, which has
skeleton, layout, fingerprint, and the names, types and shapes of what goes in and out.
"""

from __future__ import annotations

import argparse

from pct.cli.options import positive

EXAMPLES = """\
examples:
  pct export coco17 -o exported
  pct export coco17-ordered -o short --tokens 16
  pct export photos -o exported_photos
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", metavar="MODEL", help="a model that ships with pct, a folder, or hf:user/model")
    parser.add_argument("-o", "--out", required=True, metavar="FOLDER", help="folder of the files")
    keep = "encoder and decoder of the first N tokens, if the model's are ordered (pct info)"
    parser.add_argument("--tokens", type=positive, metavar="N", help=keep)
    parser.add_argument("--force", action="store_true", help="replace an export in FOLDER")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from pct.cli.common import say
    from pct.export.onnx import export_onnx

    files = export_onnx(args.model, args.out, args.tokens, args.force)
    say("\n".join(f"{file}: {file.stat().st_size:,} bytes" for file in files))
