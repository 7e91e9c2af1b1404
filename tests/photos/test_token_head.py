"""Token heads: logits that know the codebook, queries that read sets, gradients, learning."""

from __future__ import annotations

import pytest
import torch

from pct.photos.heads.tokens import CodebookLogits, QueryTokenHead, grid_positions


def tables(size: int = 24, dim: int = 2) -> torch.Tensor:
    """Entries that all five tokens share."""
    entries = torch.randn(size, dim, generator=torch.Generator().manual_seed(1)) * 3 + 1
    return entries.expand(5, size, dim)


def head(**sizes: int) -> QueryTokenHead:
    torch.manual_seed(0)
    return QueryTokenHead(6, 5, tables(), width=16, num_heads=4, num_blocks=2, **sizes)


@pytest.mark.parametrize("shared", [True, False])
def test_an_anchored_token_is_the_entry_at_its_place(shared: bool) -> None:
    entries = tables() if shared else torch.randn(5, 24, 2, generator=torch.Generator().manual_seed(2)) * 3
    layer = CodebookLogits(4, entries, anchored=True)
    chosen = torch.randint(24, (7, 5), generator=torch.Generator().manual_seed(3))
    places = entries[torch.arange(5), chosen]
    assert torch.equal(layer(torch.zeros(7, 5, 4), places).argmax(dim=-1), chosen)


def test_a_bell_is_as_wide_as_entries_lie_apart() -> None:
    """Entries twice as far apart get the same probabilities at places twice as far out."""
    x, places = torch.zeros(3, 5, 4), torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(3))
    near, far = (CodebookLogits(4, tables() * scale, anchored=True)(x, places * scale) for scale in (1.0, 2.0))
    torch.testing.assert_close(near.softmax(dim=-1), far.softmax(dim=-1))


def test_a_higher_precision_narrows_the_bell() -> None:
    layer, x = CodebookLogits(8, tables(), anchored=True), torch.zeros(3, 5, 8)
    places = torch.randn(3, 5, 2, generator=torch.Generator().manual_seed(3))
    before = layer(x, places).softmax(dim=-1).amax(dim=-1)
    torch.nn.init.constant_(layer.last.bias, 2.0)
    assert (layer(x, places).softmax(dim=-1).amax(dim=-1) > before).all()


def test_logits_are_float32_and_finite_under_autocast_and_for_wild_features() -> None:
    layer = head()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = layer(torch.randn(2, 9, 6 + 32) * 100)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_the_order_of_positions_does_not_matter() -> None:
    layer, features = head(), torch.randn(2, 12, 38)
    shuffled = features[:, torch.randperm(12, generator=torch.Generator().manual_seed(0))]
    torch.testing.assert_close(layer(features), layer(shuffled), atol=1e-5, rtol=1e-4)


def test_any_number_of_positions_and_no_codes_of_places() -> None:
    layer = head(position_channels=0)
    assert layer(torch.randn(2, 3, 6)).shape == layer(torch.randn(2, 70, 6)).shape == (2, 5, 24)


def test_every_weight_gets_a_gradient() -> None:
    layer = head()
    torch.nn.functional.cross_entropy(layer(torch.randn(4, 9, 38)).flatten(0, 1), torch.arange(20)).backward()
    assert not [name for name, p in layer.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def test_it_learns_to_say_where_a_mark_lies() -> None:
    """Eight places of a mark on a 4 x 4 map, told by five tokens each."""
    torch.manual_seed(0)
    layer = head()
    places = grid_positions((4, 4), 32)
    features = torch.cat([torch.zeros(8, 16, 6), places.expand(8, -1, -1)], dim=-1)
    features[torch.arange(8), torch.arange(8) * 2, 0] = 3.0
    labels = torch.randint(24, (8, 5), generator=torch.Generator().manual_seed(3))
    optimizer = torch.optim.AdamW(layer.parameters(), lr=3e-3)
    for _ in range(300):
        loss = torch.nn.functional.cross_entropy(layer(features).flatten(0, 1), labels.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (layer(features).argmax(dim=-1) == labels).float().mean() > 0.95


def test_a_width_that_does_not_divide_by_the_heads_is_refused() -> None:
    with pytest.raises(ValueError, match="width 10 must divide by its 4"):
        QueryTokenHead(6, 5, tables(), width=10, num_heads=4)


def test_places_have_the_same_codes_on_maps_of_other_sizes() -> None:
    """The middle cell of 3 x 3 lies where that of 5 x 5 does."""
    torch.testing.assert_close(grid_positions((3, 3), 16)[4], grid_positions((5, 5), 16)[12])


def test_codes_tell_all_places_apart_row_by_row() -> None:
    codes = grid_positions((6, 4), 16)
    distances = torch.cdist(codes, codes) + torch.eye(24) * 10
    assert distances.min() > 0.05
    # Neighbours in a row differ in the codes of x alone.
    torch.testing.assert_close(codes[0, 8:], codes[1, 8:])
    assert not torch.allclose(codes[0, :8], codes[1, :8])


def test_channels_that_do_not_divide_by_four_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4, got 6"):
        grid_positions((2, 2), 6)
