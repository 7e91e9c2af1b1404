#!/usr/bin/env python
"""Kill a training run with SIGKILL at random moments, resume it each time, and compare it with one left alone."""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pct.checkpoint import CheckpointError
from pct.training.run_files import CHECKPOINT, METRICS, MODEL_FOLDER, load_checkpoint, read_metrics

TOOL = Path(__file__).parents[1] / "tools" / "train_tokenizer.py"
# A step of this model takes milliseconds and every third writes a checkpoint, so that many kills fall into a write.
CONFIG = """\
batch_size: 32
log_every: 4
val_every: 50
checkpoint_every: 3
val_poses: 100
report: false
device: cpu
threads: 1
data: {num_generated: 500}
model:
  num_tokens: 8
  codebook_size: 64
  codebook_dim: 16
  encoder_width: 32
  encoder_blocks: 1
  encoder_token_hidden: 16
  decoder_width: 16
  decoder_token_hidden: 16
optim: {warmup_steps: 20}
"""
_STEPS_PER_KILL = 120
_IN_STARTUP = 0.15  # share of the kills that come while the process still starts
_LONGEST_WAIT = 0.6  # seconds of training until a kill


def main(argv: list[str] | None = None) -> int:
    """Run the check; return 0 if every kill was survived and the outcome is that of the run left alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="how often the run is killed (default: 20)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    options = parser.parse_args(argv)
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder, steps = Path(name), options.kills * _STEPS_PER_KILL
        (folder / "config.yaml").write_text(CONFIG + f"steps: {steps}\n", encoding="utf-8")
        whole = start_run(folder, "whole")
        survived = sum(kill_once(folder, number, moments) for number in range(1, options.kills + 1))
        ends = whole.wait(), start_run(folder, "killed").wait()
        equal = ends == (0, 0) and outcome(folder / "killed") == outcome(folder / "whole")
    print(f"{survived} of {options.kills} kills left a readable run that went on")
    print(
        f"losses of all {steps} steps and final weights against the run left alone: equal: {'yes' if equal else 'no'}"
    )
    return 0 if equal and survived == options.kills else 1


def start_run(folder: Path, name: str) -> subprocess.Popen[bytes]:
    """Start the run ``name``, or go on with it."""
    command = [sys.executable, str(TOOL), str(folder / "config.yaml"), f"out={folder / name}", "--resume", "--quiet"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})


def kill_once(folder: Path, number: int, moments: random.Random) -> bool:
    """Start or resume the run, kill it at a random moment, and say whether it was running and is readable."""
    in_startup, wait = moments.random() < _IN_STARTUP, moments.random()
    run = folder / "killed"
    before = _written(run)
    process = start_run(folder, "killed")
    while not in_startup and process.poll() is None and _written(run) == before:
        time.sleep(0.001)
    time.sleep(wait * (2.0 if in_startup else _LONGEST_WAIT))
    was_running = process.poll() is None
    process.kill()
    process.wait()
    try:
        state, lines = load_checkpoint(run), len(read_metrics(run / METRICS))
    except (CheckpointError, ValueError) as error:
        print(f"kill {number}: {error}")
        return False
    where = "while starting" if in_startup else "in training"
    kept = f"step {state['step']}" if state else "none yet"
    leftovers = len(list(run.glob(".*.tmp")))
    print(f"kill {number:2} {where}: checkpoint {kept}, {lines} log lines, {leftovers} cut-off temporary files")
    if not was_running:
        print(f"kill {number}: the process had already ended with status {process.returncode}")
    return was_running


def outcome(run: Path) -> tuple[list[dict[str, float]], bytes]:
    """Return all that a run leaves except its speed: the lines of its log and the bytes of its weights."""
    rows = read_metrics(run / METRICS)
    for row in rows:
        del row["poses_per_second"]
    return rows, (run / MODEL_FOLDER / "model.safetensors").read_bytes()


def _written(run: Path) -> int:
    path = run / CHECKPOINT
    return path.stat().st_mtime_ns if path.exists() else 0


if __name__ == "__main__":
    sys.exit(main())
