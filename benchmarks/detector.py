"""How many persons a detector finds: ``python benchmarks/detector.py ANNOTATIONS.json PHOTOS [--detector NAME]``.

On photos of a COCO annotation file: AP and AP50 of the boxes by COCO's evaluator, the share of labelled persons that
have a box at IoU 0.5, from several scores on, and the processor's time a photo, on one thread. Persons without labels
count as errors of the detector, which makes AP too low.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import count_found
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

from pct.files.photo import read_photo
from pct.photos.detection.detector import DEFAULT_DETECTOR, load_detector

SCORES = (0.2, 0.3, 0.4, 0.5)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("annotations", help="COCO file with boxes of persons")
    parser.add_argument("photos", help="folder of the photos")
    parser.add_argument("--split", help="only images whose coco_split is this")
    parser.add_argument("--detector", default=DEFAULT_DETECTOR, help="name (default: %(default)s)")
    parser.add_argument("--weights", help="of a detector of torchvision")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    coco = json.loads(Path(args.annotations).read_text(encoding="utf-8"))
    images = [image for image in coco["images"] if args.split in (None, image.get("coco_split"))]
    ids = {image["id"] for image in images}
    persons = [a for a in coco["annotations"] if a["image_id"] in ids and a["category_id"] == 1]
    detector = load_detector(args.detector, args.weights, min_score=0.05)
    found: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    seconds = 0.0
    for image in tqdm(images, desc="photos"):
        photo = read_photo(Path(args.photos, image["file_name"]))
        start = time.process_time()
        found[image["id"]] = detector.detect(photo)
        seconds += time.process_time() - start
    print(
        f"{args.detector}: {len(images)} photos, {len(persons)} persons, {1e3 * seconds / len(images):.0f} ms a photo"
    )
    ap, ap50 = average_precision(images, persons, found)
    print(f"AP {100 * ap:.1f}, AP50 {100 * ap50:.1f}")
    for score in SCORES:
        sure = {i: boxes[scores >= score] for i, (boxes, scores) in found.items()}
        hits = sum(count_found(boxes, [p["bbox"] for p in persons if p["image_id"] == i]) for i, boxes in sure.items())
        count = sum(map(len, sure.values()))
        print(f"score >= {score}: {hits / len(persons):.1%} of the persons found at IoU 0.5, {count:,} boxes")
    return 0


def average_precision(
    images: list[dict[str, Any]], persons: list[dict[str, Any]], found: dict[int, tuple[np.ndarray, np.ndarray]]
) -> tuple[float, float]:
    """Return AP and AP50 of boxes by COCO's evaluator."""
    results = [
        {"image_id": image_id, "category_id": 1, "bbox": box.tolist(), "score": float(score)}
        for image_id, (boxes, scores) in found.items()
        for box, score in zip(boxes, scores, strict=True)
    ]
    with redirect_stdout(StringIO()):
        truth = COCO()
        truth.dataset = {"info": {}, "images": images, "annotations": persons, "categories": [{"id": 1}]}
        truth.createIndex()
        evaluator = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return float(evaluator.stats[0]), float(evaluator.stats[1])


if __name__ == "__main__":
    sys.exit(main())
