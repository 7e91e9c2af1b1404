"""Tiny models whose tokens are ordered, that several test files share."""

from __future__ import annotations

import torch
from tiny_codec import make_tokenizer

from pct.tokenizer import PoseTokenizer


def make_ordered(seed: int = 0, **changes) -> PoseTokenizer:
    """A residual model of 6 tokens, or another layout, whose codebook is where its features are."""
    sizes = {"layout": "residual", "num_tokens": 6, "decoder_blocks": 1, **changes}
    tokenizer = make_tokenizer(seed, **sizes)
    keypoints = torch.rand(300, tokenizer.skeleton.num_keypoints, tokenizer.space.num_dims) * 2 - 1
    with torch.no_grad():
        tokenizer.train()(keypoints, torch.rand(keypoints.shape[:2]) < 0.8)
    return tokenizer.eval()
