#!/usr/bin/env python
"""Train D-HCSF with 1, 3 and 9 frames on the same mocap clips, and measure it on test clips."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from measure import describe_machine, lifter_parser, training_log

from pct.files.motion.mocap import load_mocap, split_mocap
from pct.files.output import write_atomically
from pct.lifting.count import count_parameters
from pct.lifting.detector_noise import NoiseConfig
from pct.lifting.lifter import Lifter
from pct.lifting.pairs import CameraConfig
from pct.poses import Poses
from pct.training.kinds import load_run, progress_bar
from pct.training.lifting.config import LifterRun
from pct.training.lifting.data import PhotographedPoses, fixed_pairs
from pct.training.lifting.recipe import LiftingValidation, train_lifter
from pct.training.run_files import METRICS, MODEL_FOLDER, prepare_folder

DESCRIPTION = """\
Train D-HCSF with several numbers of frames, each on equally many poses of the training clips, and measure all on every
frame of the test clips; the neighbours of a frame are seen by its camera. OUT gets results/lifters/clips.json."""
CONFIG = Path(__file__).parents[1] / "configs" / "lifter_mocap.yaml"
FRAMES = (1, 3, 9)
RESULTS = Path("results") / "lifters" / "clips.json"
COMMAND = "benchmarks/lifters_clips.py --mocap mocap_h36m17.npz"


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = lifter_parser(DESCRIPTION, 1000, 64)
    parser.add_argument("--frames", type=int, nargs="+", default=list(FRAMES), help="to compare (default: %(default)s)")
    options = parser.parse_args(argv)
    torch.set_num_threads(options.threads)
    poses = split_mocap(load_mocap(options.mocap)).test
    rows = [measure(frames, poses, options) for frames in options.frames]
    results = {
        "command": f"{COMMAND} --frames {' '.join(map(str, options.frames))}",
        "steps": options.steps,
        "batch_size": options.batch_size,
        "poses": len(poses),
        "machine": describe_machine(torch.device("cpu")),
        "rows": rows,
    }
    path = Path(options.out) / RESULTS
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(results, indent=1) + "\n").encode())
    print(clips_section(Path(options.out)))
    return 0


def run_of(frames: int, options: argparse.Namespace) -> LifterRun:
    """Return the config of a training: a small network, so that one core trains it in minutes."""
    settings = [
        f"out={Path(options.runs) / f'dhcsf_{frames}_frames'}",
        f"data.train={options.mocap}",
        "data.num_generated=0",
        "lifter.network=dhcsf",
        "lifter.width=24",
        "lifter.depth=2",
        f"lifter.options={{frames: {frames}}}",
        f"steps={options.steps}",
        f"batch_size={options.batch_size}",
        f"threads={options.threads}",
        "optim.warmup_steps=100",
        "val_every=0",
    ]
    return load_run("lifter", CONFIG, settings)


def measure(frames: int, poses: Poses, options: argparse.Namespace) -> dict[str, Any]:
    """Train with so many frames, unless that was done, and return the errors in millimetres on all poses."""
    run = run_of(frames, options)
    folder = Path(run.out)
    if not (folder / MODEL_FOLDER / "config.json").exists():
        print(f"training with {frames} frames", file=sys.stderr)
        train_lifter(run, prepare_folder(run, resume=True, force=False), progress_bar)
    lifter = Lifter.from_pretrained(folder / MODEL_FOLDER)
    source = PhotographedPoses(poses, CameraConfig(), frames=frames)
    noisy, clean = (
        fixed_pairs(source, lifter.space, noise, len(poses), seed=20_000)
        for noise in (NoiseConfig(missing_share=0.0), NoiseConfig.clean())
    )
    seconds = training_log(folder / METRICS, run.batch_size)[1]
    numbers = LiftingValidation(lifter, noisy, clean)()
    return {"frames": frames, "parameters": count_parameters(lifter), "seconds": seconds, **numbers}


def clips_section(out: Path) -> str:
    """Return the part of the page on lifters that tells the results in ``out``; nothing where there are none."""
    path = out / RESULTS
    if not path.exists():
        return ""
    results = json.loads(path.read_text(encoding="utf-8"))
    machine = results["machine"]
    lines = [
        f"| {row['frames']} | {row['parameters']:,} | {row['clean_mpjpe_mm']:.1f} | {row['mpjpe_mm']:.1f} | "
        f"{row['p_mpjpe_mm']:.1f} | {row['seconds'] / 60:.1f} min |"
        for row in results["rows"]
    ]
    return f"""\
## D-HCSF with the frames around one

```bash
{results["command"]}
```

{results["steps"]:,} steps of {results["batch_size"]} windows of the training clips (15 frames a second, no generated
poses), width 24 and 2 blocks, one seed; on all {results["poses"]:,} frames of the test clips, the frames of a window
seen by one camera that follows the hip. {machine["processor"]}, {machine["threads"]} thread, {machine["date"]}, beside
other work. MPJPE in millimetres; the noisy columns have a detector's errors.

| frames | parameters | clean | noisy | noisy, P-MPJPE | training |
| ---: | ---: | ---: | ---: | ---: | ---: |
{chr(10).join(lines)}
"""


if __name__ == "__main__":
    sys.exit(main())
