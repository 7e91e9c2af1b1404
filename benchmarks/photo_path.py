"""From a photo's file to poses without given boxes: `python benchmarks/photo_path.py coco_photos [--model photos]`.

On the val2017 photos of a folder (annotations.json with coco_split, images/): COCO's AP of the poses, the share of the
labelled persons that get a box (IoU 0.5 and more), and the processor's time a photo from its file to the result, on
one thread. Persons that nobody labelled count as errors.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from markdown_page import render_markdown
from measure import count_found
from tqdm import tqdm

from pct import PoseEstimator
from pct.evaluation.coco_ap import PoseResults, coco_results_ap
from pct.evaluation.report import Table
from pct.photos.detection.detector import load_detector
from pct.photos.persons import CocoPersons

# Boxes of a detector that are tried; the shipped default is 0.3.
SCORES = (0.3, 0.1)


def measure_path(folder: Path, model: str, min_score: float, flip: bool = False) -> dict[str, float]:
    """Return what a model reaches on a folder's val2017 photos, in boxes of the shipped detector, on one thread.

    Args:
        folder: With annotations.json (with coco_split) and images/.
        model: Classifier.
        min_score: Least score of the boxes.
        flip: Flip test.

    Returns:
        ``ap``, ``ap50``, the share of the persons ``found``, ``poses`` a photo, and the processor's median time from
        file to result in milliseconds: ``ms`` a photo, ``ms_one`` a photo with one pose.
    """
    coco = json.loads((folder / "annotations.json").read_text(encoding="utf-8"))
    names = {i["id"]: i["file_name"] for i in coco["images"] if i.get("coco_split") == "val2017"}
    labels = CocoPersons(folder / "annotations.json", folder / "images").poses
    labels = labels.select(torch.isin(labels.image_ids, torch.tensor(list(names))))
    detector = load_detector("nanodet", min_score=min_score)
    estimator = PoseEstimator.from_pretrained(model, flip=flip, detector=detector)
    results, hits, seconds = [], 0, []
    for image_id, name in tqdm(names.items(), desc=f"photos, boxes from {min_score}"):
        start = time.process_time()
        (result,) = estimator(folder / "images" / name)
        seconds.append(time.process_time() - start)
        ids = torch.full((len(result),), image_id)
        results.append(PoseResults(torch.from_numpy(result.keypoints.xy), ids, torch.from_numpy(result.scores)))
        hits += count_found(result.persons.bbox, labels.bbox[labels.image_ids == image_id].tolist())
    columns = [torch.cat([getattr(part, name) for part in results]) for name in ("keypoints", "image_ids", "scores")]
    ap = coco_results_ap(PoseResults(*columns), labels)
    alone = [taken for taken, part in zip(seconds, results, strict=True) if len(part) == 1]
    return {
        "ap": float(ap["ap"] or 0),
        "ap50": float(ap["ap50"] or 0),
        "found": hits / len(labels),
        "poses": len(columns[0]) / len(names),
        "ms": 1e3 * float(np.median(seconds)),
        "ms_one": 1e3 * float(np.median(alone)),
    }


def path_table(rows: dict[str, dict[str, float]]) -> Table:
    """Return a row for each least score of the boxes."""
    header = ["boxes from score", "AP", "AP50", "persons found", "poses a photo", "ms a photo", "ms with one pose"]
    cells = [
        [score, *(f"{100 * row[key]:.1f}" for key in ("ap", "ap50", "found")), f"{row['poses']:.1f}"]
        + [f"{row[key]:.0f}" for key in ("ms", "ms_one")]
        for score, row in rows.items()
    ]
    return Table(header, cells)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with annotations.json and images/")
    parser.add_argument("--model", default="photos", help="classifier (default: %(default)s)")
    parser.add_argument("--flip", action="store_true", help="flip test")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    rows = {str(score): measure_path(args.folder, args.model, score, args.flip) for score in SCORES}
    print(render_markdown([path_table(rows)], Path()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
