"""2D poses of one skeleton as poses of another: COCO's and MPII's joints as Human3.6M's, which lifters take."""

from __future__ import annotations

import torch
from torch import Tensor

from pct.skeleton import COCO17, H36M16, H36M17, MPII16, Skeleton

# Joints of the source that a joint of the result is the mean of, where it is not the joint of the same name.
_Means = dict[str, tuple[str, ...]]
_COCO_TO_H36M: _Means = {
    "hip": ("left_hip", "right_hip"),
    "thorax": ("left_shoulder", "right_shoulder"),
    "spine": ("left_hip", "right_hip", "left_shoulder", "right_shoulder"),
    # COCO has nothing at the skull's base or in the head's upper half: the nose is at the height of the one, and
    # the middle of the ears is the point inside the head that is nearest to the other.
    "neck_nose": ("nose",),
    "head": ("left_ear", "right_ear"),
}
_MPII_TO_H36M: _Means = {
    "hip": ("pelvis",),
    "spine": ("pelvis", "thorax"),
    "neck_nose": ("upper_neck",),
    "head": ("head_top",),
}
# Which skeletons' poses can become poses of which.
BRIDGES: dict[tuple[Skeleton, Skeleton], _Means] = {
    (COCO17, H36M17): _COCO_TO_H36M,
    (COCO17, H36M16): _COCO_TO_H36M,
    (MPII16, H36M17): _MPII_TO_H36M,
    (MPII16, H36M16): _MPII_TO_H36M,
    (H36M17, H36M16): {},
}


def bridge_sources(target: Skeleton) -> tuple[Skeleton, ...]:
    """Return the skeletons whose poses can be brought to ``target``, itself first."""
    return (target, *(a for a, b in BRIDGES if b.keypoint_names == target.keypoint_names))


def bridge_poses2d(keypoints: Tensor, visible: Tensor, source: Skeleton, target: Skeleton) -> tuple[Tensor, Tensor]:
    """Turn 2D poses of one skeleton into poses of another.

    Known pairs are COCO17 and MPII16 to H36M17 and H36M16, H36M17 to H36M16, and every skeleton to itself.
    Limbs go over as they are, though the data sets' annotators and markers do not agree on them to the centimetre.
    The hip is the middle of the hips, the thorax that of the shoulders, the spine the middle of these two (from MPII:
    its own pelvis and thorax). **Lossy:** COCO's nose stands for ``neck_nose`` and the middle of its ears for ``head``,
    which Human3.6M has inside the skull; MPII's ``head_top`` lies above Human3.6M's ``head``.

    Args:
        keypoints: Joints (B, K, 2) in image pixels.
        visible: True where a joint is known (B, K).
        source: Whose joints they are.
        target: Whose joints are wanted.

    Returns:
        Joints (B, K', 2), 0 where unknown, and True where known (B, K'): where all joints it is made of are.

    Raises:
        ValueError: If the number of joints is not the source's, or there is no such bridge; names both skeletons.
    """
    k = source.num_keypoints
    if visible.shape[1:] != (k,) or keypoints.shape != (*visible.shape, 2):
        raise ValueError(
            f"poses of skeleton {source.name} are (B, {k}, 2) with visible (B, {k}); got {tuple(keypoints.shape)} and "
            f"{tuple(visible.shape)}"
        )
    if source.keypoint_names == target.keypoint_names:
        return torch.where(visible[..., None], keypoints, 0.0), visible
    names = (source.keypoint_names, target.keypoint_names)
    found = next((means for (a, b), means in BRIDGES.items() if (a.keypoint_names, b.keypoint_names) == names), None)
    if found is None:
        known = ", ".join(f"{a.name} to {b.name}" for a, b in BRIDGES)
        raise ValueError(f"no way from skeleton {source.name} to {target.name}; known are {known}")
    means = (found.get(name, (name,)) for name in target.keypoint_names)
    joints = [[source.keypoint_names.index(name) for name in names] for names in means]
    seen = torch.stack([visible[:, some].all(dim=1) for some in joints], dim=1)
    x = torch.stack([keypoints[:, some].mean(dim=1) for some in joints], dim=1)
    return torch.where(seen[..., None], x, 0.0), seen
