"""The published token head: its size, where a position's features go, gradients, errors."""

from __future__ import annotations

import pytest
import torch

from pct.photos.heads.published import PublishedTokenHead

SIZES = {"conv_channels": 6, "width": 5, "num_blocks": 2, "token_hidden": 4, "channel_hidden": 7}


def make_head(grid: tuple[int, int] = (3, 2), **changes: int) -> PublishedTokenHead:
    torch.manual_seed(0)
    return PublishedTokenHead(8, grid, num_tokens=4, codebook_size=9, **{**SIZES, **changes}).eval()


def test_published_sizes_have_the_published_number_of_weights() -> None:
    with torch.device("meta"):
        head = PublishedTokenHead(channels=1024, grid=(8, 8), num_tokens=34, codebook_size=2048)
    assert sum(p.numel() for p in head.parameters()) == pytest.approx(38.6e6, abs=0.05e6)
    assert sum(p.numel() for p in head.to_tokens.parameters()) == pytest.approx(35.7e6, abs=0.05e6)


def test_positions_are_read_row_by_row_with_their_channels_side_by_side() -> None:
    """Without residual blocks, position p reaches the linear layer's columns p * C to (p + 1) * C and no others."""
    head = make_head(conv_blocks=0)
    features = torch.randn(1, 6, 8)
    with torch.no_grad():
        logits = head(features)
        for position in range(6):
            changed = features.clone()
            changed[:, position] += 1.0
            columns = slice(position * 6, (position + 1) * 6)
            kept = head.to_tokens.weight[:, columns].clone()
            head.to_tokens.weight[:, columns] = 0.0
            torch.testing.assert_close(head(changed), head(features))
            head.to_tokens.weight[:, columns] = kept
            assert not torch.allclose(head(changed), logits)


def test_convolutions_see_neighbours_of_the_grid_only() -> None:
    """In a grid of 9 x 2 four 3 x 3 convolutions reach four rows away: (h, w) taken for (w, h) would reach others."""
    head = make_head(grid=(9, 2))
    seen: list[torch.Tensor] = []
    head.to_tokens.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    features = torch.randn(1, 18, 8)
    changed = features.clone()
    changed[:, 0] += 5.0
    with torch.no_grad():
        head(features)
        head(changed)
    moved = (seen[1] - seen[0]).unflatten(1, (9, 2, 6)).abs().amax(dim=(0, 3))
    assert (moved[:3] > 0).all()
    assert (moved[5:] == 0).all()


def test_every_weight_is_trained() -> None:
    head = make_head().train()
    head(torch.randn(3, 6, 8)).square().sum().backward()
    assert not [name for name, p in head.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


@pytest.mark.parametrize("shape", [(2, 6, 7), (2, 5, 8), (2, 8, 3, 2)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"features must be \(B, 6, 8\), a grid of \(3, 2\)"):
        make_head()(torch.zeros(shape))
