#!/usr/bin/env python
"""Kill commands at random moments, send them signals, let them race: outputs are whole, none is lost or left behind.

    python benchmarks/kills.py --kills 200 --signals 50 --races 50

Commands run in forked children, so that a trial takes as long as its work. After each the outputs must be those of the
run before or those of the new one; after a signal nothing half written may be there, after SIGKILL only until the next.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from pct.cli.main import main as pct
from pct.files.coco_writer import write_coco_poses
from pct.people.poses import generate_poses
from pct.photos.results.predict_files import check_folder
from pct.skeleton import COCO17
from pct.training.run_files import load_checkpoint, read_metrics

# What commands import when they run: done once here and not in each child.
_IMPORTED = (
    *(
        "cv2",
        "omegaconf",
        "pyarrow.parquet",
        "timm",
        "torch.utils.tensorboard",
        "pct.tokens.codec",
        "pct.training.kinds",
    ),
    *("pct.tokens.text_files", "pct.photos.estimator"),
    *("pct.evaluation.tokens.files", "pct.photos.backbone", "PIL.Image"),
)
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_TRAINING = [
    "steps=20",
    "batch_size=16",
    "val_every=0",
    "checkpoint_every=2",
    "report=false",
    "threads=1",
    "val_poses=20",
]
_TRAINING += ["data.num_generated=100", "model.encoder_width=16", "model.encoder_blocks=1", "model.codebook_dim=8"]


@dataclass(frozen=True)
class Command:
    """A command that is disturbed.

    Attributes:
        name: Of its outputs in the folder.
        arguments: From the input's name, ``old`` or ``new``, and the output, to those of the command line.
    """

    name: str
    arguments: Callable[[str, str], list[str]]

    def content(self, folder: Path) -> str:
        """Return what its outputs hold, as digits; empty where there is nothing."""
        out = folder / self.name
        files = [out] if out.is_file() else sorted(f for f in out.rglob("*") if f.is_file() and not _hidden(f, folder))
        if self.name == "run":
            return _check_run(out)
        digests = [f"{f.relative_to(folder)} {hashlib.sha256(f.read_bytes()).hexdigest()}" for f in files]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()[:16] if digests else ""


def _check_run(out: Path) -> str:
    """Return "run" for the folder of a training run that can go on; raises where it cannot."""
    if out.exists():
        load_checkpoint(out)
        read_metrics(out / "metrics.jsonl")
    return "run"


def _hidden(path: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(folder).parts)


COMMANDS = (
    Command("t.parquet", lambda which, out: ["encode", f"{which}.json", "-o", out, "--force"]),
    Command("d.json", lambda which, out: ["decode", f"{which}.parquet", "-o", out, "--force"]),
    Command("x.txt", lambda which, out: ["text", f"{which}.parquet", "-o", out, "--force"]),
    Command("p", lambda which, out: ["predict", which, "--whole-photos", "-o", out, "--force", "--threads", "1"]),
    Command(
        "run", lambda which, out: ["train", "tokenizer", "generated", f"out={out}", *_TRAINING, "--quiet", "--force"]
    ),
)


def start(arguments: list[str], folder: Path) -> int:
    """Run a command in a child; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    os.chdir(folder)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    status = 1
    try:
        status = pct(arguments)
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else 1
    finally:
        os._exit(status)


def finish(pid: int) -> int:
    """Wait for a child; return its exit status, negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def left_behind(folder: Path) -> list[str]:
    """Return the hidden files of a folder: what is half written."""
    return sorted(str(f.relative_to(folder)) for f in folder.rglob(".*"))


def prepare(folder: Path) -> None:
    """Write the inputs and the first outputs."""
    from PIL import Image

    for number, which in enumerate(("old", "new")):
        write_coco_poses(folder / f"{which}.json", [generate_poses(3000, COCO17, seed=number)])
        assert finish(start(["encode", f"{which}.json", "-o", f"{which}.parquet"], folder)) == 0
        (folder / which).mkdir()
        pixels = np.random.default_rng(number).integers(0, 255, (120, 100, 3), np.uint8)
        for row in range(3):
            Image.fromarray(np.roll(pixels, row)).save(folder / which / f"{row}.png")


def disturb(command: Command, numbers: tuple[int, ...], times: int, folder: Path, rng: random.Random) -> Counter[str]:
    """Send signals to runs of a command; count what came of it."""
    counts: Counter[str] = Counter()
    known = {}
    for which in ("old", "new"):
        began = time.perf_counter()
        assert finish(start(command.arguments(which, command.name), folder)) == 0, command.name
        known[which], length = command.content(folder), time.perf_counter() - began
    for trial in range(times):
        which = ("old", "new")[trial % 2]
        pid = start(command.arguments(which, command.name), folder)
        time.sleep(length * (rng.uniform(0, 1.1) if trial % 3 else rng.uniform(0.7, 1.1)))
        number = rng.choice(numbers)
        os.kill(pid, number)
        counts["disturbed" if finish(pid) != 0 else "done before"] += 1
        if number != signal.SIGKILL and left_behind(folder):
            counts["left behind"] += 1
        if command.name == "p":
            try:
                check_folder(folder / command.name, force=True)  # as the next run begins
            except ValueError:
                counts["wrong"] += 1
        found = command.content(folder)
        if found not in known.values():
            counts["mixed" if found else "lost"] += 1
        if number == signal.SIGKILL and trial % 5 == 4:
            assert finish(start(command.arguments(which, command.name), folder)) == 0
            counts["left behind"] += bool(left_behind(folder))
            counts["mixed"] += command.content(folder) != known[which]
    return counts


def race(command: Command, folder: Path) -> str:
    """Let two runs write the same new output; say what came of it."""
    out = folder / command.name
    shutil.rmtree(out) if out.is_dir() else out.unlink(missing_ok=True)
    runs = [[a for a in command.arguments(which, command.name) if a != "--force"] for which in ("old", "new")]
    statuses = [finish(pid) for pid in [start(arguments, folder) for arguments in runs]]
    if statuses.count(0) != 1:
        return f"{statuses.count(0)} winners"
    content = command.content(folder)
    shutil.rmtree(out) if out.is_dir() else out.unlink()
    assert finish(start(runs[statuses.index(0)], folder)) == 0
    whole = command.content(folder) == content and not left_behind(folder)
    return "one winner" if whole else "one winner, but not whole"


def main() -> int:
    """Run the benchmark; 1 where something went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, number in (("kills", 200), ("signals", 50), ("races", 50), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=number)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for module in _IMPORTED:
        with suppress(ModuleNotFoundError):
            importlib.import_module(module)
    rng, found = random.Random(args.seed), {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        for command in COMMANDS:
            share = len(COMMANDS)
            kills = disturb(command, (signal.SIGKILL,), args.kills // share, folder, rng)
            signals = disturb(command, SIGNALS, args.signals // share, folder, rng)
            found[command.name] = {"kills": dict(+kills), "signals": dict(+signals)}
            print(command.name, found[command.name], file=sys.stderr)
        racers = [command for command in COMMANDS if command.name != "run"]
        races = Counter(race(racers[number % len(racers)], folder) for number in range(args.races))
        found["races"] = dict(races)
    print(json.dumps(found, indent=1))
    bad = {"mixed", "lost", "left behind", "wrong"}
    wrong = any(bad & set(counts) for entry in found.values() for counts in entry.values() if isinstance(counts, dict))
    return int(wrong or set(races) - {"one winner"} != set())


if __name__ == "__main__":
    sys.exit(main())
