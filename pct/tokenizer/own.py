"""The tokenizer in the folder of a model that reads tokens: the one that it was trained for, or an error."""

from __future__ import annotations

from pathlib import Path

from pct import checkpoint
from pct.checkpoint import CheckpointError
from pct.tokenizer import PoseTokenizer

TOKENIZER_FOLDER = "tokenizer"


def load_own_tokenizer(name: str | Path, trained_for: str | None) -> PoseTokenizer:
    """Load the tokenizer of a classifier or lifter.

    Args:
        name: The model: a folder, the name of one that ships with the package, or hf:user/model.
        trained_for: Fingerprint of the tokenizer that its head was trained for.

    Raises:
        CheckpointError: If there is none, or another one.
    """
    tokenizer = PoseTokenizer.from_pretrained(checkpoint.find_model(name) / TOKENIZER_FOLDER)
    if tokenizer.fingerprint() != trained_for:
        raise CheckpointError(
            f"{name}: the head was trained for tokenizer {trained_for}, but the folder holds tokenizer "
            f"{tokenizer.fingerprint()}; the tokens of the one mean nothing to the other"
        )
    return tokenizer
