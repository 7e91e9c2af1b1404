"""Small COCO-format files with photos, for tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pct.skeleton import COCO17

# The box of every person of write_people.
BOX = [12.0, 9.6, 24.0, 28.8]


def write_people(folder: Path, num_photos: int = 6, persons_per_photo: int = 2, size: int = 48) -> Path:
    """Write ``people.json`` and its photos ``NUMBER.png`` of random colours into a folder; return the JSON file.

    Image ids count from 1, annotation ids from 101. Joints are labelled 2, 1 and 0 in turn.
    """
    rng = np.random.default_rng(0)
    images, annotations = [], []
    for image_id in range(1, num_photos + 1):
        name = f"{image_id}.png"
        Image.fromarray(rng.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(folder / name)
        images.append({"id": image_id, "file_name": name, "width": size, "height": size})
        for _ in range(persons_per_photo):
            annotations.append(_person(101 + len(annotations), image_id, size, rng))
    return write_json(folder / "people.json", images, annotations)


def write_json(path: Path, images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> Path:
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.keypoint_names)}
    path.write_text(json.dumps({"categories": [category], "images": images, "annotations": annotations}))
    return path


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


def _person(annotation_id: int, image_id: int, size: int, rng: np.random.Generator) -> dict[str, Any]:
    joints = rng.uniform(0.3 * size, 0.7 * size, (17, 2)).round(1)
    visibility = np.arange(17)[::-1] % 3
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": 1,
        "bbox": [0.25 * size, 0.2 * size, 0.5 * size, 0.6 * size],
        "area": 100.0 + annotation_id,
        "keypoints": np.column_stack([joints, visibility]).ravel().tolist(),
    }
