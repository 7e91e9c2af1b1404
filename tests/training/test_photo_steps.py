"""Training steps on photos: labels are the frozen encoder's tokens, unlabelled joints count nowhere, losses fall."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_batches import fit, make_batch
from tiny_photo_models import (
    BACKBONE,
    HEAD,
    make_body_tokenizer,
    make_classifier,
    make_coco_tokenizer,
    make_heatmap_model,
)

from pct.layers.losses import keypoint_loss
from pct.photos.classifier import ClassifierConfig, PoseClassifier
from pct.skeleton import H36M17
from pct.training.photos.config import TokenLoss
from pct.training.photos.crops import PhotoBatch, photo_targets
from pct.training.photos.steps import HeatmapStep, TokenStep
from pct.training.photos.token_targets import label_weights, token_accuracy, token_labels, token_targets


@pytest.mark.parametrize("softness", [0.0, 1.0])
def test_what_unlabelled_joints_hold_does_not_matter(softness: float) -> None:
    model, batch = make_classifier(), make_batch()
    other = replace(batch, keypoints=torch.where(batch.visible[..., None], batch.keypoints, 7.0))
    step = TokenStep(model.tokenizer, TokenLoss(softness=softness))
    assert step(model, batch)["loss"] == step(model, other)["loss"]


def test_a_person_without_a_label_counts_in_neither_loss() -> None:
    model, batch = make_classifier(), make_batch()
    step = TokenStep(model.tokenizer, TokenLoss(keypoint_weight=0.0))
    visibility = batch.visibility.clone()
    visibility[3:] = 0
    cut = step(model, replace(batch, visibility=visibility))["token_loss"]
    torch.testing.assert_close(cut, step(model, batch.rows(slice(0, 3)))["token_loss"])


def test_soft_labels_tend_to_hard_ones() -> None:
    model, batch = make_classifier(), make_batch()
    steps = (TokenStep(model.tokenizer, TokenLoss(softness=softness)) for softness in (0.0, 1e-3, 3.0))
    hard, sharp, soft = (step(model, batch)["token_loss"] for step in steps)
    torch.testing.assert_close(sharp, hard, atol=1e-4, rtol=1e-4)
    assert abs(soft - hard) > 1e-3


def test_tokens_count_by_the_joints_that_are_labelled() -> None:
    tokenizer = make_coco_tokenizer(layout="coarse_fine", num_tokens=34, codebook_dim=8)
    visible = torch.ones(3, 17, dtype=torch.bool)
    visible[1, 9] = False
    visible[2] = False
    weights = label_weights(tokenizer, visible)
    assert (weights[0] == 1).all()
    assert not weights[2].any()
    about = tokenizer.quantizer.token_joints()
    assert about is not None
    assert torch.equal(weights[1] < 1, about[:, 9])
    assert weights[1, 17 + 9] == 0
    limb = int((about[:17, 9]).nonzero()[0])
    assert float(weights[1, limb]) == pytest.approx((1 - 1 / int(about[limb].sum())) ** 2)


def test_soft_labels_are_as_wide_as_the_nearest_entries_are_far() -> None:
    """Far from all entries the label is no harder than among them: moving it away leaves the order of the shares."""
    tokenizer = make_classifier().tokenizer
    labels = token_labels(tokenizer, make_batch().keypoints, make_batch().visible)
    shares = token_targets(tokenizer, replace(labels, z=labels.z + 50), 1.0)
    torch.testing.assert_close(shares.sum(dim=-1), torch.ones(shares.shape[:2]))
    assert shares.amax(dim=-1).max() < 0.5


def test_weights_weigh() -> None:
    model, batch = make_classifier(), make_batch()
    parts = TokenStep(model.tokenizer, TokenLoss(token_weight=2.0, keypoint_weight=3.0))(model, batch)
    poses = keypoint_loss(model(batch.images).keypoints, batch.keypoints, batch.visible, beta=0.02)
    torch.testing.assert_close(parts["loss"], 2 * parts["token_loss"] + 3 * poses)


def make_body_batch() -> PhotoBatch:
    """Return persons with 3D joints on crops of noise."""
    joints = 300 * torch.randn(4, 17, 3, generator=torch.Generator().manual_seed(1)) + torch.tensor([0.0, 0.0, 4000.0])
    return replace(make_batch(), keypoints3d=joints)


def test_tokens_of_poses_in_space_are_learned() -> None:
    """All joints count, whatever is labelled on the photo; errors are in metres."""
    tokenizer, batch = make_body_tokenizer(), make_body_batch()
    torch.manual_seed(0)
    model = PoseClassifier(ClassifierConfig(BACKBONE, HEAD), tokenizer)
    step = TokenStep(tokenizer, TokenLoss(beta=0.05))
    losses = fit(model, step, batch, 60)
    assert losses[-1]["token_loss"] < 0.7 * losses[0]["token_loss"]
    assert losses[-1]["keypoint_loss"] < losses[0]["keypoint_loss"]
    output, (truth, visible) = model.eval()(batch.images), photo_targets(batch, tokenizer.space, H36M17)
    parts = step(model, batch)
    torch.testing.assert_close(parts["keypoint_loss"], keypoint_loss(output.keypoints, truth, visible, 0.05))
    moved = replace(batch, keypoints3d=batch.keypoints3d + 500)  # type: ignore[operator]
    torch.testing.assert_close(step(model, moved)["loss"], step(model, batch)["loss"], rtol=1e-4, atol=1e-4)


def test_accuracy_counts_the_likeliest_and_the_five_likeliest() -> None:
    logits = torch.arange(10.0).expand(1, 2, 10)
    accuracy = token_accuracy(logits, torch.tensor([[9, 5]]))
    assert (accuracy["top1"], accuracy["top5"]) == (0.5, 1.0)
    assert token_accuracy(logits, torch.tensor([[4, 0]]))["top5"] == 0.0


def test_heatmaps_learn_and_ignore_unlabelled_joints() -> None:
    model, batch = make_heatmap_model(), make_batch()
    step = HeatmapStep(model, sigma=1.0)
    other = replace(batch, keypoints=torch.where(batch.visible[..., None], batch.keypoints, 0.3))
    assert step(model, batch)["loss"] == step(model, other)["loss"]
    losses = fit(model, step, batch, 60)
    assert losses[-1]["loss"] < 0.5 * losses[0]["loss"]
