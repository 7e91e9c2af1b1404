"""Models that read tokens, saved and loaded with the tokenizer that they were trained for."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from pct import checkpoint
from pct.checkpoint import CheckpointError
from pct.tokenizer import PoseTokenizer

TOKENIZER_FOLDER = "tokenizer"
Model = TypeVar("Model", bound="TokenizedModel")


class TokenizedModel(nn.Module):
    """A model with the frozen tokenizer whose tokens it reads, or with None where it reads none.

    Attributes:
        kind: Of the model, in its ``config.json``.
        config: Everything that it is built from, besides the tokenizer.
        tokenizer: See above; its weights are not the model's own.
    """

    kind: ClassVar[str]
    config_type: ClassVar[Any]
    config: Any
    tokenizer: Any

    def train(self: Model, mode: bool = True) -> Model:
        """Set training or evaluation mode; the tokenizer stays in evaluation mode."""
        super().train(mode)
        if self.tokenizer is not None:
            self.tokenizer.eval()
        return self

    def save_pretrained(
        self, folder: str | Path, card: str | None = None, force: bool = False, half: bool = False
    ) -> None:
        """Write ``config.json`` and ``model.safetensors``, and the tokenizer's folder ``tokenizer/`` if there is one.

        Args:
            folder: Where.
            card: Text of its README.md.
            force: Whether a model there may be replaced.
            half: Store all weights but the tokenizer's in half precision, half the size.

        Raises:
            FileExistsError: If the folder holds a model and ``force`` is not set.
        """
        state = {name: value for name, value in self.state_dict().items() if not name.startswith("tokenizer.")}
        if half:
            state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
        trained_for = self.tokenizer.fingerprint() if self.tokenizer is not None else None
        values = {**self.config.to_dict(), "tokenizer": trained_for}
        checkpoint.save_model(folder, self.kind, values, state, card, force)
        if self.tokenizer is not None:
            self.tokenizer.save_pretrained(Path(folder) / TOKENIZER_FOLDER, force=force)

    @classmethod
    def from_pretrained(cls: type[Model], name: str | Path, device: str | torch.device = "cpu") -> Model:
        """Load a model in evaluation mode, with its tokenizer where it has one.

        Args:
            name: A model folder, the name of a model that ships with the package, or hf:user/model.
            device: Where to put the weights.

        Raises:
            CheckpointError: If there is no such model, its files do not fit together, or its tokenizer is not the one
                that the head was trained for.
        """
        values, state = checkpoint.load_model(name, cls.kind)
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
            model: Any = cls(cls.config_type.from_dict(values), tokenizer)
            model.load_state_dict(state)
        loaded: Model = model.to(device).eval()
        return loaded
