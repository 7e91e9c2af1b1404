"""Photos a second by one process, by one and by two actors of Ray Data, in turn; CPU time of a million poses.

    python benchmarks/bulk_speed.py PHOTOS [--count 96] [--rounds 1]

Starting the actors is left out: time counts from the first batch that is done. The wall clock is the only one that
actors share, so the ratios are worth something only where nothing else runs, or all suffer alike.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from typing import Any

import ray
import torch

import pct.ray
from pct.bulk.photo_rows import find_photo_rows
from pct.people.poses import generate_poses
from pct.skeleton import COCO17

BATCH = 4


def one_process(rows: list[dict[str, Any]]) -> Iterator[int]:
    """Yield the photos of each batch that is done in this process."""
    encode = pct.ray.EncodePhotos(threads=1)
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        encode({name: [row[name] for row in part] for name in rows[0]})
        yield len(part)


def with_actors(count: int, rows: list[dict[str, Any]]) -> Iterator[int]:
    """Yield the photos of each batch that is done by actors."""
    ray.init(num_cpus=count + 1, object_store_memory=2**27, include_dashboard=False, logging_level="error")
    data = ray.data.from_items(rows, override_num_blocks=-(-len(rows) // BATCH))
    done = data.map_batches(pct.ray.EncodePhotos, batch_size=BATCH, **pct.ray.actors(count))
    for table in done.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
        yield len(set(table["id"].to_pylist()))
    ray.shutdown()


def rate(batches: Iterator[int]) -> float:
    """Return photos a second after the first batch."""
    next(batches)
    start, count = time.perf_counter(), 0
    for photos in batches:
        count, last = count + photos, time.perf_counter()
    return count / (last - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", help="folder or uncompressed tar")
    parser.add_argument("--count", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=1)
    args = parser.parse_args()
    # Else Ray's processes step back behind all others of the machine, and this one does not.
    os.environ.setdefault("RAY_worker_niceness", "0")
    torch.set_num_threads(1)
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = find_photo_rows(args.photos)[: args.count]
    for number in range(args.rounds):
        print(f"round {number + 1}, {len(rows)} photos, a second:", flush=True)
        ways = {"two actors": with_actors(2, rows), "one process": one_process(rows), "one actor": with_actors(1, rows)}
        for name, batches in ways.items():
            print(f"  {name} {rate(batches):.2f}", flush=True)
    poses = generate_poses(50_000, COCO17, seed=0)
    encode = pct.ray.EncodePoses(threads=1)
    start, parts = time.process_time(), range(0, len(poses), 4096)
    for first in parts:
        part = slice(first, first + 4096)
        batch = {"id": poses.annotation_ids[part], "keypoints": poses.keypoints[part], "visible": poses.visible[part]}
        encode({**batch, "bbox": poses.bbox[part]})
    seconds = time.process_time() - start
    print(f"{len(poses):,} poses: {seconds:.1f} s of CPU time; a million: {seconds / len(poses) * 1e6:.0f} s")


if __name__ == "__main__":
    main()
