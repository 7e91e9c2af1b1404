"""Folded inference equals the plain networks, for every kind of tokenizer, and follows changes of the weights."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from tiny_tokenizers import COARSE_FINE, TINY, image_poses, make, model_poses

from pct import PoseTokenizer, TokenizerConfig
from pct.layers import packed_linear
from pct.tokenizer import folding, search
from pct.tokenizer.folding import FoldedTokenizer


def assert_equal(tokenizer: PoseTokenizer, count: int = 50) -> None:
    inputs = model_poses(tokenizer.config, count)
    with torch.no_grad():
        plain = tokenizer(*inputs)
    folded = FoldedTokenizer.of(tokenizer)
    # Where float32 cannot tell two entries apart, the folded form decides in float64 and the plain one does not.
    equal = folded.encode(*inputs) == plain.indices
    assert equal.double().mean() > 0.995
    torch.testing.assert_close(folded.decode(plain.indices), plain.keypoints, atol=1e-5, rtol=0)


@pytest.mark.parametrize("few", [0, 1 << 30], ids=["packed", "plain"])
def test_folded_equals_plain(tokenizer: PoseTokenizer, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """In one chunk and in many, with packed products and without."""
    monkeypatch.setattr(packed_linear, "_FEW", few)
    assert_equal(tokenizer)
    monkeypatch.setitem(folding._CHUNK_NUMBERS, "cpu", 2000)
    assert_equal(tokenizer)


def test_paper_size_tokens_are_those_of_the_plain_networks() -> None:
    torch.manual_seed(0)
    tokenizer = PoseTokenizer(TokenizerConfig(decoder_channel_hidden=64))
    with torch.no_grad():
        tokenizer.train()(*model_poses(tokenizer.config, 64))
    assert_equal(tokenizer.eval(), 24)


def _optimise(tokenizer: PoseTokenizer) -> None:
    optimiser = torch.optim.AdamW(tokenizer.parameters(), lr=0.05)
    tokenizer.train()(*model_poses(tokenizer.config, 8)).keypoints.square().sum().backward()
    optimiser.step()
    tokenizer.eval()


def _scale(tokenizer: PoseTokenizer) -> None:
    with torch.no_grad():
        for parameter in tokenizer.parameters():
            parameter.mul_(1.1)


def _load(tokenizer: PoseTokenizer) -> None:
    tokenizer.load_state_dict(make(tokenizer.config, seed=1).state_dict())


def _exchange(tokenizer: PoseTokenizer) -> None:
    tokenizer.decoder.blocks[0].norm1 = torch.nn.LayerNorm(12)


@pytest.mark.parametrize("config", [TINY, COARSE_FINE], ids=["parallel", "coarse_fine"])
@pytest.mark.parametrize("change", [_optimise, _scale, _load, _exchange])
def test_changed_weights_are_folded_anew(config: TokenizerConfig, change: Callable[[PoseTokenizer], None]) -> None:
    tokenizer = make(config)
    folded = FoldedTokenizer.of(tokenizer)
    assert FoldedTokenizer.of(tokenizer) is folded
    change(tokenizer)
    assert FoldedTokenizer.of(tokenizer) is not folded
    assert_equal(tokenizer)


def test_autocast_and_inference_mode_change_nothing(tokenizer: PoseTokenizer) -> None:
    inputs = model_poses(tokenizer.config, 50)
    with torch.inference_mode():
        folded = FoldedTokenizer.of(tokenizer)
        loaded = copy.deepcopy(tokenizer)
        indices = FoldedTokenizer.of(loaded).encode(*inputs)
    assert FoldedTokenizer.of(tokenizer) is folded
    assert torch.equal(folded.encode(*inputs), indices)
    keypoints = folded.decode(indices)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(folded.encode(*inputs), indices)
        assert torch.equal(folded.decode(indices), keypoints)


def test_half_precision_weights_run_in_float32() -> None:
    tokenizer = make(TINY).to(torch.bfloat16)
    wide = FoldedTokenizer.of(copy.deepcopy(tokenizer).float())
    inputs = model_poses(TINY, 50)
    indices = wide.encode(*inputs)
    folded = FoldedTokenizer.of(tokenizer)
    assert torch.equal(folded.encode(*inputs), indices)
    torch.testing.assert_close(folded.decode(indices), wide.decode(indices))


def test_the_same_pose_has_the_same_ids(tokenizer: PoseTokenizer) -> None:
    """Whatever is encoded beside it, with how many threads, and however the numbers lie in memory."""
    image, visible, where, features = image_poses(tokenizer.config, 60)
    expected = tokenizer.encode(image, visible, where, features)
    assert tokenizer.encode(image[:0], visible[:0], where[:0]).shape == (0, tokenizer.config.num_tokens)
    transposed, strided = image.permute(2, 1, 0).contiguous().permute(2, 1, 0), image.repeat_interleave(2, dim=0)[::2]
    before = torch.get_num_threads()
    try:
        for threads, poses, size in ((1, image, 1), (1, transposed, 7), (1, strided, 60), (2, image, 60)):
            torch.set_num_threads(threads)
            parts = [
                tokenizer.encode(poses[i], visible[i], where[i], None if features is None else features[i])
                for i in torch.arange(60).split(size)
            ]
            assert torch.equal(torch.cat(parts), expected)
    finally:
        torch.set_num_threads(before)


def test_near_ties_are_decided_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """With every pose counted as unsure the tokens are those of float64 throughout."""
    tokenizer = make(COARSE_FINE)
    keypoints, visible, _ = model_poses(COARSE_FINE, 50)
    expected = FoldedTokenizer.of(tokenizer).encode(keypoints, visible)
    monkeypatch.setattr(search, "score_tolerance", lambda entries: float("inf"))
    exact = FoldedTokenizer(tokenizer)
    calls = []
    plain = exact._encode_exactly
    monkeypatch.setattr(exact, "_encode_exactly", lambda *a: calls.append(len(a[0])) or plain(*a))
    assert torch.equal(exact.encode(keypoints, visible), expected)
    assert sum(calls) == 50
