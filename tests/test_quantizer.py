"""Quantizers: the contract that every one keeps, and the EMA codebook's start, revival and sums over processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor

from pct.layers import packed_linear
from pct.layers.packed_linear import PackedLinear
from pct.layers.quantile import QuantileQuantizer
from pct.layers.quantizer import CodebookUse, EMAQuantizer, FSQQuantizer, Quantizer
from pct.layers.search import NearestEntry, first_minimum

MAKERS = {
    "ema": lambda: EMAQuantizer(64, 3),
    "published": lambda: EMAQuantizer(64, 3, decay=0.9, rule="published"),
    "fsq": lambda: FSQQuantizer((4, 4, 4)),
    "quantile": lambda: QuantileQuantizer((4, 4, 4)),
}


@pytest.fixture(params=list(MAKERS))
def quantizer(request: pytest.FixtureRequest) -> Quantizer:
    return MAKERS[request.param]()


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("training", [True, False])
def test_round_trip(quantizer: Quantizer, training: bool) -> None:
    """Looking up the tokens gives the quantized features, which are entries of the codebook."""
    z = features(5, 6, 3)
    quantizer.train()
    quantizer(z)
    quantizer.train(training)
    before = quantizer.codebook.clone()
    output = quantizer(z)
    entries = before if isinstance(quantizer, EMAQuantizer) else quantizer.codebook
    torch.testing.assert_close(output.z_q, entries[output.indices], atol=1e-6, rtol=0)
    assert output.indices.dtype == torch.int64
    if not training:
        assert torch.equal(output.indices, quantizer.assign(z))
        assert torch.equal(quantizer.lookup(output.indices), quantizer.codebook[output.indices])


def test_every_entry_is_its_own_nearest(quantizer: Quantizer) -> None:
    quantizer.train()
    quantizer(features(30, 6, 3))
    quantizer.eval()
    if isinstance(quantizer, FSQQuantizer):
        # The grid is reached through the bounding function, so its inverse is what maps back.
        share = (quantizer.codebook + 1) / 2
        z = torch.logit(share.clamp(1e-4, 1 - 1e-4)) / 1.6
    else:
        z = quantizer.codebook
    assert torch.equal(quantizer.assign(z), torch.arange(quantizer.codebook_size))


def test_gradient_reaches_the_encoder(quantizer: Quantizer) -> None:
    z = features(5, 6, 3).requires_grad_()
    quantizer.train()
    output = quantizer(z)
    output.z_q.sum().backward()
    assert z.grad is not None
    if isinstance(quantizer, FSQQuantizer):
        assert (z.grad > 0).all()
    else:
        torch.testing.assert_close(z.grad, torch.ones_like(z))


def test_commitment_pulls_features_to_their_entries() -> None:
    quantizer = EMAQuantizer(64, 3).eval()
    z = features(5, 6, 3).requires_grad_()
    output = quantizer(z)
    output.commitment_loss.backward()
    expected = 2 * (z - quantizer.lookup(output.indices)) / z.numel()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, expected.detach())


def test_evaluation_changes_no_buffer(quantizer: Quantizer) -> None:
    quantizer.train()
    quantizer(features(5, 6, 3))
    quantizer.eval()
    before = {name: buffer.clone() for name, buffer in quantizer.named_buffers()}
    quantizer(features(5, 6, 3, seed=1))
    assert all(torch.equal(buffer, before[name]) for name, buffer in quantizer.named_buffers())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_under_autocast(quantizer: Quantizer, dtype: torch.dtype) -> None:
    z = features(5, 6, 3).to(dtype)
    quantizer.eval()
    plain = quantizer(z.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = quantizer(z)
        assert torch.equal(quantizer.assign(z), plain.indices)
    assert output.z_q.dtype == torch.float32
    assert torch.equal(output.indices, plain.indices)
    torch.testing.assert_close(output.z_q, plain.z_q)


def test_expected_of_one_hot_is_lookup(quantizer: Quantizer) -> None:
    indices = torch.tensor([[0, 5, 63]])
    one_hot = torch.nn.functional.one_hot(indices, 64).float()
    torch.testing.assert_close(quantizer.expected(one_hot), quantizer.lookup(indices))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(quantizer.expected(one_hot), quantizer.lookup(indices))
    probs = torch.full((1, 3, 64), 1 / 64, requires_grad=True)
    quantizer.expected(probs).sum().backward()
    assert probs.grad is not None


def test_epoch_counts_are_over_all_steps_and_start_anew(quantizer: Quantizer) -> None:
    quantizer.train()
    indices = torch.cat([quantizer(features(4, 6, 3, seed=s)).indices.flatten() for s in range(3)])
    expected = CodebookUse.from_counts(torch.bincount(indices, minlength=64))
    assert quantizer.pop_epoch_use() == expected
    assert quantizer.pop_epoch_use() == CodebookUse(0.0, 0.0, 0.0)


def test_codebook_use_of_known_counts() -> None:
    even = CodebookUse.from_counts(torch.tensor([5, 5, 5, 5]))
    assert (even.usage, even.perplexity, even.entropy_bits) == pytest.approx((1.0, 4.0, 2.0))
    half = CodebookUse.from_counts(torch.tensor([7, 0, 7, 0]))
    assert (half.usage, half.perplexity, half.entropy_bits) == pytest.approx((0.5, 2.0, 1.0))


@pytest.mark.parametrize(("size", "dim"), [(1024, 2), (1024, 64), (64, 3), (1000, 5), (300, 512)])
@pytest.mark.parametrize("rows", [1, 200])
def test_nearest_entry_equals_brute_force(size: int, dim: int, rows: int) -> None:
    entries, z = features(size, dim), features(rows, dim, seed=1)
    exact = torch.cdist(z.double(), entries.double(), compute_mode="donot_use_mm_for_euclid_dist")
    assert torch.equal(NearestEntry(entries)(z), exact.argmin(dim=1))


def test_search_far_from_the_origin_keeps_its_precision() -> None:
    entries, z = features(256, 4) + 300, features(500, 4, seed=1) + 300
    nearest = NearestEntry(entries)(z)
    distances = (z.double()[:, None] - entries.double()).square().sum(dim=2)
    chosen = distances.gather(1, nearest[:, None])[:, 0]
    torch.testing.assert_close(chosen, distances.amin(dim=1), atol=1e-3, rtol=0)


def test_first_of_equal_minima_wins() -> None:
    scores = features(20, 512)
    scores[:, 100] = scores[:, 101] = scores[:, 400] = -10
    assert first_minimum(scores).tolist() == [100] * 20
    assert torch.equal(first_minimum(features(20, 512)), features(20, 512).argmin(dim=1))


@pytest.mark.parametrize("few", [0, 1 << 30], ids=["packed", "plain"])
def test_packed_linear_equals_linear(monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    monkeypatch.setattr(packed_linear, "_FEW", few)
    linear, second = torch.nn.Linear(12, 20), torch.nn.Linear(20, 5)
    packed = PackedLinear(linear.weight, linear.bias)
    x = features(3, 7, 12)
    torch.testing.assert_close(packed(x), linear(x).detach())
    expected = second(torch.nn.functional.gelu(linear(x))).detach()
    torch.testing.assert_close(packed.mlp(PackedLinear(second.weight, second.bias), x), expected)


def test_start_puts_entries_on_the_first_batch() -> None:
    quantizer = EMAQuantizer(16, 3)
    z = features(8, 6, 3) * 0.01 + 100
    output = quantizer(z)
    assert float((output.z_q - z).abs().max()) < 0.1
    assert len(torch.unique(output.indices)) == 16


def test_revival_brings_usage_up() -> None:
    """Entries far from all features are never chosen; only revival brings them back."""

    def usage(revive_below: float) -> float:
        quantizer = EMAQuantizer(64, 2, decay=0.8, revive_below=revive_below)
        quantizer(torch.zeros(1, 64, 2))
        quantizer.codebook_buffer[8:] = 1e3
        quantizer.ema_sum.copy_(quantizer.codebook_buffer * quantizer.ema_count[:, None])
        for step in range(40):
            quantizer(features(16, 8, 2, seed=step))
        quantizer.pop_epoch_use()
        quantizer(features(64, 8, 2, seed=99))
        return quantizer.pop_epoch_use().usage

    assert usage(0.0) <= 8 / 64
    assert usage(0.05) > 0.9


def test_moving_averages_follow_the_formula() -> None:
    quantizer = EMAQuantizer(4, 2, decay=0.75, revive_below=0.0)
    quantizer(features(2, 6, 2))
    count, total, entries = (t.clone() for t in (quantizer.ema_count, quantizer.ema_sum, quantizer.codebook))
    z = features(2, 6, 2, seed=1)
    indices = quantizer(z).indices.flatten()
    assert torch.equal(indices, torch.cdist(z.reshape(-1, 2), entries).argmin(dim=1))
    one_hot = torch.nn.functional.one_hot(indices, 4).float()
    count = 0.75 * count + 0.25 * one_hot.sum(dim=0)
    total = 0.75 * total + 0.25 * one_hot.t() @ z.reshape(-1, 2)
    torch.testing.assert_close(quantizer.ema_count, count)
    torch.testing.assert_close(quantizer.codebook, total / count[:, None])


@pytest.mark.parametrize(
    "make", [lambda: FSQQuantizer(()), lambda: FSQQuantizer((4, 1)), lambda: EMAQuantizer(4, 2, 1)]
)
def test_bad_settings_are_refused(make) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=r"levels must be|decay must be"):
        make()


def _train(z: Tensor) -> dict[str, Tensor]:
    torch.set_num_threads(1)
    quantizer = EMAQuantizer(32, 3, decay=0.8, revive_below=0.3)
    for batch in z:
        quantizer(batch)
    return {**quantizer.state_dict(), "epoch_counts": quantizer.epoch_counts}


def _process(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    half = features(20, 8, 6, 3)[:, rank * 4 : rank * 4 + 4]
    torch.save(_train(half), os.path.join(folder, f"{rank}.pt"))
    dist.destroy_process_group()


def test_two_processes_move_the_codebook_as_one(tmp_path: Path) -> None:
    """Start, updates and revivals of 20 steps with half a batch each equal those of one process with all of it."""
    one = _train(features(20, 8, 6, 3))
    mp.spawn(_process, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    for name in ("codebook_buffer", "ema_count", "ema_sum", "updates"):
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], one[name], atol=1e-5, rtol=1e-5)
    assert torch.equal(first["epoch_counts"] + second["epoch_counts"], one["epoch_counts"])
