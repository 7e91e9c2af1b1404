"""What the command lines of all training tools share: options, resume, Ctrl-C, errors in one sentence."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pct import distributed, plots
from pct.training.run_files import METRICS
from pct.training.run_folder import CONFIG, CURVES, MODEL_FOLDER, prepare_folder
from pct.training.stopping import TrainingStopped

# Trains a run in its folder and returns what it trained; gets the wrapper of its steps in a progress bar, or None.
TrainFunction = Callable[[Any, Path, Any], Any]
# Writes a report on a run in its folder, from what was trained, and returns where.
ReportFunction = Callable[[Any, Path, Any], Path | None]


def run_training(
    name: str,
    description: str,
    load_run: Callable[[str, list[str]], Any],
    train: TrainFunction,
    argv: list[str] | None = None,
    report: ReportFunction | None = None,
) -> int:
    """Run the command line of a training tool.

    Args:
        name: Of the script in ``tools/``, without ``.py``.
        description: Text of ``--help``.
        load_run: Reads a config file with overrides.
        train: Does the work.
        argv: Arguments; the process's own by default.
        report: Writes a report, on the main process.

    Returns:
        The exit status: 0, 1 after an error, or 128 + the number of the signal that stopped it.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="YAML file of the run; see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="change the config: optim.lr=0.001")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on with the run in the folder `out`, if any")
    existing.add_argument("--force", action="store_true", help="replace the run in the folder `out`")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    options = parser.parse_intermixed_args(argv)
    try:
        run = load_run(options.config, options.overrides)
        return _run_or_stop(name, run, train, report, options)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"{name}: error: {error}", file=sys.stderr)
        return 1
    finally:
        distributed.stop()


def _run_or_stop(
    name: str, run: Any, train: TrainFunction, report: ReportFunction | None, options: argparse.Namespace
) -> int:
    try:
        distributed.start(run.device)
        folder = prepare_folder(run, options.resume, options.force)
        trained = train(run, folder, None if options.quiet else progress_bar)
        if distributed.is_main():
            plots.plot_training_curves(folder / METRICS, folder / CURVES)
            print(f"model:  {folder / MODEL_FOLDER}\ncurves: {folder / CURVES}")
            written = report(run, folder, trained) if report else None
            if written:
                print(f"report: {written}")
    except KeyboardInterrupt as stop:
        if distributed.is_main():
            print(
                f"{name}: {str(stop) or 'interrupted'}; go on with\n"
                f"  tools/{name}.py {Path(run.out) / CONFIG} --resume",
                file=sys.stderr,
            )
        # The shell's convention: 128 + the signal's number.
        return 128 + (stop.signal_number if isinstance(stop, TrainingStopped) else signal.SIGINT)
    return 0


def progress_bar(steps: Iterable[int], start: int) -> Any:
    """Wrap the steps of a run in a tqdm bar that starts at the step resumed from."""
    from tqdm import tqdm

    total = start + len(steps)  # type: ignore[arg-type]
    return tqdm(steps, initial=start, total=total, desc="train", unit="step", dynamic_ncols=True, smoothing=0.05)
