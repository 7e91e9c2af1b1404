#!/usr/bin/env python
"""Evaluate models that read photos, and write a report: tools/evaluate_photos.py ANNOTATIONS --images FOLDER ..."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from pct.cli.main import guard

DESCRIPTION = """\
Measure token classifiers, and a heatmap model beside them, on photos with labelled persons; write a report.

  tools/evaluate_photos.py people/test/annotations.json --images people/test/images \\
      --model runs/classifier/model --heatmap runs/heatmap/model --out report
  tools/evaluate_photos.py person_keypoints_val2017.json --images val2017 --model runs/classifier/model \\
      --boxes detections_val2017.json --out report

ANNOTATIONS is a COCO-format keypoint file, or MPII's in the JSON layout. The models see the annotated boxes; with
--boxes also those of a detector (COCO results JSON), whose poses are rescored and freed of doubles before COCO's
evaluator matches them. A classifier of 3D poses is measured in millimetres; its ANNOTATIONS must have 3D joints, as
those of tools/make_people.py do. --out receives index.html, metrics.json and pictures/."""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parse(argv)
    return guard("evaluate_photos", lambda: _run(options))


def _parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", help="labels of the persons")
    parser.add_argument("--images", metavar="FOLDER", required=True, help="folder of the photos")
    parser.add_argument(
        "--model",
        metavar="[NAME=]FOLDER",
        action="append",
        default=[],
        help="token classifier, such as RUN/model; repeatable, with names (the first is PCT without one)",
    )
    parser.add_argument("--heatmap", metavar="FOLDER", help="heatmap model to measure on the same persons")
    parser.add_argument("--out", metavar="FOLDER", required=True, help="where the report goes")
    parser.add_argument("--boxes", metavar="FILE", help="detected boxes, as COCO results JSON")
    parser.add_argument("--no-flip", action="store_true", help="do not average with the mirrored photo")
    parser.add_argument("--limit", type=int, metavar="N", help="the first N persons only")
    parser.add_argument("--samples", type=int, default=16, help="sampled poses a person (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="of the samples (default: 0)")
    parser.add_argument("--batch-size", type=int, default=64, help="persons at a time (default: 64)")
    parser.add_argument("--device", default="cpu", help="where the models run (default: cpu)")
    parser.add_argument("--threads", type=int, help="CPU threads (default: torch's choice)")
    parser.add_argument("--force", action="store_true", help="replace a report that is there")
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    options = parser.parse_args(argv)
    for name in ("limit", "samples", "batch_size", "threads"):
        value = getattr(options, name)
        if value is not None and value < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    if not options.model and not options.heatmap:
        parser.error("give --model, --heatmap or both")
    return options


def _run(options: argparse.Namespace) -> None:
    import torch

    from pct.evaluation.photos.files import run_photo_evaluation
    from pct.evaluation.photos.predictions import PredictionOptions
    from pct.evaluation.report import check_report_folder

    if options.threads:
        torch.set_num_threads(options.threads)
    check_report_folder(options.out, options.force)
    models = _load_models(options)
    is_3d = next(iter(models.values())).space.kind == "root3d"
    if is_3d and (options.boxes or options.heatmap):
        raise ValueError("--boxes and --heatmap are for 2D poses; the poses of --model are 3D")
    found, page = run_photo_evaluation(
        models,
        options.annotations,
        options.images,
        options.out,
        boxes_path=options.boxes,
        limit=options.limit,
        options=PredictionOptions(not options.no_flip, options.samples, options.seed, options.batch_size),
        force=options.force,
        progress=not options.quiet,
        report=lambda sentence: print(f"evaluate_photos: {sentence}", file=sys.stderr),
    )
    for name, result in found.numbers["models"].items():
        print(f"{name:9s} {_sentence(next(iter(result['poses'].values())), is_3d)}")
    print(f"report:   {page}")


def _sentence(scores: Mapping[str, Any], is_3d: bool) -> str:
    if is_3d:
        return f"MPJPE {scores['mpjpe']:.1f} mm, P-MPJPE {scores['p_mpjpe']:.1f} mm"
    return f"AP {_percent(scores['coco']['ap'])}, of occluded joints {_percent(scores['occluded']['ap'])}"


def _load_models(options: argparse.Namespace) -> dict:
    from pct.photos.classifier import PoseClassifier
    from pct.photos.heatmap import HeatmapModel

    models: dict = {}
    for value in options.model:
        name, separator, folder = value.partition("=")
        name, folder = (name, folder) if separator else ("PCT", value)
        if name in models:
            raise ValueError(f"two models are called {name}; give each a name of its own: --model NAME={folder}")
        models[name] = PoseClassifier.from_pretrained(folder, options.device)
    if options.heatmap and "heatmaps" in models:
        raise ValueError("heatmaps is the name of the model of --heatmap; give the one of --model another")
    if options.heatmap:
        models["heatmaps"] = HeatmapModel.from_pretrained(options.heatmap, options.device)
    return models


def _percent(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
