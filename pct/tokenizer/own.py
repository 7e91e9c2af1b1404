"""Models that read tokens, saved and loaded with the tokenizer that they were trained for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from pct import checkpoint
from pct.checkpoint import CheckpointError
from pct.tokenizer import PoseTokenizer

TOKENIZER_FOLDER = "tokenizer"
Model = TypeVar("Model", bound=nn.Module)


def save_with_tokenizer(
    model: Any, folder: str | Path, kind: str, card: str | None = None, force: bool = False, half: bool = False
) -> None:
    """Write a model's ``config.json`` and ``model.safetensors``, and its tokenizer's folder ``tokenizer/`` if any.

    Args:
        model: With ``config`` and ``tokenizer``.
        folder: Where.
        kind: Of the model.
        card: Text of its README.md.
        force: Whether a model there may be replaced.
        half: Store all weights but the tokenizer's in half precision, half the size.

    Raises:
        FileExistsError: If the folder holds a model and ``force`` is not set.
    """
    state = {name: value for name, value in model.state_dict().items() if not name.startswith("tokenizer.")}
    if half:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    trained_for = model.tokenizer.fingerprint() if model.tokenizer is not None else None
    checkpoint.save_model(folder, kind, {**model.config.to_dict(), "tokenizer": trained_for}, state, card, force)
    if model.tokenizer is not None:
        model.tokenizer.save_pretrained(Path(folder) / TOKENIZER_FOLDER, force=force)


def load_with_tokenizer(
    name: str | Path,
    kind: str,
    build: Callable[[dict[str, Any], PoseTokenizer | None], Model],
    device: str | torch.device,
) -> Model:
    """Load a model in evaluation mode, with its tokenizer where it has one.

    Args:
        name: A model folder, the name of a model that ships with the package, or hf:user/model.
        kind: Of the model.
        build: Makes it from its config and tokenizer.
        device: Where to put the weights.

    Raises:
        CheckpointError: If there is no such model, its files do not fit together, or its tokenizer is not the one that
            the head was trained for.
    """
    values, state = checkpoint.load_model(name, kind)
    trained_for, tokenizer = values.pop("tokenizer", None), None
    if trained_for is not None:
        tokenizer = PoseTokenizer.from_pretrained(checkpoint.find_model(name) / TOKENIZER_FOLDER)
        if tokenizer.fingerprint() != trained_for:
            raise CheckpointError(
                f"{name}: the head was trained for tokenizer {trained_for}, but the folder holds tokenizer "
                f"{tokenizer.fingerprint()}; the tokens of the one mean nothing to the other"
            )
        state |= {f"tokenizer.{key}": value for key, value in tokenizer.state_dict().items()}
    with checkpoint.explain(name):
        model = build(values, tokenizer)
        model.load_state_dict(state)
    return model.to(device).eval()
