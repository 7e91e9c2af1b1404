"""AnchoredTokenHead: starts at each joint's own best place, learns another choice, and needs MoveNet's features."""

from __future__ import annotations

import pytest
import torch
from tiny_photo_models import BACKBONE, make_coco_tokenizer

from pct.photos.classifier import ClassifierConfig, PoseClassifier
from pct.photos.config import BackboneSizes, HeadSizes
from pct.photos.heads.tokens import AnchoredTokenHead


def make_head(tokenizer) -> AnchoredTokenHead:
    torch.manual_seed(0)
    tables = tokenizer.quantizer.embeddings().detach()
    sizes = {"num_heads": 2, "num_blocks": 1, "position_channels": 4}
    return AnchoredTokenHead(20, (17, 5), 6, tables, tokenizer.encode_whole, 16, **sizes)


def make_features(places: torch.Tensor) -> torch.Tensor:
    """Return features (B, 85, 24) of places (B, 17, 5, 2); the rest is noise that tells them apart."""
    rest = torch.randn(*places.shape[:3], 22, generator=torch.Generator().manual_seed(1))
    return torch.cat([places, rest], dim=-1).flatten(1, 2)


def labels(tokenizer, poses: torch.Tensor) -> torch.Tensor:
    known = torch.ones(poses.shape[:2], dtype=torch.bool)
    return tokenizer.quantizer.assign(tokenizer.encode_features(poses, known))


def test_where_it_chooses_one_place_the_likeliest_tokens_are_those_of_that_pose() -> None:
    tokenizer = make_coco_tokenizer()
    places = torch.rand(8, 17, 5, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    head = make_head(tokenizer)
    with torch.no_grad():
        assert (head.preference.argmax(dim=1) == torch.arange(17) * 5).all()  # its own best place
        head.preference.mul_(25)
        logits = head(make_features(places))
    assert logits.shape == (8, 6, 16)
    assert torch.equal(logits.argmax(dim=-1), labels(tokenizer, places[:, :, 0]))


def test_it_learns_to_choose_the_second_place() -> None:
    tokenizer = make_coco_tokenizer().requires_grad_(False)
    head = make_head(tokenizer)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(2)
    losses = []
    for _ in range(80):
        places = torch.rand(64, 17, 5, 2, generator=generator) * 2 - 1
        rows = make_features(places)
        rows[:, 1::5, 2] = 5.0  # what marks the right one
        loss = torch.nn.functional.cross_entropy(head(rows).transpose(1, 2), labels(tokenizer, places[:, :, 1]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])


def test_other_backbones_are_refused() -> None:
    head = HeadSizes("anchored", width=16, num_heads=2, num_blocks=1)
    with pytest.raises(ValueError, match="an anchored head takes the features of movenet_thunder"):
        PoseClassifier(ClassifierConfig(BACKBONE, head), make_coco_tokenizer())


def test_a_classifier_with_it_is_saved_in_half_precision_and_reads_photos(tmp_path) -> None:
    sizes = BackboneSizes("movenet_lightning", (192, 192))
    head = HeadSizes("anchored", width=16, num_heads=2, num_blocks=1)
    model = PoseClassifier(ClassifierConfig(sizes, head), make_coco_tokenizer(layout="residual")).eval()
    model.save_pretrained(tmp_path / "model", half=True)
    weights = (tmp_path / "model/model.safetensors").stat().st_size
    assert weights < 2.2 * sum(p.numel() for p in (*model.backbone.parameters(), *model.head.parameters()))
    again = PoseClassifier.from_pretrained(tmp_path / "model")
    images = torch.rand(2, 3, 192, 192, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        found = again(images)
    assert found.logits.shape == (2, 6, 16)
    assert torch.isfinite(found.keypoints).all()
    assert next(again.head.parameters()).dtype == torch.float32
