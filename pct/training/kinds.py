"""The kinds of training runs, their configs, and one function that trains any of them; loads no torch, for help."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any

# Each kind's room, config, and how it trains.
_RECIPES = {
    "tokenizer": ("tokenizer", "TokenizerRun", "train_tokenizer"),
    "classifier": ("photos", "ClassifierRun", "train_classifier"),
    "heatmap": ("photos", "HeatmapRun", "train_heatmap_model"),
    "lifter": ("lifting", "LifterRun", "train_lifter"),
}
KINDS = tuple(_RECIPES)
# In the package once installed, in the root of a checkout.
_FOLDERS = (Path(__file__).parents[1] / "configs", Path(__file__).parents[2] / "configs")

Progress = Callable[[Iterable[int], int], Any]


def config_names(kind: str) -> list[str]:
    """Return the names of the configs of a kind that come with pct."""
    files = [file for folder in _FOLDERS for file in folder.glob(f"{kind}_*.yaml")]
    return sorted({file.stem.removeprefix(f"{kind}_") for file in files})


def find_config(kind: str, name: str | Path) -> Path:
    """Return the file of a config.

    Args:
        kind: One of :data:`KINDS`.
        name: A path, or the name of a config that comes with pct: ``coco`` is ``tokenizer_coco.yaml`` of a tokenizer.

    Raises:
        ValueError: If there is neither; says which names there are.
    """
    path, names = Path(name), ", ".join(config_names(kind))
    found = [path, *(folder / f"{kind}_{name}.yaml" for folder in _FOLDERS if len(path.parts) == 1)]
    for file in found:
        if file.is_file():
            return file
    if path.suffix in (".yaml", ".yml") or len(path.parts) != 1:
        raise ValueError(f"config {name} does not exist; there are also {names} without a file")
    raise ValueError(f"there is no {kind} config {name!r}; there are {names}, or give a path")


def load_run(kind: str, config: str | Path, overrides: list[str]) -> Any:
    """Read the config of a run: a YAML file, or the name of one that comes with pct.

    Args:
        kind: One of :data:`KINDS`.
        config: A path, or a name such as ``coco``.
        overrides: ``key=value`` pairs.

    Raises:
        ValueError: If there is no such kind or config, or it has a key or a value that it must not have.
    """
    if kind not in _RECIPES:
        raise ValueError(f"there is no kind of run {kind!r}; there are {', '.join(KINDS)}")
    from pct.training.run_config import load_config

    room, schema, _ = _RECIPES[kind]
    sections = import_module(f"pct.training.{room}.config")
    return load_config(find_config(kind, config), overrides, getattr(sections, schema))


def train_run(
    kind: str, run: Any, resume: bool = False, force: bool = False, progress: Progress | None = None
) -> Path | None:
    """Train a run in its folder ``run.out``, and draw its curves there.

    Several processes stay connected; end with :func:`pct.distributed.stop`.

    Args:
        kind: One of :data:`KINDS`.
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
    from pct import distributed
    from pct.drawing import plots
    from pct.training.run_files import CURVES, METRICS, prepare_folder, read_metrics

    room, _, train = _RECIPES[kind]
    recipe = import_module(f"pct.training.{room}.recipe")
    distributed.start(run.device)
    folder = prepare_folder(run, resume, force)
    trained = getattr(recipe, train)(run, folder, progress)
    if not distributed.is_main():
        return None
    plots.plot_training_curves(read_metrics(folder / METRICS), folder / CURVES)
    page: Path | None = recipe.write_tokenizer_report(run, folder, trained) if kind == "tokenizer" else None
    return page


def progress_bar(steps: Iterable[int], start: int) -> Any:
    """Wrap the steps of a run in a tqdm bar that starts at the step resumed from."""
    from tqdm import tqdm

    total = start + len(steps)  # type: ignore[arg-type]
    return tqdm(steps, initial=start, total=total, desc="train", unit="step", dynamic_ncols=True, smoothing=0.05)
