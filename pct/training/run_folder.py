"""The folder of a run: made anew, gone on with, or replaced; never by accident."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pct import distributed
from pct.files.output import write_atomically
from pct.training.run_files import CHECKPOINT, METRICS
from pct.training.yaml_config import dump_config, load_config

CONFIG, MODEL_FOLDER, REPORT_FOLDER, CURVES = "config.yaml", "model", "report", "curves.png"
PRETRAIN_FOLDER = "pretrain"
_TENSORBOARD = "tensorboard"

# What a resumed run may change: where, how long and how watched it runs. Of these only the steps move the numbers,
# by moving the end of a schedule. All other keys would make two half runs out of one.
FREE_ON_RESUME = {
    "out",
    "steps",
    "pretrain.steps",
    "device",
    "threads",
    "workers",
    "log_every",
    "val_every",
    "checkpoint_every",
    "val_poses",
    "val_persons",
    "report",
    "report_poses",
}


def prepare_folder(run: Any, resume: bool, force: bool) -> Path:
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
            check_same_run(folder / CONFIG, run)
        if force and (folder / CONFIG).exists():
            _remove_run(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / CONFIG, dump_config(run).encode())
    distributed.barrier()
    return folder


def check_same_run(config: Path, run: Any) -> None:
    """Check that a run can go on from the checkpoints of the one that wrote ``config``.

    Raises:
        ValueError: If a setting differs that must not; it is named with both values.
    """
    before, now = _flatten(asdict(load_config(config, [], type(run)))), _flatten(asdict(run))
    for key, value in now.items():
        if key not in FREE_ON_RESUME and before[key] != value:
            raise ValueError(
                f"{config}: the run to resume has {key}={before[key]}, not {value}; "
                "keep it, or start anew with another out or --force"
            )


def _flatten(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _remove_run(folder: Path) -> None:
    # The config goes last: while it is there, the folder counts as a run that --force may replace.
    for name in (MODEL_FOLDER, REPORT_FOLDER, PRETRAIN_FOLDER, _TENSORBOARD):
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
    for name in (CHECKPOINT, METRICS, CURVES, CONFIG):
        (folder / name).unlink(missing_ok=True)
