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
from measure import count_found
from tqdm import tqdm

from pct import PoseEstimator
from pct.evaluation.coco_ap import PoseResults, coco_results_ap
from pct.evaluation.photos.predictions import NotedPersons
from pct.photos.detection.detector import load_detector
from pct.photos.persons import CocoPersons

# Boxes of a detector that are tried; the shipped default is 0.3.
SCORES = (0.3, 0.1)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with annotations.json and images/")
    parser.add_argument("--model", default="photos", help="classifier (default: %(default)s)")
    parser.add_argument("--flip", action="store_true", help="flip test")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)
    coco = json.loads((args.folder / "annotations.json").read_text(encoding="utf-8"))
    names = {i["id"]: i["file_name"] for i in coco["images"] if i.get("coco_split") == "val2017"}
    persons = NotedPersons(CocoPersons(args.folder / "annotations.json", args.folder / "images"))
    for row in tqdm(range(len(persons)), desc="labels"):
        persons[row]
    labels = persons.table().labels
    labels = labels.select(torch.isin(labels.image_ids, torch.tensor(list(names))))
    for score in SCORES:
        detector = load_detector("nanodet", min_score=score)
        estimator = PoseEstimator.from_pretrained(args.model, flip=args.flip, detector=detector)
        results, hits, seconds = [], 0, []
        for image_id, name in tqdm(names.items(), desc=f"photos, boxes from {score}"):
            start = time.process_time()
            (result,) = estimator(args.folder / "images" / name)
            seconds.append(time.process_time() - start)
            ids = torch.full((len(result),), image_id)
            results.append(PoseResults(torch.from_numpy(result.keypoints.xy), ids, torch.from_numpy(result.scores)))
            hits += count_found(result.persons.bbox, labels.bbox[labels.image_ids == image_id].tolist())
        columns = [
            torch.cat([getattr(part, name) for part in results]) for name in ("keypoints", "image_ids", "scores")
        ]
        ap = coco_results_ap(PoseResults(*columns), labels)
        ms, each = 1e3 * np.median(seconds), len(columns[0]) / len(names)
        print(f"boxes from score {score}: AP {100 * ap['ap']:.1f}, AP50 {100 * ap['ap50']:.1f}", end=", ")
        print(f"persons found {hits / len(labels):.3f}, {ms:.0f} ms a photo (median), {each:.1f} poses a photo")
    return 0


if __name__ == "__main__":
    sys.exit(main())
