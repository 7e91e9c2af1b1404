"""What models and their configs have in common: plain values for a file, whose joints poses have, what numbers mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from typing import Any, ClassVar, TypeVar, get_origin, get_type_hints

import torch
from torch import nn

from pct.pose_space import PoseSpace
from pct.skeleton import Skeleton

Config = TypeVar("Config", bound="ModelConfig")
Built = TypeVar("Built")


class ModelConfig:
    """Base of the dataclasses that a model is built from, whose fields are plain values or other such dataclasses.

    Attributes:
        what: What errors call the model.
    """

    what: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``config.json``."""
        own = {name: value.to_dict() for name, value in vars(self).items() if hasattr(value, "to_dict")}
        return {**asdict(self), **own}  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
        """Build the config from the plain values of :meth:`to_dict`.

        Raises:
            ValueError: On an unknown key or a bad value.
        """
        return build_config(cls, values, f"{cls.what} config")


def build_config(kind: type[Built], values: Mapping[str, Any], what: str) -> Built:
    """Build a dataclass, and those in its fields, from plain values; lists become tuples where these are asked for.

    Args:
        kind: The dataclass.
        values: Of its fields; what is not given has its default.
        what: What errors call it.

    Raises:
        ValueError: On an unknown key.
    """
    kinds = get_type_hints(kind)
    unknown = sorted(set(values) - set(kinds))
    if unknown:
        raise ValueError(f"{what} has unknown keys: {', '.join(unknown)}")

    def build(name: str, value: Any) -> Any:
        if hasattr(kinds[name], "from_dict"):
            return kinds[name].from_dict(value)
        if is_dataclass(kinds[name]):
            return build_config(kinds[name], value, f"{what}'s {name}")
        return tuple(value) if get_origin(kinds[name]) is tuple else value

    return kind(**{name: build(name, value) for name, value in values.items()})


class PoseModel(nn.Module):
    """A network with a ``config`` that says what its poses are."""

    config: Any

    @property
    def skeleton(self) -> Skeleton:
        """Whose joints the poses have."""
        skeleton: Skeleton = self.config.skeleton
        return skeleton

    @property
    def space(self) -> PoseSpace:
        """What the coordinates mean."""
        space: PoseSpace = self.config.space
        return space

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device
