"""Token heads: logits that know the codebook, queries that read sets, chosen places, the published convolutions."""

from __future__ import annotations

import pytest
import torch
from tiny_photo_models import BACKBONE, make_coco_tokenizer
from torch import Tensor
from torch.nn.functional import cross_entropy

from pct.photos.classifier import ClassifierConfig, PoseClassifier
from pct.photos.config import BackboneSizes, HeadSizes
from pct.photos.heads.published import PublishedTokenHead
from pct.photos.heads.tokens import AnchoredTokenHead, CodebookLogits, QueryTokenHead, grid_positions

ANCHORED = HeadSizes("anchored", width=16, num_heads=2, num_blocks=1)
SMALL = HeadSizes("published", conv_channels=6, width=5, num_blocks=2, token_hidden=4, channel_hidden=7)


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def tables(size: int = 24, dim: int = 2) -> Tensor:
    """Entries that all five tokens share."""
    return (torch.randn(size, dim, generator=seeded(1)) * 3 + 1).expand(5, size, dim)


def make_head(kind: str = "query", grid: tuple[int, int] = (3, 2)) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "published":
        return PublishedTokenHead(8, grid, num_tokens=4, codebook_size=9, sizes=SMALL)
    return QueryTokenHead(6, tables(), HeadSizes(width=16, num_heads=4))


@pytest.mark.parametrize("shared", [True, False])
def test_an_anchored_token_is_the_entry_at_its_place(shared: bool) -> None:
    entries = tables() if shared else torch.randn(5, 24, 2, generator=seeded(2)) * 3
    layer = CodebookLogits(4, entries, anchored=True)
    chosen = torch.randint(24, (7, 5), generator=seeded())
    assert torch.equal(layer(torch.zeros(7, 5, 4), entries[torch.arange(5), chosen]).argmax(dim=-1), chosen)


def test_a_bell_is_as_wide_as_entries_lie_apart_and_narrower_where_it_is_surer() -> None:
    """Entries twice as far apart get the same probabilities at places twice as far out."""
    x, places = torch.zeros(3, 5, 4), torch.randn(3, 5, 2, generator=seeded())
    layers = [CodebookLogits(4, tables() * scale, anchored=True) for scale in (1.0, 2.0)]
    near, far = (layer(x, places * scale).softmax(dim=-1) for layer, scale in zip(layers, (1.0, 2.0), strict=True))
    torch.testing.assert_close(near, far)
    torch.nn.init.constant_(layers[0].last.bias, 2.0)
    assert (layers[0](x, places).softmax(dim=-1).amax(dim=-1) > near.amax(dim=-1)).all()


def test_logits_are_float32_and_finite_under_autocast_and_for_wild_features() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = make_head()(torch.randn(2, 9, 6 + 32) * 100)
    assert logits.dtype == torch.float32
    assert torch.isfinite(logits).all()


def test_queries_read_any_number_of_positions_in_any_order() -> None:
    layer, features = make_head(), torch.randn(2, 12, 38)
    torch.testing.assert_close(layer(features), layer(features[:, torch.randperm(12)]), atol=1e-5, rtol=1e-4)
    assert layer(torch.randn(2, 3, 38)).shape == layer(torch.randn(2, 70, 38)).shape == (2, 5, 24)


def train(layer: torch.nn.Module, batches, steps: int, lr: float) -> list[float]:
    """Return the losses of a few steps on batches of features and labels (B, M)."""
    optimizer, losses = torch.optim.Adam(layer.parameters(), lr=lr), []
    for _ in range(steps):
        features, labels = batches()
        loss = cross_entropy(layer(features).transpose(1, 2), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_queries_learn_to_say_where_a_mark_lies() -> None:
    """Eight places of a mark on a 4 x 4 map, told by five tokens each."""
    layer = make_head()
    features = torch.cat([torch.zeros(8, 16, 6), grid_positions((4, 4), 32).expand(8, -1, -1)], dim=-1)
    features[torch.arange(8), torch.arange(8) * 2, 0] = 3.0
    labels = torch.randint(24, (8, 5), generator=seeded())
    train(layer, lambda: (features, labels), 80, 1e-2)
    assert (layer(features).argmax(dim=-1) == labels).float().mean() > 0.95


def test_codes_tell_all_places_apart_and_are_the_same_on_maps_of_other_sizes() -> None:
    codes = grid_positions((6, 4), 16)
    assert (torch.cdist(codes, codes) + torch.eye(24) * 10).min() > 0.05
    # Neighbours in a row differ in the codes of x alone.
    torch.testing.assert_close(codes[0, 8:], codes[1, 8:])
    assert not torch.allclose(codes[0, :8], codes[1, :8])
    # The middle cell of 3 x 3 lies where that of 5 x 5 does.
    torch.testing.assert_close(grid_positions((3, 3), 16)[4], grid_positions((5, 5), 16)[12])


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: QueryTokenHead(6, tables(), HeadSizes(width=10, num_heads=4)), "width 10 must divide by its 4"),
        (lambda: grid_positions((2, 2), 6), "multiple of 4, got 6"),
        (lambda: PoseClassifier(ClassifierConfig(BACKBONE, ANCHORED), make_coco_tokenizer()), "of movenet_thunder"),
        (lambda: make_head("published")(torch.zeros(2, 6, 7)), r"be \(B, 6, 8\), a grid of \(3, 2\)"),
        (lambda: make_head("published")(torch.zeros(2, 5, 8)), r"got shape \(2, 5, 8\)"),
        (lambda: make_head("published")(torch.zeros(2, 8, 3, 2)), r"got shape \(2, 8, 3, 2\)"),
    ],
)
def test_what_does_not_fit_is_refused(build, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        build()


def make_anchored(tokenizer) -> AnchoredTokenHead:
    torch.manual_seed(0)
    entries = tokenizer.quantizer.embeddings().detach()
    return AnchoredTokenHead(20, (17, 5), entries, tokenizer.encode_whole, ANCHORED)


def make_places(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return places (B, 17, 5, 2) and features (B, 85, 52) of them; the rest is noise that tells them apart."""
    places = torch.rand(count, 17, 5, 2, generator=generator) * 2 - 1
    rest = torch.randn(count, 17, 5, 50, generator=seeded(1))
    return places, torch.cat([places, rest], dim=-1).flatten(1, 2)


def labels_of(tokenizer, poses: Tensor) -> Tensor:
    known = torch.ones(poses.shape[:2], dtype=torch.bool)
    return tokenizer.quantizer.assign(tokenizer.encode_features(poses, known))


def test_where_it_chooses_one_place_the_likeliest_tokens_are_those_of_that_pose() -> None:
    tokenizer = make_coco_tokenizer()
    places, features = make_places(8, seeded(0))
    head = make_anchored(tokenizer)
    with torch.no_grad():
        assert (head.preference.argmax(dim=1) == torch.arange(17) * 5).all()  # its own best place
        head.preference.mul_(25)
        logits = head(features)
    assert logits.shape == (8, 6, 16)
    assert torch.equal(logits.argmax(dim=-1), labels_of(tokenizer, places[:, :, 0]))


def test_it_learns_to_choose_the_second_place() -> None:
    tokenizer, generator = make_coco_tokenizer().requires_grad_(False), seeded(2)

    def batch() -> tuple[Tensor, Tensor]:
        places, features = make_places(32, generator)
        features[:, 1::5, 2] = 5.0  # what marks the right one
        return features, labels_of(tokenizer, places[:, :, 1])

    losses = train(make_anchored(tokenizer), batch, 60, 0.03)
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_a_classifier_with_it_is_saved_in_half_precision_and_reads_photos(tmp_path) -> None:
    sizes = BackboneSizes("movenet_lightning", (192, 192))
    model = PoseClassifier(ClassifierConfig(sizes, ANCHORED), make_coco_tokenizer(layout="residual")).eval()
    model.save_pretrained(tmp_path / "model", half=True)
    weights = (tmp_path / "model/model.safetensors").stat().st_size
    assert weights < 2.2 * sum(p.numel() for p in (*model.backbone.parameters(), *model.head.parameters()))
    again = PoseClassifier.from_pretrained(tmp_path / "model")
    with torch.inference_mode():
        found = again(torch.rand(2, 3, 192, 192, generator=seeded(0)))
    assert found.logits.shape == (2, 6, 16)
    assert torch.isfinite(found.keypoints).all()
    assert found.heights.shape == (2, 17)
    assert ((found.heights > 0) & (found.heights < 1)).all()
    assert next(again.head.parameters()).dtype == torch.float32


def test_published_sizes_have_the_published_number_of_weights() -> None:
    sizes = HeadSizes("published", width=64, num_blocks=4)
    with torch.device("meta"):
        head = PublishedTokenHead(channels=1024, grid=(8, 8), num_tokens=34, codebook_size=2048, sizes=sizes)
    assert sum(p.numel() for p in head.parameters()) == pytest.approx(38.6e6, abs=0.05e6)
    assert sum(p.numel() for p in head.to_tokens.parameters()) == pytest.approx(35.7e6, abs=0.05e6)


@torch.no_grad()
def test_positions_are_read_row_by_row_with_their_channels_side_by_side() -> None:
    """Without residual blocks, position p reaches the linear layer's columns p * C to (p + 1) * C and no others."""
    head, features = make_head("published").eval(), torch.randn(1, 6, 8)
    head.residual = torch.nn.Sequential()
    logits = head(features)
    for position in range(6):
        changed = features.clone()
        changed[:, position] += 1.0
        assert not torch.allclose(head(changed), logits)
        columns = head.to_tokens.weight[:, position * 6 : (position + 1) * 6]
        kept = columns.clone()
        columns.zero_()
        torch.testing.assert_close(head(changed), head(features))
        columns.copy_(kept)


@torch.no_grad()
def test_convolutions_see_neighbours_of_the_grid_only() -> None:
    """In a grid of 9 x 2 four 3 x 3 convolutions reach four rows away: (h, w) taken for (w, h) would reach others."""
    head, seen = make_head("published", grid=(9, 2)).eval(), list[Tensor]()
    head.to_tokens.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    features = torch.randn(1, 18, 8)
    head(features)
    features[:, 0] += 5.0
    head(features)
    moved = (seen[1] - seen[0]).unflatten(1, (9, 2, 6)).abs().amax(dim=(0, 3))
    assert (moved[:3] > 0).all()
    assert (moved[5:] == 0).all()
