"""What models of poses and their configs have in common: whose joints the poses have, and what the numbers mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn

from pct.pose_space import PoseSpace
from pct.skeleton import Skeleton

Config = TypeVar("Config", bound="PoseConfig")


class PoseConfig:
    """Base of the dataclasses that a model of poses is built from, whose fields are plain values but for these two.

    Attributes:
        what: What errors call the model.
        skeleton: Whose joints the poses have.
        space: What the coordinates mean.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]
    what: ClassVar[str]
    skeleton: Skeleton
    space: PoseSpace

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``config.json``."""
        return {**asdict(self), "space": self.space.to_dict()}

    @classmethod
    def from_dict(cls: type[Config], values: Mapping[str, Any]) -> Config:
        """Build the config from the plain values of :meth:`to_dict`.

        Raises:
            ValueError: On an unknown key or a bad value.
        """
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"{cls.what} config has unknown keys: {', '.join(unknown)}")
        readers = {"skeleton": Skeleton.from_dict, "space": lambda given: PoseSpace(**given)}
        return cls(**{name: readers.get(name, lambda given: given)(value) for name, value in values.items()})


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
