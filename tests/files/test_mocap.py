"""Motion capture: clips read in camera axes and split without leaks, bad files refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_bodies import bodies, write_mocap

from pct.files.motion.mocap import JOINT_NAMES, load_mocap, split_mocap
from pct.people.poses import generate_poses3d
from pct.poses import Poses
from pct.skeleton import H36M16, H36M17


def make_clips(lengths: tuple[int, ...] = (4, 3, 5, 2, 3, 4), subjects: str = "aaabbc") -> Poses:
    table, clips = generate_poses3d(sum(lengths), seed=1), len(lengths)
    return Poses(
        skeleton=H36M17,
        keypoints=table.keypoints,
        visible=table.visible,
        clip_index=torch.arange(clips).repeat_interleave(torch.tensor(lengths)),
        clip_ids=tuple(f"clip{i}" for i in range(clips)),
        subject_ids=tuple(subjects),
        actions=("walk",) * clips,
    )


CLIPS = make_clips()


def test_joint_names_are_those_of_the_skeleton() -> None:
    long = [n.replace("left_", "l").replace("right_", "r") for n in H36M17.keypoint_names]
    assert tuple(long) == JOINT_NAMES


def test_clips_are_read_in_order_with_y_down(tmp_path: Path) -> None:
    poses = load_mocap(write_mocap(tmp_path / "clips.npz"))
    assert (poses.clip_ids, poses.subject_ids) == (tuple(f"clip{i}" for i in range(6)), tuple("aaaabb"))
    assert poses.actions[:3] == ("walk", "walk, turn", "jump")
    assert poses.clip_index.tolist() == np.repeat(np.arange(6), (5, 4, 6, 3, 4, 5)).tolist()
    # Both axis systems are right-handed: turning back gives the file's.
    np.testing.assert_array_equal(poses.keypoints * torch.tensor([1.0, -1.0, -1.0]), bodies(27))


def test_concatenated_tables_keep_the_clip_of_every_pose() -> None:
    both = Poses.concatenate([CLIPS, generate_poses3d(5), CLIPS])
    own = [CLIPS.clip_ids[int(c)] for c in CLIPS.clip_index]
    assert [both.clip_ids[int(c)] for c in both.clip_index] == own + ["generated"] * 5 + own
    with pytest.raises(ValueError, match="different skeletons"):
        Poses.concatenate([CLIPS, generate_poses3d(2, H36M16)])


def test_no_clip_is_in_two_parts_of_a_split_and_test_subjects_are_in_one() -> None:
    clips = make_clips((3,) * 20, "a" * 8 + "b" * 8 + "c" * 4)
    split = split_mocap(clips, test_subjects=("c",), test_share=0.25, val_share=0.25)
    parts = [set(split.train.clip_ids), set(split.val.clip_ids), set(split.test.clip_ids)]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 20
    assert [len(p) for p in parts] == [8, 4, 8]
    assert "c" not in split.train.subject_ids + split.val.subject_ids
    assert set(split.train.subject_ids) == set(split.val.subject_ids) == {"a", "b"}
    assert split_mocap(clips, ("c",), 0.25, 0.25, seed=1).test.clip_ids != split.test.clip_ids


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"test_subjects": ("z",)}, "no subject z; there are a, b, c"),
        ({"test_subjects": (), "test_share": 0.9, "val_share": 0.2}, "sum below 1"),
        ({"test_subjects": ("a", "b", "c")}, "no clip left for train, val"),
    ],
)
def test_a_split_that_cannot_be_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        split_mocap(CLIPS, **arguments)


@pytest.mark.shared
def test_the_shared_mocap_splits_into_parts_of_useful_size(shared_dir: Path) -> None:
    poses = load_mocap(shared_dir / "data" / "mocap_h36m17.npz")
    assert (len(poses.clip_ids), len(poses)) == (108, 15527)
    split = split_mocap(poses)
    assert {"cmu06", "cmu07"} == set(split.test.subject_ids) - set(split.train.subject_ids)
    assert len(split.train) > 8000
    assert len(split.val) > 800
    assert len(split.test) > 3000


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joint_names": None}, "no array joint_names"),
        ({"joint_names": np.array(JOINT_NAMES[::-1])}, "expected hip, rhip"),
        ({"clip_start": np.array([0, 5, 4, 15, 18, 22, 27])}, "rise from 0 to 27"),
        ({"clip_start": np.array([0, 27])}, "clip_start has 2 numbers for 6 clips; it must have one more"),
        ({"clip_id": np.array(["a"])}, "subject_id holds <U1 of shape"),
        ({"fps": np.float32(0)}, "fps is 0"),
        (
            {"joints": np.full((27, 17, 3), np.nan, np.float32)},
            r"hip of pose 0 is \[nan, nan, nan\]; known joints must be finite",
        ),
        ({"joints": np.zeros((27, 16, 3), np.float32)}, r"\(27, 16, 3\)"),
        ({"joints": bodies(27) / 1000}, "read as metres 4"),
        ({"action": np.array([{}] * 6, dtype=object)}, "holds Python objects, that is a pickle, which is refused"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    path = write_mocap(tmp_path / "bad.npz", **changes)
    with pytest.raises(ValueError, match=message) as caught:
        load_mocap(path)
    assert str(path) in str(caught.value)


def test_missing_files_and_other_ones_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("hello")
    for name, message in (("none.npz", "no such file"), ("text.npz", r"text\.npz: truncated, or no \.npz archive")):
        with pytest.raises(ValueError, match=message):
            load_mocap(tmp_path / name)
