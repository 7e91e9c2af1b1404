"""The example on Ray Data with two actors: the same tokens as one process, broken photos as rows, resuming.

Run by ``make test-bulk``: starting Ray takes longer than most tests.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny_codec import read

from pct import PoseTokenizer
from pct.cli import main as cli

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "pictures" / "coco"

pytestmark = pytest.mark.bulk
pytest.importorskip("ray.data", reason="needs the extra ray")


def bulk(*argv: object) -> str:
    """Run the example as people do, in a process of its own that takes its Ray with it."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",
    }
    command = [sys.executable, ROOT / "examples" / "bulk_ray.py", *argv]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_two_actors_read_an_archive_as_pct_predict_does_and_go_on(here: Path) -> None:
    archive = here / "archive"
    archive.mkdir()
    photos = sorted(PICTURES.glob("*.jpg"))
    for photo in photos:
        shutil.copy(photo, archive)
    (archive / "000000000008.jpg").write_bytes(photos[0].read_bytes()[:5000])
    bulk(archive, "-o", "run", "--batch-size", 2)
    table = read(Path("run/tokens.parquet"))
    assert cli.main(["predict", str(archive), "-o", "predicted", "--no-draw"]) == 0
    wanted = read(Path("predicted/tokens.parquet"))
    order = np.argsort(wanted.image_ids, kind="stable")
    for name in ("image_ids", "indices", "bbox"):
        np.testing.assert_array_equal(getattr(table, name), getattr(wanted, name)[order])
    assert list(json.loads(Path("run/errors.json").read_text())) == ["000000000008.jpg"]
    parts = sorted(Path("run/parts").iterdir())
    parts[0].unlink()  # as if the run had been killed before it was written
    assert len(read(Path("run/tokens.parquet"))) > pq.read_table(parts[1]).num_rows
    said = bulk(archive, "-o", "run", "--batch-size", 2)
    assert len(list(Path("run/parts").iterdir())) == len(parts)
    np.testing.assert_array_equal(read(Path("run/tokens.parquet")).indices, table.indices)
    assert "5 ids; 1 could not be read" in said


def test_poses_of_parquet(here: Path) -> None:
    poses = np.random.default_rng(0).uniform(10, 200, (300, 17, 2)).astype(np.float32)
    boxes = np.tile(np.array([5, 5, 200, 220], np.float32), (300, 1))
    table = pa.table({"id": np.arange(300), "keypoints": poses.tolist(), "bbox": boxes.tolist()})
    pq.write_table(table, "poses.parquet")
    bulk("poses.parquet", "-o", "run", "--poses", "--batch-size", 100)
    wanted = PoseTokenizer.from_pretrained().encode_columns({"keypoints": poses, "bbox": boxes})["tokens"]
    np.testing.assert_array_equal(read(Path("run/tokens.parquet")).indices, wanted)
