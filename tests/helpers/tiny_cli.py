"""The command line called as people call it, and a COCO file for it, that several test files share."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from pct.cli import main as cli
from pct.skeleton import COCO17


def person(number: int, **changes) -> dict:
    rng = np.random.default_rng(number)
    triplets = np.concatenate([rng.uniform(20, 90, (17, 2)).round(2), np.full((17, 1), 2)], axis=1)
    values = {"id": number, "image_id": number // 2, "category_id": 1, "bbox": [20, 20, 70, 70.5]}
    return {**values, "keypoints": triplets.reshape(-1).tolist(), **changes}


def write_poses(path: Path, count: int = 5, bad: int = 0) -> Path:
    annotations = [person(i) for i in range(count)]
    annotations += [person(1000 + i, bbox=[1, 2, 0, 4]) for i in range(bad)]
    category = {"id": 1, "name": "person", "keypoints": list(COCO17.keypoint_names)}
    path.write_text(json.dumps({"categories": [category], "annotations": annotations}))
    return path


def run(capsys, *argv: object) -> tuple[int, str, str]:
    status = cli.main([str(a) for a in argv])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def expect_error(capsys, argv, *parts: str) -> None:
    """Run a command that must fail with one sentence that has ``parts``."""
    status, out, error = run(capsys, *argv)
    assert (status, out) == (1, "")
    assert error.startswith("pct: error: ")
    assert error.count("\n") == 1
    for part in parts:
        assert part in error
