"""Image guidance: which cell a joint's features are of, labels, and saving."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny_batches import make_batch
from tiny_photo_models import SWIN, make_coco_tokenizer, make_guide, make_guided_tokenizer

from pct.checkpoint import CheckpointError
from pct.photos.config import BackboneSizes
from pct.photos.guide import features_at_joints
from pct.pose_space import PoseSpace
from pct.tokenizer import PoseTokenizer
from pct.tokenizer.codebook import TRAINING_BUFFERS
from pct.training.photos.token_targets import photo_labels, token_labels


@pytest.mark.parametrize("size", [(32, 32), (32, 64), (64, 32)], ids=["square", "wide", "tall"])
@pytest.mark.parametrize("space", [PoseSpace(), PoseSpace(units="pixels", crop_size=100)], ids=["unit", "pixels"])
def test_features_are_those_of_the_cell_that_a_joint_lies_in(size: tuple[int, int], space: PoseSpace) -> None:
    guide = make_guide(backbone=BackboneSizes("swin_pico", size, options=SWIN), bounds=space.bounds)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(2, 17, 2, generator=generator) * torch.tensor([size[1], size[0]])  # 0 at the outer edge
    low, high = space.bounds
    middle = torch.tensor([size[1] / 2, size[0] / 2])
    keypoints = (pixels - middle) / (max(size) / 2) * (high - low) / 2 + (low + high) / 2
    images = torch.randn(2, 3, *size, generator=generator)
    feature_map, stride = guide.backbone(images), guide.backbone.stride
    features = guide(images, keypoints)
    for b in range(2):
        for k in range(17):
            column, row = (int(v // stride) for v in pixels[b, k])
            assert torch.equal(features[b, k], feature_map[b, :, row, column])
    assert len({tuple(cell) for cell in (pixels // stride).long().view(-1, 2).tolist()}) > 6


def test_with_the_published_cells_it_is_the_published_rule() -> None:
    """Coordinates in pixels of the crop, and the cell ``floor(coordinate / stride + 0.5)``."""
    guide = make_guide(bounds=(0.0, 32.0), cell_center=0.0)
    images, pixels = torch.randn(2, 3, 32, 32), torch.rand(2, 17, 2) * 40 - 4
    expected = features_at_joints(guide.backbone(images), pixels, guide.backbone.stride)
    assert torch.equal(guide(images, pixels), expected)
    assert not torch.equal(make_guide(bounds=(0.0, 32.0))(images, pixels), expected)


def test_joints_outside_take_the_edge_and_unknown_ones_may_hold_anything() -> None:
    guide, images = make_guide(), torch.randn(1, 3, 32, 32)
    feature_map = guide.backbone(images)
    features = guide(images, torch.tensor([[[-3.0, -3.0], [3.0, 3.0], [torch.nan, torch.inf]]]))
    assert torch.equal(features[0, 0], feature_map[0, :, 0, 0])
    assert torch.equal(features[0, 1], feature_map[0, :, -1, -1])
    assert torch.isfinite(features).all()


def test_the_guide_stays_frozen_and_in_evaluation_mode() -> None:
    tokenizer = make_guided_tokenizer().train()
    assert tokenizer.training
    assert not any(module.training for module in tokenizer.guide.backbone.modules())
    assert not any(p.requires_grad for p in tokenizer.guide.parameters())
    assert not tokenizer.guide(torch.randn(1, 3, 32, 32), torch.zeros(1, 17, 2)).requires_grad


def test_a_guided_tokenizer_is_saved_with_its_guide(tmp_path: Path) -> None:
    tokenizer, batch = make_guided_tokenizer(), make_batch()
    tokenizer.save_pretrained(tmp_path / "model")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["config.json", "guidance", "model.safetensors"]
    loaded = PoseTokenizer.from_pretrained(tmp_path / "model")
    assert loaded.fingerprint() == tokenizer.fingerprint()
    assert torch.equal(photo_labels(loaded, batch).z, photo_labels(tokenizer, batch).z)
    for name, value in tokenizer.state_dict().items():
        if name.rpartition(".")[2] in TRAINING_BUFFERS:
            continue
        assert torch.equal(loaded.state_dict()[name], value), name


def test_another_guide_is_refused_and_both_are_named(tmp_path: Path) -> None:
    tokenizer, other = make_guided_tokenizer(), make_guide(seed=1)
    tokenizer.save_pretrained(tmp_path / "model")
    other.save_pretrained(tmp_path / "model" / "guidance", force=True)
    with pytest.raises(CheckpointError, match=f"{tokenizer.config.guidance_from}.*{other.fingerprint()}"):
        PoseTokenizer.from_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "guidance" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="truncated"):
        PoseTokenizer.from_pretrained(tmp_path / "model")


def test_decoding_needs_no_guide(tmp_path: Path) -> None:
    tokenizer, batch = make_guided_tokenizer(), make_batch()
    tokenizer.save_pretrained(tmp_path / "model")
    shutil.rmtree(tmp_path / "model" / "guidance")
    bare = PoseTokenizer.from_pretrained(tmp_path / "model")
    assert bare.guide is None
    assert bare.fingerprint() == tokenizer.fingerprint()
    labels = photo_labels(tokenizer, batch)
    assert torch.equal(bare.decode(labels.indices), tokenizer.decode(labels.indices))
    with pytest.raises(ValueError, match="needs image features"):
        photo_labels(bare, batch)
    features = tokenizer.guide(batch.images, batch.keypoints)
    assert torch.equal(token_labels(bare, batch.keypoints, batch.visible, features).indices, labels.indices)


@pytest.mark.parametrize("make", [make_coco_tokenizer, make_guided_tokenizer])
def test_labels_are_the_tokens_that_encode_gives_with_the_same_features(make: Callable[[], PoseTokenizer]) -> None:
    tokenizer, batch = make(), make_batch()
    features = tokenizer.guide(batch.images, batch.keypoints) if tokenizer.guide else None
    pixels = tokenizer.space.restore(batch.keypoints, batch.bbox)
    expected = tokenizer.encode(pixels, batch.visible, batch.bbox, features)
    assert (photo_labels(tokenizer, batch).indices == expected).float().mean() > 0.99
    if features is not None:
        others = tokenizer.encode(pixels, batch.visible, batch.bbox, 3 * features.flip(0))
        assert (others != expected).any(), "the features do not matter"
