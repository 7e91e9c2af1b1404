"""Small COCO-format files with photos, for tests of what reads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pct.skeleton import COCO17


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
