"""Where the configs are that come with pct: in the package once installed, in ``configs/`` of a checkout."""

from __future__ import annotations

from pathlib import Path

KINDS = ("tokenizer", "classifier", "heatmap", "lifter")
_PACKAGE = Path(__file__).parents[1]
_FOLDERS = (_PACKAGE / "configs", _PACKAGE.parent / "configs")


def find_config(kind: str, name: str) -> Path:
    """Return the file of a config.

    Args:
        kind: One of :data:`KINDS`.
        name: A path, or the name of a config that comes with pct: ``coco`` is ``tokenizer_coco.yaml`` of a tokenizer.

    Raises:
        ValueError: If there is neither; says which names there are.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or len(path.parts) != 1:
        raise ValueError(f"config {name} does not exist; there are also {', '.join(config_names(kind))} without a file")
    for folder in _FOLDERS:
        if (folder / f"{kind}_{name}.yaml").is_file():
            return folder / f"{kind}_{name}.yaml"
    raise ValueError(f"there is no {kind} config {name!r}; there are {', '.join(config_names(kind))}, or give a path")


def config_names(kind: str) -> list[str]:
    """Return the names of the configs of a kind that come with pct."""
    files = [file for folder in _FOLDERS for file in folder.glob(f"{kind}_*.yaml")]
    return sorted({file.stem.removeprefix(f"{kind}_") for file in files})
