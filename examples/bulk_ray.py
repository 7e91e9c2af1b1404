"""A photo archive (or Parquet of poses) to one token table with Ray Data, on this machine or a cluster; resumable.

    python examples/bulk_ray.py photos.tar -o run --actors 2
    python examples/bulk_ray.py poses.parquet -o run --poses

Parts appear in ``run/parts`` as they are done; a run that was killed is simply started again and goes on. At the end
``run/tokens.parquet`` is a table for ``pct decode``, ``pct search`` and ``pct text``, and ``run/errors.json`` names the
photos that could not be read. docs/bulk.md has numbers.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import ray

import pct.ray
from pct import PoseTokenizer
from pct.checkpoint import find_model
from pct.files.output import write_atomically


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", help="folder of photos, uncompressed tar, or Parquet")
    parser.add_argument("-o", "--out", required=True, type=Path, help="folder of the run")
    parser.add_argument("--poses", action="store_true", help="the Parquet holds poses: id, keypoints[, visible, bbox]")
    parser.add_argument("--model", help="default: photos, for poses coco17")
    parser.add_argument("--actors", type=int, default=2, help="processes with a model each (default: 2)")
    parser.add_argument("--batch-size", type=int, help="rows at a time (default: 32 photos, 4096 poses)")
    parser.add_argument("--gpus", type=float, default=0, help="of an actor, such as 1 or 0.5 (default: 0)")
    parser.add_argument("--address", help="of a running cluster, such as auto; else one is started here")
    parser.add_argument("--store-mb", type=int, default=128, help="of the object store started here (default: 128)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run it, and print how long it took."""
    args = parse(argv)
    model = args.model or ("coco17" if args.poses else "photos")
    tokenizer = PoseTokenizer.from_pretrained(model if args.poses else find_model(model) / "tokenizer")
    parts = args.out / "parts"
    done = pct.ray.done_ids(parts, tokenizer.fingerprint())
    if args.address:
        ray.init(address=args.address, logging_level="error")
    else:
        store = args.store_mb * 2**20
        cores = args.actors + 1  # what reads the rows needs one, too
        ray.init(num_cpus=cores, object_store_memory=store, include_dashboard=False, logging_level="error")
    ray.data.DataContext.get_current().enable_progress_bars = False
    encode = pct.ray.EncodePoses if args.poses else pct.ray.EncodePhotos
    batch_size = args.batch_size or (4096 if args.poses else 32)
    try:
        read = pct.ray.read_poses if args.poses else pct.ray.read_photos
        actors = pct.ray.actors(args.actors, args.gpus, model=model, out=str(parts.resolve()))
        rows = read(args.source, done).map_batches(encode, batch_size=batch_size, **actors)
        start, count = time.perf_counter(), 0
        for batch in rows.iter_batches(batch_size=None, batch_format="pyarrow"):
            count += batch.num_rows
        print(f"{count:,} rows in {time.perf_counter() - start:.1f} s, start of the actors included")
    finally:
        ray.shutdown()
    summary = pct.ray.join_parts(parts, args.out / "tokens.parquet", tokenizer, model, force=True)
    write_atomically(args.out / "errors.json", json.dumps(summary.errors, indent=2).encode())
    print(f"{summary}: {args.out / 'tokens.parquet'}")


if __name__ == "__main__":
    main()
