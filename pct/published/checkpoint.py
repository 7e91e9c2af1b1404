"""Official PCT checkpoints: reading the file without running code in it, and giving its tensors our names."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pct.checkpoint import read_tensors

# Our name -> the official one, inside a mixer block.
MIXER_NAMES = {
    "norm1": "layernorm1",
    "norm2": "layernorm2",
    "token_mlp.0": "MLP_token.ff.0",
    "token_mlp.2": "MLP_token.ff.3",
    "channel_mlp.0": "MLP_channel.ff.0",
    "channel_mlp.2": "MLP_channel.ff.3",
}


def read_official(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of an official checkpoint: ``.pth`` (without running pickled code) or ``.safetensors``.

    Numbers of NumPy beside the weights, as training tools leave them under ``meta``, are read and not kept.

    Returns:
        The state dict, with the wrapper ``state_dict`` and the prefix ``module.`` removed.

    Raises:
        ValueError: If the file is broken, needs pickle, or holds no state dict.
        OSError: If it cannot be read.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        content: object = read_tensors(path)
    else:
        try:
            with torch.serialization.safe_globals(_numpy_scalars()):
                content = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise ValueError(
                f"{path} is broken or holds pickled objects, which can run code and are refused; where you trust it, "
                "load it yourself, write torch.save(checkpoint['state_dict'], 'weights.pth') and convert that "
                f"({_first_line(error)})"
            ) from None
        except (RuntimeError, EOFError, LookupError, TypeError, ValueError, AttributeError, AssertionError) as error:
            raise ValueError(f"{path} is not a readable PyTorch checkpoint: {_first_line(error)}") from None
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"{path} holds no state dict: expected names with tensors, or such a dict as 'state_dict'")
    return {str(name).removeprefix("module."): tensor for name, tensor in content.items()}


def size_of(tensors: Mapping[str, Tensor], name: str, axis: int, prefix: str) -> int:
    """Return the length of an axis of the tensor ``name``.

    Args:
        tensors: Official tensors by their names without ``prefix``.
        name: Which tensor.
        axis: Which of its axes.
        prefix: What its name in the file starts with, for the errors.

    Raises:
        ValueError: If there is no such tensor or axis.
    """
    if name not in tensors:
        raise ValueError(f"the official checkpoint lacks {prefix}{name}")
    if axis >= tensors[name].ndim:
        raise ValueError(f"{prefix}{name} has shape {tuple(tensors[name].shape)}; expected {axis + 1} axes or more")
    return tensors[name].shape[axis]


def count_numbered(tensors: Mapping[str, Tensor], start: str) -> int:
    """Return one more than the highest number N among the names that begin with ``start`` and then ``N.``.

    Raises:
        ValueError: If most of the numbers are missing: a file must not make anyone build a million empty blocks.
    """
    numbers = {name.removeprefix(start).split(".")[0] for name in tensors if name.startswith(start)}
    count = max((int(number) for number in numbers if number.isdecimal()), default=-1) + 1
    if count > 2 * len(numbers):
        raise ValueError(f"the official checkpoint counts {start} to {count - 1} but holds only {len(numbers)} of them")
    return count


def rename_tensors(
    tensors: Mapping[str, Tensor], names: Mapping[str, str], ours: Mapping[str, Tensor], prefix: str, what: str
) -> dict[str, Tensor]:
    """Give official tensors our names, after a check that exactly the expected ones with the expected shapes exist.

    Args:
        tensors: Official tensors by their names without ``prefix``.
        names: Our names with the official ones; no tensor may be left over.
        ours: State dict of our network, for shapes and types.
        prefix: What the names in the file start with, for the errors.
        what: What the tensors should be, for the errors.

    Raises:
        ValueError: If tensors are missing, unexpected, of another shape or not finite; the first eight are named.
    """
    known = set(names.values())
    problems = [f"{prefix}{n} is missing" for n in names.values() if n not in tensors]
    problems += [f"{prefix}{n} is unexpected" for n in tensors if n not in known]
    state = {}
    for name, official_name in names.items():
        if official_name not in tensors:
            continue
        tensor, expected = tensors[official_name], tuple(ours[name].shape)
        # The official mask vector is (1, 1, C).
        if tuple(tensor.shape) != expected and tuple(tensor.shape) != (1, 1, *expected):
            problems.append(f"{prefix}{official_name} has shape {tuple(tensor.shape)}, expected {expected}")
        elif not torch.isfinite(tensor).all():
            problems.append(f"{prefix}{official_name} holds NaN or infinite numbers")
        else:
            state[name] = tensor.detach().to(ours[name].dtype).reshape(expected).clone()
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise ValueError(f"this is not the official {what}: " + "; ".join(problems[:8]) + more)
    return state


def _numpy_scalars() -> list[Any]:
    """Return what NumPy's numbers are made of in a pickle, by the names of NumPy 1 and 2; none of it runs code."""
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdgSU"}
    return [*((scalar, name) for name in names), np.dtype, *kinds]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
