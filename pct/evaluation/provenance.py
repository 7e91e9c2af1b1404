"""With what, where and when an evaluation was made: command, hardware, software, date."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch


def make_provenance(
    model: str,
    fingerprint: str,
    device: torch.device,
    *,
    data: str,
    seconds: float,
    seed: int,
    notes: Sequence[str] = (),
    baseline_data: str = "",
) -> dict[str, Any]:
    """Describe an evaluation that was just made by this process, as plain values for a JSON file.

    Args:
        model: The model's sizes in a sentence.
        fingerprint: Of the model.
        device: Where it ran.
        data: Name of the evaluated data.
        seconds: Time of the evaluation.
        seed: Of everything random.
        notes: What a reader must know of the data.
        baseline_data: Name of the data that baselines were fitted to; empty without baselines.
    """
    place = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    return {
        "data": data,
        "baseline_data": baseline_data,
        "command": _command(),
        "fingerprint": fingerprint,
        "model": model,
        "hardware": f"{_processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads; model on {place}",
        "software": f"Python {platform.python_version()}, torch {torch.__version__}",
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "seconds": round(seconds, 1),
        "seed": seed,
        "notes": list(notes),
    }


def _command() -> str:
    """Return this process's command line, without the folder of the program."""
    program = Path(sys.argv[0])
    start = ["python", "-m", program.parent.name] if program.name == "__main__.py" else [program.name]
    return shlex.join([*start, *sys.argv[1:]])


def _processor() -> str:
    """Return the processor's name where the system tells it (Linux), else its architecture."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
