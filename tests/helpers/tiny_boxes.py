"""Small files of detected boxes and of MPII persons, for the tests of the evaluation on photos."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

# The box of every person of tiny_photos.write_people.
BOX = [12.0, 9.6, 24.0, 28.8]


def write_boxes(path: Path, boxes: list[tuple[int, list[float], float]]) -> Path:
    """Write detections (image id, box, score) as a COCO results file."""
    entries = [{"image_id": i, "category_id": 1, "bbox": bbox, "score": score} for i, bbox, score in boxes]
    path.write_text(json.dumps(entries))
    return path


def write_mpii(folder: Path) -> Path:
    """Four persons on two photos, of which one is missing; the head of one is unknown."""
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)).save(folder / "a.jpg")
    persons = [
        {
            "image": name,
            "joints": rng.uniform(10, 50, (16, 2)).tolist(),
            "joints_vis": [0, *[1] * 15],
            "center": [30, 30],
            "scale": 0.2,
            "head_size": 10.0,
        }
        for name in ("a.jpg", "a.jpg", "a.jpg", "b.jpg")
    ]
    del persons[2]["head_size"]
    (folder / "mpii.json").write_text(json.dumps(persons))
    return folder / "mpii.json"
