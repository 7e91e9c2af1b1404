"""Augmentation: what it may change and what it must keep, on random poses with unknown joints."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pct.pose_space import PoseSpace
from pct.skeleton import COCO17, CROWDPOSE14, Skeleton
from pct.training.tokenizer.augment import AugmentConfig, AugmentedPoses, PoseAugment

OFF = AugmentConfig(
    rotation_prob=0, scale=0, shift_prob=0, flip_prob=0, half_body_prob=0, outside_margin=100, mask_share=0
)
LOWER = list(COCO17.lower_body)


def poses(n: int = 400, spread: float = 0.3, skeleton: Skeleton = COCO17, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Random joints well inside the crop, about 4 of 5 of them known."""
    generator = torch.Generator().manual_seed(seed)
    keypoints = (torch.rand(n, skeleton.num_keypoints, 2, generator=generator) * 2 - 1) * spread
    return keypoints, torch.rand(n, skeleton.num_keypoints, generator=generator) < 0.8


def known_poses(n: int) -> tuple[Tensor, Tensor]:
    keypoints, visible = poses(n)
    return keypoints, torch.ones_like(visible)


def augment(config: AugmentConfig, keypoints: Tensor, visible: Tensor, seed: int = 1) -> AugmentedPoses:
    skeleton = COCO17 if keypoints.shape[1] == 17 else CROWDPOSE14
    return PoseAugment(skeleton, PoseSpace(), config)(keypoints, visible, torch.Generator().manual_seed(seed))


def test_everything_off_changes_nothing_but_clears_unknown_joints() -> None:
    keypoints, visible = poses()
    result = augment(OFF, keypoints, visible)
    assert torch.equal(result.keypoints, torch.where(visible[..., None], keypoints, 0.0))
    assert torch.equal(result.visible, visible)
    assert torch.equal(result.encoder_visible, visible)


@pytest.mark.parametrize("skeleton", [COCO17, CROWDPOSE14], ids=lambda s: s.name)
def test_flip_twice_is_identity_and_once_swaps_sides(skeleton: Skeleton) -> None:
    keypoints, visible = poses(skeleton=skeleton)
    keypoints = torch.where(visible[..., None], keypoints, 0.0)
    once = augment(replace(OFF, flip_prob=1), keypoints, visible)
    twice = augment(replace(OFF, flip_prob=1), once.keypoints, once.visible)
    assert torch.equal(twice.keypoints, keypoints)
    assert torch.equal(twice.visible, visible)
    left, right = skeleton.keypoint_names.index("left_wrist"), skeleton.keypoint_names.index("right_wrist")
    assert torch.equal(once.visible[:, left], visible[:, right])
    assert torch.equal(once.keypoints[:, left, 0], -keypoints[:, right, 0])
    assert torch.equal(once.keypoints[:, left, 1], keypoints[:, right, 1])


@pytest.mark.parametrize(
    ("config", "share"),
    [
        (replace(OFF, flip_prob=0.3), 0.3),
        (AugmentConfig(plain_share=0.4, flip_prob=0, mask_share=0, outside_margin=100), 0.6),
        (replace(OFF, shift=0.16, shift_prob=0.3), 0.3),
    ],
)
def test_a_share_of_the_poses_is_changed(config: AugmentConfig, share: float) -> None:
    keypoints, visible = poses(4000)
    changed = augment(config, keypoints, torch.ones_like(visible))
    assert abs((changed.keypoints != keypoints).any(dim=(1, 2)).float().mean() - share) < 0.03


def test_the_generator_alone_decides_and_arguments_are_left_as_they_are() -> None:
    keypoints, visible = poses()
    before = keypoints.clone(), visible.clone()
    first = augment(AugmentConfig(), keypoints, visible, seed=5)
    torch.manual_seed(99)
    again, other = (augment(AugmentConfig(), keypoints, visible, seed=s) for s in (5, 6))
    assert torch.equal(first.keypoints, again.keypoints)
    assert torch.equal(first.encoder_visible, again.encoder_visible)
    assert not torch.equal(first.keypoints, other.keypoints)
    assert torch.equal(keypoints, before[0])
    assert torch.equal(visible, before[1])


def test_unknown_joints_leak_nowhere() -> None:
    """What stands at an unknown joint, NaN included, changes no number of the result."""
    keypoints, visible = poses()
    visible[0] = False
    config = AugmentConfig(half_body_prob=1.0)
    clean = augment(config, torch.where(visible[..., None], keypoints, 0.0), visible)
    for junk in (torch.nan, torch.inf, 1e30):
        dirty = augment(config, torch.where(visible[..., None], keypoints, junk), visible)
        assert torch.equal(dirty.keypoints, clean.keypoints)
        assert torch.equal(dirty.visible, clean.visible)
        assert torch.equal(dirty.encoder_visible, clean.encoder_visible)
    assert torch.isfinite(clean.keypoints).all()
    assert (clean.keypoints[~clean.visible] == 0).all()


def test_rotation_keeps_distances_and_turns_by_at_most_twice_the_deviation() -> None:
    keypoints, visible = known_poses(2000)
    turned = augment(replace(OFF, rotation=30.0, rotation_prob=0.6), keypoints, visible).keypoints
    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(keypoints, keypoints), atol=1e-5, rtol=1e-4)
    before, after = torch.view_as_complex(keypoints), torch.view_as_complex(turned.contiguous())
    degrees = torch.rad2deg(torch.angle((after * before.conj()).sum(dim=1)))
    moved = degrees.abs() > 1e-3
    assert degrees.abs().max() < 60.01
    assert abs(moved.float().mean() - 0.6) < 0.04
    # A normal distribution cut at two deviations, its tails on the ends, has 0.96 of the deviation.
    assert abs(degrees[moved].std() / 30 - 0.96) < 0.06
    assert abs(degrees[moved].mean()) < 3


def test_scale_stays_within_its_cuts_and_keeps_the_centre() -> None:
    keypoints, visible = known_poses(2000)
    scaled = augment(replace(OFF, scale=0.4), keypoints, visible).keypoints
    factor = (keypoints.flatten(1).norm(dim=1) / scaled.flatten(1).norm(dim=1)).clamp(0.6, 1.4)
    torch.testing.assert_close(scaled * factor[:, None, None], keypoints, atol=1e-5, rtol=1e-4)
    assert abs(factor.mean() - 1) < 0.03
    # Both ends are in use: beyond one deviation lies 16 % on either side.
    assert abs((factor < 0.6001).float().mean() - 0.16) < 0.03
    assert abs((factor > 1.3999).float().mean() - 0.16) < 0.03


def test_shift_moves_all_joints_alike_by_at_most_its_share_of_the_side() -> None:
    keypoints, visible = known_poses(2000)
    moved = augment(replace(OFF, shift=0.16, shift_prob=0.3), keypoints, visible).keypoints - keypoints
    torch.testing.assert_close(moved, moved[:, :1].expand_as(moved), atol=1e-6, rtol=0)
    shift = moved[:, 0]
    # The crop's side is 2 in model units.
    assert 0.3 < shift.abs().max() <= 0.3201


def test_labels_outside_the_crop_and_its_margin_become_unknown() -> None:
    keypoints, visible = poses(spread=2.0)
    for margin in (0.0, 0.5):
        result = augment(replace(OFF, outside_margin=margin), keypoints, visible)
        inside = (keypoints.abs() <= 1 + margin).all(dim=-1)
        assert torch.equal(result.visible, visible & inside)
        assert not torch.equal(result.visible, visible)
        assert (result.keypoints[~result.visible] == 0).all()
    assert (augment(AugmentConfig(), keypoints, visible).keypoints.abs() <= 1).all()


def test_pixel_units_are_the_same_augmentation() -> None:
    keypoints, visible = poses(spread=0.9)
    unit, pixels = PoseSpace(), PoseSpace(units="pixels")
    expected = PoseAugment(COCO17, unit, AugmentConfig())(keypoints, visible, torch.Generator().manual_seed(3))
    in_pixels = (keypoints + 1) * 128
    result = PoseAugment(COCO17, pixels, AugmentConfig())(in_pixels, visible, torch.Generator().manual_seed(3))
    assert torch.equal(result.visible, expected.visible)
    assert torch.equal(result.encoder_visible, expected.encoder_visible)
    back = torch.where(result.visible[..., None], result.keypoints / 128 - 1, 0.0)
    torch.testing.assert_close(back, expected.keypoints, atol=1e-5, rtol=0)


def test_masks_hide_from_the_encoder_only() -> None:
    keypoints, visible = poses(2000)
    result = augment(replace(OFF, mask_share=0.5, mask_ratio=(0.4, 0.4)), keypoints, visible)
    assert torch.equal(result.visible, visible)
    assert torch.equal(result.keypoints, torch.where(visible[..., None], keypoints, 0.0))
    hidden = result.visible & ~result.encoder_visible
    assert not (result.encoder_visible & ~result.visible).any()
    masked = hidden.any(dim=1)
    assert abs(masked.float().mean() - 0.5) < 0.05
    share = hidden[masked].sum() / visible[masked].sum()
    assert abs(share - 0.4) < 0.03


@pytest.mark.parametrize("part_share", [0.0, 1.0])
def test_masks_never_hide_all_known_joints(part_share: float) -> None:
    keypoints, visible = poses(3000)
    visible &= torch.rand(visible.shape, generator=torch.Generator().manual_seed(7)) < 0.2
    visible[:100] = False
    visible[:100, LOWER[-1]] = True  # all that is known is in the part that goes
    visible[100:200] = False
    config = replace(OFF, mask_share=1, mask_ratio=(0.95, 0.95), mask_part_share=part_share)
    result = augment(config, keypoints, visible)
    known = visible.any(dim=1)
    assert (~known).any()
    assert result.encoder_visible.any(dim=1)[known].all()
    assert not result.encoder_visible[~known].any()


def test_part_masks_hide_the_lower_body() -> None:
    keypoints, visible = known_poses(400)
    result = augment(replace(OFF, mask_share=1, mask_part_share=1), keypoints, visible)
    upper = [j for j in range(17) if j not in LOWER]
    assert not result.encoder_visible[:, LOWER].any()
    assert result.encoder_visible[:, upper].all()


def test_each_pose_draws_its_own_mask_ratio() -> None:
    keypoints, visible = known_poses(4000)
    result = augment(replace(OFF, mask_share=1, mask_ratio=(0.0, 0.8)), keypoints, visible)
    hidden = (~result.encoder_visible).float().mean(dim=1)
    # A uniform ratio spreads far wider than one ratio of 0.4 for all, whose deviation would be 0.12.
    assert abs(hidden.mean() - 0.4) < 0.02
    assert hidden.std() > 0.2


def test_half_body_frames_the_chosen_joints() -> None:
    keypoints, visible = poses(1000)
    result = augment(replace(OFF, half_body_prob=1, half_body_joints=8), keypoints, visible)
    moved = (result.keypoints != torch.where(visible[..., None], keypoints, 0.0)).any(dim=(1, 2))
    lower = torch.zeros(17, dtype=torch.bool)
    lower[LOWER] = True
    framed = torch.zeros(1000, 2, dtype=torch.bool)
    for column, part in enumerate((lower, ~lower)):
        known = (visible & part)[..., None]
        low = torch.where(known, result.keypoints, torch.inf).amin(dim=1)
        high = torch.where(known, result.keypoints, -torch.inf).amax(dim=1)
        centred = ((low + high).abs() < 1e-4).all(dim=1)
        # The chosen joints fill the crop, whose half side is 1, but for the margin of 1.5.
        framed[:, column] = centred & (((high - low).amax(dim=1) / 2 - 1 / 1.5).abs() < 1e-4)
    assert (framed.any(dim=1) == moved).all()
    enough = visible.sum(dim=1) > 8
    assert moved[enough].float().mean() > 0.9
    assert not moved[~enough].any()
    assert 0.35 < framed[:, 0].float().mean() / moved.float().mean() < 0.65


def test_half_body_takes_more_than_two_joints() -> None:
    keypoints, visible = known_poses(400)
    visible[:, LOWER[2:]] = False
    moved = (augment(replace(OFF, half_body_prob=1), keypoints, visible).keypoints != keypoints)[:, 0].any(dim=1)
    assert 0.3 < moved.float().mean() < 0.7  # the upper half was drawn; the two known lower joints frame nothing


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"flip_prob": 1.5}, r"flip_prob must be in \[0, 1\], got 1\.5"),
        ({"plain_share": -0.1}, "plain_share"),
        ({"scale": 1.0}, r"scale must be in \[0, 1\)"),
        ({"mask_ratio": (0.5, 0.2)}, "low <= high"),
        ({"mask_ratio": (0.5, 1.0)}, r"in \[0, 1\)"),
        ({}, "crop2d space, not root3d"),
    ],
)
def test_bad_strengths_and_spaces_without_a_crop_are_refused(values: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PoseAugment(COCO17, PoseSpace(kind="root3d"), AugmentConfig(**values))
