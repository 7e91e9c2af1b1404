"""Matrices of graph layers: published entries, normalisations, and skeletons that nobody has seen."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_codec import TRIANGLE

from pct.lifting import joint_groups as groups
from pct.skeleton import H36M16, H36M17, SKELETONS, Skeleton

ALL = [*SKELETONS.values(), TRIANGLE, Skeleton("loose", ("a", "b", "c"), ((0, 1),), (), (0.1,) * 3)]


@pytest.mark.parametrize(
    ("skeleton", "pairs"),
    [(H36M17, [17, 32, 38, 44, 50, 44, 36, 20, 8]), (H36M16, [16, 30, 36, 38, 44, 36, 32, 16, 8])],
)
def test_pairs_at_each_hop(skeleton: Skeleton, pairs: list[int]) -> None:
    sets = groups.hop_sets(skeleton, 8)
    assert sets.sum(axis=(1, 2)).tolist() == pairs
    assert sets.any(axis=0).all()


PARENTS = {
    H36M17: (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
    H36M16: (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 8, 10, 11, 8, 13, 14),
}


@pytest.mark.parametrize("skeleton", PARENTS, ids=lambda s: s.name)
def test_groups_of_ampose_keep_every_bone_or_as_printed_lose_those_of_root_and_leaves(skeleton: Skeleton) -> None:
    bones, parents = len(skeleton.edges), PARENTS[skeleton]
    assert groups.parents(skeleton, groups.root_joint(skeleton)) == parents
    own, nearer, farther = groups.ampose_groups(skeleton, "two_sided")
    assert [int((g > 0).sum()) for g in (own, nearer, farther)] == [bones + 1, bones, bones]
    np.testing.assert_array_equal(nearer, farther.T)
    children = np.bincount(parents[1:], minlength=bones + 1)
    for joint, parent in enumerate(parents[1:], 1):
        assert nearer[joint, parent] == pytest.approx(children[parent] ** -0.5)
    own, nearer, farther = groups.ampose_groups(skeleton)
    assert [int((g > 0).sum()) for g in (nearer, farther)] == [bones - 3, bones - 5]
    assert not nearer[:, 0].any()
    np.testing.assert_array_equal(own, np.eye(bones + 1))
    with pytest.raises(ValueError, match="norm is 'rows'; allowed are literal, two_sided"):
        groups.ampose_groups(skeleton, "rows")  # type: ignore[arg-type]


def test_groups_of_the_local_to_global_network() -> None:
    made = groups.cai_groups(H36M17)
    assert (made > 0).sum(axis=(1, 2)).tolist() == [17, 16, 16, 12]
    np.testing.assert_allclose(made.sum(axis=(0, 2)), 1, atol=1e-6)
    # The spine takes from its two neighbours, which are farther; nothing is nearer than it.
    assert made[1, 7, [0, 8]].all()
    assert not made[2, 7].any()
    assert made[3, 1, 4] == made[3, 4, 1] == pytest.approx(1 / 4)


def test_body_parts_and_their_graph_are_the_published_ones() -> None:
    parts = groups.body_parts(H36M17)
    assert parts == {
        "left_arm": (11, 12, 13),
        "right_arm": (14, 15, 16),
        "left_leg": (4, 5, 6),
        "right_leg": (1, 2, 3),
        "torso": (0, 7, 8, 9, 10),
    }
    pooled = groups.pooled_cai_groups(H36M17)
    assert (pooled > 0).sum(axis=(0, 2)).tolist() == [3, 3, 3, 3, 5]
    np.testing.assert_allclose(pooled.sum(axis=(0, 2)), 1, atol=1e-6)
    assert pooled[3, 0, 1] > 0
    assert pooled[3, 2, 3] > 0


def test_the_structure_of_the_locally_connected_network() -> None:
    assert [int(groups.lcn_structure(H36M17, n).sum()) for n in (1, 2, 3, 4)] == [57, 111, 175, 237]
    tree = [int((H36M17.hops <= n).sum()) for n in (1, 2, 3, 4)]
    assert tree == [49, 87, 131, 181]
    with pytest.raises(ValueError, match="at least 1 hop, got 0"):
        groups.lcn_structure(H36M17, 0)


@pytest.mark.parametrize("skeleton", ALL, ids=lambda s: s.name)
def test_every_skeleton_has_all_matrices(skeleton: Skeleton) -> None:
    count = skeleton.num_keypoints
    np.testing.assert_allclose(groups.vanilla_adjacency(skeleton).sum(axis=2), 1, atol=1e-6)
    split = [groups.convolution_groups(skeleton), groups.decouple_self(groups.vanilla_adjacency(skeleton))]
    for made in split:
        np.testing.assert_allclose(made.sum(axis=0), groups.vanilla_adjacency(skeleton)[0], atol=1e-7)
    np.testing.assert_allclose(groups.cai_groups(skeleton).sum(axis=(0, 2)), 1, atol=1e-6)
    np.testing.assert_allclose(groups.pooled_cai_groups(skeleton).sum(axis=(0, 2)), 1, atol=1e-6)
    assert sorted(joint for part in groups.body_parts(skeleton).values() for joint in part) == list(range(count))
    linked = groups.ampose_groups(skeleton, "two_sided").sum(axis=0) > 0
    np.testing.assert_array_equal(linked, skeleton.hops <= 1)
    assert groups.lcn_structure(skeleton).diagonal().all()
