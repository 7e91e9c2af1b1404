"""MPI-INF-3DHP: small files of exactly the test set's layout, in Human3.6M's joints."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pct.files.motion.pairs import TO_H36M17, load_mpi_inf_3dhp
from pct.people.poses import generate_poses3d
from pct.skeleton import COCO17, H36M16, H36M17

h5py = pytest.importorskip("h5py")

# The data set's own order, in our names where there is one.
ORDER = (
    *("head_top", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
    *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "hip", "spine", "head"),
)
OURS = {"head_top": "head", "neck": "thorax", "head": "neck_nose"}
ROWS = [H36M17.keypoint_names.index(OURS.get(joint, joint)) for joint in ORDER]


def write(folder: Path, name: str, n: int = 30, **changes: np.ndarray) -> np.ndarray:
    """Write a sequence whose odd frames are valid; return its 3D poses in our order."""
    bodies = generate_poses3d(n, seed=1).keypoints.double().numpy() + np.array([0, 0, 4000])
    values = {
        "valid_frame": (np.arange(n) % 2).astype(np.float64)[:, None],
        "annot2": (bodies[:, None, ROWS, :2] / bodies[:, None, ROWS, 2:] * 1500 + 1024),
        "annot3": bodies[:, None, ROWS],
        **changes,
    }
    (folder / name).mkdir(exist_ok=True)
    with h5py.File(folder / name / "annot_data.mat", "w") as file:
        for key, value in values.items():
            file[key] = value
    return bodies.astype(np.float32)


def test_joints_are_found_by_their_names() -> None:
    assert [OURS.get(ORDER[i], ORDER[i]) for i in TO_H36M17] == list(H36M17.keypoint_names)


def test_valid_frames_in_our_joints(tmp_path: Path) -> None:
    bodies = write(tmp_path, "TS1")
    write(tmp_path, "TS6", n=10)
    pairs = load_mpi_inf_3dhp(tmp_path, ["TS1", "TS6"])
    assert len(pairs) == 15 + 5
    assert np.array_equal(pairs.keypoints3d[:15].numpy(), bodies[1::2])
    expected = bodies[1::2, :, :2] / bodies[1::2, :, 2:] * 1500 + 1024
    assert np.allclose(pairs.keypoints2d[:15].numpy(), expected, atol=1e-2)
    assert (pairs.clip_ids, pairs.actions) == (("TS1", "TS6"), ("GS", "Outdoor"))
    assert pairs.image_size[[0, 15]].tolist() == [[2048, 2048], [1920, 1080]]
    assert pairs.clip_index.tolist() == [0] * 15 + [1] * 5
    assert pairs.intrinsics.isnan().all()


def test_sixteen_joints_are_seventeen_without_the_nose(tmp_path: Path) -> None:
    bodies = write(tmp_path, "TS3")
    pairs = load_mpi_inf_3dhp(tmp_path, ["TS3"], skeleton=H36M16)
    kept = [i for i in range(17) if i != 9]
    assert np.allclose(pairs.keypoints3d.numpy(), bodies[1::2][:, kept], rtol=1e-6)


def test_bad_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no sequence TS7; there are TS1"):
        load_mpi_inf_3dhp(tmp_path, ["TS7"])
    with pytest.raises(ValueError, match=r"annot_data\.mat does not exist"):
        load_mpi_inf_3dhp(tmp_path, ["TS1"])
    with pytest.raises(ValueError, match="not of skeleton coco17"):
        load_mpi_inf_3dhp(tmp_path, ["TS1"], skeleton=COCO17)
    bodies = write(tmp_path, "TS1")
    for key, value, message in (
        ("annot3", bodies[:, None, ROWS] / 1000, r"TS1.*read as millimetres 0\.\d+ mm, read as metres \d+ mm"),
        ("annot2", np.zeros((30, 1, 16, 2)), r"annot2 has shape \(30, 1, 16, 2\); expected \(30, 1, 17, 2\)"),
        ("valid_frame", np.zeros((30, 1)), "no frame is valid"),
    ):
        write(tmp_path, "TS1", **{key: value})
        with pytest.raises(ValueError, match=message):
            load_mpi_inf_3dhp(tmp_path, ["TS1"])
    (tmp_path / "TS1" / "annot_data.mat").write_bytes(b"MATLAB 5.0 MAT-file")
    with pytest.raises(ValueError, match=r"annot_data\.mat: "):
        load_mpi_inf_3dhp(tmp_path, ["TS1"])


def test_mirrored_poses_are_warned_of(tmp_path: Path) -> None:
    bodies = write(tmp_path, "TS2", n=200)
    write(tmp_path, "TS2", n=200, annot3=bodies[:, None, ROWS] * (-1, 1, 1))
    with pytest.warns(UserWarning, match="TS2.*left and right seem to be swapped"):
        load_mpi_inf_3dhp(tmp_path, ["TS2"])
