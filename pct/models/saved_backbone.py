"""The backbone of a saved classifier or heatmap model, without the rest of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from pct.models.checkpoint import CheckpointError, explain, load_model, model_kind
from pct.models.classifier import KIND as CLASSIFIER
from pct.models.heatmap import KIND as HEATMAP
from pct.models.photo_config import BackboneSizes


@dataclass(frozen=True)
class SavedBackbone:
    """Sizes of a backbone and its state dict."""

    sizes: BackboneSizes
    state: dict[str, Tensor]

    @classmethod
    def of_model(cls, name: str | Path) -> SavedBackbone:
        """Read the backbone of a classifier or heatmap model.

        Args:
            name: A model folder, the name of a model that ships with the package, or a hub id.

        Raises:
            CheckpointError: If there is no such model, its files are broken, or it has no backbone.
        """
        kind = model_kind(name)
        if kind not in (CLASSIFIER, HEATMAP):
            raise CheckpointError(f"{name} is a {kind}; a backbone is taken from a {CLASSIFIER} or {HEATMAP}")
        config, state = load_model(name, kind)
        weights = {key.removeprefix("backbone."): w for key, w in state.items() if key.startswith("backbone.")}
        with explain(name):
            sizes = BackboneSizes(**{**config["backbone"], "image_size": tuple(config["backbone"]["image_size"])})
        return cls(sizes, weights)
