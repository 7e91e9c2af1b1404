"""Estimates of unknown joints: the Gaussian, its fit to incomplete poses, and the network that starts from it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pct import PoseTokenizer, TokenizerConfig
from pct.layers.gaussian_fill import GaussianFill, PatternMoments, conditional_mean, fit_gaussian
from pct.layers.losses import keypoint_loss
from pct.layers.network_fill import NetworkFill

FLIP = [0, 2, 1, 4, 3]


def _correlated_poses(n: int, k: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(2 * k, 2 * k, generator=generator)
    return (torch.randn(n, 2 * k, generator=generator) @ mix * 0.2 + 0.3).unflatten(1, (k, 2))


def _some_hidden(x: Tensor, share: float = 0.3) -> Tensor:
    visible = torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(1)) > share
    visible[:, 0] = True
    return visible


def test_fit_to_complete_poses_is_mean_and_covariance() -> None:
    x = _correlated_poses(500)
    mean, covariance = fit_gaussian(PatternMoments.of(x, torch.ones(x.shape[:2], dtype=torch.bool)))
    flat = x.double().flatten(1)
    torch.testing.assert_close(mean, flat.mean(0))
    torch.testing.assert_close(covariance, torch.cov(flat.t(), correction=0))


def test_fit_to_incomplete_poses_finds_the_same_gaussian() -> None:
    x = _correlated_poses(20_000)
    mean, covariance = fit_gaussian(PatternMoments.of(x, _some_hidden(x)))
    flat = x.double().flatten(1)
    torch.testing.assert_close(mean, flat.mean(0), atol=0.02, rtol=0)
    error = (covariance - torch.cov(flat.t())).norm() / torch.cov(flat.t()).norm()
    assert error < 0.05


def test_conditional_mean_is_least_squares_on_the_known_numbers() -> None:
    x = _correlated_poses(300).double().flatten(1)
    known = torch.tensor([True, True, True, True, False, False, True, True, False, True])
    mean, covariance = x.mean(0), torch.cov(x.t(), correction=0)
    estimate = conditional_mean(x, known.expand_as(x), mean, covariance, 1e-12)
    design = torch.cat([torch.ones(len(x), 1, dtype=x.dtype), x[:, known]], dim=1)
    expected = design @ torch.linalg.lstsq(design, x[:, ~known]).solution
    torch.testing.assert_close(estimate[:, ~known], expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(estimate[:, known], x[:, known], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("fill", [GaussianFill(5, 2), NetworkFill(5, 2, 16, 1, FLIP)], ids=["gaussian", "network"])
def test_known_joints_stay_and_unknown_ones_may_hold_anything(fill: GaussianFill) -> None:
    x = _correlated_poses(200)
    visible = _some_hidden(x)
    fill.fit(x, visible)
    filled = fill(torch.where(visible[..., None], x, torch.nan), visible)
    assert torch.isfinite(filled).all()
    assert torch.equal(filled[visible], x[visible])
    torch.testing.assert_close(filled, fill(torch.where(visible[..., None], x, 1e9), visible))


def test_estimate_beats_the_mean() -> None:
    x = _correlated_poses(2000)
    visible = _some_hidden(x)
    fill = GaussianFill(5, 2)
    fill.fit(x, visible)
    hidden = ~visible
    error = (fill(x, visible) - x).norm(dim=-1)[hidden].mean()
    baseline = (fill.mean.view(5, 2) - x).norm(dim=-1)[hidden].mean()
    assert error < 0.8 * baseline


def test_network_starts_at_the_linear_estimate() -> None:
    x = _correlated_poses(200)
    visible = _some_hidden(x)
    linear, network = GaussianFill(5, 2), NetworkFill(5, 2, 16, 1, FLIP)
    both = torch.cat([x, x[:, FLIP] * torch.tensor([-1.0, 1.0])])
    linear.fit(both, torch.cat([visible, visible[:, FLIP]]))
    network.fit(x, visible)
    torch.testing.assert_close(network(x, visible), linear(x, visible))


@pytest.mark.parametrize(("middle", "half"), [(0.0, 1.0), (128.0, 128.0)])
def test_estimate_of_the_mirror_image_is_the_mirror_image_of_the_estimate(middle: float, half: float) -> None:
    x = _correlated_poses(200) * half + middle
    visible = _some_hidden(x)
    torch.manual_seed(0)
    network = NetworkFill(5, 2, 16, 1, FLIP, middle, half).eval()
    torch.nn.init.normal_(network.correction.weight)
    network.fit(x, visible)
    mirrored = torch.stack([2 * middle - x[:, FLIP, 0], x[:, FLIP, 1]], dim=-1)
    filled = network(x, visible)
    expected = torch.stack([2 * middle - filled[:, FLIP, 0], filled[:, FLIP, 1]], dim=-1)
    torch.testing.assert_close(network(mirrored, visible[:, FLIP]), expected, atol=1e-3 * half, rtol=1e-3)


def test_correction_is_the_same_in_pixels_and_in_units() -> None:
    x = _correlated_poses(200)
    visible = _some_hidden(x)
    torch.manual_seed(0)
    units = NetworkFill(5, 2, 16, 1, FLIP)
    torch.nn.init.normal_(units.correction.weight)
    pixels = NetworkFill(5, 2, 16, 1, FLIP, 128.0, 128.0)
    pixels.load_state_dict(units.state_dict())
    units.fit(x, visible)
    pixels.fit(x * 128 + 128, visible)
    torch.testing.assert_close((pixels(x * 128 + 128, visible) - 128) / 128, units(x, visible), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("fill", ["gaussian", "network"])
@pytest.mark.parametrize("encoder", ["mixer", "mlp"])
def test_tokenizer_with_a_fill_folds_saves_and_learns(fill: str, encoder: str, tmp_path) -> None:
    torch.manual_seed(0)
    sizes = {"encoder_width": 16, "encoder_blocks": 1, "encoder_token_hidden": 8, "decoder_width": 8, "codebook_dim": 2}
    config = TokenizerConfig(
        fill=fill, fill_width=16, fill_blocks=1, encoder=encoder, decoder="flat", quantizer="quantile", levels=(8, 4),
        codebook_size=32, **sizes,
    )  # fmt: skip
    tokenizer = PoseTokenizer(config)
    x = torch.rand(64, 17, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    visible = _some_hidden(x)
    assert tokenizer.embedding.fill is not None
    tokenizer.embedding.fill.fit(x, visible)
    output = tokenizer(x, visible)
    assert (output.estimate is not None) == (fill == "network")
    loss = keypoint_loss(output.keypoints, x, torch.ones_like(visible), 0.01) + output.commitment_loss
    loss.backward()
    without = [name for name, p in tokenizer.named_parameters() if p.grad is None]
    assert not without
    tokenizer.eval()
    bbox = torch.tensor([[0.0, 0.0, 80.0, 80.0]]).repeat(64, 1)
    pixels = tokenizer.space.restore(x, bbox)
    plain = tokenizer(tokenizer.space.normalise(pixels, bbox), visible)
    indices = tokenizer.encode(pixels, visible, bbox)
    assert (indices == plain.indices).float().mean() > 0.999
    tokenizer.save_pretrained(tmp_path / "model")
    assert torch.equal(PoseTokenizer.from_pretrained(tmp_path / "model").encode(pixels, visible, bbox), indices)
