"""Side-by-side timing in interleaved rounds, peak memory of a fresh process, and what the machine is."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask

from pct.training.run_files import read_metrics

_MIN_SECONDS = 0.05
_MB = 1e6


def time_side_by_side(
    tasks: Mapping[str, Callable[[], object]],
    budget: float,
    max_rounds: int,
    tick: Callable[[], object],
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the median seconds of each task.

    The tasks take turns in every round, so that whatever else the machine does hits all of them alike. Tasks shorter
    than 50 ms are repeated within a round.

    Args:
        tasks: What to time, by name.
        budget: Seconds after which no new round starts; there are two rounds at least.
        max_rounds: Most rounds.
        tick: Called after every turn, for a progress bar.
        clock: ``time.process_time`` for the processor's time, which other programs hardly change; of all threads
            together.
    """
    repeats = {}
    for name, task in tasks.items():
        task()
        repeats[name] = max(1, int(_MIN_SECONDS / max(_seconds(task, 1, clock), 1e-9)))
        tick()
    seconds: dict[str, list[float]] = {name: [] for name in tasks}
    start = time.perf_counter()
    for number in range(max_rounds):
        if number >= 2 and time.perf_counter() - start > budget:
            break
        for name, task in tasks.items():
            seconds[name].append(_seconds(task, repeats[name], clock))
            tick()
    return {name: statistics.median(values) for name, values in seconds.items()}


def _seconds(task: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(repeats):
        task()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return (clock() - start) / repeats


def peak_memory(prepare: Callable[..., Callable[[], object]], *arguments: Any) -> float | None:
    """Return the peak resident memory in MB that a call takes above what the process holds before it (Linux only).

    Args:
        prepare: Module-level function that loads the weights and returns the call; both run in a fresh process. Input
            that the call makes counts.
        arguments: For ``prepare``.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (torch.get_num_threads(), prepare, arguments))


def _peak(threads: int, prepare: Callable[..., Callable[[], object]], arguments: tuple[Any, ...]) -> float:
    torch.set_num_threads(threads)
    call = prepare(*arguments)
    Path("/proc/self/clear_refs").write_text("5")  # resets the high-water mark
    before = _status("VmRSS")
    call()
    return (_status("VmHWM") - before) / _MB


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"/proc/self/status has no {field}")


def training_log(log: Path, batch_size: int) -> tuple[int, float]:
    """Return steps, and the seconds that they took, of a ``metrics.jsonl``; validations and breaks are not in it."""
    steps, seconds = 0, 0.0
    for row in read_metrics(log):
        if "poses_per_second" in row:
            seconds += (row["step"] - steps) * batch_size / row["poses_per_second"]
            steps = int(row["step"])
    return steps, seconds


def free_memory() -> float:
    """Return the memory in MB that is free for programs."""
    import psutil

    return psutil.virtual_memory().available / _MB


def describe_machine(device: torch.device) -> dict[str, Any]:
    """Return processor, memory, versions, threads and date."""
    import psutil

    return {
        "processor": torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9),
        "load_average": [round(x, 1) for x in os.getloadavg()],
        "system": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "onednn": torch.backends.mkldnn.is_available(),
        "date": time.strftime("%Y-%m-%d"),
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.exists():
        for line in path.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def count_found(found: np.ndarray, persons: Sequence[Sequence[float]]) -> int:
    """Return how many boxes of persons overlap one of those found (N, 4) at an IoU of 0.5; x, y, width, height."""
    truth = np.asarray(persons, np.float64).reshape(-1, 4)
    overlap = mask.iou(truth, np.asarray(found, np.float64).reshape(-1, 4), [0] * len(found))
    return int((np.asarray(overlap).reshape(len(truth), len(found)) >= 0.5).any(axis=1).sum())


def lifter_parser(description: str, steps: int, batch_size: int) -> argparse.ArgumentParser:
    """Return the options of benchmarks that train lifters on mocap."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mocap", required=True, metavar="FILE", help="mocap_h36m17.npz")
    parser.add_argument("--runs", default="runs/lifters", metavar="FOLDER", help="of the trainings")
    parser.add_argument("--out", default="docs", metavar="FOLDER", help="of the results (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=steps, help="of each training (default: %(default)s)")
    parser.add_argument("--batch-size", type=int, default=batch_size, help="poses a step (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    return parser
