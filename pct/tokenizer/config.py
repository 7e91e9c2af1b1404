"""TokenizerConfig: the sizes of a pose tokenizer and what its poses are, as plain values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from pct.pose_model import ModelConfig
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, Skeleton

_CHOICES = {
    "layout": ("parallel", "coarse_fine", "residual"),
    "quantizer": ("ema", "fsq"),
    "ema_rule": ("standard", "published"),
}
# What may stand for a default of that type: 1 is a good decay too.
_NUMBERS: dict[type, type | tuple[type, ...]] = {int: int, float: (int, float)}
_AT_LEAST = {"num_tokens": 1, "codebook_size": 1, "encoder_width": 1, "decoder_width": 1}
_AT_LEAST_OF = {"parallel": {"codebook_dim": 1}, "coarse_fine": {"limb_joints": 2, "coarse_width": 1}}
# What a model of version 0.1 may say, with the only values that this version still means.
_OLD_VALUES: dict[str, tuple[Any, ...]] = {
    "fill": ("none",),
    "encoder": ("mixer",),
    "decoder": ("mixer",),
    "quantizer": ("ema", "fsq"),
}
_LARGEST_CODEBOOK = 2**20
_OLD_SIZES = ("fill_width", "fill_blocks", "joint_width")


@dataclass(frozen=True)
class TokenizerSizes:
    """All sizes of a pose tokenizer. The defaults are the paper's.

    Attributes:
        num_tokens: Tokens M a pose.
        codebook_size: Entries V.
        layout: What the tokens are about: ``parallel`` (the paper's: each has a feature of its own, mixed from all
            joints), ``coarse_fine`` (:class:`pct.tokenizer.coarse_fine.CoarseFineQuantizer`: limbs roughly, then joints
            exactly), or ``residual`` (:class:`pct.tokenizer.residual.ResidualQuantizer`: each says what those before it
            left out).
        codebook_dim: Width D of an entry (``parallel``); the others know theirs.
        encoder_width: Channels of the encoder's blocks.
        encoder_blocks: Blocks of the encoder.
        encoder_token_hidden: Hidden width of the encoder's MLPs over the joints.
        encoder_channel_hidden: Hidden width of the encoder's MLPs over the channels; 0 is ``encoder_width``.
        decoder_width: Channels of the decoder's blocks.
        decoder_blocks: Blocks of the decoder.
        decoder_token_hidden: Hidden width of the decoder's MLPs over the joints.
        decoder_channel_hidden: Hidden width of the decoder's MLPs over the channels; 0 is ``decoder_width``.
        guidance_channels: Channels of image features at the joints; 0 is without image guidance.
        limb_joints: Joints that a coarse token sees (``coarse_fine``).
        home_weight: How much more a coarse token heeds its home joint than the others (``coarse_fine``).
        period: Of the fine tokens' grid, as a share of half a crop or of a metre (``coarse_fine``).
        fine_radius: Radius of fine tokens in the codebook's space; larger gives them more entries (``coarse_fine``).
        coarse_width: Hidden width of the map from coarse tokens to places (``coarse_fine``).
        quantizer: ``ema`` (the paper's) or ``fsq`` (``parallel`` only).
        levels: Levels a channel of ``fsq``; their product is the codebook size.
        ema_decay: Decay of the running means of ``ema``.
        ema_rule: ``standard`` or ``published``; see :class:`pct.tokenizer.codebook.EMACodebook`.
        revive_below: Share of the even count under which an entry is revived.
    """

    num_tokens: int = 34
    codebook_size: int = 1024
    layout: Literal["parallel", "coarse_fine", "residual"] = "parallel"
    codebook_dim: int = 512
    encoder_width: int = 512
    encoder_blocks: int = 4
    encoder_token_hidden: int = 64
    encoder_channel_hidden: int = 0
    decoder_width: int = 32
    decoder_blocks: int = 1
    decoder_token_hidden: int = 64
    decoder_channel_hidden: int = 0
    guidance_channels: int = 0
    limb_joints: int = 3
    home_weight: float = 2.0
    period: float = 0.72
    fine_radius: float = 1.15
    coarse_width: int = 256
    quantizer: Literal["ema", "fsq"] = "ema"
    levels: tuple[int, ...] = ()
    ema_decay: float = 0.95
    ema_rule: Literal["standard", "published"] = "standard"
    revive_below: float = 0.05

    def __post_init__(self) -> None:
        for size in fields(TokenizerSizes):
            value, number = getattr(self, size.name), _NUMBERS.get(type(size.default))
            wrong = number and (type(value) is bool or not isinstance(value, number))
            if wrong or (number and not 0 <= value < math.inf):
                kind = "an integer" if number is int else "a number"
                raise ValueError(f"tokenizer {size.name} is {value!r}; it must be {kind} of at least 0")
            if value not in _CHOICES.get(size.name, (value,)):
                allowed = ", ".join(_CHOICES[size.name])
                raise ValueError(f"tokenizer {size.name} is {value!r}; allowed are {allowed}")
        for name, least in {**_AT_LEAST, **_AT_LEAST_OF.get(self.layout, {})}.items():
            if getattr(self, name) < least:
                raise ValueError(f"tokenizer {name} must be at least {least}, got {getattr(self, name)}")
        for name in ("home_weight", "period", "fine_radius"):
            if self.layout == "coarse_fine" and getattr(self, name) <= 0:
                raise ValueError(f"tokenizer {name} must be positive, got {getattr(self, name)}")
        if self.ema_decay >= 1:
            raise ValueError(f"tokenizer ema_decay must be in [0, 1), got {self.ema_decay}")
        if self.codebook_size > _LARGEST_CODEBOOK or any(level > _LARGEST_CODEBOOK for level in self.levels):
            raise ValueError(f"tokenizer codebook_size is {self.codebook_size}; at most {_LARGEST_CODEBOOK:,} is built")
        if self.layout != "parallel" and (self.quantizer != "ema" or self.ema_rule != "standard"):
            raise ValueError(
                f"layout {self.layout} has a learned codebook of the standard rule, not {self.quantizer} with rule "
                f"{self.ema_rule}"
            )
        if self.quantizer == "fsq":
            self._check_levels()

    def _check_levels(self) -> None:
        made = math.prod(self.levels), len(self.levels)
        if made != (self.codebook_size, self.codebook_dim):
            raise ValueError(
                f"levels {list(self.levels)} make a codebook of {made[0]} x {made[1]}, "
                f"but the config says {self.codebook_size} x {self.codebook_dim}"
            )
        if any(level < 2 for level in self.levels):
            raise ValueError(f"FSQ levels must be integers of at least 2, got {list(self.levels)}")


@dataclass(frozen=True)
class TokenizerConfig(ModelConfig, TokenizerSizes):
    """Everything that a tokenizer is built from: its sizes, and what its poses are.

    Attributes:
        skeleton: Whose joints the poses have.
        space: What the coordinates mean.
        guidance_from: Fingerprint of the :class:`~pct.photos.guide.ImageGuide` that the image features come from;
            empty without guidance, and where it is not known.
    """

    what: ClassVar[str] = "tokenizer"
    skeleton: Skeleton = COCO17
    space: PoseSpace = field(default_factory=PoseSpace)
    guidance_from: str = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TokenizerConfig:
        """See :meth:`ModelConfig.from_dict`; a kind of model that only version 0.1 knew is a ValueError too."""
        return super().from_dict(_without_old(values))


def _without_old(values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out settings of version 0.1 that mean nothing any more; refuse those that meant another network."""
    for name, allowed in _OLD_VALUES.items():
        if name in values and values[name] not in allowed:
            raise ValueError(
                f"{name} {values[name]!r} is of a kind of model that pct 0.1 made and reads; this version reads "
                f"{' and '.join(allowed)}"
            )
    own = set(TokenizerConfig.__dataclass_fields__)
    return {n: v for n, v in values.items() if n in own or (n not in _OLD_VALUES and n not in _OLD_SIZES)}
