"""The parts of a pose tokenizer, built from its config."""

from __future__ import annotations

from pct.tokenizer.coarse_fine import CoarseFineQuantizer, TokenPlan
from pct.tokenizer.codebook import EMARule
from pct.tokenizer.config import TokenizerConfig
from pct.tokenizer.networks import PoseDecoder, PoseEncoder, TokenDecoder, TokenEncoder
from pct.tokenizer.quantizer import EMAQuantizer, FSQQuantizer, Quantizer
from pct.tokenizer.residual import ResidualQuantizer


def build_encoder(config: TokenizerConfig) -> TokenEncoder | PoseEncoder:
    """Return the network from embedded joints to what is quantized."""
    sizes = _mixer_sizes(config, "encoder")
    if config.layout == "parallel":
        return TokenEncoder(config.skeleton.num_keypoints, config.num_tokens, config.codebook_dim, **sizes)
    return PoseEncoder(config.skeleton.num_keypoints, config.space.num_dims, **sizes)


def build_quantizer(config: TokenizerConfig) -> Quantizer:
    """Return the codebook of the config's kind, and how the tokens read it."""
    tokens, entries = config.num_tokens, config.codebook_size
    if config.quantizer == "fsq":
        return FSQQuantizer(tokens, config.levels)
    rule = EMARule(config.ema_decay, config.ema_rule, config.revive_below)
    if config.layout == "parallel":
        return EMAQuantizer(tokens, entries, config.codebook_dim, rule)
    keypoints, space = config.skeleton.num_keypoints, config.space
    low, high = space.bounds
    middle, half = (low + high) / 2, (high - low) / 2
    if config.layout == "residual":
        return ResidualQuantizer(tokens, keypoints, space.num_dims, entries, middle, half, rule)
    root = space.root if space.kind == "root3d" else None
    return CoarseFineQuantizer(
        TokenPlan.of(config.skeleton, tokens, config.limb_joints, root),
        keypoints,
        space.num_dims,
        entries,
        middle,
        half,
        config.period,
        config.home_weight,
        config.fine_radius,
        config.coarse_width,
        rule,
    )


def build_decoder(config: TokenizerConfig) -> TokenDecoder | PoseDecoder:
    """Return the network from what the tokens say to joints."""
    sizes = _mixer_sizes(config, "decoder")
    keypoints, dims = config.skeleton.num_keypoints, config.space.num_dims
    if config.layout == "parallel":
        return TokenDecoder(keypoints, config.num_tokens, config.codebook_dim, dims, **sizes)
    return PoseDecoder(keypoints, dims, **sizes)


def _mixer_sizes(config: TokenizerConfig, part: str) -> dict[str, int]:
    names = ("width", "num_blocks", "token_hidden", "channel_hidden")
    width, *others = (getattr(config, f"{part}_{name.removeprefix('num_')}") for name in names)
    return dict(zip(names, (width, *others[:-1], others[-1] or width), strict=True))
