"""Motion capture: clips split without leaks, bodies completed soundly, bad files refused by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pct.files.motion.mocap import JOINT_NAMES, MocapClips, load_mocap, split_by_clip, split_by_subject
from pct.people.kinematics import generate_bodies
from pct.people.poses import body_joints
from pct.skeleton import H36M17

H36M_POINTS = body_joints(H36M17)


@pytest.fixture(scope="module")
def bodies() -> np.ndarray:
    return generate_bodies(300, torch.Generator().manual_seed(0)).numpy().astype(float)


def arrays(frames: np.ndarray, **changes: Any) -> dict[str, Any]:
    start = np.array([0, 50, 120, len(frames)])
    values = {
        "joints": frames.astype(np.float32),
        "clip_start": start,
        "clip_id": np.array(["a", "b", "c"]),
        "subject_id": np.array(["one", "two", "one"]),
        "action": np.array(["walk", "run", "sit"]),
        "source": np.array(["made"] * 3),
        "fps": np.float32(15),
        "joint_names": np.array(JOINT_NAMES),
    }
    return {name: value for name, value in {**values, **changes}.items() if value is not None}


@pytest.fixture(scope="module")
def file(bodies: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mocap") / "clips.npz"
    np.savez(path, **arrays(bodies[:, H36M_POINTS]))
    return path


@pytest.fixture(scope="module")
def clips(file: Path) -> MocapClips:
    return load_mocap(file)


def test_joint_names_are_those_of_the_skeleton() -> None:
    long = [n.replace("left_", "l").replace("right_", "r") for n in H36M17.keypoint_names]
    assert tuple(long) == JOINT_NAMES


def test_loaded_clips_are_the_saved_ones(clips: MocapClips, bodies: np.ndarray) -> None:
    assert clips.num_clips == 3
    assert clips.subject_ids == ("one", "two", "one")
    assert np.array_equal(np.concatenate([clips.clip(c) for c in range(3)]), bodies[:, H36M_POINTS].astype(np.float32))
    assert clips.fps == 15


def test_splits_share_no_clip_and_lose_none(clips: MocapClips) -> None:
    train, test = split_by_subject(clips, ["two"])
    assert (train.clip_ids, test.clip_ids) == (("a", "c"), ("b",))
    assert np.array_equal(train.clip(1), clips.clip(2))
    train, test = split_by_clip(clips, 0.3, seed=1)
    assert sorted(train.clip_ids + test.clip_ids) == ["a", "b", "c"]
    assert test.num_clips == 1
    assert len(train.joints) + len(test.joints) == len(clips.joints)
    assert split_by_clip(clips, 0.3, seed=1)[1].clip_ids == test.clip_ids


def test_bad_splits_are_refused(clips: MocapClips) -> None:
    with pytest.raises(ValueError, match=r"no subject three; there are one, two"):
        split_by_subject(clips, ["three"])
    with pytest.raises(ValueError, match="none"):
        split_by_subject(clips, ["one", "two"])
    with pytest.raises(ValueError, match=r"1\.5"):
        split_by_clip(clips, 1.5, seed=0)
    with pytest.raises(ValueError, match="single"):
        split_by_clip(clips.select([1]), 0.5, seed=0)
    with pytest.raises(ValueError, match="7"):
        clips.select([7])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints": None}, "no array joints"),
        ({"joint_names": np.array(JOINT_NAMES[::-1])}, "expected hip, rhip"),
        ({"clip_start": np.array([0, 50, 40, 300])}, "rise from 0 to 300"),
        ({"clip_id": np.array(["a"])}, "subject_id holds <U3 of shape"),
        ({"fps": np.float32(0)}, "fps is 0"),
        ({"joints": np.full((300, 17, 3), np.nan, np.float32)}, "frame 0 is not finite"),
        ({"joints": np.zeros((300, 16, 3), np.float32)}, r"\(300, 16, 3\)"),
    ],
)
def test_bad_files_are_refused(tmp_path: Path, bodies: np.ndarray, changes: dict[str, Any], message: str) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays(bodies[:, H36M_POINTS], **changes))
    with pytest.raises(ValueError, match=message) as caught:
        load_mocap(path)
    assert str(path) in str(caught.value)


def test_metres_pickles_and_missing_files_are_refused(tmp_path: Path, bodies: np.ndarray) -> None:
    np.savez(tmp_path / "metres.npz", **arrays(bodies[:, H36M_POINTS] / 1000))
    with pytest.raises(ValueError, match="read as metres"):
        load_mocap(tmp_path / "metres.npz")
    np.savez(tmp_path / "pickle.npz", **arrays(bodies[:, H36M_POINTS], action=np.array([{}, {}, {}], dtype=object)))
    with pytest.raises(ValueError, match="holds Python objects, that is a pickle, which is refused"):
        load_mocap(tmp_path / "pickle.npz")
    with pytest.raises(ValueError, match="does not exist"):
        load_mocap(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"text\.npz"):
        load_mocap(tmp_path / "text.npz")


@pytest.mark.shared
def test_the_data_pack_is_read(shared_dir: Path) -> None:
    clips = load_mocap(shared_dir / "data" / "mocap_h36m17.npz")
    assert (clips.num_clips, len(clips.joints)) == (108, 15527)
    train, test = split_by_subject(clips, ["cmu01"])
    assert not set(train.subject_ids) & set(test.subject_ids)
