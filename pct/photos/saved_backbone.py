"""A backbone by itself: saved alone, or taken out of a saved classifier or heatmap model."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from pct.checkpoint import CheckpointError, explain, load_model, model_kind, save_model
from pct.photos.backbone import Backbone
from pct.photos.classifier import KIND as CLASSIFIER
from pct.photos.config import BackboneSizes
from pct.photos.heatmap import KIND as HEATMAP
from pct.pose_model import build_config

KIND = "pose_backbone"


def save_backbone(folder: str | Path, sizes: BackboneSizes, backbone: Backbone, force: bool = False) -> None:
    """Write a backbone alone, which ``backbone_from=`` of a training run takes.

    Raises:
        FileExistsError: If the folder holds a model and ``force`` is not set.
    """
    state = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
    save_model(folder, KIND, {"backbone": asdict(sizes)}, state, force=force)


def load_backbone(name: str | Path) -> tuple[BackboneSizes, dict[str, Tensor]]:
    """Return sizes and state dict of a saved backbone, or of that of a classifier or heatmap model.

    Args:
        name: A model folder, the name of a model that ships with the package, or hf:user/model.

    Raises:
        CheckpointError: If there is no such model, its files are broken, or it has no backbone.
    """
    kind = model_kind(name)
    if kind not in (KIND, CLASSIFIER, HEATMAP):
        raise CheckpointError(f"{name} is a {kind}; a backbone is taken from a {KIND}, {CLASSIFIER} or {HEATMAP}")
    config, state = load_model(name, kind)
    with explain(name):
        sizes = build_config(BackboneSizes, config["backbone"], "backbone")
    return sizes, {key.removeprefix("backbone."): w for key, w in state.items() if key.startswith("backbone.")}
