#!/usr/bin/env python
"""All of it on a laptop: poses to tokens and back, photos to tokens to poses, 2D to 3D, with pictures."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import evaluate_photos

from pct.cli.main import main as pct
from pct.files.coco_writer import write_coco_poses
from pct.people.poses import generate_poses
from pct.skeleton import COCO17

SHIPPED_3D, SHIPPED_LIFTER = "h36m17", "lifter"
PHOTOS = Path(__file__).parents[1] / "docs" / "pictures" / "coco"
LOOK_AT = (
    "tokenizer/report/index.html",
    "poses.png",
    "decoded.png",
    "tokens.txt",
    "classifier/curves.png",
    "predictions/shipped/drawn",
    "predictions/trained_here/drawn",
    "photo_report/index.html",
    "lifted.png",
    "lifted_here.png",
    "decoded3d.png",
)
Command = tuple[str, Callable[[list[str]], int], list[str]]


def main(argv: list[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="demo", help="folder for everything that is made (default: demo)")
    parser.add_argument("--steps", type=int, default=1500, help="training steps (default: 1500, about two minutes)")
    parser.add_argument("--photo-steps", type=int, default=150, help="steps of each phase of stage two (default: 150)")
    parser.add_argument("--lift-steps", type=int, default=300, help="steps of the lifter (default: 300)")
    options = parser.parse_args(argv)
    out, started = Path(options.out), time.perf_counter()
    for stage in (_poses(out, options.steps), _photos(out, options.photo_steps), _bodies(out, options.lift_steps)):
        for name, run, arguments in stage:
            print("$", name, *arguments)
            status = run(arguments)
            if status:
                return status
    print(f"\nDone in {time.perf_counter() - started:.0f} s. Look at:")
    for name in LOOK_AT:
        print(f"  {out / name}")
    return 0


def _poses(out: Path, steps: int) -> Iterator[Command]:
    """Stage one: train a tokenizer, turn poses into tokens, text and pictures, and back."""
    run, model = out / "tokenizer", str(out / "tokenizer" / "model")
    settings = [f"out={run}", f"steps={steps}", "report_poses=1000", "--force"]
    yield "pct", pct, ["train", "tokenizer", "generated", *settings]
    write_coco_poses(out / "poses.json", [generate_poses(500, COCO17, seed=1_000_000)], force=True)
    for command in (
        ["encode", str(out / "poses.json"), "-o", str(out / "tokens.parquet"), "--model", model],
        ["decode", str(out / "tokens.parquet"), "-o", str(out / "decoded.json"), "--model", model],
        ["text", str(out / "tokens.parquet"), "-o", str(out / "tokens.txt")],
        ["visualize", str(out / "poses.json"), "-o", str(out / "poses.png"), "--model", model],
        ["visualize", str(out / "tokens.parquet"), "-o", str(out / "decoded.png"), "--model", model],
    ):
        yield "pct", pct, [*command, "--force"]


def _photos(out: Path, steps: int) -> Iterator[Command]:
    """Stage two: read real photos with what ships, then train a classifier for a moment on generated people."""
    yield "pct", pct, ["predict", str(PHOTOS), "--flip", "-o", str(out / "predictions" / "shipped"), "--force"]
    people, run = out / "people", out / "classifier"
    yield "pct", pct, ["make-people", str(people), "--num-images", "60", "--seed", "900001", "--force"]
    settings = [f"tokenizer={out / 'tokenizer' / 'model'}", f"steps={steps}", f"pretrain.steps={steps}"]
    settings += ["data.num_generated=4000", "data.num_val=200", "val_persons=200", "val_every=0"]
    yield "pct", pct, ["train", "classifier", "people", f"out={run}", *settings, "--force"]
    labels, images = str(people / "annotations.json"), str(people / "images")
    model, predicted = str(run / "model"), str(out / "predictions" / "trained_here")
    yield "pct", pct, ["predict", images, "--boxes", labels, "--model", model, "-o", predicted, "--force"]
    report = [labels, "--images", images, "--model", model, "--out", str(out / "photo_report"), "--force"]
    yield "tools/evaluate_photos.py", evaluate_photos.main, report


def _bodies(out: Path, steps: int) -> Iterator[Command]:
    """3D: train a lifter for a moment, lift 2D poses with it and the one that ships, and write tokens of 3D poses."""
    run, poses, tokens = out / "lifter", str(out / "poses.json"), str(out / "tokens3d.parquet")
    settings = [f"out={run}", f"steps={steps}", "data.num_generated=20000", "val_every=0", "--force"]
    yield "pct", pct, ["train", "lifter", "generated", *settings]
    for name, model in (("lifted_here", str(run / "model")), ("lifted", SHIPPED_LIFTER)):
        files = ["-o", str(out / f"{name}.npz"), "--draw", str(out / f"{name}.png")]
        yield "pct", pct, ["lift", poses, *files, "--model", model, "--force"]
    for command in (
        ["encode", str(out / "lifted.npz"), "-o", tokens, "--model", SHIPPED_3D],
        ["decode", tokens, "-o", str(out / "decoded3d.npz"), "--model", SHIPPED_3D],
        ["visualize", tokens, "-o", str(out / "decoded3d.png"), "--model", SHIPPED_3D],
    ):
        yield "pct", pct, [*command, "--force"]


if __name__ == "__main__":
    sys.exit(main())
