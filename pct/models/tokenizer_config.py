"""TokenizerConfig: the sizes of a pose tokenizer and what its poses are, as plain values."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from pct.models.lifter_networks import LIFTERS
from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, Skeleton

_CHOICES = {
    "fill": ("none", "gaussian", "network"),
    "encoder": ("mixer", "mlp", *(name for name in LIFTERS if name != "mixer")),
    "decoder": ("mixer", "flat"),
    "quantizer": ("ema", "fsq", "quantile"),
}
# What may stand for a default of that type: 1 is a good decay too.
_NUMBERS: dict[type, type | tuple[type, ...]] = {int: int, float: (int, float)}


@dataclass(frozen=True)
class TokenizerSizes:
    """All sizes of a pose tokenizer. The defaults are the paper's.

    Attributes:
        num_tokens: Tokens M a pose.
        codebook_size: Entries V.
        codebook_dim: Width D of an entry; with ``fsq`` and ``quantile`` the number of levels.
        fill: ``none`` (the paper's: a mask vector in place of an unknown joint) or ``gaussian`` (its linear estimate,
            plus the mask vector) or ``network`` (a network starts from that estimate).
        fill_width: Width of that network.
        fill_blocks: Residual blocks of that network.
        encoder: ``mixer`` (the paper's), ``mlp`` (a residual MLP over all joints at once), or the name of a lifting
            network (:data:`pct.models.lifter_networks.LIFTERS`), ``lcn`` for instance.
        joint_width: Width of a joint's embedding; a mixer's is ``encoder_width``.
        encoder_width: Channels of the encoder's blocks.
        encoder_blocks: Blocks of the encoder.
        encoder_token_hidden: Hidden width of the encoder's MLPs over the joints (``mixer``).
        encoder_channel_hidden: Hidden width of the encoder's MLPs over the channels (``mixer``); 0 is
            ``encoder_width``.
        decoder_width: Channels of the decoder's blocks.
        decoder_blocks: Blocks of the decoder.
        decoder_token_hidden: Hidden width of the decoder's MLPs over the joints.
        decoder_channel_hidden: Hidden width of the decoder's MLPs over the channels; 0 is ``decoder_width``.
        guidance_channels: Channels of image features at the joints; 0 is without image guidance.
        decoder: ``mixer`` (the paper's) or ``flat`` (one full linear map from the tokens to the joints).
        quantizer: ``ema`` (the paper's), ``fsq`` or ``quantile``.
        levels: Levels a channel of ``fsq`` and ``quantile``; their product is the codebook size.
        ema_decay: Decay of the running means of ``ema`` and ``quantile``.
        ema_rule: ``standard`` or ``published``; see :class:`pct.layers.quantizer.EMAQuantizer`.
        revive_below: Share of the even count under which an entry is revived.
    """

    num_tokens: int = 34
    codebook_size: int = 1024
    codebook_dim: int = 512
    fill: Literal["none", "gaussian", "network"] = "none"
    fill_width: int = 512
    fill_blocks: int = 2
    encoder: str = "mixer"
    joint_width: int = 16
    encoder_width: int = 512
    encoder_blocks: int = 4
    encoder_token_hidden: int = 64
    encoder_channel_hidden: int = 0
    decoder_width: int = 32
    decoder_blocks: int = 1
    decoder_token_hidden: int = 64
    decoder_channel_hidden: int = 0
    decoder: Literal["mixer", "flat"] = "mixer"
    guidance_channels: int = 0
    quantizer: Literal["ema", "fsq", "quantile"] = "ema"
    levels: tuple[int, ...] = ()
    ema_decay: float = 0.95
    ema_rule: Literal["standard", "published"] = "standard"
    revive_below: float = 0.05

    def __post_init__(self) -> None:
        for size in fields(TokenizerSizes):
            value, number = getattr(self, size.name), _NUMBERS.get(type(size.default))
            wrong = number and (type(value) is bool or not isinstance(value, number))
            if wrong or (number and value < 0):
                kind = "an integer" if number is int else "a number"
                raise ValueError(f"tokenizer {size.name} is {value!r}; it must be {kind} of at least 0")
        for name in ("num_tokens", "codebook_size", "codebook_dim", "joint_width", "encoder_width", "decoder_width"):
            if getattr(self, name) < 1:
                raise ValueError(f"tokenizer {name} must be at least 1, got {getattr(self, name)}")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"tokenizer {name} is {getattr(self, name)!r}; allowed are {', '.join(allowed)}")
        if self.quantizer == "ema":
            return
        made = math.prod(self.levels), len(self.levels)
        if made != (self.codebook_size, self.codebook_dim):
            raise ValueError(
                f"levels {list(self.levels)} make a codebook of {made[0]} x {made[1]}, "
                f"but the config says {self.codebook_size} x {self.codebook_dim}"
            )


@dataclass(frozen=True)
class TokenizerConfig(TokenizerSizes):
    """Everything that a tokenizer is built from: its sizes, and what its poses are.

    Attributes:
        skeleton: Whose joints the poses have.
        space: What the coordinates mean.
        guidance_from: Fingerprint of the :class:`~pct.models.guide.ImageGuide` that the image features come from;
            empty without guidance, and where it is not known.
    """

    skeleton: Skeleton = COCO17
    space: PoseSpace = field(default_factory=PoseSpace)
    guidance_from: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``config.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> TokenizerConfig:
        """Build the config from the plain values of :meth:`to_dict`.

        Raises:
            ValueError: On an unknown key or a bad value.
        """
        values = dict(values)
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise ValueError(f"tokenizer config has unknown keys: {', '.join(unknown)}")
        if "skeleton" in values:
            values["skeleton"] = Skeleton.from_dict(values["skeleton"])
        if "space" in values:
            values["space"] = PoseSpace(**values["space"])
        if "levels" in values:
            values["levels"] = tuple(values["levels"])
        return cls(**values)
