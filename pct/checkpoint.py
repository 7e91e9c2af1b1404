"""Model folders: config.json + model.safetensors, written atomically, loaded strictly, never with pickle."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from pct.files.output import write_atomically

FORMAT_VERSION = 1
_CONFIG, _WEIGHTS, _CARD = "config.json", "model.safetensors", "README.md"
_HUB_FILES = (_CONFIG, _WEIGHTS, _CARD)
# In front of the names of models on the hub: a folder that is not there is never looked for at strangers'.
_HUB = "hf:"
# Words in the names of sizes that count layers; other sizes up to the next number need no weights of that size.
_REPEATED, _PLAIN_SIZE = ("blocks", "layers", "depth"), 4096
_NO_SIZES = ("codebook_size", "seed", "steps")
_SHIPPED = Path(__file__).parent / "weights"


class CheckpointError(ValueError):
    """A model's files are missing, broken or of another kind."""


def fingerprint(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> str:
    """Return 16 hex digits of the SHA-256 of a model's config and weights."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(state):
        digest.update(name.encode())
        digest.update(state[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def save_model(
    folder: str | Path,
    kind: str,
    config: Mapping[str, Any],
    state: Mapping[str, Tensor],
    card: str | None = None,
    force: bool = False,
) -> None:
    """Write a model folder.

    Raises:
        FileExistsError: If the folder holds a model and ``force`` is not set.
    """
    folder = Path(folder)
    if (folder / _CONFIG).exists() and not force:
        raise FileExistsError(f"{folder} already holds a model; give force=True (--force) to replace it")
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    text = json.dumps({"format_version": FORMAT_VERSION, "kind": kind, **config}, indent=2)
    write_atomically(folder / _WEIGHTS, save(tensors, metadata={"format": "pt"}))
    write_atomically(folder / _CONFIG, (text + "\n").encode())
    if card is not None:
        write_atomically(folder / _CARD, card.encode())


def load_model(name: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read config and weights of a model folder, a model that ships with the package, or hf:user/model.

    Raises:
        CheckpointError: If there is no such model, or a file is missing, truncated, not finite, or of another kind or
            version.
    """
    folder = find_model(name)
    config = _read_config(folder)
    found = config.pop("kind", None)
    if found != kind:
        what = f", but a {found}" if isinstance(found, str) else ""
        raise CheckpointError(f"{folder / _CONFIG}: this is not a {kind}{what}")
    version = config.pop("format_version", None)
    if version != FORMAT_VERSION:
        raise CheckpointError(f"{folder / _CONFIG}: format_version is {version!r}; this version reads {FORMAT_VERSION}")
    if not (folder / _WEIGHTS).exists():
        raise CheckpointError(f"{folder}: no {_WEIGHTS}")
    state = read_tensors(folder / _WEIGHTS)
    _check_sizes(folder / _CONFIG, config, state)
    broken = [tensor_name for tensor_name, tensor in state.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise CheckpointError(f"{folder / _WEIGHTS}: {broken[0]} holds NaN or infinite numbers; train the model anew")
    return config, state


def _check_sizes(path: Path, config: Any, state: Mapping[str, Tensor], key: str = "config") -> None:
    """Refuse sizes that the weights do not have, before memory is taken for them."""
    if isinstance(config, dict):
        for name, value in config.items():
            _check_sizes(path, value, state, str(name))
    elif isinstance(config, list):
        for value in config:
            _check_sizes(path, value, state, key)
    elif isinstance(config, int):
        largest = max((max(tensor.shape, default=0) for tensor in state.values()), default=0)
        most = len(state) if any(word in key for word in _REPEATED) else max(largest, _PLAIN_SIZE)
        if config > most and key not in _NO_SIZES:
            raise CheckpointError(f"{path}: {key[:40]} is {str(config)[:20]}; the weights have at most {most:,}")


def model_kind(name: str | Path) -> str:
    """Return what kind of model a folder (shipped model, hub id) holds, such as ``pose_tokenizer``.

    Raises:
        CheckpointError: If there is no such model.
    """
    return str(_read_config(find_model(name)).get("kind"))


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{folder}: no {_CONFIG}, so this is not a model folder") from None
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CheckpointError(f"{folder / _CONFIG}: not valid JSON: {error}") from None
    return config if isinstance(config, dict) else {}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a ``.safetensors`` file.

    Raises:
        CheckpointError: If it is truncated or no such file.
    """
    try:
        return load(path.read_bytes())
    except SafetensorError as error:
        raise CheckpointError(f"{path}: truncated or not a safetensors file: {error}") from None


@contextmanager
def in_float32() -> Iterator[None]:
    """Make new tensors float32 as torch does by itself, whatever default the caller has set; a decorator too."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(default)


@contextmanager
def explain(name: str | Path) -> Iterator[None]:
    """Build a model from its files: errors become a :class:`CheckpointError` that names it.

    The caller's random numbers go on as if nothing had been built, and parameters are float32 whatever the default.
    """
    try:
        with in_float32(), torch.random.fork_rng(devices=[]):
            yield
    except (ValueError, TypeError, RuntimeError, LookupError, AttributeError) as error:
        raise CheckpointError(f"{name}: config and weights do not make this model: {error}") from error


def find_model(name: str | Path) -> Path:
    """Return the folder of a model: ``name`` itself, one that ships with the package, or one fetched from the hub.

    Raises:
        CheckpointError: If there is none.
    """
    path = Path(name)
    shipped = sorted(p.name for p in _SHIPPED.iterdir() if p.is_dir()) if _SHIPPED.is_dir() else []
    # A folder of photos that is called `photos` must not hide the model of that name.
    if str(name) in shipped and not (path / _CONFIG).exists():
        return _SHIPPED / str(name)
    if path.is_dir():
        return path
    if path.exists():
        raise CheckpointError(f"{path} is a file; a model is a folder with {_CONFIG} and {_WEIGHTS}")
    if str(name).startswith(_HUB):
        return _download(str(name).removeprefix(_HUB))
    raise CheckpointError(
        f"no model {str(name)!r}: not a folder; models that ship with pct: {', '.join(shipped) or 'none'}; models of "
        f"the hub are named {_HUB}USER/MODEL"
    )


def _download(hub_id: str) -> Path:
    """Fetch a model of the hub, ``USER/MODEL`` or ``USER/MODEL@REVISION``."""
    hub_id, _, revision = hub_id.partition("@")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = [*_HUB_FILES, *(f"*/{file}" for file in _HUB_FILES)]
    try:
        return Path(snapshot_download(hub_id, revision=revision or None, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise CheckpointError(f"{_HUB}{hub_id} could not be fetched from the hub: {error}") from error
