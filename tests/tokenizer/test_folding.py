"""Folded inference equals the plain networks, for every kind of tokenizer, and follows changes of the weights."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from pct import PoseSpace, PoseTokenizer, TokenizerConfig, get_skeleton
from pct.layers import packed_linear
from pct.tokenizer import folding
from pct.tokenizer.folding import FoldedTokenizer

SIZES = {
    "num_tokens": 6,
    "encoder_width": 16,
    "encoder_token_hidden": 10,
    "decoder_width": 8,
    "decoder_token_hidden": 12,
}
KINDS = {
    "scores folded": {"codebook_size": 48, "codebook_dim": 40, "encoder_width": 12},
    "narrow codes": {"codebook_size": 256, "codebook_dim": 3, "encoder_channel_hidden": 20},
    "fsq": {"codebook_size": 64, "codebook_dim": 3, "quantizer": "fsq", "levels": (4, 4, 4)},
    "no blocks": {"codebook_size": 32, "codebook_dim": 5, "encoder_blocks": 0, "decoder_blocks": 0},
    "guided": {"codebook_size": 32, "codebook_dim": 5, "guidance_channels": 7},
    "deep decoder, 16 joints": {"codebook_size": 32, "decoder_blocks": 3, "skeleton": get_skeleton("mpii16")},
    "3D": {"codebook_size": 32, "codebook_dim": 4, "space": PoseSpace(kind="root3d")},
    "coarse_fine": {"codebook_size": 256, "layout": "coarse_fine", "num_tokens": 34, "coarse_width": 8},
    "coarse_fine, 16 joints": {
        "codebook_size": 64,
        "layout": "coarse_fine",
        "num_tokens": 34,
        "coarse_width": 8,
        "skeleton": get_skeleton("mpii16"),
    },
    "3D residual": {"codebook_size": 32, "layout": "residual", "space": PoseSpace(kind="root3d")},
}


def make(kind: str) -> PoseTokenizer:
    """A tokenizer with random weights, norms and biases included, and a codebook where its features are."""
    torch.manual_seed(0)
    tokenizer = PoseTokenizer(TokenizerConfig(**{**SIZES, **KINDS[kind]})).eval()
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.3)
        tokenizer.train()
        tokenizer(*poses(tokenizer, 64))
    return tokenizer.eval()


def poses(tokenizer: PoseTokenizer, count: int, seed: int = 1) -> tuple[Tensor, Tensor, Tensor | None]:
    generator = torch.Generator().manual_seed(seed)
    k, dims, channels = tokenizer.skeleton.num_keypoints, tokenizer.space.num_dims, tokenizer.config.guidance_channels
    keypoints = torch.rand(count, k, dims, generator=generator) * 2 - 1
    visible = torch.rand(count, k, generator=generator) < 0.8
    features = torch.randn(count, k, channels, generator=generator) if channels else None
    return keypoints, visible, features


@pytest.fixture(params=list(KINDS))
def tokenizer(request: pytest.FixtureRequest) -> PoseTokenizer:
    return make(request.param)


def assert_equal(tokenizer: PoseTokenizer, count: int = 50) -> None:
    inputs = poses(tokenizer, count)
    with torch.no_grad():
        plain = tokenizer(*inputs)
    folded = FoldedTokenizer.of(tokenizer)
    # Where float32 cannot tell two entries apart, the folded form decides in float64 and the plain one does not.
    equal = folded.encode(*inputs) == plain.indices
    assert equal.double().mean() > 0.995
    torch.testing.assert_close(folded.decode(plain.indices), plain.keypoints, atol=1e-5, rtol=0)


@pytest.mark.parametrize("few", [0, 1 << 30], ids=["packed", "plain"])
def test_folded_equals_plain(tokenizer: PoseTokenizer, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(packed_linear, "_FEW", few)
    assert_equal(tokenizer)


def test_chunks_change_nothing(tokenizer: PoseTokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(folding._CHUNK_NUMBERS, "cpu", 2000)
    assert_equal(tokenizer)


def test_paper_size_tokens_are_those_of_the_plain_networks() -> None:
    torch.manual_seed(0)
    tokenizer = PoseTokenizer(TokenizerConfig(decoder_channel_hidden=64))
    with torch.no_grad():
        tokenizer.train()(*poses(tokenizer, 64))
    assert_equal(tokenizer.eval(), 24)


def test_changed_weights_are_folded_anew(tokenizer: PoseTokenizer) -> None:
    folded = FoldedTokenizer.of(tokenizer)
    assert FoldedTokenizer.of(tokenizer) is folded
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.mul_(1.1)
    assert FoldedTokenizer.of(tokenizer) is not folded
    assert_equal(tokenizer)
    tokenizer.load_state_dict(copy.deepcopy(tokenizer).state_dict())
    assert_equal(tokenizer)


def test_an_exchanged_layer_is_seen() -> None:
    tokenizer = make("coarse_fine")
    assert_equal(tokenizer)
    tokenizer.decoder.blocks[0].norm1 = torch.nn.LayerNorm(SIZES["decoder_width"])
    assert_equal(tokenizer)


def test_what_was_folded_in_inference_mode_serves_outside_too() -> None:
    tokenizer = make("coarse_fine")
    with torch.inference_mode():
        folded = FoldedTokenizer.of(tokenizer)
    assert FoldedTokenizer.of(tokenizer) is folded
    assert_equal(tokenizer)


def test_an_optimiser_step_is_seen() -> None:
    tokenizer = make("coarse_fine")
    assert_equal(tokenizer)
    optimiser = torch.optim.AdamW(tokenizer.parameters(), lr=0.05)
    tokenizer.train()
    tokenizer(*poses(tokenizer, 8)).keypoints.square().sum().backward()
    optimiser.step()
    assert_equal(tokenizer.eval())


def test_autocast_and_inference_mode_change_nothing(tokenizer: PoseTokenizer) -> None:
    inputs = poses(tokenizer, 50)
    folded = FoldedTokenizer.of(tokenizer)
    indices = folded.encode(*inputs)
    keypoints = folded.decode(indices)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(folded.encode(*inputs), indices)
        assert torch.equal(folded.decode(indices), keypoints)
    with torch.inference_mode():
        loaded = copy.deepcopy(tokenizer)
        assert torch.equal(FoldedTokenizer.of(loaded).encode(*inputs), indices)


def test_unknown_joints_may_hold_anything(tokenizer: PoseTokenizer) -> None:
    keypoints, visible, features = poses(tokenizer, 50)
    folded = FoldedTokenizer.of(tokenizer)
    hidden = torch.where(visible[..., None], keypoints, float("nan"))
    if features is not None:
        features = torch.where(visible[..., None], features, float("inf"))
    assert torch.equal(folded.encode(hidden, visible, features), folded.encode(keypoints, visible, features))


def test_half_precision_weights_run_in_float32() -> None:
    tokenizer = make("narrow codes").to(torch.bfloat16)
    wide = copy.deepcopy(tokenizer).float()
    inputs = poses(tokenizer, 50)
    indices = FoldedTokenizer.of(wide).encode(*inputs)
    folded = FoldedTokenizer.of(tokenizer)
    assert torch.equal(folded.encode(*inputs), indices)
    torch.testing.assert_close(folded.decode(indices), FoldedTokenizer.of(wide).decode(indices))


def test_no_poses_give_no_tokens(tokenizer: PoseTokenizer) -> None:
    folded = FoldedTokenizer.of(tokenizer)
    tokens = tokenizer.config.num_tokens
    assert folded.encode(*poses(tokenizer, 0)).shape == (0, tokens)
    assert folded.decode(torch.zeros(0, tokens, dtype=torch.int64)).shape[0] == 0
