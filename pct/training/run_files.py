"""The folder of a run and its files: config, resumable checkpoints, metrics.jsonl and TensorBoard curves."""

from __future__ import annotations

import io
import json
import pickle
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from pct import distributed
from pct.checkpoint import CheckpointError
from pct.files.output import OutputError, write_atomically
from pct.training.run_config import TrainingRun, dump_config, load_config

CONFIG, MODEL_FOLDER, REPORT_FOLDER, CURVES = "config.yaml", "model", "report", "curves.png"
PRETRAIN_FOLDER = "pretrain"
CHECKPOINT, METRICS, TENSORBOARD = "checkpoint.pt", "metrics.jsonl", "tensorboard"
# All that torch.load was seen to raise on files that were cut off, overwritten or of another kind.
_BROKEN = (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError)
_STATE_KEYS = {"model", "optimizer", "window", "step"}

# What a resumed run may change: where, how long and how watched it runs. Of these only the steps move the numbers,
# by moving the end of a schedule. All other keys would make two half runs out of one.
FREE_ON_RESUME = {
    *("out", "steps", "pretrain.steps", "device", "threads", "workers", "log_every", "val_every", "checkpoint_every"),
    *("val_poses", "val_persons", "report", "report_poses"),
}


def prepare_folder(run: TrainingRun, resume: bool, force: bool) -> Path:
    """Make the run's folder and write the resolved config into it.

    Args:
        run: The resolved config, a dataclass with the folder as ``out``.
        resume: Go on with the run that the folder holds; where it holds none, a new one starts.
        force: Remove the run that the folder holds: its files under the names that a run gives them, nothing else.

    Raises:
        FileExistsError: If the folder holds a run and neither ``resume`` nor ``force`` is set.
        ValueError: If ``resume`` and ``force`` are both set, or a resumed run has another setting that must stay.
    """
    if resume and force:
        raise ValueError("resume and force exclude each other: one goes on with a run, the other replaces it")
    folder = Path(run.out)
    if distributed.is_main():
        # A config alone is what a run leaves that failed before its first step: nothing is lost with it.
        held = [name for name in (CHECKPOINT, METRICS, MODEL_FOLDER) if (folder / name).exists()]
        if held and not (resume or force):
            raise FileExistsError(
                f"{folder} already holds a run ({', '.join(held)}); go on with --resume, replace it with --force"
            )
        if resume and (folder / CONFIG).exists():
            _check_same_run(folder / CONFIG, run)
        if force and (folder / CONFIG).exists():
            for name in (MODEL_FOLDER, REPORT_FOLDER, PRETRAIN_FOLDER, TENSORBOARD):
                if (folder / name).is_dir():
                    shutil.rmtree(folder / name)
            # The config goes last: while it is there, the folder counts as a run that --force may replace.
            for name in (CHECKPOINT, METRICS, CURVES, CONFIG):
                (folder / name).unlink(missing_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / CONFIG, dump_config(run).encode())
    distributed.barrier()
    return folder


def _check_same_run(config: Path, run: TrainingRun) -> None:
    """Refuse to go on from the checkpoints of the run that wrote ``config`` if a setting differs that must not."""
    before, now = (dict(_settings(asdict(r))) for r in (load_config(config, [], type(run)), run))
    for key, value in now.items():
        if key not in FREE_ON_RESUME and before[key] != value:
            raise ValueError(
                f"{config}: the run to resume has {key}={before[key]}, not {value}; "
                "keep it, or start anew with another out or --force"
            )


def _settings(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _settings(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def save_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write the state of a run so that a crash at any moment leaves the old or the new one.

    Raises:
        OSError: If it cannot be written (disk full); the checkpoint before it is intact.
    """
    buffer, path = io.BytesIO(), folder / CHECKPOINT
    torch.save(state, buffer)
    try:
        write_atomically(path, buffer.getvalue())
    except (OSError, OutputError) as error:
        raise OSError(f"{path}: step {state['step']} could not be saved: {error}; go on later with --resume") from error


def load_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Read the state of a run, or None where there is none yet.

    Raises:
        CheckpointError: If the file is broken, is none of ours, or holds more than plain tensors and values.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    data = io.BytesIO(path.read_bytes())
    try:
        state = torch.load(data, map_location="cpu", weights_only=True)
    except _BROKEN as error:
        # What torch says here runs over many lines and ends in the advice to load it unsafely.
        raise CheckpointError(f"{path}: truncated, or not a checkpoint of pct; remove it to start anew") from error
    if not isinstance(state, dict) or not set(state) >= _STATE_KEYS:
        raise CheckpointError(f"{path}: not a training checkpoint of pct; remove it to start anew")
    return state


class MetricsLog:
    """One JSON object a line in ``metrics.jsonl``, and the same numbers for TensorBoard.

    Args:
        folder: The run's folder.
        step: Optimiser steps already done: lines of later steps come from work that was lost and are dropped.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.path = folder / METRICS
        kept = [row for row in read_metrics(self.path) if row["step"] <= step] if step else []
        write_atomically(self.path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self.file = self.path.open("a", encoding="utf-8")
        self.board = SummaryWriter(str(folder / TENSORBOARD), purge_step=step + 1 if step else None)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Append one line."""
        self.file.write(json.dumps({"step": step, **values}) + "\n")
        self.file.flush()
        for name, value in values.items():
            self.board.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        self.board.close()


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read ``metrics.jsonl``; a last line cut off by a crash is left out, another broken line is an error."""
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            row = json.loads(line)
            if not isinstance(row, dict) or type(row.get("step")) is not int:
                raise ValueError("no object with a step")
            rows.append(row)
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise ValueError(f"{path}, line {number}: not JSON: {error}") from None
    return rows
