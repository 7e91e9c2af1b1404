"""Batches for lifters: pure functions of the step, 2D and 3D of one body, errors on the input and not on the target."""

from __future__ import annotations

from dataclasses import replace

import torch

from pct.cameras import project
from pct.lifting.detector_noise import DetectorNoise, NoiseConfig
from pct.lifting.pairs import CameraConfig, photograph
from pct.people.poses import generate_poses3d
from pct.pose_space import PoseSpace
from pct.skeleton import H36M17
from pct.training.lifting.data import LiftingBatch, PhotographedPoses, RecordedPairs, fixed_pairs
from pct.training.tokenizer.augment import Augment3DConfig

SPACE = PoseSpace(kind="root3d")
BODIES = generate_poses3d(40, seed=0)
SOURCE = PhotographedPoses(BODIES, CameraConfig(), Augment3DConfig())
NOISY = NoiseConfig(missing_share=1.0)


def test_2d_and_3d_are_of_one_body_and_the_bodies_bones_are_stretched_alike_on_both_sides() -> None:
    generator = torch.Generator().manual_seed(0)
    pairs = SOURCE.draw(torch.arange(40), generator)
    torch.testing.assert_close(project(pairs.keypoints3d, pairs.intrinsics), pairs.keypoints2d, atol=1e-2, rtol=0)
    lengths = {}
    for name, keypoints in (("before", BODIES.keypoints), ("after", pairs.keypoints3d)):
        ends = [H36M17.keypoint_names.index(f"{side}_{end}") for side in ("left", "right") for end in ("hip", "knee")]
        lengths[name] = (keypoints[:, ends[::2]] - keypoints[:, ends[1::2]]).norm(dim=-1)
    factor = lengths["after"] / lengths["before"]
    torch.testing.assert_close(factor[:, 0], factor[:, 1], atol=1e-3, rtol=0)
    assert factor.std() > 0.02


def test_bodies_to_validate_on_keep_their_lengths() -> None:
    pairs = PhotographedPoses(BODIES, CameraConfig()).draw(torch.arange(40), torch.Generator().manual_seed(0))
    before = torch.stack([torch.pdist(body) for body in BODIES.keypoints])
    after = torch.stack([torch.pdist(body) for body in pairs.keypoints3d])
    torch.testing.assert_close(after, before, atol=0.05, rtol=1e-4)


def test_errors_are_on_the_input_alone() -> None:
    noisy, clean = fixed_pairs(SOURCE, SPACE, NOISY, 30), fixed_pairs(SOURCE, SPACE, NoiseConfig.clean(), 30)
    assert torch.equal(noisy.target_keypoints, clean.target_keypoints)
    assert noisy.target_visible.all()
    assert clean.visible.all()
    lost = (~noisy.visible).sum(dim=1)
    assert 1 <= int(lost.min()) <= int(lost.max()) <= 5
    assert not torch.equal(noisy.keypoints2d[noisy.visible], clean.keypoints2d[noisy.visible])
    assert (noisy.keypoints2d[~noisy.visible] == 0).all()


def test_targets_are_root_relative_in_model_units() -> None:
    pairs = photograph(BODIES, torch.Generator().manual_seed(0))
    noise = DetectorNoise(H36M17, NoiseConfig.clean())
    batch = LiftingBatch.of_pairs(pairs, SPACE, noise, torch.Generator())
    assert (batch.target_keypoints[:, 0] == 0).all()
    torch.testing.assert_close(batch.target_keypoints * 1000 + pairs.keypoints3d[:, :1], pairs.keypoints3d)


def test_recorded_pairs_are_mirrored_as_a_whole() -> None:
    pairs = photograph(BODIES, torch.Generator().manual_seed(0))
    mirrored = RecordedPairs(pairs, flip_prob=1.0).draw(torch.arange(40), torch.Generator())
    for name in ("keypoints2d", "keypoints3d", "intrinsics"):
        assert torch.equal(getattr(mirrored, name), getattr(pairs.flip(), name))
    some = RecordedPairs(pairs, flip_prob=0.5).draw(torch.arange(40), torch.Generator().manual_seed(0))
    torch.testing.assert_close(project(some.keypoints3d, some.intrinsics), some.keypoints2d, atol=1e-2, rtol=0)
    own = (some.keypoints3d == pairs.keypoints3d).all(dim=(1, 2))
    assert 5 < int(own.sum()) < 35
    as_they_are = RecordedPairs(pairs).draw(torch.arange(40), torch.Generator())
    assert torch.equal(as_they_are.keypoints2d, pairs.keypoints2d)


def test_unknown_3d_joints_are_no_targets() -> None:
    visible = torch.ones(40, 17, dtype=torch.bool)
    visible[:, 5] = False
    source = PhotographedPoses(replace(BODIES, visible=visible), CameraConfig(), Augment3DConfig(flip_prob=0.0))
    batch = fixed_pairs(source, SPACE, NoiseConfig.clean(), 20)
    assert not batch.target_visible[:, 5].any()
    assert (batch.target_keypoints[:, 5] == 0).all()
