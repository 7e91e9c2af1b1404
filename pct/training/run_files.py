"""The files of a run: resumable checkpoints, metrics.jsonl and TensorBoard curves."""

from __future__ import annotations

import io
import json
import pickle
from pathlib import Path
from typing import Any

import torch

from pct.checkpoint import CheckpointError
from pct.files.output import OutputError, write_atomically

CHECKPOINT, METRICS = "checkpoint.pt", "metrics.jsonl"
# All that torch.load was seen to raise on files that were cut off, overwritten or of another kind.
_BROKEN = (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError)
_STATE_KEYS = {"model", "optimizer", "window", "step"}


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
        self.board = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

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
