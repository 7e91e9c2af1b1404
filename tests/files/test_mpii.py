"""MPII files: pixels, boxes and head sizes come out as documented from both kinds of file."""

from __future__ import annotations

import json
import math

import pytest
import torch

from pct.files.pose_checks import PoseBatch
from pct.files.pose_files import join_batches, read_poses
from pct.geometry import crop_from_bbox
from pct.skeleton import MPII16


def person(**changes) -> dict:
    values = {
        "image": "a.jpg",
        "joints": [[100 + i, 200 + 2 * i] for i in range(16)],
        "joints_vis": [1] * 15 + [0],
        "center": [108, 210],
        "scale": 0.5,
        "head_size": 12.5,
        **changes,
    }
    return {name: value for name, value in values.items() if value is not ...}


def load(path) -> PoseBatch:
    return join_batches(path, read_poses(path, MPII16))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "valid.json"


def test_joints_count_from_zero_and_unknown_ones_are_zero(file) -> None:
    file.write_text(json.dumps([person(), person(image="b.jpg", head_size=...), person()]))
    batch = load(file)
    table = batch.poses
    assert table.skeleton is MPII16
    assert table.keypoints[0, 0].tolist() == [99, 199]
    assert table.keypoints[0, 15].tolist() == [0, 0]
    assert table.visible[0].tolist() == [True] * 15 + [False]
    assert (table.image_ids.tolist(), table.annotation_ids.tolist()) == ([0, 1, 0], [0, 1, 2])
    assert [(p["image"], p.get("head_size")) for p in batch.entries][:2] == [("a.jpg", 12.5), ("b.jpg", None)]


def test_padded_box_is_the_crop_of_published_results_from_both_kinds_of_file(file) -> None:
    shifted = person(center=[108, 210 + 15 * 0.51], scale=0.51 * 1.25)
    for row in (person(scale=0.51), shifted):
        file.write_text(json.dumps([row]))
        center, side = crop_from_bbox(load(file).poses.bbox, 1.25)
        # Less 1, as pixels count from 0 here.
        torch.testing.assert_close(center, torch.tensor([[107.0, 209 + 15 * 0.51]]))
        torch.testing.assert_close(side, torch.tensor([200 * 1.25 * 0.51]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"joints": [[1, 1]] * 15}, r"joints is \[.*; it must be 16 pairs of finite numbers"),
        ({"joints": [[1, math.nan]] * 16}, "joints is .*; it must be 16 pairs"),
        ({"joints": [[1, "x"]] * 16}, "joints is .*; it must be 16 pairs"),
        ({"joints_vis": [1] * 17}, "joints_vis is .*; it must be 16 numbers"),
        ({"joints_vis": [0] * 16}, "no visible joint"),
        ({"scale": ...}, "no scale"),
        ({"scale": 0}, "scale is 0; it must be a positive number"),
        ({"head_size": -1}, "head_size is -1"),
        ({"center": [1]}, r"center is \[1\]"),
    ],
)
def test_bad_person_is_named(file, change, message) -> None:
    file.write_text(json.dumps([person(), person(**change)]))
    with pytest.raises(ValueError, match=rf"valid\.json: person 1 \(counted from 0\): {message}"):
        load(file)


@pytest.mark.shared
def test_real_file(shared_dir) -> None:
    batch = load(shared_dir / "data/mpii/annot/valid.json")
    table = batch.poses
    assert len(table) == 2296
    assert len({person["image"] for person in batch.entries}) == 2115
    # Its centres are shifted already, from whole numbers.
    middle = table.bbox[:, :2] + table.bbox[:, 2:] / 2
    height = table.bbox[:, 3]
    whole = middle[:, 1] + 1 - 15 * height / 200
    assert (whole - whole.round()).abs().max() < 0.02
    center, side = crop_from_bbox(table.bbox, 1.25)
    inside = ((table.keypoints - center[:, None]).abs() <= side[:, None, None] / 2).all(-1)
    assert inside[table.visible].float().mean() > 0.99
