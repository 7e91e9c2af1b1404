"""The kinds of training runs: how each reads its config, trains, and reports; and one function that does all of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pct import distributed
from pct.drawing import plots
from pct.training.find_config import KINDS, find_config
from pct.training.run_files import METRICS
from pct.training.run_folder import CURVES, prepare_folder

Progress = Callable[[Iterable[int], int], Any]


@dataclass(frozen=True)
class Kind:
    """What sets a kind of run apart.

    Attributes:
        load: Reads a config file with overrides.
        train: Trains a run in its folder and returns what it trained; gets the wrapper of its steps in a progress
            bar, or None.
        report: Writes a report on a run in its folder, from what was trained, and returns where.
    """

    load: Callable[[Path, list[str]], Any]
    train: Callable[[Any, Path, Progress | None], Any]
    report: Callable[[Any, Path, Any], Path | None] = lambda run, folder, trained: None


def load_run(kind: str, config: str, overrides: list[str]) -> Any:
    """Read the config of a run: a YAML file, or the name of one that comes with pct.

    Args:
        kind: One of :data:`pct.training.find_config.KINDS`.
        config: A path, or a name such as ``coco``.
        overrides: ``key=value`` pairs.

    Raises:
        ValueError: If there is no such kind or config, or it has a key or a value that it must not have.
    """
    return _kind(kind).load(find_config(kind, config), overrides)


def train_run(
    kind: str, run: Any, resume: bool = False, force: bool = False, progress: Progress | None = None
) -> Path | None:
    """Train a run in its folder ``run.out``, and draw its curves there.

    Several processes stay connected; end with :func:`pct.distributed.stop`.

    Args:
        kind: One of :data:`pct.training.find_config.KINDS`.
        run: Of :func:`load_run`.
        resume: Go on with the run that the folder holds.
        force: Replace the run that the folder holds.
        progress: Wraps the steps in a bar.

    Returns:
        The report's page, where the kind has one and this is the main process.

    Raises:
        ValueError: If the run's settings, data or folder cannot be used.
        OSError: If a file cannot be read or written.
        FloatingPointError: If the loss is no longer finite.
        TrainingStopped: After Ctrl-C or SIGTERM; a checkpoint is written.
    """
    chosen = _kind(kind)
    distributed.start(run.device)
    folder = prepare_folder(run, resume, force)
    trained = chosen.train(run, folder, progress)
    if not distributed.is_main():
        return None
    plots.plot_training_curves(folder / METRICS, folder / CURVES)
    return chosen.report(run, folder, trained)


def progress_bar(steps: Iterable[int], start: int) -> Any:
    """Wrap the steps of a run in a tqdm bar that starts at the step resumed from."""
    from tqdm import tqdm

    total = start + len(steps)  # type: ignore[arg-type]
    return tqdm(steps, initial=start, total=total, desc="train", unit="step", dynamic_ncols=True, smoothing=0.05)


def _kind(name: str) -> Kind:
    if name == "tokenizer":
        from pct.training.tokenizer.config import load_run as load_tokenizer_run
        from pct.training.tokenizer.recipe import train_tokenizer, write_tokenizer_report

        return Kind(load_tokenizer_run, train_tokenizer, write_tokenizer_report)
    if name == "lifter":
        from pct.training.lifting.config import load_lifter_run
        from pct.training.lifting.recipe import train_lifter

        return Kind(load_lifter_run, train_lifter)
    from pct.training.photos.config import load_classifier_run, load_heatmap_run
    from pct.training.photos.recipe import train_classifier, train_heatmap_model

    if name == "classifier":
        return Kind(load_classifier_run, train_classifier)
    if name == "heatmap":
        return Kind(load_heatmap_run, train_heatmap_model)
    raise ValueError(f"there is no kind of run {name!r}; there are {', '.join(KINDS)}")
