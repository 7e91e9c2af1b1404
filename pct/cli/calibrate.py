"""Fit a classifier's confidence on held-out persons.

Fit the curve from doubt (spread of sampled poses, height of heatmaps) to confidence, and
write it into the model. Training does this on its validation persons already. Take persons
that the model was neither trained on nor is to be tested on. Only the three numbers in
MODEL/config.json change.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from pct.cli.options import add_shared, positive

EXAMPLES = """\
example:
  pct calibrate runs/mine/model people/val/annotations.json --images people/val/images
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("model", metavar="MODEL", help="folder of a classifier, such as RUN/model")
    parser.add_argument("annotations", metavar="FILE", help="COCO-format keypoints; with 3D joints for 3D poses")
    parser.add_argument("--images", metavar="FOLDER", required=True, help="folder of its photos")
    parser.add_argument("--limit", type=positive, default=1000, metavar="N", help="at most N persons (default: 1000)")
    add_shared(parser, "--threads")


def run(args: argparse.Namespace) -> None:
    """Calibrate, and write the model anew."""
    from pct.cli.common import find_device
    from pct.evaluation.photos.calibration import calibrate_classifier
    from pct.photos.classifier import PoseClassifier
    from pct.training.photos.data import file_persons

    device = find_device(args)
    if not Path(args.model).is_dir():
        raise ValueError(f"{args.model} is no folder; a model that is to be changed must be one")
    model = PoseClassifier.from_pretrained(args.model, device)
    persons = file_persons(args.annotations, args.images, model.tokenizer)
    before = model.config.calibration
    calibration = calibrate_classifier(model, persons, limit=args.limit)
    model.config = replace(model.config, calibration=calibration)
    model.save_pretrained(args.model, force=True)
    print(f"{args.model}: {calibration} (before: {before})")
