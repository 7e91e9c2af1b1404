#!/usr/bin/env python
"""Fit a trained classifier's confidence on held-out persons."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

DESCRIPTION = """\
Fit the curve from doubt (spread of sampled poses, height of heatmaps) to confidence, and write it into the model.

  tools/calibrate_classifier.py runs/mine/model people/val/annotations.json --images people/val/images

Training does this on its validation persons already. Take persons that the model was neither trained on nor is to be
tested on. Only the three numbers in MODEL/config.json change."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="folder of a classifier, such as RUN/model")
    parser.add_argument("annotations", help="COCO-format keypoint file; with 3D joints for 3D poses")
    parser.add_argument("--images", metavar="FOLDER", required=True, help="folder of its photos")
    parser.add_argument("--limit", type=int, default=1000, help="at most so many persons (default: 1000)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    options = parser.parse_args(argv)
    try:
        _run(options)
    except (ValueError, OSError) as error:
        print(f"calibrate_classifier: error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(options: argparse.Namespace) -> None:
    import torch

    from pct.evaluation.calibration import calibrate_classifier
    from pct.models.classifier import PoseClassifier
    from pct.training.photo_data import file_persons

    if options.threads:
        torch.set_num_threads(options.threads)
    if not Path(options.model).is_dir():
        raise ValueError(f"{options.model} is no folder; a model that is to be changed must be one")
    model = PoseClassifier.from_pretrained(options.model)
    persons = file_persons(options.annotations, options.images, model.tokenizer)
    before = model.config.calibration
    calibration = calibrate_classifier(model, persons, limit=options.limit)
    model.config = replace(model.config, calibration=calibration)
    model.save_pretrained(options.model, force=True)
    print(f"{options.model}: {calibration} (before: {before})")


if __name__ == "__main__":
    sys.exit(main())
