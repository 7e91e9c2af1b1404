"""2D poses of one skeleton as poses of another: joints are where their sources are, and known only with them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from pct.lifting.pose2d_bridge import BRIDGES, bridge_poses2d
from pct.skeleton import COCO17, CROWDPOSE14, H36M16, H36M17, MPII16, Skeleton


def poses(skeleton: Skeleton, n: int = 20) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    visible = torch.ones(n, skeleton.num_keypoints, dtype=torch.bool)
    return torch.rand(n, skeleton.num_keypoints, 2, generator=generator) * 100 + 1, visible


def joint(skeleton: Skeleton, x: Tensor, name: str) -> Tensor:
    return x[:, skeleton.keypoint_names.index(name)]


@pytest.mark.parametrize(("source", "target"), list(BRIDGES))
def test_joints_of_the_same_name_stay_where_they_are(source: Skeleton, target: Skeleton) -> None:
    x, visible = poses(source)
    y, known = bridge_poses2d(x, visible, source, target)
    assert y.shape == (20, target.num_keypoints, 2)
    assert known.all()
    for name in set(source.keypoint_names) & set(target.keypoint_names):
        assert torch.equal(joint(target, y, name), joint(source, x, name)), name


def test_middles_of_coco() -> None:
    x, visible = poses(COCO17)
    y, _ = bridge_poses2d(x, visible, COCO17, H36M17)
    hip = (joint(COCO17, x, "left_hip") + joint(COCO17, x, "right_hip")) / 2
    thorax = (joint(COCO17, x, "left_shoulder") + joint(COCO17, x, "right_shoulder")) / 2
    ears = (joint(COCO17, x, "left_ear") + joint(COCO17, x, "right_ear")) / 2
    places = {"hip": hip, "thorax": thorax, "spine": (hip + thorax) / 2, "head": ears}
    for name, place in {**places, "neck_nose": joint(COCO17, x, "nose")}.items():
        assert torch.allclose(joint(H36M17, y, name), place), name


def test_middles_of_mpii() -> None:
    x, visible = poses(MPII16)
    y, _ = bridge_poses2d(x, visible, MPII16, H36M17)
    sources = {"hip": "pelvis", "thorax": "thorax", "neck_nose": "upper_neck", "head": "head_top"}
    for name, source in sources.items():
        assert torch.equal(joint(H36M17, y, name), joint(MPII16, x, source))
    spine = (joint(MPII16, x, "pelvis") + joint(MPII16, x, "thorax")) / 2
    assert torch.allclose(joint(H36M17, y, "spine"), spine)


@pytest.mark.parametrize(("source", "target"), list(BRIDGES))
def test_mirroring_before_or_after_is_the_same(source: Skeleton, target: Skeleton) -> None:
    x, visible = poses(source)
    visible = visible & (torch.rand(visible.shape, generator=torch.Generator().manual_seed(1)) < 0.8)
    flip, flip_after = torch.from_numpy(source.flip_index), torch.from_numpy(target.flip_index)
    before = bridge_poses2d(x[:, flip], visible[:, flip], source, target)
    after = bridge_poses2d(x, visible, source, target)
    assert torch.allclose(before[0], after[0][:, flip_after])
    assert torch.equal(before[1], after[1][:, flip_after])


def test_a_joint_is_known_only_with_all_its_sources() -> None:
    x, visible = poses(COCO17)
    visible[:, COCO17.keypoint_names.index("left_hip")] = False
    y, known = bridge_poses2d(x, visible, COCO17, H36M17)
    lost = {n for n, k in zip(H36M17.keypoint_names, known[0].tolist(), strict=True) if not k}
    assert lost == {"hip", "left_hip", "spine"}
    assert (y[~known] == 0).all()


def test_a_skeleton_goes_over_to_itself() -> None:
    x, visible = poses(CROWDPOSE14)
    visible[:, 3] = False
    y, known = bridge_poses2d(x, visible, CROWDPOSE14, CROWDPOSE14)
    assert torch.equal(y[known], x[visible])
    assert (y[:, 3] == 0).all()


def test_unknown_pairs_and_wrong_joints_name_the_skeletons() -> None:
    with pytest.raises(ValueError, match="from skeleton crowdpose14 to h36m17; known are coco17 to h36m17"):
        bridge_poses2d(*poses(CROWDPOSE14), CROWDPOSE14, H36M17)
    with pytest.raises(ValueError, match="from skeleton h36m16 to h36m17"):
        bridge_poses2d(*poses(H36M16), H36M16, H36M17)
    with pytest.raises(ValueError, match=r"skeleton mpii16 are \(B, 16, 2\).*got \(20, 17, 2\)"):
        bridge_poses2d(*poses(COCO17), MPII16, H36M17)
