"""Pairs of 2D and 3D poses: pictures fit the bodies that they are of, mirrors are mirrors, clips stay together."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pct.cameras import project
from pct.files.motion.checks import find_bent_share
from pct.lifting.pairs import CameraConfig, PosePairs, photograph
from pct.people.poses import generate_poses3d
from pct.poses import Poses
from pct.skeleton import H36M16, H36M17


@pytest.fixture(scope="module")
def bodies() -> Poses:
    table = generate_poses3d(3000, seed=3)
    return replace(
        table,
        clip_index=torch.arange(3000) % 2,
        clip_ids=("a", "b"),
        subject_ids=("one", "two"),
        actions=("walk", "run"),
    )


@pytest.fixture(scope="module")
def pairs(bodies: Poses) -> PosePairs:
    return photograph(bodies, torch.Generator().manual_seed(0))


def bone_lengths(x: Tensor) -> Tensor:
    edges = torch.tensor(H36M17.edges)
    return (x[:, edges[:, 0]] - x[:, edges[:, 1]]).norm(dim=-1)


def test_pictures_are_projections_of_the_bodies_turned_and_not_mirrored(bodies: Poses, pairs: PosePairs) -> None:
    assert torch.allclose(project(pairs.keypoints3d, pairs.intrinsics), pairs.keypoints2d, atol=1e-2)
    assert torch.allclose(bone_lengths(pairs.keypoints3d), bone_lengths(bodies.keypoints), atol=0.1)
    assert torch.equal(pairs.clip_index, bodies.clip_index)
    assert (pairs.clip_ids, pairs.actions) == (bodies.clip_ids, bodies.actions)
    for keypoints in (bodies.keypoints, pairs.keypoints3d):
        assert find_bent_share(keypoints, bodies.visible, H36M17)[0] > 0.95
    again, other = (photograph(bodies, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert torch.equal(again.keypoints2d, pairs.keypoints2d)
    assert not torch.equal(other.keypoints2d, pairs.keypoints2d)


def test_persons_are_in_the_picture_as_large_as_asked(pairs: PosePairs) -> None:
    low, high = pairs.keypoints2d.amin(dim=1), pairs.keypoints2d.amax(dim=1)
    assert float(low.min()) >= 0
    assert (high <= pairs.image_size).all()
    share = ((high - low) / pairs.image_size).amax(dim=1)
    assert 0.34 < float(share.min()) < 0.38
    assert 0.82 < float(share.max()) < 0.86
    middle = (low + high) / 2 / pairs.image_size
    assert middle.std(dim=0).min() > 0.1
    assert float(pairs.keypoints3d[..., 2].min()) >= 499


def test_cameras_stand_upright_and_all_round() -> None:
    # Bodies that are a bone straight up, and one across: what cameras do to them tells how they stand.
    sticks = torch.zeros(4000, 17, 3)
    sticks[:, 1] = torch.tensor([0.0, -400.0, 0.0])
    sticks[:, 2] = torch.tensor([0.0, 0.0, 400.0])
    table = replace(generate_poses3d(4000), keypoints=sticks)
    seen = photograph(table, torch.Generator().manual_seed(1)).root_relative()
    up, across = seen[:, 1] / 400, seen[:, 2] / 400
    # Looking down by an angle, the top of an upright pole is tilted towards the camera by that angle.
    pitch = torch.rad2deg(torch.asin(-up[:, 2]))
    assert 4 < float(pitch.median()) < 7
    assert 0.04 < float((pitch > 25).float().mean()) < 0.12
    roll = torch.rad2deg(torch.atan2(up[:, 0], -up[:, 1]))
    assert 2.5 < float(roll.std()) < 4.5
    azimuth = torch.atan2(across[:, 0], across[:, 2])
    counts = torch.histc(azimuth, bins=8, min=-torch.pi, max=torch.pi)
    assert counts.min() > 400
    assert counts.max() < 600


def test_image_sizes_are_drawn(bodies: Poses) -> None:
    config = CameraConfig(image_sizes=((1920, 1080), (640, 640)))
    pairs = photograph(bodies, torch.Generator().manual_seed(2), config)
    wide = pairs.image_size[:, 0] == 1920
    assert 0.45 < float(wide.float().mean()) < 0.55
    assert (pairs.keypoints2d.amax(dim=1) <= pairs.image_size).all()
    assert torch.equal(pairs.intrinsics[:, 2:], pairs.image_size / 2)


def test_unknown_joints_hold_zero_and_do_not_place_the_person(bodies: Poses) -> None:
    visible = bodies.visible.clone()
    visible[:, 13] = False
    keypoints = bodies.keypoints.clone()
    keypoints[:, 13] = 1e6
    pairs = photograph(replace(bodies, keypoints=keypoints, visible=visible), torch.Generator().manual_seed(0))
    assert (pairs.keypoints2d[:, 13] == 0).all()
    assert (pairs.keypoints3d[:, 13] == 0).all()
    rest = pairs.keypoints2d[:, :13]
    assert float(rest.min()) >= 0
    assert (rest.amax(dim=1) <= pairs.image_size).all()
    assert (pairs.root_relative()[:, 13] == 0).all()
    visible[5] = False
    with pytest.raises(ValueError, match="pose 5 has no known joint"):
        photograph(replace(bodies, visible=visible), torch.Generator().manual_seed(0))


def test_a_mirrored_pair_is_the_mirrored_picture_of_the_mirrored_body(pairs: PosePairs) -> None:
    off_center = replace(pairs, intrinsics=pairs.intrinsics + torch.tensor([0.0, 0.0, 13.0, -5.0]))
    off_center = replace(off_center, keypoints2d=project(off_center.keypoints3d, off_center.intrinsics))
    mirror = off_center.flip()
    assert torch.allclose(project(mirror.keypoints3d, mirror.intrinsics), mirror.keypoints2d, atol=1e-2)
    wrists = [H36M17.keypoint_names.index(f"{side}_wrist") for side in ("left", "right")]
    mirrored_x = off_center.image_size[:, 0] - off_center.keypoints2d[:, wrists[1], 0]
    assert torch.allclose(mirror.keypoints2d[:, wrists[0], 0], mirrored_x)
    twice = mirror.flip()
    assert torch.allclose(twice.keypoints2d, off_center.keypoints2d, atol=1e-3)
    assert torch.equal(twice.keypoints3d, off_center.keypoints3d)
    assert find_bent_share(mirror.keypoints3d, mirror.visible, H36M17)[0] > 0.95


def test_pairs_are_a_table_of_poses(pairs: PosePairs) -> None:
    first, second = pairs.select(torch.arange(100)), pairs.select(pairs.clip_index == 1)
    both = PosePairs.concatenate([first, second])
    assert len(both) == 100 + 1500
    assert torch.equal(both.keypoints3d[100:], second.keypoints3d)
    assert [both.clip_ids[c] for c in both.clip_index[:4]] == ["a", "b", "a", "b"]
    assert set(both.clip_index[100:].tolist()) == {3}
    assert both.clip_ids[3] == "b"
    relative = pairs.root_relative()
    assert (relative[:, 0] == 0).all()
    assert torch.allclose(bone_lengths(relative), bone_lengths(pairs.keypoints3d), atol=0.1)


def test_bad_pairs_and_cameras_are_refused(pairs: PosePairs) -> None:
    rootless = pairs.visible.clone()
    rootless[7, 0] = False
    for act, message in (
        (lambda: replace(pairs, skeleton=H36M16), r"skeleton h36m16 \(16 joints\)"),
        (lambda: replace(pairs, subject_ids=("one",)), "1 subjects"),
        (lambda: replace(pairs, clip_index=pairs.clip_index + 1), "clip_index must be from 0 to 1"),
        (lambda: replace(pairs, visible=rootless).root_relative(), "pose 7 has no known hip"),
        (lambda: CameraConfig(focal=(2.0, 1.0)), "camera focal"),
        (lambda: CameraConfig(person=(0.5, 1.5)), "camera person"),
        (lambda: CameraConfig(image_sizes=()), "camera image_sizes"),
    ):
        with pytest.raises(ValueError, match=message):
            act()
