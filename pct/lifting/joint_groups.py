"""Which joint may look at which: the matrices of graph layers, from a skeleton.

Every matrix has a row for each target joint i and a column for each source joint j: ``y_i = sum_j A[i, j] x_j``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from pct.skeleton import Skeleton

AmposeNorm = Literal["literal", "two_sided"]
# Where a skeleton has none of a network's own centre joints, the middle of its graph is taken.
_ROOT_NAMES = ("hip", "pelvis", "mid_hip", "root")
_SPINE_NAMES = ("spine", "torso", "thorax", "neck", "upper_neck")
_ARM_WORDS = ("shoulder", "elbow", "wrist", "hand")
_PARTS = ("left_arm", "right_arm", "left_leg", "right_leg", "torso")


def root_joint(skeleton: Skeleton) -> int:
    """Return the joint between the hips; without one the joint that is nearest to all others."""
    return _find(skeleton, _ROOT_NAMES)


def parents(skeleton: Skeleton, center: int) -> tuple[int, ...]:
    """Return each joint's neighbour on the way to ``center``, found breadth first; -1 for those without one."""
    away = skeleton.hops[center]
    nearer = (skeleton.hops == 1) & (away[None] < away[:, None])
    return tuple(np.where(nearer.any(axis=1), nearer.argmax(axis=1), -1).tolist())


def hop_sets(skeleton: Skeleton, max_hop: int) -> np.ndarray:
    """Return, for k = 0 .. ``max_hop``, True where two joints are exactly k bones apart (max_hop + 1, K, K)."""
    return skeleton.hops[None] == np.arange(max_hop + 1)[:, None, None]


def vanilla_adjacency(skeleton: Skeleton) -> np.ndarray:
    """Return the one group (1, K, K) of a plain graph convolution: ``D^-1 (A + I)``, rows that sum to 1."""
    linked = skeleton.hops <= 1
    return (linked / linked.sum(axis=1, keepdims=True))[None].astype(np.float32)


def decouple_self(groups: np.ndarray) -> np.ndarray:
    """Split groups (G, K, K) into what joints take of themselves and what of others (2 G, K, K)."""
    own = np.eye(groups.shape[1], dtype=bool)
    return np.concatenate([np.where(own, groups, 0), np.where(own, 0, groups)]).astype(np.float32)


def convolution_groups(skeleton: Skeleton) -> np.ndarray:
    """Return the plain adjacency in three groups (3, K, K): the joint itself, nearer the hip, farther from it.

    This is the convolution-style sharing of Liu et al., "A Comprehensive Study of Weight Sharing in Graph Networks",
    2020. Neighbours that are equally far (only graphs with cycles have them) are with the joint itself.
    """
    return vanilla_adjacency(skeleton) * _by_distance(skeleton)


def ampose_groups(skeleton: Skeleton, norm: AmposeNorm = "literal") -> np.ndarray:
    """Return the groups of AMPose (3, K, K): self, the neighbour nearer the hip, the neighbours farther from it.

    The paper (Lin et al., "AMPose", 2023, eq. 9) prints ``D_k^-1/2 A_k D_k^-1/2`` with one degree matrix for each
    group, and not which degrees of a group that is not symmetric. ``literal`` takes those of the rows, with 0 for one
    over the root of 0: that deletes every edge from the root to its children and from a leaf to its parent.
    ``two_sided`` takes row degrees on the left and column degrees on the right: no edge is lost, and a weight is one
    over the root of the number of children of the parent.

    Raises:
        ValueError: If ``norm`` is unknown.
    """
    if norm not in ("literal", "two_sided"):
        raise ValueError(f"norm is {norm!r}; allowed are literal, two_sided")
    groups = (skeleton.hops <= 1) & _by_distance(skeleton)
    rows = groups.sum(axis=2)
    columns = groups.sum(axis=1) if norm == "two_sided" else rows
    left, right = (np.where(degrees > 0, np.maximum(degrees, 1) ** -0.5, 0) for degrees in (rows, columns))
    return (groups * left[:, :, None] * right[:, None]).astype(np.float32)


def cai_groups(skeleton: Skeleton) -> np.ndarray:
    """Return the groups of the local-to-global network (4, K, K): self, farther, nearer, mirrored partner.

    After Cai et al., "Exploiting Spatial-temporal Relationships for 3D Pose Estimation via Graph Convolutional
    Networks", 2019, one frame: distances are from the spine, and every weight is one over the number of sources of its
    target, so that a target's weights over all groups sum to 1.
    """
    away = skeleton.hops[_find(skeleton, _SPINE_NAMES)]
    return _symmetric_groups(skeleton.hops == 1, away, skeleton.flip_index)


def body_parts(skeleton: Skeleton) -> dict[str, tuple[int, ...]]:
    """Return the joints of the left and right arm and leg, and of the torso, which has all other joints.

    A limb's joints are told from names and from flip pairs, whose first joint is the left one; a part without joints is
    left out.
    """
    found: dict[str, list[int]] = {part: [] for part in _PARTS}
    sides = {joint: side for pair in skeleton.flip_pairs for joint, side in zip(pair, ("left", "right"), strict=True)}
    for joint, name in enumerate(skeleton.keypoint_names):
        arm = any(word in name.lower() for word in _ARM_WORDS)
        limb = joint in sides and (arm or joint in skeleton.lower_body)
        found[f"{sides[joint]}_{'arm' if arm else 'leg'}" if limb else "torso"].append(joint)
    return {part: tuple(joints) for part, joints in found.items() if joints}


def pooled_cai_groups(skeleton: Skeleton) -> np.ndarray:
    """Return the groups of :func:`cai_groups` for body parts (4, P, P): limbs on the torso, left with right."""
    names = list(body_parts(skeleton))
    limbs = np.array([name != "torso" for name in names])
    mirrored = [n.replace("left", "*").replace("right", "left").replace("*", "right") for n in names]
    partner = np.array([names.index(m) if m in names else i for i, m in enumerate(mirrored)])
    return _symmetric_groups(limbs[:, None] != limbs[None], limbs.astype(np.int64), partner)


def lcn_structure(skeleton: Skeleton, max_hop: int = 3) -> np.ndarray:
    """Return True where a joint sees another in a locally connected network (K, K): at most ``max_hop`` edges away.

    After Ci et al., "Optimizing Network Structure for 3D Human Pose Estimation", 2019, whose graph has the bones and,
    as its code shows, edges from the spine to hips and shoulders; these are added where the skeleton has such joints.

    Raises:
        ValueError: If ``max_hop`` is below 1.
    """
    if max_hop < 1:
        raise ValueError(f"a locally connected layer reaches at least 1 hop, got {max_hop}")
    linked, names = skeleton.hops <= 1, skeleton.keypoint_names
    for name in ("right_hip", "left_hip", "right_shoulder", "left_shoulder"):
        if "spine" in names and name in names:
            edge = names.index("spine"), names.index(name)
            linked[edge] = linked[edge[::-1]] = True
    return np.linalg.matrix_power(linked.astype(np.int64), max_hop) > 0


def _find(skeleton: Skeleton, names: tuple[str, ...]) -> int:
    """Return the first joint of these names, or else the one in the middle of the graph."""
    joints = (skeleton.keypoint_names.index(name) for name in names if name in skeleton.keypoint_names)
    return next(joints, int(skeleton.hops.sum(axis=1).argmin()))


def _by_distance(skeleton: Skeleton) -> np.ndarray:
    """Return where the source is as far as the target from the root, nearer, and farther (3, K, K)."""
    away = skeleton.hops[root_joint(skeleton)]
    difference = away[None] - away[:, None]
    return np.stack([difference == 0, difference < 0, difference > 0])


def _symmetric_groups(linked: np.ndarray, away: np.ndarray, partner: np.ndarray) -> np.ndarray:
    own = np.eye(len(linked), dtype=bool)
    mirrored = own[partner] & ~own
    linked = linked & ~mirrored
    farther = linked & (away[None] > away[:, None])
    # Neighbours that are equally far are with the nearer ones.
    groups = np.stack([own, farther, linked & ~farther, mirrored])
    return (groups / groups.sum(axis=(0, 2))[None, :, None]).astype(np.float32)
