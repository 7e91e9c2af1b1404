"""Poses of persons on photos.

Estimate the poses of the persons on photos and videos.

A small detector finds the persons, offline, unless --boxes or another option says where. OUT gets
keypoints.json (COCO results), tokens.parquet (`pct decode --model FOLDER/tokenizer` reads it) and
drawn/ (with the poses on them). Bad photos and boxes are reported, skipped and counted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from pct.cli.options import add_batches, add_shared, rate, share

EXAMPLES = """\
examples:
  pct predict val2017 --boxes detections.json --flip -o results
  pct predict walk.mp4 --model runs/mine/model --detector fasterrcnn_resnet50_fpn_v2
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("photos", nargs="+", metavar="PHOTO", help="photo, video, or folder of them")
    parser.add_argument("--model", default="photos", metavar="FOLDER", help="a classifier (default: %(default)s)")
    parser.add_argument(
        "-o", "--out", default="predictions", metavar="OUT", help="folder of the results (default: %(default)s)"
    )
    boxes = parser.add_mutually_exclusive_group()
    boxes.add_argument("--boxes", metavar="FILE", help="COCO results or annotations with boxes")
    boxes.add_argument("--detector", metavar="NAME", help="nanodet (default), or a detector of torchvision")
    whole = "each whole photo is one person"
    boxes.add_argument("--whole-photos", dest="detector", action="store_const", const="none", help=whole)
    add_shared(parser, "--category")
    parser.add_argument("--detector-weights", metavar="FILE", help="its weights; fetched from the network if not given")
    least = "least score of a box (default: 0.3, of --boxes 0)"
    parser.add_argument("--min-score", type=share, metavar="X", help=least)
    flip = "flip test, twice the time (default: as the model says)"
    parser.add_argument("--flip", action=argparse.BooleanOptionalAction, help=flip)
    parser.add_argument("--no-draw", dest="draw", action="store_false", help="do not write drawn/")
    parser.add_argument("--track", action="store_true", help="number persons through each video")
    parser.add_argument("--video-fps", type=rate, metavar="N", help="frames a second used (default: all)")
    add_shared(parser, "--threads")
    parser.add_argument("--force", action="store_true", help="replace results in OUT")
    add_batches(parser, 32)


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from pct.cli.common import find_device, progress, reports, say, say_notes
    from pct.files.photo_inputs import find_photos
    from pct.photos.detection.boxes import load_photo_boxes
    from pct.photos.detection.detector import DEFAULT_DETECTOR, load_detector
    from pct.photos.estimator import PoseEstimator
    from pct.photos.results.predict_files import DRAWN_FOLDER, check_folder, count_frames, predict_files

    inputs = find_photos(args.photos, lambda sentence: say_notes([sentence]), Path(args.out, DRAWN_FOLDER))
    check_folder(args.out, args.force)
    device = find_device(args)
    with reports() as report:
        image_ids = find_boxes = detector = None
        if args.category is not None and args.boxes is None:
            raise ValueError("a category chooses boxes of a file; give --boxes FILE too")
        if args.boxes is None:
            name = args.detector or DEFAULT_DETECTOR
            detector = load_detector(name, args.detector_weights, args.min_score, device)
        else:
            boxes = load_photo_boxes(args.boxes, min_score=args.min_score or 0.0, category=args.category, report=report)
            image_ids = boxes.match(inputs)
            find_boxes = boxes.finder(image_ids, report)
        estimator = PoseEstimator.from_pretrained(args.model, device, args.flip, args.batch_size, detector)
        with progress(args, lambda: count_frames(inputs, args.video_fps), " photos") as move:
            summary = predict_files(
                estimator,
                inputs,
                args.out,
                image_ids=image_ids,
                find_boxes=find_boxes,
                track=args.track,
                model_name=args.model,
                draw=args.draw,
                video_fps=args.video_fps,
                force=args.force,
                report=report,
                progress=move,
            )
    say(summary)
