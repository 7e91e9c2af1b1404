"""Files of TensorFlow.js as published networks come in them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def write_tfjs(path: Path, weights: Mapping[str, np.ndarray], nodes: Sequence[dict] = ()) -> Path:
    """Write a graph of ``nodes``, and its weights in half precision into the .bin beside it."""
    entries = [
        {"name": n, "shape": list(w.shape), "dtype": "float32", "quantization": {"dtype": "float16"}}
        for n, w in weights.items()
    ]
    path.with_suffix(".bin").write_bytes(b"".join(w.astype(np.float16).tobytes() for w in weights.values()))
    manifest = [{"paths": [path.with_suffix(".bin").name], "weights": entries}]
    path.write_text(json.dumps({"modelTopology": {"node": list(nodes)}, "weightsManifest": manifest}))
    return path
