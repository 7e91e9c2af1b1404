"""Augmentation of 3D poses: turns, mirrors and stretched bones of generated poses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pct.files.motion.checks import bone_lengths
from pct.people.poses import generate_poses3d
from pct.pose_space import PoseSpace
from pct.skeleton import H36M16, H36M17
from pct.training.tokenizer.augment import Augment3DConfig, AugmentConfig, Bones, PoseAugment

SPACE = PoseSpace(kind="root3d")
PLAIN = AugmentConfig(mask_share=0.0)
STILL = Augment3DConfig(turn=0, pitch=(0, 0), steep_share=0, roll=0, flip_prob=0, scale=0, bone=0)


def augment(config: Augment3DConfig, hiding: AugmentConfig = PLAIN) -> PoseAugment:
    return PoseAugment(H36M17, SPACE, hiding, config)


def bodies(n: int = 64) -> torch.Tensor:
    table = generate_poses3d(n, seed=3)
    return SPACE.normalise(table.keypoints, table.reference())


def lengths(keypoints: torch.Tensor) -> torch.Tensor:
    return bone_lengths(keypoints, torch.ones(keypoints.shape[:2], dtype=torch.bool), H36M17)


def run(augmentation: PoseAugment, keypoints: torch.Tensor, seed: int = 0) -> torch.Tensor:
    visible = torch.ones(keypoints.shape[:2], dtype=torch.bool)
    return augmentation(keypoints, visible, torch.Generator().manual_seed(seed)).keypoints


def test_generated_bodies_stand_in_millimetres_and_depend_on_the_seed_only() -> None:
    table = generate_poses3d(32, seed=5)
    torch.testing.assert_close(table.keypoints, generate_poses3d(40, seed=5).keypoints[:32])
    thighs = (table.keypoints[:, 2] - table.keypoints[:, 1]).norm(dim=-1)
    assert float(thighs.min()) > 100
    assert 330 < float(thighs.median()) < 480
    assert float(thighs.max()) < 650
    assert generate_poses3d(3, H36M16).keypoints.shape == (3, 16, 3)


def test_turning_keeps_every_distance_and_the_root() -> None:
    x = bodies()
    turned = run(augment(Augment3DConfig(flip_prob=0, scale=0, bone=0)), x)
    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(x, x), atol=1e-4, rtol=1e-4)
    assert not turned[:, 0].any()
    assert (turned - x).norm(dim=-1).mean() > 0.2


def test_without_tilt_heights_stay_and_without_anything_so_does_the_pose() -> None:
    x = bodies()
    upright = Augment3DConfig(pitch=(0, 0), steep_share=0, roll=0, flip_prob=0, scale=0, bone=0)
    torch.testing.assert_close(run(augment(upright), x)[..., 1], x[..., 1], atol=1e-5, rtol=0)
    torch.testing.assert_close(run(augment(STILL), x), x, atol=1e-6, rtol=0)


def test_the_mirror_swaps_sides_and_is_its_own_inverse() -> None:
    x, mirror = bodies(), augment(replace(STILL, flip_prob=1.0))
    once = run(mirror, x)
    torch.testing.assert_close(once[:, 4], x[:, 1] * torch.tensor([-1.0, 1.0, 1.0]), atol=1e-6, rtol=0)
    torch.testing.assert_close(run(mirror, once), x, atol=1e-6, rtol=0)


def test_stretching_changes_lengths_alike_on_both_sides_and_no_direction() -> None:
    x = bodies()
    x[:, 4:7] = x[:, 1:4] * torch.tensor([-1.0, 1.0, 1.0])  # legs of equal length
    longer = run(augment(replace(STILL, scale=0.1, bone=0.1)), x)
    ratio = lengths(longer) / lengths(x)
    assert ratio.std() > 0.05
    edges = list(H36M17.edges)
    for a, b in (((1, 2), (4, 5)), ((2, 3), (5, 6)), ((0, 1), (0, 4))):
        torch.testing.assert_close(ratio[:, edges.index(a)], ratio[:, edges.index(b)])
    bone, changed = x[:, 2] - x[:, 1], longer[:, 2] - longer[:, 1]
    torch.testing.assert_close(torch.cosine_similarity(bone, changed, dim=-1), torch.ones(len(x)))


def test_bones_by_hand() -> None:
    bones = Bones(H36M17, root=0)
    assert bones.parents.tolist() == [0, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15]
    x = bodies(2)
    factors = torch.ones(2, 17)
    factors[:, 2] = 2.0  # the right shank's start: thigh twice as long moves knee and ankle by one thigh
    moved = bones.stretch(x, factors) - x
    torch.testing.assert_close(moved[:, 2], x[:, 2] - x[:, 1])
    torch.testing.assert_close(moved[:, 3], x[:, 2] - x[:, 1])
    assert moved[:, [0, 1, 4, 10, 13]].abs().max() < 1e-5


def test_hiding_never_takes_the_root_and_leaves_the_labels() -> None:
    hiding = AugmentConfig(mask_share=1.0, mask_ratio=(0.5, 0.9))
    visible = torch.ones(64, 17, dtype=torch.bool)
    batch = augment(STILL, hiding)(bodies(), visible, torch.Generator().manual_seed(0))
    assert batch.visible.all()
    assert batch.encoder_visible[:, 0].all()
    assert 0.1 < batch.encoder_visible[:, 1:].float().mean() < 0.6


def test_unknown_joints_may_hold_anything_and_stay_unknown() -> None:
    x, visible = bodies(), torch.ones(64, 17, dtype=torch.bool)
    visible[:, 13] = False
    broken = x.clone()
    broken[:, 13] = torch.nan
    config = Augment3DConfig(flip_prob=0)
    a = augment(config)(x, visible, torch.Generator().manual_seed(0))
    b = augment(config)(broken, visible, torch.Generator().manual_seed(0))
    torch.testing.assert_close(a.keypoints, b.keypoints)
    assert not a.visible[:, 13].any()
    assert not a.keypoints[:, 13].any()


@pytest.mark.parametrize("bad", [{"scale": 0.5}, {"flip_prob": 2}, {"turn": -1}, {"pitch": (0, -1)}])
def test_bad_strengths_are_refused(bad: dict) -> None:
    with pytest.raises(ValueError, match=f"augment .*{next(iter(bad))}"):
        Augment3DConfig(**bad)
