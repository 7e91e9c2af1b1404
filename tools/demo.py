#!/usr/bin/env python
"""The main job on generated poses: train a tokenizer, encode, decode, complete and look at it. No data needed."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import train_tokenizer

from pct import cli
from pct.data.bodies import generate_poses
from pct.data.coco import write_coco_poses
from pct.skeleton import COCO17

CONFIG = Path(__file__).parent.parent / "configs" / "tokenizer_generated.yaml"


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="demo", help="folder for everything that is made (default: demo)")
    parser.add_argument("--steps", type=int, default=1500, help="training steps (default: 1500, about two minutes)")
    options = parser.parse_args(argv)
    out, started = Path(options.out), time.perf_counter()
    run = out / "tokenizer"
    status = train_tokenizer.main([str(CONFIG), f"out={run}", f"steps={options.steps}", "report_poses=1000", "--force"])
    if status:
        return status
    write_coco_poses(out / "poses.json", generate_poses(500, COCO17, seed=1_000_000), force=True)
    model = str(run / "model")
    for command in (
        ["encode", str(out / "poses.json"), "-o", str(out / "tokens.parquet"), "--model", model],
        ["decode", str(out / "tokens.parquet"), "-o", str(out / "decoded.json"), "--model", model],
        ["text", str(out / "tokens.parquet"), "-o", str(out / "tokens.txt")],
        ["visualize", str(out / "poses.json"), "-o", str(out / "poses.png"), "--model", model],
        ["visualize", str(out / "tokens.parquet"), "-o", str(out / "decoded.png"), "--model", model],
    ):
        print("$ pct", *command)
        status = cli.main([*command, "--force"])
        if status:
            return status
    print(f"\nDone in {time.perf_counter() - started:.0f} s. Look at:")
    for name in ("tokenizer/report/index.html", "tokenizer/curves.png", "poses.png", "decoded.png", "tokens.txt"):
        print(f"  {out / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
