"""The parts of a pose tokenizer, built from its config."""

from __future__ import annotations

from pct.layers.gaussian_fill import GaussianFill
from pct.layers.network_fill import NetworkFill
from pct.layers.quantile import QuantileQuantizer
from pct.layers.quantizer import EMAQuantizer, FSQQuantizer, Quantizer
from pct.models.lifter_networks import LIFTERS, build_trunk
from pct.models.pose_networks import FlatDecoder, MixerDecoder, MixerEncoder, MlpEncoder
from pct.models.tokenizer_config import TokenizerConfig
from pct.models.trunk_encoder import TrunkEncoder


def build_fill(config: TokenizerConfig) -> GaussianFill | None:
    """Return what estimates unknown joints before encoding; None where a mask vector stands in for them."""
    keypoints, dims = config.skeleton.num_keypoints, config.space.num_dims
    if config.fill == "network":
        low, high = config.space.bounds
        flip_index, middle, half = config.skeleton.flip_index.tolist(), (low + high) / 2, (high - low) / 2
        return NetworkFill(keypoints, dims, config.fill_width, config.fill_blocks, flip_index, middle, half)
    return GaussianFill(keypoints, dims) if config.fill == "gaussian" else None


def build_encoder(config: TokenizerConfig, joint_width: int) -> MixerEncoder | MlpEncoder | TrunkEncoder:
    """Return the network from embedded joints to token features."""
    keypoints, tokens = config.skeleton.num_keypoints, config.num_tokens
    width, blocks = config.encoder_width, config.encoder_blocks
    if config.encoder == "mlp":
        return MlpEncoder(keypoints, tokens, joint_width, width, blocks, config.codebook_dim)
    if config.encoder != "mixer":
        depth = blocks if LIFTERS[config.encoder].depth else None
        trunk = build_trunk(config.encoder, config.skeleton, joint_width, width, depth)
        return TrunkEncoder(trunk, tokens, config.codebook_dim)
    return MixerEncoder(
        keypoints,
        tokens,
        width,
        blocks,
        config.encoder_token_hidden,
        config.encoder_channel_hidden or width,
        config.codebook_dim,
    )


def build_quantizer(config: TokenizerConfig) -> Quantizer:
    """Return the codebook of the config's kind."""
    if config.quantizer == "fsq":
        return FSQQuantizer(config.levels)
    if config.quantizer == "quantile":
        return QuantileQuantizer(config.levels, config.ema_decay)
    return EMAQuantizer(
        config.codebook_size, config.codebook_dim, config.ema_decay, config.ema_rule, config.revive_below
    )


def build_decoder(config: TokenizerConfig) -> MixerDecoder | FlatDecoder:
    """Return the network from codebook entries to joints."""
    kind = MixerDecoder if config.decoder == "mixer" else FlatDecoder
    return kind(
        config.skeleton.num_keypoints,
        config.num_tokens,
        config.codebook_dim,
        config.decoder_width,
        num_blocks=config.decoder_blocks,
        token_hidden=config.decoder_token_hidden,
        channel_hidden=config.decoder_channel_hidden or config.decoder_width,
        num_dims=config.space.num_dims,
    )
