"""Tiny tokenizers of every kind, and poses for them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from pct import PoseSpace, PoseTokenizer, TokenizerConfig, get_skeleton

TINY = TokenizerConfig(
    num_tokens=6,
    codebook_size=64,
    codebook_dim=8,
    encoder_width=16,
    encoder_blocks=1,
    encoder_token_hidden=12,
    decoder_width=12,
    decoder_token_hidden=12,
)
SPACE3D, MPII = PoseSpace(kind="root3d"), get_skeleton("mpii16")
COARSE_FINE = replace(TINY, layout="coarse_fine", num_tokens=34, coarse_width=8)
RESIDUAL = replace(TINY, layout="residual")
KINDS = {
    "parallel": replace(TINY, encoder_channel_hidden=20),
    "scores folded": replace(TINY, codebook_dim=40, encoder_width=12),
    "fsq": replace(TINY, quantizer="fsq", levels=(4, 4, 4), codebook_dim=3),
    "no blocks": replace(TINY, encoder_blocks=0, decoder_blocks=0),
    "guided": replace(TINY, guidance_channels=5),
    "deep decoder, 16 joints": replace(TINY, decoder_blocks=3, skeleton=MPII),
    "3D": replace(TINY, space=SPACE3D),
    "coarse_fine": COARSE_FINE,
    "coarse_fine, 16 joints": replace(COARSE_FINE, skeleton=MPII),
    "3D coarse_fine": replace(COARSE_FINE, space=SPACE3D),
    "residual": RESIDUAL,
    "3D residual": replace(RESIDUAL, space=SPACE3D),
}


def make(config: TokenizerConfig, seed: int = 0) -> PoseTokenizer:
    """A tokenizer with random weights, norms and biases included, and a codebook where its features are."""
    torch.manual_seed(seed)
    tokenizer = PoseTokenizer(config)
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
        tokenizer.train()(*model_poses(config, 128))
    return tokenizer.eval()


def model_poses(config: TokenizerConfig, count: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Poses in model units, a fifth of the joints unknown, and features for a guided tokenizer."""
    generator = torch.Generator().manual_seed(3)
    shape, channels = (count, config.skeleton.num_keypoints), config.guidance_channels
    keypoints = torch.rand(*shape, config.space.num_dims, generator=generator) * 2 - 1
    visible = torch.rand(shape, generator=generator) < 0.8
    visible[:, 0] = True
    return keypoints, visible, torch.randn(*shape, channels, generator=generator) if channels else None


def image_poses(config: TokenizerConfig, count: int) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The same in image pixels or millimetres, as ``encode`` takes them, with boxes or positions of the root."""
    keypoints, visible, features = model_poses(config, count)
    generator = torch.Generator().manual_seed(4)
    if config.space.kind == "root3d":
        where = torch.randn(count, 3, generator=generator) * 1000
    else:
        where = torch.rand(count, 4, generator=generator) * 300 + 50
    return config.space.restore(keypoints, where), visible, where, features
