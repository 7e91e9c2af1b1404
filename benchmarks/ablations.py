#!/usr/bin/env python
"""What each choice of the default tokenizer gives: short trainings that differ from it in one thing, as a table."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from pct.tokenizer import PoseTokenizer
from pct.training.kinds import load_run, progress_bar
from pct.training.run_files import METRICS, MODEL_FOLDER, prepare_folder, read_metrics
from pct.training.tokenizer.recipe import train_tokenizer

BASE = Path(__file__).parent.parent / "configs" / "tokenizer_coco.yaml"
_PLAIN = ["model.layout=parallel", "model.codebook_dim=64", "augment.prefix_share=0", "augment.noise=[0,0]"]

# Name: what is changed.
VARIANTS: dict[str, list[str]] = {
    "default": [],
    "plain PCT (parallel), width 128": _PLAIN,
    "plain PCT, width 256": [*_PLAIN, "model.encoder_width=256"],
    "plain PCT as a denoiser, 0 to 3 px": [*_PLAIN, "augment.noise=[0,0.0234]"],
    "no noise on the encoder's joints": ["augment.noise=[0,0]"],
    "noise up to 5 px": ["augment.noise=[0,0.04]"],
    "coarse tokens see 2 joints": ["model.limb_joints=2"],
    "coarse tokens see 5 joints": ["model.limb_joints=5"],
    "fine grid of 64 px": ["model.period=0.5"],
    "fine grid of 128 px": ["model.period=1.0"],
    "fewer fine entries": ["model.fine_radius=0.8"],
    "no joints hidden": ["augment.mask_share=0"],
    "width 192": ["model.encoder_width=192"],
    "residual": ["model.layout=residual", "model.ema_decay=0.99", "augment.prefix_share=0.8"],
}
_COLUMNS = ("mean_error_px", "median_error_px", "completion_error_px", "ids_kept", "usage", "perplexity")


def main(argv: list[str] | None = None) -> int:
    """Train the variants one after the other and print the table; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("train", help="COCO-format file with the training persons; 2 %% of its images are held out")
    parser.add_argument("--out", default="runs/ablations", help="folder of the runs (default: runs/ablations)")
    parser.add_argument("--steps", type=int, default=2500, help="steps of each run (default: 2500)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0 leaves torch's choice")
    parser.add_argument("--only", nargs="*", default=list(VARIANTS), help="variants by name (default: all)")
    options = parser.parse_args(argv)
    unknown = sorted(set(options.only) - set(VARIANTS))
    if unknown:
        parser.error(f"unknown variants {unknown}; known are {list(VARIANTS)}")
    out = Path(options.out)
    rows = [_run(name, out, options) for name in options.only]
    print("| variant | parameters |", " | ".join(_COLUMNS), "| poses/s |")
    print("| --- |" + " --- |" * (len(_COLUMNS) + 2))
    for row in rows:
        values = " | ".join(f"{row[column]:.4g}" for column in _COLUMNS)
        print(f"| {row['name']} | {row['parameters']:,} | {values} | {row['poses_per_second']:,.0f} |")
    (out / "ablations.json").write_text(json.dumps(rows, indent=2) + "\n")
    return 0


def _run(name: str, out: Path, options: argparse.Namespace) -> dict[str, float | str]:
    """Train one variant, or go on with it, and return its last validation."""
    folder = out / "".join(c if c.isalnum() else "_" for c in name)
    settings = [
        f"data.train={options.train}",
        f"out={folder}",
        f"steps={options.steps}",
        "val_every=0",
    ]
    run = load_run("tokenizer", BASE, [*settings, f"threads={options.threads}", "report=false", *VARIANTS[name]])
    print(f"{name}: {' '.join(VARIANTS[name]) or 'the config as it is'}", file=sys.stderr)
    train_tokenizer(run, prepare_folder(run, resume=True, force=False), progress_bar)
    metrics = read_metrics(folder / METRICS)
    tokenizer = PoseTokenizer.from_pretrained(folder / MODEL_FOLDER)
    speed = sorted(row["poses_per_second"] for row in metrics)[len(metrics) // 2]
    values = {column: metrics[-1][f"val_{column}"] for column in _COLUMNS}
    parameters = sum(p.numel() for p in tokenizer.parameters())
    return {"name": name, "parameters": parameters, "poses_per_second": speed, **values}


if __name__ == "__main__":
    sys.exit(main())
