"""What tokens are worth: all models side by side, beside plain bins, principal components and residual k-means.

  python benchmarks/tokens.py --coco person_keypoints_val2017.json --coco-train person_keypoints_train2017.json \\
      --mocap mocap_h36m17.npz --out docs/results
  python benchmarks/tokens.py --coco val.json --coco-train train.json --model runs/mine/model

Measures the shipped tokenizers, and those of --model, and writes tokens.md with its pictures: 2D models on the persons
of a COCO file, 3D ones on the test clips of a mocap file.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from coders import check_frames, fit_coders
from markdown_page import render_markdown
from measure import describe_machine
from worth_curves import worth_figures

from pct import PoseTokenizer
from pct.evaluation.tokens.coders import Codec
from pct.evaluation.tokens.completion import measure_completion
from pct.evaluation.tokens.evaluate import fit_baseline
from pct.evaluation.tokens.files import read_poses
from pct.evaluation.tokens.locality import LimbLimits
from pct.evaluation.tokens.report import completion_table, worth_section
from pct.evaluation.tokens.worth import measure_worth, plain_bins
from pct.files.output import write_atomically

SHIPPED = ("coco17", "coco17-ordered", "h36m17")
HIDDEN = 4
FITTED = (
    " The KLT rounds the principal components of the training poses; residual k-means takes the nearest centre of "
    "whole training poses, then of what is left, and so on; the ridge regression fills in joints without labels. "
    "Components that are nearly always zero stay zero under noise, which flatters the KLT."
)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure all models and write the page; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coco", metavar="FILE", help="persons to measure 2D models on")
    parser.add_argument("--coco-train", metavar="FILE", help="persons that baselines are fitted to")
    parser.add_argument("--mocap", metavar="FILE", help="mocap to measure 3D models on")
    parser.add_argument("--model", action="append", default=[], help="one more model: a folder or a hub id; repeatable")
    parser.add_argument("--out", type=Path, default=Path("runs/tokens"), help="folder (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="threads of PyTorch (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    if not (args.coco or args.mocap):
        parser.error("give --coco, --mocap or both")
    torch.set_num_threads(args.threads)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        codecs = [Codec(PoseTokenizer.from_pretrained(name), name) for name in (*SHIPPED, *args.model)]
        parts = []
        for kind, path, train in (("px", args.coco, args.coco_train), ("mm", args.mocap, None)):
            chosen = [codec for codec in codecs if codec.unit == kind]
            if path and chosen:
                parts.append(measure(chosen, path, train, args.out, args.seed))
        page = "\n\n".join([_start(codecs, argv), *parts]) + "\n"
        write_atomically(args.out / "tokens.md", page.encode())
    except (ValueError, OSError) as error:
        print(f"tokens: error: {error}", file=sys.stderr)
        return 1
    print(args.out / "tokens.md")
    return 0


def measure(codecs: Sequence[Codec], path: str, train: str | None, out: Path, seed: int) -> str:
    """Measure models of one pose space on one file; write the pictures and return the part of the page."""
    check_frames(codecs)
    first, *others = codecs
    read = read_poses(first.tokenizer, path, train)
    target, visible = first.view(read.poses, seed), read.poses.visible
    ridge = None if read.baseline is None else fit_baseline(first, read.baseline, seed)
    fitted = [] if ridge is None else fit_coders(first, ridge, seed)
    limits = LimbLimits(target, visible, first.tokenizer.skeleton, ridge)
    worth = measure_worth(first, [*others, *plain_bins(first), *fitted], target, visible, limits, seed)
    fills = {codec.name: codec.complete for codec in codecs} | ({} if ridge is None else {"ridge": ridge})
    rows = measure_completion(target, first.hideable(visible), fills, most_hidden=HIDDEN, seed=seed)
    data = f"{len(target):,} poses of `{read.data}`"
    if read.baseline is not None:
        data += f"; {len(read.baseline):,} training poses of `{read.baseline_data}`"
    title = f"## {'Persons in images' if first.root is None else '3D poses'}"
    intro, *tables = worth_section(worth, first.unit, FITTED if fitted else "").blocks
    blocks = [title, f"{data}. Seed {seed}.", intro, *worth_figures(worth, first.unit), *tables]
    if rows:
        hidden = f"Hidden joints that are filled in: mean error, and in brackets the median, in {first.unit}."
        blocks += [hidden, completion_table(rows)]
    return render_markdown(blocks, out, f"tokens_{first.unit}_")


def _start(codecs: Sequence[Codec], argv: Sequence[str] | None) -> str:
    machine = describe_machine(torch.device("cpu"))
    given = [Path(part).name if Path(part).is_file() else part for part in (sys.argv[1:] if argv is None else argv)]
    models = "; ".join(
        f"`{codec.name}` {codec.tokenizer.fingerprint()}, layout {codec.tokenizer.config.layout}" for codec in codecs
    )
    return (
        f"# What tokens are worth\n\n`python benchmarks/tokens.py {shlex.join(given)}`\n\n{machine['processor']}, "
        f"{machine['threads']} threads, PyTorch {machine['torch']}, {machine['date']}. Models: {models}."
    )


if __name__ == "__main__":
    sys.exit(main())
