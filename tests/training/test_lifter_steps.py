"""Training steps of lifters: losses and their weights, labels of the true pose, what is learned and what is frozen."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from tiny_batches import fit
from tiny_lifter import make_lifter, make_pairs

from pct.lifting.detector_noise import NoiseConfig
from pct.training.lifting.config import LifterLoss
from pct.training.lifting.recipe import LiftingStep, LiftingValidation
from pct.training.photos.token_targets import token_labels

KINDS = ("", "mixer", "anchored")


def pose_loss(kind: str) -> Callable[..., torch.Tensor]:
    return LiftingStep(make_lifter(), LifterLoss(kind=kind)).pose_loss  # type: ignore[arg-type]


def test_losses_are_those_of_their_formulas() -> None:
    generator = torch.Generator().manual_seed(0)
    keypoints, target = (torch.randn(5, 17, 3, generator=generator) * 0.1 for _ in range(2))
    visible = torch.rand(5, 17, generator=generator) < 0.8
    difference = (keypoints - target)[visible]
    squares = difference.square().sum(dim=-1)
    torch.testing.assert_close(pose_loss("mse")(keypoints, target, visible), squares.mean())
    mpjpe = pose_loss("mpjpe")(keypoints, target, visible)
    torch.testing.assert_close(mpjpe, squares.sqrt().mean(), rtol=1e-3, atol=0)
    whole = torch.ones_like(visible)
    smooth = F.smooth_l1_loss(keypoints, target, beta=0.05)
    torch.testing.assert_close(pose_loss("smooth_l1")(keypoints, target, whole), smooth)


@pytest.mark.parametrize("kind", ["mpjpe", "mse", "smooth_l1"])
def test_unknown_targets_reach_neither_loss_nor_gradient(kind: str) -> None:
    keypoints, target = torch.randn(3, 17, 3, requires_grad=True), torch.randn(3, 17, 3)
    visible = torch.ones(3, 17, dtype=torch.bool)
    visible[:, 4] = False
    target[:, 4] = torch.nan
    loss = pose_loss(kind)(keypoints, target, visible)
    loss.backward()
    assert loss.isfinite()
    assert keypoints.grad is not None
    assert (keypoints.grad[:, 4] == 0).all()
    assert keypoints.grad.isfinite().all()


def test_coordinates_have_the_pose_loss_alone_and_each_kind_is_another_one() -> None:
    lifter, batch = make_lifter(), make_pairs()
    parts = [LiftingStep(lifter, LifterLoss(kind=k))(lifter, batch) for k in ("mpjpe", "mse", "smooth_l1")]
    assert all(p == {"loss": p["loss"], "keypoint_loss": p["loss"]} for p in parts)
    assert all(abs(a["loss"] - b["loss"]) > 1e-6 for a, b in itertools.combinations(parts, 2))


@pytest.mark.parametrize("kind", ["mixer", "anchored"])
def test_weights_weigh(kind: str) -> None:
    lifter, batch = make_lifter(kind).eval(), make_pairs()
    parts = LiftingStep(lifter, LifterLoss(keypoint_weight=3.0, token_weight=2.0))(lifter, batch)
    poses = parts["keypoint_loss"]
    if kind == "anchored":  # half each
        poses = (poses + parts["estimate_loss"]) / 2
    torch.testing.assert_close(parts["loss"], 3 * poses + 2 * parts["token_loss"])
    assert 0 <= parts["top1"] <= parts["top5"] <= 1


def test_labels_are_the_tokens_of_the_true_pose_whatever_the_detector_sees() -> None:
    lifter = make_lifter("mixer").eval()
    clean, noisy = make_pairs(), make_pairs(noise=NoiseConfig(missing_share=1.0))
    assert lifter.tokenizer is not None
    millimetres = lifter.space.restore(clean.target_keypoints, torch.zeros(len(clean), 3))
    expected = lifter.tokenizer.encode(millimetres)
    for batch in (clean, noisy):
        labels = token_labels(lifter.tokenizer, batch.target_keypoints, batch.target_visible)
        assert torch.equal(labels.indices, expected)


def test_soft_labels_are_another_loss_that_tends_to_the_hard_one() -> None:
    lifter, batch = make_lifter("mixer").eval(), make_pairs()
    hard, sharp, soft = (
        LiftingStep(lifter, LifterLoss(softness=s))(lifter, batch)["token_loss"] for s in (0.0, 1e-3, 3.0)
    )
    torch.testing.assert_close(sharp, hard, atol=1e-4, rtol=1e-4)
    assert abs(soft - hard) > 1e-4


@pytest.mark.parametrize("kind", ["mixer", "anchored"])
def test_the_tokenizer_learns_nothing(kind: str) -> None:
    lifter, batch = make_lifter(kind), make_pairs()
    assert lifter.tokenizer is not None
    before = {name: value.clone() for name, value in lifter.tokenizer.state_dict().items()}
    fit(lifter, LiftingStep(lifter, LifterLoss()), batch, steps=2)
    for name, value in lifter.tokenizer.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in lifter.tokenizer.parameters())
    trained = [name for name, p in lifter.trunk.named_parameters() if p.grad is not None and p.grad.any()]
    assert trained


@pytest.mark.parametrize(("kind", "loss"), [("", "loss"), ("anchored", "estimate_loss")])
def test_a_few_pairs_are_learned_by_heart(kind: str, loss: str) -> None:
    lifter = make_lifter(kind, width=32)
    losses = fit(lifter, LiftingStep(lifter, LifterLoss()), make_pairs(8), steps=200)
    assert losses[-1][loss] < 0.2 * losses[0][loss]


@pytest.mark.parametrize("kind", ["mixer", "anchored"])
def test_tokens_of_a_few_pairs_are_learned_by_heart(kind: str) -> None:
    lifter, batch = make_lifter(kind, width=32), make_pairs(8)
    # The decoder is untrained: what it makes of the right tokens is no good pose.
    fit(lifter, LiftingStep(lifter, LifterLoss(keypoint_weight=0.0)), batch, steps=120)
    parts = LiftingStep(lifter.eval(), LifterLoss())(lifter, batch)
    assert parts["top1"] > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_validation_measures_what_lift_gives(kind: str) -> None:
    lifter, noise = make_lifter(kind).eval(), NoiseConfig()
    noisy, clean = make_pairs(noise=noise), make_pairs()
    values = LiftingValidation(lifter, noisy, clean)()
    for name, batch in (("mpjpe_mm", noisy), ("clean_mpjpe_mm", clean)):
        lifted = lifter.lift(batch.keypoints2d, batch.visible, batch.image_size).keypoints
        expected = float((lifted - 1000 * batch.target_keypoints).norm(dim=-1).mean())
        assert values[name] == pytest.approx(expected, rel=1e-4)
    assert values["p_mpjpe_mm"] < values["mpjpe_mm"]
    tokens = {"top1", "top5", "argmax_mpjpe_mm", "oracle_mpjpe_mm"}
    assert tokens & set(values) == (tokens if kind else set())


def test_the_oracle_is_the_error_of_the_tokenizer_itself() -> None:
    lifter, pairs = make_lifter("mixer").eval(), make_pairs()
    assert lifter.tokenizer is not None
    decoded = lifter.tokenizer(pairs.target_keypoints, pairs.target_visible).keypoints
    decoded = decoded - decoded[:, :1]
    expected = 1000 * float((decoded - pairs.target_keypoints).norm(dim=-1).mean())
    assert LiftingValidation(lifter, pairs, pairs)()["oracle_mpjpe_mm"] == pytest.approx(expected, rel=1e-4)


def test_validation_leaves_poses_with_unknown_joints_out() -> None:
    lifter, pairs = make_lifter().eval(), make_pairs()
    visible = pairs.target_visible.clone()
    visible[: len(visible) // 2, 3] = False
    values = LiftingValidation(lifter, replace(pairs, target_visible=visible), pairs)()
    half = pairs.rows(slice(len(visible) // 2, None))
    assert values == LiftingValidation(lifter, half, half)()
    with pytest.raises(ValueError, match="no pose to validate on has all of its joints known"):
        LiftingValidation(lifter, replace(pairs, target_visible=torch.zeros_like(visible)), pairs)
