"""Generated people: bodies obey anatomy, poses look like COCO's, and seeds repeat."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pct.files.pose_files import load_keypoint_file
from pct.geometry import crop_from_bbox
from pct.people.kinematics import BODY_POINTS, generate_bodies, mirror_bodies
from pct.people.poses import generate_poses
from pct.people.postures import ANGLES, ARM, ARM_CHOICE, ARMS, LEG, LIMITS, STANCES, TRUNK, draw_angles, limits
from pct.pose_space import PoseSpace
from pct.poses import Poses
from pct.skeleton import COCO17, SKELETONS, Skeleton


@pytest.fixture(scope="module")
def bodies() -> Tensor:
    return generate_bodies(4000, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def poses() -> Poses:
    return generate_poses(20000, COCO17, seed=0)


def points(bodies: Tensor, *names: str) -> list[Tensor]:
    return [bodies[:, BODY_POINTS.index(name)] for name in names]


def test_postures_use_known_names_and_lie_within_limits() -> None:
    stances = {title: stance.angles for title, stance in STANCES.items()}
    for postures, names in ((stances, {*TRUNK, *LEG}), (ARMS, {*ARM})):
        for title, angles in postures.items():
            for angle, (mean, _) in angles.items():
                plain = angle.removeprefix("left_").removeprefix("right_")
                assert plain in names, (title, angle)
                assert LIMITS[plain][0] <= mean <= LIMITS[plain][1], (title, angle)
    for stance in STANCES.values():
        assert stance.arms in ARM_CHOICE
        assert set(stance.swing or {}) <= set(LIMITS)
    assert {arm for mix in ARM_CHOICE.values() for arm in mix} == set(ARMS)


def test_drawn_angles_are_within_limits_and_vary() -> None:
    angles = draw_angles(2000, torch.Generator().manual_seed(1))
    assert tuple(angles) == ANGLES
    for name, values in angles.items():
        low, high = limits(name)
        degrees = torch.rad2deg(values)
        assert low - 1e-3 <= degrees.min(), name
        assert degrees.max() <= high + 1e-3, name
        assert degrees.std() > 2, name


def test_bones_are_as_long_on_the_left_as_on_the_right(bodies) -> None:
    bones = ["shoulder elbow", "elbow wrist", "wrist hand", "hip knee", "knee ankle", "ankle foot"]
    for bone in bones:
        a, b = bone.split()
        left, right = (
            (x - y).norm(dim=1)
            for x, y in (points(bodies, f"left_{a}", f"left_{b}"), points(bodies, f"right_{a}", f"right_{b}"))
        )
        torch.testing.assert_close(left, right, rtol=1e-4, atol=0.05)


def test_bones_have_human_lengths(bodies) -> None:
    def length(a: str, b: str) -> Tensor:
        x, y = points(bodies, a, b)
        return (x - y).norm(dim=1)

    thigh, arm = length("left_hip", "left_knee"), length("left_shoulder", "left_elbow")
    assert 370 < thigh.median() < 440
    assert (thigh.quantile(0.95) / thigh.quantile(0.05)) > 1.3
    assert ((arm / thigh).quantile(torch.tensor([0.01, 0.99])) - 0.72).abs().max() < 0.25
    assert length("left_hip", "right_hip").min() > 80
    assert length("left_eye", "right_eye").max() < 110


@pytest.mark.parametrize("side", ["left", "right"])
def test_knees_bend_backwards_only_and_feet_point_forwards(bodies, side) -> None:
    hip, knee, ankle, foot = points(bodies, f"{side}_hip", f"{side}_knee", f"{side}_ankle", f"{side}_foot")
    shank, toes = ankle - knee, foot - ankle
    bent = torch.nn.functional.normalize(knee - hip, dim=1)
    # What of the shank is across the thigh points away from the toes when the knee is bent.
    across = shank - (shank * bent).sum(dim=1, keepdim=True) * bent
    assert ((across * toes).sum(dim=1) <= across.norm(dim=1) * 1e-2 + toes.norm(dim=1) * across.norm(dim=1)).all()
    hinge = torch.linalg.cross(knee - hip, shank)
    towards_toes = torch.linalg.cross(shank, toes)
    sharply = across.norm(dim=1) > 0.2 * shank.norm(dim=1)
    assert sharply.float().mean() > 0.3
    assert ((hinge * towards_toes).sum(dim=1)[sharply] < 0).all()


@pytest.mark.parametrize("side", ["left", "right"])
def test_knee_and_elbow_stay_below_their_limit(bodies, side) -> None:
    for a, b, c, name in (("hip", "knee", "ankle", "knee"), ("shoulder", "elbow", "wrist", "elbow")):
        x, y, z = points(bodies, f"{side}_{a}", f"{side}_{b}", f"{side}_{c}")
        cosine = torch.nn.functional.cosine_similarity(y - x, z - y, dim=1)
        assert torch.rad2deg(cosine.clamp(-1, 1).acos()).max() < limits(f"{side}_{name}")[1] + 0.5


def test_faces_look_forward_with_the_left_eye_on_the_left(bodies) -> None:
    nose, top, base, left, right = points(bodies, "nose", "head_top", "upper_neck", "left_ear", "right_ear")
    ahead = torch.linalg.cross(left - right, top - base)
    assert ((nose - (left + right) / 2) * ahead).sum(dim=1).min() > 0
    eyes = torch.sub(*points(bodies, "left_eye", "right_eye"))
    assert ((left - right) * eyes).sum(dim=1).min() > 0


def test_people_stand_on_the_floor(bodies) -> None:
    torch.testing.assert_close(bodies[..., 1].amin(dim=1), torch.zeros(len(bodies)), atol=1e-3, rtol=0)
    pelvis = bodies[:, BODY_POINTS.index("pelvis")]
    assert pelvis[:, [0, 2]].abs().max() < 1e-3
    assert 600 < pelvis[:, 1].median() < 1000


def test_mirror_is_an_involution_and_as_likely_as_the_body(bodies) -> None:
    mirrored = mirror_bodies(bodies)
    assert torch.equal(mirror_bodies(mirrored), bodies)
    noise = bodies.std(dim=0) / len(bodies) ** 0.5
    assert ((mirrored.mean(dim=0) - bodies.mean(dim=0)).abs() <= 7 * noise + 0.1).all()


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_poses_of_every_skeleton(skeleton: Skeleton) -> None:
    table = generate_poses(300, skeleton, seed=3)
    assert len(table) == 300
    assert table.keypoints.isfinite().all()
    assert table.visible.any(dim=1).all()
    assert (table.keypoints[~table.visible] == 0).all()
    crop_from_bbox(table.bbox, 1.25)
    coco = generate_poses(300, COCO17, seed=3)
    for i, name in enumerate(skeleton.keypoint_names):
        if name in COCO17.keypoint_names:
            j = COCO17.keypoint_names.index(name)
            both = table.visible[:, i] & coco.visible[:, j]
            shift = table.keypoints[both, i] - table.bbox[both, :2] - coco.keypoints[both, j] + coco.bbox[both, :2]
            # The same people: boxes differ only where all of a skeleton's joints were unseen.
            assert (shift.norm(dim=1) < 1e-2).float().mean() > 0.97, name


def test_seed_repeats_and_number_does_not_change_the_poses() -> None:
    first, again = generate_poses(50, COCO17, seed=5), generate_poses(80, COCO17, seed=5)
    assert torch.equal(first.keypoints, again.keypoints[:50])
    assert torch.equal(first.bbox, again.bbox[:50])
    assert not torch.equal(first.bbox, generate_poses(50, COCO17, seed=6).bbox)


def test_boxes_hold_the_joints(poses) -> None:
    low, high = poses.bbox[:, :2], poses.bbox[:, :2] + poses.bbox[:, 2:]
    slack = 0.1 * poses.bbox[:, 2:].amax(dim=1)
    beyond = torch.maximum(low[:, None] - poses.keypoints, poses.keypoints - high[:, None]).amax(dim=-1)
    beyond = torch.where(poses.visible, beyond, -torch.inf)
    assert (beyond[poses.visible] < 0).float().mean() > 0.95
    assert ((beyond <= slack[:, None]).all(dim=1)).float().mean() > 0.97


def normal_statistics(table: Poses) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (K, 2) and spread (K, 2) of known joints in the crop, and share of persons with the joint known (K,)."""
    x = PoseSpace().normalise(table.keypoints, table.bbox)
    known = torch.where(table.visible[..., None], x, torch.nan).numpy()
    return np.nanmean(known, axis=0), np.nanstd(known, axis=0), table.visible.float().mean(dim=0).numpy()


@pytest.mark.shared
def test_poses_are_roughly_distributed_like_those_of_coco(poses, shared_dir) -> None:
    real = load_keypoint_file(shared_dir / "data/coco/annotations/person_keypoints_val2017.json")
    ours, theirs = normal_statistics(poses), normal_statistics(real)
    for got, expected, tolerance in zip(ours, theirs, (0.13, 0.08, 0.12), strict=True):
        assert np.abs(got - expected).max() < tolerance


def test_left_and_right_are_equally_distributed(poses) -> None:
    mean, std, share = normal_statistics(poses)
    index = COCO17.flip_index
    np.testing.assert_allclose(mean[index] * [-1, 1], mean, atol=0.015)
    np.testing.assert_allclose(std[index], std, atol=0.02)
    np.testing.assert_allclose(share[index], share, atol=0.015)


def test_unknown_joints_are_named_with_those_there_are() -> None:
    tailed = Skeleton("tailed", ("nose", "tail"))
    with pytest.raises(ValueError, match=r"no joint tail \(skeleton tailed\); they have pelvis, .*left_foot"):
        generate_poses(1, tailed, seed=0)
    with pytest.raises(ValueError, match="must be positive, got 0"):
        generate_poses(0, COCO17, seed=0)
    with pytest.raises(ValueError, match="must be positive, got -1"):
        generate_bodies(-1, torch.Generator())
