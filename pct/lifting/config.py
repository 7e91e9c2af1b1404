"""LifterConfig: which lifting network, its sizes, its head, and what its poses are, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pct.pose_model import ModelConfig
from pct.pose_space import PoseSpace
from pct.skeleton import H36M17, Skeleton


@dataclass(frozen=True)
class TokenHeadSizes:
    """Sizes of a lifter's token head.

    Attributes:
        kind: ``anchored`` (the network's coordinates, encoded by the frozen tokenizer, are the places around which
            the logits are Gaussians around them) or ``mixer`` (the logits are learned from nothing).
        width: Width of a token's hidden vector.
        num_blocks: Mixer blocks over the tokens.
        temperature: What logits are divided by for the probabilities of tokens; the pose takes them as they are.
    """

    kind: Literal["anchored", "mixer"] = "anchored"
    width: int = 128
    num_blocks: int = 2
    temperature: float = 1.0

    def __post_init__(self) -> None:
        _check_choices("token head", kind=(self.kind, ("anchored", "mixer")))
        for name in ("width", "num_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"token head {name} must be at least 1, got {getattr(self, name)}")
        if not self.temperature > 0:
            raise ValueError(f"token head temperature must be positive, got {self.temperature}")


@dataclass(frozen=True)
class LifterSizes:
    """Network, head and input of a lifter.

    Attributes:
        network: Name of the network; see :data:`pct.lifting.networks.LIFTERS`.
        width: Channels of its hidden layers; None is as published, also for the next two.
        depth: Its blocks.
        dropout: Share of features dropped in training.
        options: Further arguments of the network.
        in_channels: 3 tells it which joints are known; 2 is as published, unknown joints are zeros.
        normalizer: What 2D joints are relative to: ``box`` (around the person's known joints) or ``screen``.
        z_score: Divide them by their deviations over the training poses.
        head: ``coordinates`` or ``tokens``.
        tokens: Sizes of the token head.
    """

    network: str = "gcn"
    width: int | None = None
    depth: int | None = None
    dropout: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    in_channels: int = 3
    normalizer: Literal["box", "screen"] = "box"
    z_score: bool = False
    head: Literal["coordinates", "tokens"] = "coordinates"
    tokens: TokenHeadSizes = field(default_factory=TokenHeadSizes)

    def __post_init__(self) -> None:
        choices = {"in_channels": (2, 3), "normalizer": ("box", "screen"), "head": ("coordinates", "tokens")}
        _check_choices("lifter", **{name: (getattr(self, name), allowed) for name, allowed in choices.items()})


@dataclass(frozen=True)
class LifterConfig(ModelConfig, LifterSizes):
    """Everything that a lifter is built from, besides the tokenizer of its token head.

    Attributes:
        skeleton: Whose joints the poses have.
        space: What the 3D coordinates mean.
    """

    what: ClassVar[str] = "lifter"
    skeleton: Skeleton = H36M17
    space: PoseSpace = field(default_factory=lambda: PoseSpace(kind="root3d"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.space.kind != "root3d":
            raise ValueError(f"a lifter's pose space must be root3d, got {self.space.kind}")
        if self.space.root >= self.skeleton.num_keypoints:
            raise ValueError(
                f"the pose space's root is joint {self.space.root}, but skeleton {self.skeleton.name} has "
                f"{self.skeleton.num_keypoints} joints"
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LifterConfig:
        """See :meth:`ModelConfig.from_dict`."""
        # Models of before have a width of attention, which no head has any more.
        sizes = {name: value for name, value in values.get("tokens", {}).items() if name != "num_heads"}
        return super().from_dict({**values, "tokens": sizes})


def _check_choices(what: str, **values: tuple[Any, tuple[Any, ...]]) -> None:
    for name, (value, allowed) in values.items():
        if value not in allowed:
            raise ValueError(f"{what} {name} is {value!r}; allowed are {', '.join(map(str, allowed))}")
