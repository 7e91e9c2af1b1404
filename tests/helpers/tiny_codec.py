"""Tiny model, poses and files that the tests of the codec and of pose files share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from pct.skeleton import Skeleton
from pct.tokenizer import PoseTokenizer, TokenizerConfig
from pct.tokens.codec import encode_file
from pct.tokens.table import PoseTokens, TokenReader

TRIANGLE = Skeleton("triangle", ("top", "left_foot", "right_foot"), ((0, 1), (0, 2)), ((1, 2),), (0.05, 0.05, 0.05))


def make_tokenizer(seed: int = 0, **changes) -> PoseTokenizer:
    torch.manual_seed(seed)
    sizes = {
        "skeleton": TRIANGLE,
        "num_tokens": 4,
        "codebook_size": 32,
        "codebook_dim": 4,
        "encoder_width": 8,
        "encoder_blocks": 1,
        "decoder_width": 8,
        **changes,
    }
    return PoseTokenizer(TokenizerConfig(**sizes)).eval()


def make_ordered(seed: int = 0, **changes) -> PoseTokenizer:
    """A residual model of 6 tokens, or another layout, whose codebook is where its features are."""
    sizes = {"layout": "residual", "num_tokens": 6, "decoder_blocks": 1, **changes}
    tokenizer = make_tokenizer(seed, **sizes)
    keypoints = torch.rand(300, tokenizer.skeleton.num_keypoints, tokenizer.space.num_dims) * 2 - 1
    with torch.no_grad():
        tokenizer.train()(keypoints, torch.rand(keypoints.shape[:2]) < 0.8)
    return tokenizer.eval()


TOKENIZER = make_tokenizer()
CATEGORY = {"id": 1, "name": "person", "keypoints": list(TRIANGLE.keypoint_names), "skeleton": [[1, 2], [1, 3]]}


def person(number: int, **changes) -> dict:
    """A good annotation of TRIANGLE; ``...`` as a value leaves the field out."""
    values = {
        "id": number,
        "image_id": 7 * number,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [10.5 + number, 20, 30.25, 40],
        "area": 700.0,
        "keypoints": [11 + number, 21.5, 2, 0, 0, 0, 39, 59, 1],
        **changes,
    }
    return {name: value for name, value in values.items() if value is not ...}


def write_json(path: Path, annotations: list, categories=(CATEGORY,)) -> Path:
    path.write_text(json.dumps({"images": [], "annotations": annotations, "categories": list(categories)}))
    return path


def write_arrays(path: Path, **changes) -> Path:
    rng = np.random.default_rng(0)
    arrays = {
        "keypoints": rng.uniform(10, 200, (6, 3, 2)),
        "visible": np.array([[1, 1, 1], [1, 0, 1]] * 3, bool),
        "bbox": np.array([[5, 5, 200, 220.0]] * 6),
        "image_ids": np.arange(6) // 2,
        "annotation_ids": np.arange(6) * 10,
        **changes,
    }
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def read(path: Path) -> PoseTokens:
    with TokenReader(path) as reader:
        return reader.read()


def encode(source: Path, out: Path | None = None, **options):
    return encode_file(TOKENIZER, source, out or source.with_name("tokens.parquet"), **options)


def rewrite(path: Path, out: Path | None = None, columns: Mapping[str, Any] | None = None, **metadata) -> Path:
    """Write a token table again as another program could have, with other columns or metadata; ``...`` drops one."""
    table, out = pq.read_table(path), out or path
    values = {**json.loads(table.schema.metadata[b"pct"]), **metadata}
    for name, array in (columns or {}).items():
        place = table.column_names.index(name)
        table = table.remove_column(place) if array is ... else table.set_column(place, name, array)
    values = {name: value for name, value in values.items() if value is not ...}
    pq.write_table(table.replace_schema_metadata({"pct": json.dumps(values)}), out)
    return out


def cut_table(path: Path, length: int) -> Path:
    """Keep the first tokens of each pose of a token table only, even fewer than the model decodes."""
    tokens = pa.array(read(path).indices[:, :length].tolist(), pa.list_(pa.uint16(), length))
    return rewrite(path, columns={"tokens": tokens}, prefix=length)
