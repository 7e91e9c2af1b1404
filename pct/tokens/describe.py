"""What a model or a token table is, as plain values and as lines (``pct info``)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pct.checkpoint import find_model
from pct.tokenizer import PoseTokenizer
from pct.tokenizer.codebook import CodebookUse
from pct.tokens.table import TokenReader


def describe_pretrained(name: str | Path) -> dict[str, Any]:
    """Describe a saved model: who its joints are, its sizes and tokens, its fingerprint, and the start of its card.

    ``tokens_ordered`` says whether the first tokens of a pose decode without the others, ``shortest_prefix`` how many
    it takes at least.

    Raises:
        CheckpointError: If there is no such model or its files do not fit together.
    """
    tokenizer = PoseTokenizer.from_pretrained(name)
    folder, config = find_model(name), tokenizer.config
    parts = {part: sum(p.numel() for p in module.parameters()) for part, module in tokenizer.named_children()}
    card = folder / "README.md"
    values = {
        "model": str(name),
        "folder": str(folder),
        "file_bytes": sum(f.stat().st_size for f in folder.iterdir() if f.is_file()),
        "fingerprint": tokenizer.fingerprint(),
        "skeleton": config.skeleton.name,
        "keypoint_names": list(config.skeleton.keypoint_names),
        "space": config.space.to_dict(),
        **_values(config, "num_tokens", "codebook_size"),
        "codebook_dim": tokenizer.quantizer.embeddings().shape[2],
        "bits_per_pose": round(config.num_tokens * math.log2(config.codebook_size), 2),
        "layout": config.layout,
        "tokens_ordered": tokenizer.shortest_prefix < config.num_tokens,
        "shortest_prefix": tokenizer.shortest_prefix,
        "encoder": f"{config.encoder_blocks} blocks of width {config.encoder_width}",
        "decoder": f"{config.decoder_blocks} blocks of width {config.decoder_width}",
        **_values(config, "quantizer", "guidance_channels"),
        "parameters": sum(parts.values()),
        "codebook_numbers": tokenizer.quantizer.num_entries,
    }
    if card.is_file():
        values["card"] = _start_of_card(card.read_text(encoding="utf-8"))
    return values


def describe_token_file(path: str | Path) -> dict[str, Any]:
    """Describe a token table: its model, its length, and how its tokens use the codebook.

    It holds the first ``tokens_per_pose`` of the ``num_tokens`` that the model gives each pose.

    Raises:
        ValueError: If the file is no token table or is broken.
    """
    with TokenReader(path) as reader:
        metadata = reader.metadata
        counts, images = np.zeros(metadata.codebook_size, np.int64), np.zeros(0, np.int64)
        for tokens in reader.batches():
            counts += np.bincount(tokens.indices.flatten(), minlength=metadata.codebook_size)
            images = np.union1d(images, tokens.image_ids)
        use = CodebookUse.from_counts(torch.from_numpy(counts))
        size = Path(path).stat().st_size
        return {
            "file": str(path),
            "format_version": metadata.format_version,
            "poses": len(reader),
            "images": len(images),
            "file_bytes": size,
            "bytes_per_pose": round(size / max(len(reader), 1), 1),
            **_values(metadata, "model", "fingerprint"),
            "skeleton": metadata.skeleton.name,
            "keypoint_names": list(metadata.skeleton.keypoint_names),
            **_values(metadata, "space", "tokens_per_pose", "num_tokens", "shortest_prefix", "codebook_size"),
            "codebook_usage": round(use.usage, 4),
            "codebook_perplexity": round(use.perplexity, 1),
            "entropy_bits_per_token": round(use.entropy_bits, 3),
        }


def _values(holder: object, *names: str) -> dict[str, Any]:
    return {name: getattr(holder, name) for name in names}


def as_lines(values: dict[str, Any]) -> str:
    """Write plain values one a line, names aligned."""
    width = max(map(len, values)) + 2
    return "\n".join(f"{name.replace('_', ' '):<{width}}{_as_text(value)}" for name, value in values.items())


def _as_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{k} {v}" for k, v in value.items())
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return str(value)


def _start_of_card(card: str) -> str:
    """Return the first paragraph of a model card, without its front matter and headings."""
    if card.startswith("---\n"):
        card = card[4:].partition("\n---\n")[2]
    paragraphs = [p for p in card.split("\n\n") if p.strip() and not p.lstrip().startswith("#")]
    return " ".join(paragraphs[0].split()) if paragraphs else ""
