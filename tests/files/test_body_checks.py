"""Checks of 3D poses: units by bone lengths, axes and sides by trunks, knees and the 2D pose."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from pct.files.motion.checks import (
    bone_lengths,
    check_unit,
    find_bent_share,
    find_odd_axes,
    warn_of_odd_axes,
    warn_of_swapped_views,
)
from pct.files.motion.mocap import load_mocap
from pct.lifting.pairs import photograph
from pct.people.poses import generate_poses3d
from pct.poses import Poses
from pct.skeleton import H36M17, Skeleton

TWO = Skeleton("two", ("a", "b"))
FLIP = torch.from_numpy(H36M17.flip_index)


@pytest.fixture(scope="module")
def bodies() -> Poses:
    return generate_poses3d(400, seed=2)


def test_units_are_told_by_the_longest_bones(bodies: Poses) -> None:
    x, visible = bodies.keypoints, bodies.visible
    check_unit(x, visible, H36M17, "file")
    check_unit(x / 1000, visible, H36M17, "file", "metres")
    with pytest.raises(
        ValueError, match=r"file: the longest bones are 0\.\d+ long: .* read as metres \d+ mm; expected mil"
    ):
        check_unit(x / 1000, visible, H36M17, "file")
    with pytest.raises(ValueError, match=r"read as metres \d+,\d+ mm, read as millimetres \d+ mm; expected metres"):
        check_unit(x, visible, H36M17, "file", "metres")
    with pytest.raises(ValueError, match="read as centimetres 4"):
        check_unit(x / 10, visible, H36M17, "file")


def test_units_are_told_although_joints_are_missing(bodies: Poses) -> None:
    visible = bodies.visible & (torch.rand(bodies.visible.shape, generator=torch.Generator().manual_seed(0)) < 0.85)
    x = torch.where(visible[..., None], bodies.keypoints, torch.nan)
    check_unit(x, visible, H36M17, "file")
    with pytest.raises(ValueError, match="read as metres"):
        check_unit(x / 1000, visible, H36M17, "file")
    lengths = bone_lengths(x, visible, H36M17)
    a, b = torch.tensor(H36M17.edges).T
    assert (torch.isfinite(lengths) == (visible[:, a] & visible[:, b])).all()
    few = torch.zeros_like(visible)
    few[:, :8] = True
    check_unit(bodies.keypoints / 1000, few, H36M17, "file")


def test_only_known_joints_count(bodies: Poses) -> None:
    x, visible = bodies.keypoints.clone(), bodies.visible.clone()
    x[3, 5] = torch.nan
    with pytest.raises(ValueError, match=r"left_knee of pose 3 is \[nan, nan, nan\]"):
        check_unit(x, visible, H36M17, "file")
    visible[3, 5] = False
    check_unit(x, visible, H36M17, "file")
    check_unit(x * 0, visible & False, H36M17, "file")
    check_unit(x[:, :2], visible[:, :2], TWO, "file")


def test_knees_tell_left_from_right_from_every_side(bodies: Poses) -> None:
    seen = photograph(bodies, torch.Generator().manual_seed(0))
    for x in (bodies.keypoints, seen.keypoints3d, seen.keypoints3d / 1000):
        share, bent = find_bent_share(x, bodies.visible, H36M17)
        assert share > 0.95
        assert bent > 200
        assert find_bent_share(x[:, FLIP], bodies.visible, H36M17) == (pytest.approx(1 - share), bent)
        mirrored = x * torch.tensor([-1.0, 1.0, 1.0])
        assert find_bent_share(mirrored, bodies.visible, H36M17)[0] == pytest.approx(1 - share, abs=0.01)


def test_swapped_sides_are_warned_of_and_right_ones_not(bodies: Poses) -> None:
    with pytest.warns(UserWarning, match="file: .* bent knees bend the wrong way"):
        warn_of_odd_axes(bodies.keypoints[:, FLIP], bodies.visible, H36M17, "file")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_odd_axes(bodies.keypoints, bodies.visible, H36M17, "file")
        few = bodies.select(torch.arange(3))
        warn_of_odd_axes(few.keypoints[:, FLIP], few.visible, H36M17, "file")
        warn_of_odd_axes(bodies.keypoints[:, :2], bodies.visible[:, :2], TWO, "file")


def test_upside_down_is_told_from_swapped(bodies: Poses) -> None:
    x, visible = bodies.keypoints, bodies.visible
    turned = x * torch.tensor([-1.0, -1.0, 1.0])
    assert ["heads: y must" in note for note in find_odd_axes(turned, visible, H36M17)] == [True]
    both = find_odd_axes(turned[:, FLIP], visible, H36M17)
    assert ["heads" in note for note in both] == [True, False]
    assert find_odd_axes(x, visible & False, H36M17) == []


def test_swapped_views_are_warned_of_and_right_ones_not(bodies: Poses) -> None:
    pairs = photograph(bodies, torch.Generator().manual_seed(0))
    found = pairs.keypoints2d + torch.randn(pairs.keypoints2d.shape, generator=torch.Generator()) * 5
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_swapped_views(found, pairs.keypoints2d, pairs.visible, H36M17, "file")
    with pytest.warns(UserWarning, match="file: .*fit their 3D pose better with left and right swapped"):
        warn_of_swapped_views(found[:, FLIP], pairs.keypoints2d, pairs.visible, H36M17, "file")


@pytest.mark.shared
def test_no_clip_of_real_mocap_is_taken_for_swapped(shared_dir: Path) -> None:
    table = load_mocap(shared_dir / "data" / "mocap_h36m17.npz")
    assert find_bent_share(table.keypoints, table.visible, H36M17)[0] > 0.99
    for clip in range(len(table.clip_ids)):
        part = table.select(table.clip_index == clip)
        share, bent = find_bent_share(part.keypoints, part.visible, H36M17)
        assert bent < 10 or share > 0.9, table.clip_ids[clip]
