"""Training runs as a user starts them, their errors, and the end of a process amid its work."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import multiprocessing

from pct import distributed
from pct.cli import main as cli
from pct.training.run_files import read_metrics

TOOLS = Path(__file__).parents[2] / "tools"
# Processes are forked from one that has loaded all this once and has done nothing else.
FORKED = "forkserver"
_ROOMS = ("tokenizer", "photos", "lifting")
multiprocessing.set_forkserver_preload(["pct.cli.main", *(f"pct.training.{room}.recipe" for room in _ROOMS)])


def train(kind: str, config: Path, *arguments: str, out: str = "run") -> int:
    """Call ``pct train`` in this process, with the run's folder beside the config."""
    return cli.main(["train", kind, str(config), f"out={config.parent / out}", "--quiet", *arguments])


def start(kind: str, config: Path, *arguments: str, out: str = "run", processes: int = 1) -> subprocess.Popen[str]:
    """Call the tool in a process of its own, or in several."""
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"] if processes > 1 else []
    tool = TOOLS / f"train_{kind}.py"
    return subprocess.Popen(
        [sys.executable, *launcher, str(tool), str(config), f"out={config.parent / out}", "--quiet", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def check_two_processes_train_as_one(kind: str, config: Path, arguments: Iterable[str], tolerance: float) -> None:
    """Train in one process and, with gloo, in two with half the batch each: every logged number is the same."""
    process = start(kind, config, *arguments, out="two", processes=2)
    assert train(kind, config, *arguments, out="one") == 0
    _, error = process.communicate(timeout=600)
    assert process.returncode == 0, error
    check_same_numbers(config.parent / "one", config.parent / "two", tolerance)


def losses(folder: Path) -> list[dict[str, float]]:
    """Return the lines of a run's log without the speed, the one number that no two runs share."""
    return [{k: v for k, v in row.items() if k != "poses_per_second"} for row in read_metrics(folder / "metrics.jsonl")]


def check_same_numbers(one: Path, two: Path, tolerance: float) -> None:
    """Check that every logged number of two runs is the same, but for their speed."""
    logs = losses(one), losses(two)
    assert logs[0]
    for row, row_of_two in zip(*logs, strict=True):
        assert row_of_two == pytest.approx(row, rel=tolerance, abs=tolerance)


def in_two_processes(work: Callable[[int], Any], folder: Path) -> list[Any]:
    """Return what a function gives in each of two gloo processes, which are called with their rank."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.start_processes(_work_in_process, (port, str(folder), work), 2, start_method=FORKED)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _work_in_process(rank: int, port: int, folder: str, work: Callable[[int], Any]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    result = work(rank)
    distributed.barrier()
    torch.save(result, f"{folder}/{rank}.pt")
    distributed.stop()


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    """Return the one sentence that a command ended with."""
    error = capsys.readouterr().err.strip()
    assert error.startswith("pct: error: ")
    assert "\n" not in error
    return error


class CrashError(Exception):
    """Stands for the end of the process."""


class CutAfter:
    """A progress bar that ends the process within the ``phase``-th phase, ``steps`` steps after its start."""

    def __init__(self, steps: int, phase: int = 0) -> None:
        self.steps, self.phases_before = steps, phase

    def __call__(self, steps: Iterable[int], start: int) -> Any:
        self.phases_before -= 1
        return _Cut(steps, self.steps if self.phases_before < 0 else None)


class _Cut:
    def __init__(self, steps: Iterable[int], number: int | None) -> None:
        self.steps, self.number = steps, number

    def __iter__(self) -> Iterator[int]:
        for done, step in enumerate(self.steps):
            if done == self.number:
                raise CrashError
            yield step

    def set_postfix(self, _: dict[str, str]) -> None:
        pass
