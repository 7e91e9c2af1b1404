"""Quantile quantizer: levels follow the data's quantiles, and the code is a product of scales."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from pct import distributed
from pct.layers.quantile import QuantileQuantizer

LEVELS = (5, 3, 4)


def skewed(n: int = 3000, seed: int = 0) -> Tensor:
    """Features (n, 4, 3) far from uniform: log-normal, two bumps, and off centre."""
    x = torch.randn(n, 4, 3, generator=torch.Generator().manual_seed(seed))
    return torch.stack([x[..., 0].exp(), x[..., 1].sign() * 3 + 0.2 * x[..., 1], 10 + 0.1 * x[..., 2]], dim=-1)


def trained(z: Tensor | None = None, decay: float = 0.5) -> QuantileQuantizer:
    quantizer = QuantileQuantizer(LEVELS, decay)
    quantizer(skewed() if z is None else z)
    return quantizer


def test_codebook_is_the_product_of_the_scales() -> None:
    quantizer = trained()
    scales = [scale.tolist() for scale in quantizer.scale.split(LEVELS)]
    # The first channel counts fastest.
    expected = [[a, b, c] for c in scales[2] for b in scales[1] for a in scales[0]]
    assert quantizer.codebook_size == 60
    assert quantizer.codebook_dim == 3
    assert torch.equal(quantizer.codebook, torch.tensor(expected))


def test_assign_inverts_lookup_and_is_the_nearest_entry() -> None:
    quantizer = trained()
    everything = torch.arange(60)
    assert torch.equal(quantizer.assign(quantizer.codebook), everything)
    assert torch.equal(quantizer.assign(quantizer.lookup(everything.reshape(3, 20))), everything.reshape(3, 20))
    z = skewed(200, seed=1).reshape(-1, 3)
    distance = torch.cdist(z.double(), quantizer.codebook.double())
    chosen = distance.gather(1, quantizer.assign(z)[:, None])[:, 0]
    torch.testing.assert_close(chosen, distance.amin(dim=1), atol=1e-6, rtol=0)


def test_levels_start_at_the_quantiles_of_a_normal_distribution() -> None:
    quantizer = QuantileQuantizer((4,)).eval()
    z = torch.randn(40000, 1, 1, generator=torch.Generator().manual_seed(0))
    expected = torch.quantile(z.flatten(), torch.tensor([0.125, 0.375, 0.625, 0.875]))
    torch.testing.assert_close(quantizer.scale, expected, atol=0.03, rtol=0)


def test_levels_follow_the_quantiles_of_the_data() -> None:
    z = skewed()
    quantizer = trained(z)
    for channel, scale in zip(z.reshape(-1, 3).t(), quantizer.scale.split(LEVELS), strict=True):
        shares = (torch.arange(len(scale)) + 0.5) / len(scale)
        expected = torch.quantile(channel, shares, interpolation="higher")
        torch.testing.assert_close(scale, expected)


def test_every_level_is_used_alike_on_data_far_from_uniform() -> None:
    # Of smooth data the middles between quantiles lie near the quantiles between, so that uses are near the even share.
    x = torch.randn(8000, 4, 2, generator=torch.Generator().manual_seed(0))
    z = torch.stack([(0.5 * x[..., 0]).exp(), 100 + 0.01 * x[..., 1]], dim=-1)
    quantizer = QuantileQuantizer((8, 6))
    indices = quantizer(z).indices
    for digits, levels in ((indices % 8, 8), (indices // 8, 6)):
        share = torch.bincount(digits.flatten(), minlength=levels) / digits.numel() * levels
        assert (share > 0.7).all()
        assert (share < 1.4).all()
    assert quantizer.pop_epoch_use().usage == 1.0


def test_later_batches_move_the_levels_by_the_decay() -> None:
    quantizer = trained(decay=0.75)
    before = quantizer.scale.clone()
    other = skewed(seed=3) * 2
    target = trained(other).scale
    quantizer(other)
    torch.testing.assert_close(quantizer.scale, 0.75 * before + 0.25 * target)
    assert int(quantizer.updates) == 2
    assert all((scale.diff() > 0).all() for scale in quantizer.scale.split(LEVELS))


def test_straight_through_gradient_is_the_identity() -> None:
    quantizer = trained().eval()
    z = skewed(20, seed=2).requires_grad_()
    weight = torch.randn(z.shape, generator=torch.Generator().manual_seed(0))
    (quantizer(z).z_q * weight).sum().backward()
    assert torch.equal(z.grad, weight)


def test_commitment_loss_is_the_distance_and_pulls_towards_the_entry() -> None:
    quantizer = trained().eval()
    z = skewed(20, seed=2).requires_grad_()
    output = quantizer(z)
    output.commitment_loss.backward()
    entries = quantizer.lookup(output.indices)
    torch.testing.assert_close(output.commitment_loss, (z - entries).square().mean())
    torch.testing.assert_close(z.grad, 2 * (z.detach() - entries) / z.numel())


def test_z_q_is_the_entry_of_the_index() -> None:
    quantizer = trained().eval()
    output = quantizer(skewed(20, seed=2))
    torch.testing.assert_close(output.z_q, quantizer.lookup(output.indices))
    onehot = torch.nn.functional.one_hot(output.indices, 60).float()
    torch.testing.assert_close(quantizer.expected(onehot), quantizer.lookup(output.indices))


def test_eval_changes_nothing() -> None:
    quantizer = trained().eval()
    before = {name: value.clone() for name, value in quantizer.named_buffers()}
    quantizer(skewed(seed=4))
    for name, value in quantizer.named_buffers():
        assert torch.equal(value, before[name]), name


def test_state_dict_makes_the_same_quantizer() -> None:
    quantizer, copied = trained(), QuantileQuantizer(LEVELS, 0.5)
    copied.load_state_dict(quantizer.state_dict(), strict=True)
    assert torch.equal(copied.codebook, quantizer.codebook)
    # The copy goes on as the original: the next batch must not count as the first.
    for model in (quantizer, copied):
        model(skewed(seed=5))
    assert torch.equal(copied.codebook, quantizer.codebook)


def test_float32_inside_autocast() -> None:
    quantizer = trained()
    z = skewed(50, seed=6)
    reference = copy.deepcopy(quantizer)(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = quantizer(z)
    assert output.z_q.dtype == output.commitment_loss.dtype == quantizer.scale.dtype == torch.float32
    assert torch.equal(output.indices, reference.indices)
    assert quantizer(z.bfloat16()).z_q.dtype == torch.float32


def test_levels_are_of_all_processes_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    z = skewed()
    whole = trained(z)
    monkeypatch.setattr(distributed, "all_gather_rows", lambda mine: torch.cat([z[1500:].reshape(-1, 3), mine]))
    half = QuantileQuantizer(LEVELS, 0.5)
    half(z[:1500])
    assert torch.equal(half.scale, whole.scale)


def test_a_batch_smaller_than_the_levels_works() -> None:
    quantizer = QuantileQuantizer((8,))
    output = quantizer(torch.tensor([[[1.0], [2.0]]]))
    assert torch.isfinite(output.z_q).all()
    assert torch.equal(quantizer.scale, torch.tensor([1.0] * 4 + [2.0] * 4))


@pytest.mark.parametrize(
    ("levels", "decay", "message"),
    [((), 0.9, "levels"), ((4, 1), 0.9, r"at least 2, got \[4, 1\]"), ((4,), 1.0, r"decay must be in \[0, 1\)")],
)
def test_bad_settings_are_refused(levels: tuple[int, ...], decay: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        QuantileQuantizer(levels, decay)
