"""Quantizers: the contract that every one keeps, and the EMA codebook's start, revival and sums over processes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pct import PoseSpace, Skeleton, TokenizerConfig, get_skeleton
from pct.layers import packed_linear
from pct.layers.packed_linear import PackedLinear
from pct.tokenizer.coarse_fine import CoarseFineQuantizer
from pct.tokenizer.codebook import CodebookUse
from pct.tokenizer.model import build_quantizer
from pct.tokenizer.quantizer import EMAQuantizer, FSQQuantizer, Quantizer
from pct.tokenizer.search import NearestEntry, first_minimum, nearest_exactly

COCO = get_skeleton("coco17")
CONFIG = TokenizerConfig(num_tokens=6, codebook_size=64, codebook_dim=3)
FIVE = Skeleton("five", ("a", "b", "c", "d", "e"), (), (), (0.1,) * 5)
COARSE_FINE = replace(
    CONFIG, layout="coarse_fine", num_tokens=34, period=0.7, home_weight=2.0, fine_radius=1.0, coarse_width=8
)
RESIDUAL = replace(CONFIG, layout="residual", skeleton=FIVE)
CONFIGS = {
    "ema": CONFIG,
    "published": replace(CONFIG, ema_decay=0.9, ema_rule="published"),
    "fsq": replace(CONFIG, quantizer="fsq", levels=(4, 4, 4)),
    "coarse_fine": COARSE_FINE,
    "residual": RESIDUAL,
}
# What each quantizer's encoder gives.
SHAPES = {"coarse_fine": (17, 2), "residual": (5, 2)}


def build(config: TokenizerConfig) -> Any:
    torch.manual_seed(0)
    return build_quantizer(config)


def ema(tokens: int, size: int, dim: int, **rule: float) -> EMAQuantizer:
    return EMAQuantizer(replace(CONFIG, num_tokens=tokens, codebook_size=size, codebook_dim=dim, **rule))


@pytest.fixture(params=list(CONFIGS))
def quantizer(request: pytest.FixtureRequest) -> Quantizer:
    made = build(CONFIGS[request.param])
    made.shape = SHAPES.get(request.param, (6, 3))
    return made


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def given(quantizer: Quantizer, count: int, seed: int = 0) -> Tensor:
    """What the encoder of a quantizer might give for some poses."""
    return features(count, *quantizer.shape, seed=seed) * 0.4  # type: ignore[misc]


def joints_of(quantizer: Quantizer, z_q: Tensor) -> Tensor:
    """The part of what the decoder gets that has the shape of the encoder's output."""
    return z_q[..., : quantizer.shape[-1]]  # type: ignore[index]


def test_round_trip(quantizer: Quantizer) -> None:
    """Looking up the tokens gives what forward gives, in evaluation mode, and forward finds the tokens of assign."""
    quantizer.train()
    for seed in range(3):
        quantizer(given(quantizer, 40, seed))
    quantizer.eval()
    z = given(quantizer, 5, 9)
    output = quantizer(z)
    assert output.indices.dtype == torch.int64
    found, unsure = quantizer.searcher()(z)
    assert torch.equal(output.indices, found)
    assert torch.equal(output.indices[~unsure], quantizer.searcher(exact=True)(z.double())[0][~unsure])
    torch.testing.assert_close(output.z_q, quantizer.lookup(output.indices), atol=1e-5, rtol=0)


def test_every_entry_is_its_own_nearest() -> None:
    one = ema(1, 64, 3)
    fsq = FSQQuantizer(replace(CONFIGS["fsq"], num_tokens=1))
    # The grid is reached through the bounding function, so its inverse is what maps back.
    inverse = torch.logit(((fsq.grid + 1) / 2).clamp(1e-4, 1 - 1e-4)) / 1.6
    for quantizer, z in ((one, one.entries), (fsq, inverse)):
        assert torch.equal(quantizer.assign(z[:, None])[:, 0], torch.arange(quantizer.codebook_size))


def test_gradient_reaches_the_encoder(quantizer: Quantizer) -> None:
    z = given(quantizer, 5).requires_grad_()
    quantizer.train()
    joints_of(quantizer, quantizer(z).z_q).sum().backward()
    assert z.grad is not None
    if isinstance(quantizer, FSQQuantizer):
        assert (z.grad > 0).all()
    else:
        torch.testing.assert_close(z.grad, torch.ones_like(z))


def test_commitment_pulls_features_to_their_entries() -> None:
    quantizer = ema(6, 64, 3).eval()
    z = features(5, 6, 3).requires_grad_()
    output = quantizer(z)
    output.commitment_loss.backward()
    expected = 2 * (z - quantizer.lookup(output.indices)) / z.numel()
    assert z.grad is not None
    torch.testing.assert_close(z.grad, expected.detach())


def test_evaluation_changes_no_buffer(quantizer: Quantizer) -> None:
    quantizer.train()
    quantizer(given(quantizer, 5))
    quantizer.eval()
    before = {name: buffer.clone() for name, buffer in quantizer.named_buffers()}
    quantizer(given(quantizer, 5, seed=1))
    assert all(torch.equal(buffer, before[name]) for name, buffer in quantizer.named_buffers())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_under_autocast(quantizer: Quantizer, dtype: torch.dtype) -> None:
    z = given(quantizer, 5).to(dtype)
    quantizer.eval()
    plain = quantizer(z.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = quantizer(z)
    assert output.z_q.dtype == torch.float32
    assert torch.equal(output.indices, plain.indices)
    torch.testing.assert_close(output.z_q, plain.z_q)


def test_epoch_counts_are_over_all_steps_and_start_anew(quantizer: Quantizer) -> None:
    quantizer.train()
    indices = torch.cat([quantizer(given(quantizer, 4, s)).indices.flatten() for s in range(3)])
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


@pytest.mark.parametrize("columns", [1, 2, 100, 512])
def test_margin_is_the_difference_to_the_second_minimum_and_the_first_of_equal_ones_wins(columns: int) -> None:
    scores = features(20, columns)
    position, margin = first_minimum(scores)
    assert torch.equal(position, scores.argmin(dim=1))
    ordered = torch.cat([scores, torch.full((20, 1), torch.inf)], dim=1).sort(dim=1).values
    assert torch.equal(margin, ordered[:, 1] - ordered[:, 0])
    if columns > 1:
        equal = [columns // 5, columns // 5 + 1, columns * 4 // 5]
        scores[:, equal] = -10
        position, margin = first_minimum(scores)
        assert position.tolist() == [equal[0]] * 20
        assert margin.tolist() == [0.0] * 20


def test_of_equally_near_entries_the_first_is_taken() -> None:
    """Copies of one entry, and entries on both sides of the feature."""
    entries = features(80, 4) * 10
    entries[70], entries[71], entries[9] = entries[7], torch.full((4,), 0.3), torch.full((4,), -0.3)
    z = torch.stack([entries[7] + 1e-3, torch.zeros(4)])
    assert nearest_exactly(z.double(), entries.double()).tolist() == [7, 9]


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
    quantizer = ema(6, 16, 3)
    z = features(8, 6, 3) * 0.01 + 100
    output = quantizer(z)
    assert float((output.z_q - z).abs().max()) < 0.1
    assert len(torch.unique(output.indices)) == 16


def test_revival_brings_usage_up() -> None:
    """Entries far from all features are never chosen; only revival brings them back."""

    def usage(revive_below: float) -> float:
        quantizer = ema(8, 64, 2, ema_decay=0.8, revive_below=revive_below)
        quantizer(torch.zeros(8, 8, 2))
        book = quantizer.codebook
        book.codebook_buffer[8:] = 1e3
        book.ema_sum.copy_(book.codebook_buffer * book.ema_count[:, None])
        for step in range(40):
            quantizer(features(16, 8, 2, seed=step))
        quantizer.pop_epoch_use()
        quantizer(features(64, 8, 2, seed=99))
        return quantizer.pop_epoch_use().usage

    assert usage(0.0) <= 8 / 64
    assert usage(0.05) > 0.9


def test_moving_averages_follow_the_formula() -> None:
    quantizer = ema(6, 4, 2, ema_decay=0.75, revive_below=0.0)
    quantizer(features(2, 6, 2))
    book = quantizer.codebook
    count, total, entries = (t.clone() for t in (book.ema_count, book.ema_sum, book.entries))
    z = features(2, 6, 2, seed=1)
    indices = quantizer(z).indices.flatten()
    assert torch.equal(indices, torch.cdist(z.reshape(-1, 2), entries).argmin(dim=1))
    one_hot = torch.nn.functional.one_hot(indices, 4).float()
    count = 0.75 * count + 0.25 * one_hot.sum(dim=0)
    total = 0.75 * total + 0.25 * one_hot.t() @ z.reshape(-1, 2)
    torch.testing.assert_close(book.ema_count, count)
    torch.testing.assert_close(book.entries, total / count[:, None])


def test_revived_entries_are_drawn_anew_at_every_step() -> None:
    """The draw's seed has the number of updates in it: else a dead entry would get the same row of every batch."""
    quantizer = ema(8, 16, 2, ema_decay=0.5, revive_below=0.5)
    z = features(64, 8, 2) + 10
    picked = []
    for _ in range(2):
        quantizer(z)
        picked.append(quantizer.codebook._pick_rows(z.reshape(-1, 2), 512, 4))
    assert not torch.equal(picked[0], picked[1])


def test_fsq_bounds_by_a_steep_sigmoid() -> None:
    """Features of unit variance use the four levels of a channel about evenly; 1.6 is what does it."""
    quantizer = FSQQuantizer(replace(CONFIG, quantizer="fsq", levels=(4,), codebook_size=4, codebook_dim=1))
    counts = torch.bincount(quantizer.assign(features(40_000, 1, 1)).flatten(), minlength=4) / 40_000
    boundary = torch.tensor(math.log(2.5 / 0.5) / 1.6)  # from level 2 to level 3
    expected = 0.5 * torch.erfc(boundary / math.sqrt(2))
    torch.testing.assert_close(counts[3], expected, atol=5e-3, rtol=0)
    assert quantizer.assign(torch.tensor([[[0.99 * boundary]], [[1.01 * boundary]]])).flatten().tolist() == [2, 3]


class TestCoarseFine:
    """What the two scales of tokens mean."""

    @pytest.fixture(scope="class")
    @classmethod
    def quantizer(cls) -> CoarseFineQuantizer:
        return cls.trained()

    @classmethod
    def trained(cls, **space: Any) -> CoarseFineQuantizer:
        quantizer = build(replace(COARSE_FINE, codebook_size=512, space=PoseSpace(**space))).train()
        for seed in range(40):
            quantizer(cls.poses(256, seed) * quantizer.unit + quantizer.middle)
        return quantizer.eval()

    @staticmethod
    def poses(count: int, seed: int = 0) -> Tensor:
        """Joints near a mean pose."""
        return features(17, 2, seed=77) * 0.4 + features(count, 17, 2, seed=seed) * 0.06

    def test_fine_tokens_place_joints_within_their_grid(self, quantizer: CoarseFineQuantizer) -> None:
        z = self.poses(50, 99)
        error = (quantizer.lookup(quantizer.assign(z))[..., :2] - z).abs()
        assert error.median() < 0.02
        coarse = (quantizer.lookup(quantizer.assign(z)[:, :17])[..., :2] - z).abs()
        assert coarse.median() > 1.5 * error.median()

    def test_a_prefix_says_which_joints_are_fine(self, quantizer: CoarseFineQuantizer) -> None:
        indices = quantizer.assign(self.poses(3))
        said = quantizer.lookup(indices[:, :20])[..., 2]
        assert said[:, :3].eq(1).all()
        assert said[:, 3:].eq(0).all()

    def test_a_fine_token_moves_its_joint_alone(self, quantizer: CoarseFineQuantizer) -> None:
        indices = quantizer.assign(self.poses(20))
        changed = indices.clone()
        changed[:, 17 + 4] = quantizer.assign(self.poses(20, 1))[:, 17 + 4]
        moved = (quantizer.lookup(changed) - quantizer.lookup(indices)).abs().sum(dim=-1) > 1e-6
        assert moved.any(dim=0).nonzero().flatten().tolist() == [4]

    def test_a_joint_off_by_a_period_keeps_its_fine_token(self, quantizer: CoarseFineQuantizer) -> None:
        z = self.poses(20)
        assert torch.equal(quantizer.assign(z)[:, 17:], quantizer.assign(z + quantizer.period)[:, 17:])

    def test_mirrored_poses_have_mirrored_tokens(self, quantizer: CoarseFineQuantizer) -> None:
        """Left and right share their entries: a mirrored pose swaps the tokens of the sides."""
        flip = torch.from_numpy(COCO.flip_index.copy())
        z = self.poses(20)
        mirrored = z[:, flip] * z.new_tensor([-1.0, 1.0])
        tokens, other = quantizer.assign(z), quantizer.assign(mirrored)
        sides = [j for j in range(17) if flip[j] != j]
        assert torch.equal(other[:, sides], tokens[:, flip[sides]])
        fine = [17 + j for j in sides]
        assert torch.equal(other[:, fine], tokens[:, [17 + int(flip[j]) for j in sides]])

    def test_an_unsure_fine_token_leaves_the_coarse_place(self, quantizer: CoarseFineQuantizer) -> None:
        """Opposite places on the grid, alike likely, say nothing together, and their gradient is finite."""
        z = self.poses(4)
        probs = torch.nn.functional.one_hot(quantizer.assign(z), 512).float()
        opposite = quantizer.assign(z + quantizer.period / 2)
        probs[:, 17:] = (probs + torch.nn.functional.one_hot(opposite, 512))[:, 17:] / 2
        probs.requires_grad_()
        unsure = quantizer.expected(probs)
        coarse = quantizer.lookup(quantizer.assign(z)[:, :17])
        assert unsure[..., 2].max() < 0.3
        assert (unsure - coarse)[..., :2].abs().max() < 0.3 * quantizer.period / 2
        unsure.sum().backward()
        assert probs.grad is not None
        assert torch.isfinite(probs.grad).all()

    def test_units_of_the_space_change_nothing(self, quantizer: CoarseFineQuantizer) -> None:
        pixels = self.trained(units="pixels")
        z = self.poses(20)
        equal = quantizer.assign(z) == pixels.assign(z * 128 + 128)
        assert equal.double().mean() > 0.99


@pytest.mark.parametrize("tokens", [34, 35, 30, 52])
def test_every_joint_has_a_fine_token_and_the_rest_are_limbs(tokens: int) -> None:
    made = build(replace(COARSE_FINE, num_tokens=tokens))
    assert made.fine_joints == list(range(17))
    assert len(made.limbs) == tokens - 17
    assert all(len(set(limb)) == 3 for limb in made.limbs)
    assert len(set(made.limbs)) == len(made.limbs)


def test_left_and_right_are_of_one_kind() -> None:
    made = build(COARSE_FINE)
    kind = {limb[0]: tuple(place) for limb, place in zip(made.limbs, made.offsets[:, -2:].tolist(), strict=False)}
    assert all(kind[left] == kind[right] for left, right in COCO.flip_pairs)
    assert len(set(kind.values())) == 9


def test_the_root_needs_no_tokens_and_too_few_are_refused() -> None:
    made = build(replace(COARSE_FINE, skeleton=get_skeleton("h36m17"), space=PoseSpace(kind="root3d")))
    assert made.fine_joints == list(range(1, 17))
    assert len(made.limbs) == 18
    with pytest.raises(ValueError, match="17 tokens are too few for 17 joints"):
        build(replace(COARSE_FINE, num_tokens=17))
