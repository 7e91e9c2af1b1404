"""Official PCT checkpoints: reading the file without running code in it, and giving its tensors our names."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pct.checkpoint import read_tensors
from pct.skeleton import Skeleton

# Patterns in our names with what stands in their place in the official ones, one after the other.
Names = Mapping[str, str]
MIXER_NAMES: Names = {
    r"\.norm([12])\.": r".layernorm\1.",
    r"\.(token|channel)_mlp\.0\.": r".MLP_\1.ff.0.",
    r"\.(token|channel)_mlp\.2\.": r".MLP_\1.ff.3.",
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


def official_name(name: str, names: Names) -> str:
    """Turn the name of one of our parameters into the official one."""
    for pattern, official in names.items():
        name = re.sub(pattern, official, name)
    return name


class OfficialPart:
    """The tensors of one part of an official state dict, by their names without its prefix.

    Args:
        official: Official names with tensors.
        prefix: What the names of the part start with.
        without: What the names of another part within it start with.
    """

    def __init__(self, official: Mapping[str, Tensor], prefix: str = "", without: str | None = None) -> None:
        self.prefix = prefix
        others = () if without is None else without
        self.tensors = {
            name.removeprefix(prefix): tensor
            for name, tensor in official.items()
            if name.startswith(prefix) and not name.startswith(others)
        }

    def size(self, name: str, axis: int) -> int:
        """Return the length of an axis of the tensor ``name``.

        Raises:
            ValueError: If there is no such tensor or axis.
        """
        if name not in self.tensors:
            raise ValueError(f"the official checkpoint lacks {self.prefix}{name}")
        shape = self.tensors[name].shape
        if axis >= len(shape):
            raise ValueError(f"{self.prefix}{name} has shape {tuple(shape)}; expected {axis + 1} axes or more")
        return shape[axis]

    def sizes(self, **places: tuple[str, int]) -> dict[str, int]:
        """Return the lengths of axes of tensors, by what they are sizes of."""
        return {name: self.size(*place) for name, place in places.items()}

    def check_joints(self, name: str, axis: int, skeleton: Skeleton, what: str) -> None:
        """Refuse a skeleton with another number of joints than an axis of the tensor ``name`` is long."""
        count = self.size(name, axis)
        if count != skeleton.num_keypoints:
            raise ValueError(
                f"the {what} has {count} joints, but skeleton {skeleton.name} has {skeleton.num_keypoints}; "
                "give the skeleton it was trained on"
            )

    def count(self, start: str) -> int:
        """Return one more than the highest number N among the names that begin with ``start`` and then ``N.``.

        Raises:
            ValueError: If most of the numbers are missing: a file must not make anyone build a million empty blocks.
        """
        numbers = {name.removeprefix(start).split(".")[0] for name in self.tensors if name.startswith(start)}
        count = max((int(number) for number in numbers if number.isdecimal()), default=-1) + 1
        if count > 2 * len(numbers):
            raise ValueError(
                f"the official checkpoint counts {start} to {count - 1} but holds only {len(numbers)} of them"
            )
        return count

    def rename(self, ours: Mapping[str, Tensor], names: Names, what: str) -> dict[str, Tensor]:
        """Give the tensors our names, after a check that exactly the expected ones with the expected shapes exist.

        Args:
            ours: State dict of our network, for names, shapes and types.
            names: From our names to the official ones.
            what: What the tensors should be, for the errors.

        Raises:
            ValueError: If tensors are missing, unexpected, of another shape or not finite; the first eight are named.
        """
        wanted = {official_name(name, names): name for name in ours}
        problems = [f"{self.prefix}{n} is missing" for n in wanted if n not in self.tensors]
        problems += [f"{self.prefix}{n} is unexpected" for n in self.tensors if n not in wanted]
        state = {}
        for official, tensor in self.tensors.items():
            if official not in wanted:
                continue
            like = ours[wanted[official]]
            # The official mask vector is (1, 1, C).
            if tuple(tensor.shape) not in (tuple(like.shape), (1, 1, *like.shape)):
                shape, expected = tuple(tensor.shape), tuple(like.shape)
                problems.append(f"{self.prefix}{official} has shape {shape}, expected {expected}")
            elif not torch.isfinite(tensor).all():
                problems.append(f"{self.prefix}{official} holds NaN or infinite numbers")
            else:
                state[wanted[official]] = tensor.detach().to(like.dtype).reshape(like.shape).clone()
        if problems:
            more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
            raise ValueError(f"this is not the official {what}: " + "; ".join(problems[:8]) + more)
        return state


def describe_parts(official: Iterable[str]) -> str:
    """Say how many names there are of each part, which is what they start with before the first dot."""
    counts = Counter(name.split(".")[0] for name in official)
    return ", ".join(f"{count} of {part}" for part, count in counts.items()) or "nothing"


def _numpy_scalars() -> list[Any]:
    """Return what NumPy's numbers are made of in a pickle, by the names of NumPy 1 and 2; none of it runs code."""
    scalar = np.float64(0).__reduce__()[0]
    names = [f"numpy.{core}.multiarray.scalar" for core in ("core", "_core")]
    kinds = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdgSU"}
    return [*((scalar, name) for name in names), np.dtype, *kinds]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
