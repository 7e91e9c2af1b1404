"""TensorFlow.js graph models: the graph's nodes and the weights by name, from a JSON file and the files it names."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

_TYPES = {"float32": np.float32, "float16": np.float16, "int32": np.int32, "bool": np.uint8}
# No network that is converted here has more.
_MAX_BYTES = 512 * 2**20


@dataclass(frozen=True)
class TfjsModel:
    """A graph model.

    Attributes:
        path: Its file.
        nodes: The graph's nodes in order, as the file has them.
        weights: Arrays by name; floating point ones are float32.
    """

    path: Path
    nodes: list[dict[str, Any]]
    weights: dict[str, np.ndarray]

    def tensor(self, name: str, shape: Sequence[int]) -> Tensor:
        """Return a weight of torch's ``shape``; TensorFlow's convolutions have (height, width, in, out or multiplier).

        Raises:
            ValueError: If there is none of that name, or it has another shape.
        """
        if name not in self.weights:
            raise ValueError(f"{self.path}: no {name or 'bias'}; this is another network")
        found = torch.from_numpy(self.weights[name])
        if found.ndim == 4:
            depthwise = tuple(shape[1:2]) == (1,) and found.shape[3] == 1
            found = found.permute(2, 3, 0, 1) if depthwise else found.permute(3, 2, 0, 1)
        elif found.ndim == 3:
            found = found[..., 0]
        if found.shape != tuple(shape):
            raise ValueError(
                f"{self.path}: {name} is {tuple(found.shape)}, not {tuple(shape)}; this is another network"
            )
        return found


def read_tfjs(path: str | Path) -> TfjsModel:
    """Read a TensorFlow.js graph model.

    Args:
        path: Its ``.json`` file; the weights lie beside it.

    Raises:
        ValueError: If it is no such file, or the weights' files do not hold what it says.
    """
    path = Path(path)
    try:
        model = json.loads(path.read_text(encoding="utf-8"))
        nodes, groups = model["modelTopology"]["node"], model["weightsManifest"]
        weights: dict[str, np.ndarray] = {}
        for group in groups:
            weights |= _read_group(path.parent, group)
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a TensorFlow.js graph model (graph and weights): {error!r}") from None
    return TfjsModel(path, nodes, weights)


def _read_group(folder: Path, group: dict[str, Any]) -> dict[str, np.ndarray]:
    for name in group["paths"]:
        if Path(name).name != name:
            raise ValueError(f"{folder}: weights must lie beside the model's file, not at {name!r}")
    if sum((folder / name).stat().st_size for name in group["paths"]) > _MAX_BYTES:
        raise ValueError(f"{folder}: the weights are larger than {_MAX_BYTES:,} bytes")
    data = b"".join((folder / name).read_bytes() for name in group["paths"])
    found, start = {}, 0
    for entry in group["weights"]:
        kind = entry.get("quantization", {}).get("dtype", entry["dtype"])
        if kind not in _TYPES:
            raise ValueError(f"{folder}: weights of type {kind!r} are not read: {entry['name']}")
        stored = _TYPES[kind]
        count = math.prod(entry["shape"])
        end = start + count * np.dtype(stored).itemsize
        if end > len(data):
            raise ValueError(f"{folder}: the weights end before {entry['name']}")
        values = np.frombuffer(data, stored, count, start).reshape(entry["shape"])
        found[entry["name"]] = values.astype(np.float32) if stored == np.float16 else values.copy()
        start = end
    return found
