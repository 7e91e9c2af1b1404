"""Skeletons: built-in ones are consistent, and a user's own is read without code."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from pct.skeleton import COCO17, DEFAULT_SIGMA, SKELETONS, Skeleton, derive_flip_pairs, get_skeleton

NAMES = ("nose", "left_hand", "right_hand")


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
class TestBuiltIn:
    def test_flip_is_an_involution_that_swaps_left_and_right(self, skeleton: Skeleton) -> None:
        index = skeleton.flip_index
        assert (index[index] == np.arange(skeleton.num_keypoints)).all()
        for i, name in enumerate(skeleton.keypoint_names):
            swapped = name.replace("left", "#").replace("right", "left").replace("#", "right")
            assert skeleton.keypoint_names[index[i]] == swapped

    def test_bones_are_the_same_after_a_flip(self, skeleton: Skeleton) -> None:
        bones = {frozenset(edge) for edge in skeleton.edges}
        assert {frozenset(int(skeleton.flip_index[i]) for i in bone) for bone in bones} == bones
        assert len(bones) == len(skeleton.edges)

    def test_edges_connect_all_joints(self, skeleton: Skeleton) -> None:
        assert skeleton.hops.max() < skeleton.num_keypoints

    def test_hops_are_a_metric(self, skeleton: Skeleton) -> None:
        hops = skeleton.hops
        assert (hops == hops.T).all()
        assert (np.diag(hops) == 0).all()
        assert {tuple(pair) for pair in np.argwhere(hops == 1)} == {
            pair for a, b in skeleton.edges for pair in ((a, b), (b, a))
        }
        assert (hops[:, None, :] <= hops[:, :, None] + hops[None]).all()

    def test_sigmas_belong_to_the_joints_and_are_symmetric(self, skeleton: Skeleton) -> None:
        assert skeleton.oks_sigmas.shape == (skeleton.num_keypoints,)
        assert (skeleton.oks_sigmas == skeleton.oks_sigmas[skeleton.flip_index]).all()
        coco = dict(zip(COCO17.keypoint_names, COCO17.oks_sigmas, strict=True))
        for name, sigma in zip(skeleton.keypoint_names, skeleton.oks_sigmas, strict=True):
            assert sigma == coco.get(name, sigma), name

    def test_parts_hold_every_joint_once(self, skeleton: Skeleton) -> None:
        joints = sorted(joint for part in skeleton.parts.values() for joint in part)
        assert joints == list(range(skeleton.num_keypoints))
        assert "other" not in skeleton.parts
        assert {"left_knee", "right_ankle"} <= {skeleton.keypoint_names[i] for i in skeleton.lower_body}

    def test_plain_values_give_the_same_skeleton(self, skeleton: Skeleton) -> None:
        assert Skeleton.from_dict(skeleton.to_dict()) == skeleton
        assert get_skeleton(skeleton.name) is skeleton


def test_coco_category_with_known_joints_is_the_built_in_one() -> None:
    category = {"name": "person", "keypoints": list(COCO17.keypoint_names), "skeleton": []}
    assert Skeleton.from_coco_category(category) is COCO17
    with pytest.raises(ValueError, match="category 'car' has no keypoints"):
        Skeleton.from_coco_category({"name": "car"})


def test_coco_category_counts_joints_from_one() -> None:
    category = {"name": "puppet man", "keypoints": list(NAMES), "skeleton": [[1, 2], [1, 3]], "sigmas": [0.1, 0.2, 0.2]}
    skeleton = Skeleton.from_coco_category(category)
    assert (skeleton.name, skeleton.edges, skeleton.flip_pairs) == ("puppet_man3", ((0, 1), (0, 2)), ((1, 2),))
    assert skeleton.sigmas == (0.1, 0.2, 0.2)
    assert Skeleton.from_coco_category({**category, "skeleton": None}).edges == ()


def test_yaml_skeleton_with_names_in_its_edges(tmp_path) -> None:
    values = {"name": "puppet", "keypoint_names": list(NAMES), "edges": [["nose", "left_hand"], [0, 2]]}
    path = tmp_path / "puppet.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.warns(UserWarning, match=f"no OKS sigmas; {DEFAULT_SIGMA}"):
        skeleton = get_skeleton(str(path))
    assert skeleton.edges == ((0, 1), (0, 2))
    assert skeleton.flip_pairs == ((1, 2),)
    assert (skeleton.oks_sigmas == DEFAULT_SIGMA).all()


@pytest.mark.parametrize(
    ("names", "pairs"),
    [
        (("left_eye", "right_eye"), [(0, 1)]),
        (("hand_right", "hand_left"), [(1, 0)]),
        (("l_hip", "r_hip", "root"), [(0, 1)]),
        (("hip_l", "hip_r"), [(0, 1)]),
        (("rknee", "lknee", "leg"), [(1, 0)]),
        (("LShoulder", "RShoulder"), [(0, 1)]),
        (("shoulder.L", "shoulder.R", "upper.armL", "upper.armR"), [(0, 1), (2, 3)]),
        (("hand_L_1", "hand_R_1", "paw-l", "paw-r"), [(0, 1), (2, 3)]),
        (("left_eye_l", "left_eye_r", "right_eye_l", "right_eye_r"), [(0, 3), (1, 2)]),
        (("lip", "nose"), []),
    ],
)
def test_flip_pairs_from_names(names, pairs) -> None:
    assert derive_flip_pairs(names) == pairs


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keypoint_names": ()}, "no keypoint names"),
        ({"keypoint_names": ("nose", "nose")}, "names joints twice: nose"),
        ({"edges": [(0, 3)]}, r"edge \(0, 3\) must be two different indices from 0 to 2"),
        ({"edges": [(1, 1)]}, "two different indices"),
        ({"flip_pairs": [(0, 1), (1, 2)]}, "a joint is in two flip pairs"),
        ({"sigmas": [0.1, 0.1]}, "2 sigmas for 3 joints"),
        ({"sigmas": [0.1, 0.0, 0.1]}, "sigmas must be positive"),
        ({"edges": [("nose", "tail")]}, "unknown joint 'tail'; the joints are nose, left_hand, right_hand"),
        ({"bones": []}, r"unknown keys \['bones'\]"),
        ({"keypoint_names": 3}, "keypoint_names is 3; it must be a list of names"),
        ({"keypoint_names": None}, "keypoint_names is None"),
        ({"edges": [0, 1]}, r"\[0, 1\] is no list of pairs"),
        ({"edges": [[0, 1, 2]]}, "is no list of pairs"),
        ({"flip_pairs": "x"}, "'x' is no list of pairs"),
        ({"edges": [(0.5, 1)]}, "joint 0.5 is neither a name nor an index"),
    ],
)
def test_bad_skeleton_says_what_is_wrong(change, message) -> None:
    values = {"name": "puppet", "keypoint_names": NAMES, "sigmas": [0.1, 0.1, 0.1], **change}
    with pytest.raises(ValueError, match=message):
        Skeleton.from_dict(values)


@pytest.mark.parametrize(
    ("name", "message"),
    [("coco18", "built in are coco17, crowdpose14"), ("nowhere.yaml", "'nowhere.yaml' does not exist")],
)
def test_unknown_skeleton(name, message) -> None:
    with pytest.raises(ValueError, match=message):
        get_skeleton(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "expected a mapping"),
        ("name: [", "not valid YAML"),
        ("keypoint_names: [a]", "skeleton: .*missing"),
        ("1: 2\nx: 3", r"skeleton: unknown keys \['1', 'x'\]"),
        ("name: a\nkeypoint_names: [head, 7]", "skeleton: the joint name 7 is no text; put it into quotes"),
        ("name: a\nkeypoint_names: [head, no]", "skeleton: the joint name False is no text"),
        (
            "name: a\nkeypoint_names: [a, b]\nedges: [[yes, a]]\nsigmas: [1, 1]",
            "joint True is neither a name nor an index",
        ),
    ],
)
def test_bad_yaml_names_the_file(tmp_path, text, message) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=rf"bad\.yaml: {message}"):
        Skeleton.from_yaml(path)


@pytest.mark.parametrize(
    "text",
    [
        "a0: &a0 [1, 1, 1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, 1]\n" for i in range(1, 40)),
        "name: " + "[" * 5000 + "]" * 5000,
        "# " + "x" * 2**20,
    ],
)
def test_a_skeleton_file_that_unpacks_to_more_than_a_skeleton_is_refused(tmp_path, text) -> None:
    (tmp_path / "bomb.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"bomb\.yaml: .*settings"):
        get_skeleton(str(tmp_path / "bomb.yaml"))
