"""The page of the token explorer: a template filled with the weights of a tokenizer and poses to start from."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from torch import Tensor

from pct.explorer.packing import pack_numbers
from pct.skeleton import Skeleton
from pct.tokenizer import PoseTokenizer
from pct.tokenizer.coarse_fine import TRUSTED, CoarseFineQuantizer
from pct.tokens.codec import check_table
from pct.tokens.table import TokenReader, is_token_file

_EXAMPLES = Path(__file__).with_name("examples.json")
# How each layout's ids are grouped: a heading and what they say.
_HEADINGS = {
    "parallel": [("All together", "Each id was mixed from the whole body.")],
    "coarse_fine": [
        ("Limbs, roughly", "Each id says how one limb stands."),
        ("Joints, exactly", "Each id puts one joint in its place, near where the limbs say."),
    ],
    "residual": [("Coarse to fine", "Each id mends what those before it left open.")],
}
_ENDS = {"arms": "arm", "legs": "leg"}


def explore(name: str | Path, count: int = 24, model: str | None = None) -> str:
    """Return the explorer's page of a model, or of a token table: its model with poses of it to start from.

    Args:
        name: A model that ships with the package, a folder, hf:user/model, or a token table (.parquet).
        count: How many poses of a table the page holds, taken evenly over its rows.
        model: The model of a table, where it is not found under the name that the table says.

    Raises:
        CheckpointError: If there is no such model, or it is no tokenizer.
        ValueError: If the table cannot be read or another model made it, or pages cannot run a model of this kind.
    """
    if not str(name).lower().endswith(".parquet") and not is_token_file(name):
        if model is not None:
            raise ValueError(
                f"model {model} is given for {name}, which is no token table (.parquet) but a model itself"
            )
        tokenizer = PoseTokenizer.from_pretrained(name)
        return render_page(tokenizer, str(name), example_poses(tokenizer))
    with TokenReader(name) as reader:
        model = model or reader.metadata.model
        tokenizer = PoseTokenizer.from_pretrained(model)
        check_table(tokenizer, reader, to_decode=True)
        tokens = reader.read()
    rows = np.linspace(0, len(tokens) - 1, min(count, len(tokens))).round().astype(int).tolist()
    starts = [{"name": str(tokens.annotation_ids[row]), "ids": tokens.indices[row].tolist()} for row in rows]
    return render_page(tokenizer, model, starts)


def render_page(tokenizer: PoseTokenizer, name: str, starts: Sequence[dict[str, Any]]) -> str:
    """Return the page: one HTML file that needs neither a server nor a network.

    Args:
        tokenizer: The model that the page runs.
        name: What the page calls it.
        starts: Poses to start from: ``name`` with ``joints`` (K, D) in model units, or with ``ids``, all or a prefix.

    Raises:
        ValueError: If pages cannot run a model of this kind.
    """
    config = tokenizer.config
    if config.guidance_channels or config.quantizer != "ema":
        kind = "image guidance" if config.guidance_channels else f"quantizer {config.quantizer}"
        raise ValueError(f"{name}: the explorer shows tokenizers with a learned codebook that see joints, not {kind}")
    tensors = {name: tensor for name, tensor in _tensors(tokenizer).items() if tensor.numel()}
    packed = pack_numbers(tensors.values())
    settings = {
        **describe_network(tokenizer),
        "name": name,
        "fingerprint": tokenizer.fingerprint(),
        "packed_bytes": packed.packed_bytes,
        "number_bytes": packed.number_bytes,
        "tensors": [(name, tensor.numel()) for name, tensor in tensors.items()],
        **describe_skeleton(tokenizer.skeleton),
        "tokens": describe_tokens(tokenizer),
        "headings": _HEADINGS[config.layout],
        "starts": list(starts),
    }
    environment = Environment(
        loader=PackageLoader("pct", "explorer"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    # A name may hold what ends a script element.
    text = json.dumps(settings, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return environment.get_template("explorer.html.j2").render(settings=settings, json=text, weights=packed.text)


def describe_network(tokenizer: PoseTokenizer) -> dict[str, Any]:
    """Return the sizes and constants that ``network.js`` needs, as plain values."""
    config, space, quantizer = tokenizer.config, tokenizer.space, tokenizer.quantizer
    values: dict[str, Any] = {
        "layout": config.layout,
        "keypoints": config.skeleton.num_keypoints,
        "dims": space.num_dims,
        "num_tokens": config.num_tokens,
        "codebook_size": config.codebook_size,
        "shortest_prefix": tokenizer.shortest_prefix,
        "encoder_blocks": config.encoder_blocks,
        "decoder_blocks": config.decoder_blocks,
        "middle": quantizer.middle,
        "unit": quantizer.unit,
        "root": space.root if space.kind == "root3d" else None,
        "report_scale": space.report_scale,
        "report_unit": space.report_unit,
        "bits": round(config.num_tokens * math.log2(config.codebook_size)),
    }
    if isinstance(quantizer, CoarseFineQuantizer):
        values |= {"period": quantizer.period, "fine_radius": quantizer.fine_radius, "trusted": TRUSTED}
        values["fine_joints"] = quantizer.fine_joints
    return values


def describe_skeleton(skeleton: Skeleton) -> dict[str, Any]:
    """Return the joints' names, their bones, and which limb each belongs to (``left arm``, ``torso``, ...)."""
    sides = {joint: side for pair in skeleton.flip_pairs for joint, side in zip(pair, ("left", "right"), strict=True)}
    parts = {joint: part for part, joints in skeleton.parts.items() for joint in joints}
    limbs = [
        f"{sides[j]} {_ENDS[parts[j]]}" if parts[j] in _ENDS and j in sides else parts[j]
        for j in range(skeleton.num_keypoints)
    ]
    return {
        "joints": [name.replace("_", " ") for name in skeleton.keypoint_names],
        "edges": skeleton.edges,
        "limbs": limbs,
    }


def describe_tokens(tokenizer: PoseTokenizer) -> list[dict[str, Any]]:
    """Return of each token its ``group``, and the joints that it is about, its home first; none where it may be all."""
    quantizer = tokenizer.quantizer
    if not isinstance(quantizer, CoarseFineQuantizer):
        return [{"group": 0, "joints": []}] * tokenizer.config.num_tokens
    limbs = [{"group": 0, "joints": [home, *sorted(others)]} for home, *others in quantizer.limbs]
    return limbs + [{"group": 1, "joints": [joint]} for joint in quantizer.fine_joints]


def example_poses(tokenizer: PoseTokenizer) -> list[dict[str, Any]]:
    """Return poses to start from: bundled ones of COCO and of motion capture, else the model's own mean pose."""
    names, dims = list(tokenizer.skeleton.keypoint_names), tokenizer.space.num_dims
    middle, unit = tokenizer.quantizer.middle, tokenizer.quantizer.unit
    for examples in json.loads(_EXAMPLES.read_text(encoding="utf-8")):
        if (examples["keypoint_names"], examples["dims"]) == (names, dims):
            return [
                {"name": pose["name"], "joints": (torch.tensor(pose["joints"]) * unit + middle).tolist()}
                for pose in examples["poses"]
            ]
    # Of a pose with one known joint the model fills in all others as they are on the mean.
    keypoints = torch.full((1, len(names), dims), middle)
    visible = torch.arange(len(names))[None] == 0
    reference = tokenizer.space.standard_reference()[None]
    ids = tokenizer.encode(tokenizer.space.restore(keypoints, reference), visible, reference)
    return [{"name": "mean pose", "ids": ids[0].tolist()}]


def _tensors(tokenizer: PoseTokenizer) -> dict[str, Tensor]:
    """Return weights and fixed maps by name, without what only training needs."""
    quantizer = tokenizer.quantizer
    fixed = {}
    if isinstance(quantizer, CoarseFineQuantizer):
        fixed = {f"quantizer.{name}": getattr(quantizer, name) for name in ("see", "offsets", "signs")}
    return {**tokenizer._own_state(), **fixed}
