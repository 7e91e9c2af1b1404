"""Tests of the pictures of 3D poses: what lies where, what covers what, and odd poses."""

from __future__ import annotations

import numpy as np
import pytest

from pct.drawing.panels import PosePanel, pose_gallery
from pct.drawing.poses2d import COLOURED, TARGET, PoseLayer
from pct.drawing.poses3d import FRONT, View, draw_pose_3d
from pct.skeleton import H36M17, Skeleton


def _person() -> np.ndarray:
    """A standing person who faces the camera: their left is on the right of the picture, the root at the origin."""
    p = np.zeros((17, 3))
    p[[1, 2, 3], 0], p[[4, 5, 6], 0] = -120, 120
    p[[2, 5], 1], p[[3, 6], 1] = 450, 880
    p[[7, 8, 9, 10], 1] = -220, -480, -600, -700
    p[[11, 12, 13], 0], p[[14, 15, 16], 0] = 180, -180
    p[[11, 14], 1], p[[12, 15], 1], p[[13, 16], 1] = -460, -180, 60
    return p


def _places(image: np.ndarray, color: tuple[int, int, int]) -> np.ndarray:
    """Return rows and columns (P, 2) of the pixels that have nearly this colour."""
    return np.argwhere(np.abs(image.astype(int) - color).max(axis=-1) < 12)


def test_left_is_on_the_right_from_the_front_and_on_the_left_from_behind() -> None:
    for yaw, left_is_right in ((0, True), (180, False)):
        image = draw_pose_3d([PoseLayer(_person())], H36M17, View(yaw), 240)
        left, right = _places(image, COLOURED.left)[:, 1].mean(), _places(image, COLOURED.right)[:, 1].mean()
        assert (left > right) == left_is_right


def test_who_walks_to_the_right_sees_what_lies_ahead_move_to_the_right() -> None:
    away = np.array([0.0, 0.0, 1000.0])
    np.testing.assert_allclose(View(yaw=90, pitch=0).turn(away), [1000, 0, 0], atol=1e-9)
    np.testing.assert_allclose(View(yaw=0, pitch=0).turn(away), away, atol=1e-9)
    # Seen from above, what is farther away lies higher in the picture.
    assert View(yaw=0, pitch=20).turn(away)[1] < 0
    turned = View(yaw=37, pitch=12).turn(_person())
    np.testing.assert_allclose(np.linalg.norm(turned, axis=1), np.linalg.norm(_person(), axis=1))


@pytest.mark.parametrize("nearer", [0, 1])
def test_near_bones_cover_far_ones(nearer: int) -> None:
    skeleton = Skeleton("cross", ("left_a", "left_b", "right_a", "right_b"), ((0, 1), (2, 3)), ((0, 2), (1, 3)))
    points = np.array([[-800.0, -800, 0], [800, 800, 0], [800, -800, 0], [-800, 800, 0]])
    points[2 * nearer : 2 * nearer + 2, 2] = -50
    image = draw_pose_3d([PoseLayer(points)], skeleton, View(pitch=0), 200)
    assert tuple(image[100, 100]) == (COLOURED.left, COLOURED.right)[nearer]


def test_the_true_pose_lies_under_the_prediction_at_the_same_scale() -> None:
    person = _person()
    moved = person + np.array([300.0, 0, 0])
    moved[0] = 0
    alone = draw_pose_3d([PoseLayer(person, style=TARGET)], H36M17, FRONT, 240)
    both = draw_pose_3d([PoseLayer(person, style=TARGET), PoseLayer(moved)], H36M17, FRONT, 240)
    assert len(_places(both, TARGET.left)) > 0.5 * len(_places(alone, TARGET.left))
    # Half a metre of a person of ordinary size is the same in every picture.
    tall = np.ptp(_places(alone, TARGET.left)[:, 0])
    small = np.ptp(_places(draw_pose_3d([PoseLayer(person / 2, style=TARGET)], H36M17, FRONT, 240), TARGET.left)[:, 0])
    assert small == pytest.approx(tall / 2, rel=0.12)


def test_poses_of_any_size_and_broken_ones_are_drawn() -> None:
    person = _person()
    for pose in (person * 1e3, person * 0, np.full((17, 3), np.nan)):
        assert draw_pose_3d([PoseLayer(pose)], H36M17, size=80).shape == (80, 80, 3)
    broken = person.copy()
    broken[13] = np.nan
    kept = broken.copy()
    image = draw_pose_3d([PoseLayer(broken, np.arange(17) != 5, draw_unknown=False)], H36M17, size=160)
    whole = draw_pose_3d([PoseLayer(person)], H36M17, size=160)
    assert 0 < len(_places(image, COLOURED.left)) < len(_places(whole, COLOURED.left))
    np.testing.assert_array_equal(broken, kept)


def test_a_gallery_shows_every_pose_from_each_side() -> None:
    panels = [PosePanel((PoseLayer(_person()),), f"pose {i}\n12 mm") for i in range(3)]
    image = pose_gallery(panels, H36M17, columns=2, size=100)
    assert image.shape[1] == 2 * 200 + 3 * 12
    for row, column in ((0, 0), (0, 1), (1, 0)):
        y, x = 12 + row * (100 + 12 + 48), 12 + column * 212
        front, turned = image[y : y + 100, x : x + 100], image[y : y + 100, x + 100 : x + 200]
        np.testing.assert_array_equal(front, draw_pose_3d(panels[0].layers, H36M17, FRONT, 100))
        assert (front != turned).any()
    assert (image[12 + 160 :, 12 + 212 :] == 255).all()
    with pytest.raises(ValueError, match=r"keypoints must be \(17, 3\) for skeleton h36m17; got shape \(17, 2\)"):
        draw_pose_3d([PoseLayer(_person()[:, :2])], H36M17)
