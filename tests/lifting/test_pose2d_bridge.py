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
def test_joints_of_the_same_name_stay_and_mirrors_are_mirrors(source: Skeleton, target: Skeleton) -> None:
    x, visible = poses(source)
    y, known = bridge_poses2d(x, visible, source, target)
    assert y.shape == (20, target.num_keypoints, 2)
    assert known.all()
    for name in set(source.keypoint_names) & set(target.keypoint_names):
        assert torch.equal(joint(target, y, name), joint(source, x, name)), name
    visible = visible & (torch.rand(visible.shape, generator=torch.Generator().manual_seed(1)) < 0.8)
    flip, flip_after = torch.from_numpy(source.flip_index), torch.from_numpy(target.flip_index)
    before = bridge_poses2d(x[:, flip], visible[:, flip], source, target)
    after = bridge_poses2d(x, visible, source, target)
    assert torch.allclose(before[0], after[0][:, flip_after])
    assert torch.equal(before[1], after[1][:, flip_after])


COCO_MEANS = {
    "hip": ("left_hip", "right_hip"),
    "thorax": ("left_shoulder", "right_shoulder"),
    "spine": ("left_hip", "right_hip", "left_shoulder", "right_shoulder"),
    "head": ("left_ear", "right_ear"),
    "neck_nose": ("nose",),
}
MPII_MEANS = {
    "hip": ("pelvis",),
    "thorax": ("thorax",),
    "spine": ("pelvis", "thorax"),
    "head": ("head_top",),
    "neck_nose": ("upper_neck",),
}


@pytest.mark.parametrize(("source", "means"), [(COCO17, COCO_MEANS), (MPII16, MPII_MEANS)])
def test_middles(source: Skeleton, means: dict[str, tuple[str, ...]]) -> None:
    x, visible = poses(source)
    y, _ = bridge_poses2d(x, visible, source, H36M17)
    for name, joints in means.items():
        place = torch.stack([joint(source, x, n) for n in joints]).mean(dim=0)
        torch.testing.assert_close(joint(H36M17, y, name), place)


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
