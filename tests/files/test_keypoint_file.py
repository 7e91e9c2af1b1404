"""Labelled keypoint files of both kinds are told apart and read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from pct.files.coco_writer import write_coco_poses
from pct.files.pose_files import load_keypoint_file
from pct.people.poses import generate_poses
from pct.skeleton import COCO17, MPII16


def _write_mpii(path: Path) -> None:
    person = {"image": "a.jpg", "joints": [[10.0 + j, 20.0 + 2 * j] for j in range(16)], "joints_vis": [1] * 16}
    path.write_text(json.dumps([{**person, "center": [20, 40], "scale": 0.5, "head_size": 5.0}]))


def test_written_poses_are_read_back(tmp_path: Path) -> None:
    poses = generate_poses(20, COCO17, seed=3)
    write_coco_poses(tmp_path / "a.json", [poses])
    read = load_keypoint_file(tmp_path / "a.json")
    assert read.skeleton == COCO17
    assert torch.equal(read.visible, poses.visible)
    torch.testing.assert_close(read.keypoints[read.visible], poses.keypoints[poses.visible])
    assert torch.equal(read.annotation_ids, poses.annotation_ids)
    assert torch.equal(read.image_ids, poses.image_ids)


def test_a_list_is_read_as_mpii(tmp_path: Path) -> None:
    _write_mpii(tmp_path / "m.json")
    table = load_keypoint_file(tmp_path / "m.json", MPII16)
    assert table.skeleton == MPII16
    assert table.keypoints[0, 0].tolist() == [9.0, 19.0]


def test_other_joints_are_refused_with_both_names(tmp_path: Path) -> None:
    _write_mpii(tmp_path / "m.json")
    with pytest.raises(ValueError, match="16 joints of mpii16; the model's skeleton coco17 has the 17 joints"):
        load_keypoint_file(tmp_path / "m.json", COCO17)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nothing\.json: no such file"):
        load_keypoint_file(tmp_path / "nothing.json")
