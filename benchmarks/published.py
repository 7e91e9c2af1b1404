#!/usr/bin/env python
"""How far converted models are from the published pipeline, on stored vectors: the first table of docs/published.md."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from pct.photos.estimator import PoseEstimator
from pct.published.photos import convert_classifier, convert_heatmap_model

# Row of the table: names of the boxes and of the results in the file, and whether the flip test is on.
ROWS = {
    "keypoints without flip test, px of the photo": ("in/boxes", "predict", False),
    "keypoints with flip test, px": ("in/boxes", "predict_flip", True),
    "the same in boxes cut at the photo, px": ("cleaned/boxes", "cleaned", True),
}


def main() -> None:
    """Print the largest differences of keypoints and scores, and the share of equal tokens, of every file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of pipeline_*.npz")
    for path in sorted(parser.parse_args().folder.glob("pipeline_*.npz")):
        with np.load(path) as file:
            arrays = dict(file)
        print(path.stem)
        for row, (boxes, results, flip) in ROWS.items():
            print(f"  {row}: {compare(arrays, boxes, results, flip)}")


def compare(arrays: dict[str, np.ndarray], boxes: str, results: str, flip: bool) -> str:
    """Predict every box by itself and say how far the results are from the stored ones."""
    state = {n.removeprefix("state/"): torch.from_numpy(a) for n, a in arrays.items() if n.startswith("state/")}
    photos = [arrays[f"in/photo_{number}"] for number in arrays["in/photo_of_box"]]
    places = list(zip(photos, arrays[boxes], strict=True))
    of_heatmaps = "state/keypoint_head.final_layer.weight" in arrays
    estimator = PoseEstimator((convert_heatmap_model if of_heatmaps else convert_classifier)(state), flip)
    poses = [estimator.predict(photo, box[None]) for photo, box in places]
    keypoints, tokens = np.concatenate([p.keypoints for p in poses]), ""
    scores = [p.scores[0] if of_heatmaps else p.pose_scores for p in poses]
    if not of_heatmaps and boxes == "in/boxes":
        equal = np.concatenate([p.indices for p in poses]) == arrays["classify/indices"]
        tokens = f", equal tokens {equal.mean():.2%}"
    error = np.abs(keypoints - arrays[f"{results}/keypoints"]).max()
    return f"{error:.5f}, scores {np.abs(np.array(scores) - arrays[f'{results}/score']).max():.1e}{tokens}"


if __name__ == "__main__":
    main()
