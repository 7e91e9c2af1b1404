"""Tests of the drawings: what is drawn is where it belongs, in the right colour, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from pct.drawing.panels import PosePanel, pose_gallery
from pct.drawing.poses2d import COLOURED, PoseLayer, draw_pose, encode_png, write_png
from pct.skeleton import COCO17, Skeleton

ARM = Skeleton(
    "arm", ("left_hand", "right_hand", "head"), edges=((0, 2), (1, 2)), flip_pairs=((0, 1),), sigmas=(0.1,) * 3
)
POINTS = np.array([[20.0, 50.0], [80.0, 50.0], [50.0, 20.0]])


def _white(size: int = 100) -> np.ndarray:
    return np.full((size, size, 3), 255, dtype=np.uint8)


def _has(image: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((image == np.array(color)).all(axis=-1).any())


def test_joints_have_the_colour_of_their_side_and_the_argument_is_unchanged() -> None:
    image = _white()
    drawn = draw_pose(image, PoseLayer(POINTS), ARM)
    assert (image == 255).all()
    assert tuple(drawn[50, 20]) == COLOURED.left
    assert tuple(drawn[50, 80]) == COLOURED.right
    assert tuple(drawn[20, 50]) == COLOURED.middle
    assert tuple(drawn[35, 35]) == COLOURED.left  # the bone from the left hand to the head
    assert np.array_equal(drawn, draw_pose(image, PoseLayer(torch.from_numpy(POINTS)), ARM))


def test_unknown_joints_are_hollow_or_left_out() -> None:
    visible = torch.tensor([True, False, True])
    hollow = draw_pose(_white(), PoseLayer(POINTS, visible), ARM)
    assert tuple(hollow[50, 80]) == (255, 255, 255)
    assert _has(hollow, COLOURED.right)
    without = draw_pose(_white(), PoseLayer(POINTS, visible, draw_unknown=False), ARM)
    assert not _has(without, COLOURED.right)
    assert _has(without, COLOURED.left)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_joints_that_are_nowhere_do_not_break_the_drawing(value: float) -> None:
    points = POINTS.copy()
    points[0] = value
    drawn = draw_pose(_white(), PoseLayer(points), ARM)
    assert tuple(drawn[50, 80]) == COLOURED.right


def test_wrong_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 2\)"):
        draw_pose(_white(), PoseLayer(POINTS[:2]), ARM)
    with pytest.raises(ValueError, match="uint8"):
        draw_pose(_white().astype(float), PoseLayer(POINTS), ARM)
    with pytest.raises(ValueError, match="visible"):
        draw_pose(_white(), PoseLayer(POINTS, np.ones(2)), ARM)
    with pytest.raises(ValueError, match="at least one panel"):
        pose_gallery([], ARM)


def test_gallery_places_every_panel_and_its_caption() -> None:
    pose = torch.rand(17, 2, generator=torch.Generator().manual_seed(0)) * 200 + 28
    panels = [PosePanel((PoseLayer(pose),), f"caption {i}") for i in range(3)]
    gallery = pose_gallery(panels, COCO17, columns=2, size=128)
    assert gallery.dtype == np.uint8
    rows, columns = gallery.shape[0] // 2, gallery.shape[1] // 2
    quarters = [gallery[:rows, :columns], gallery[:rows, columns:], gallery[rows:, :columns], gallery[rows:, columns:]]
    assert [_has(quarter, COLOURED.left) for quarter in quarters] == [True, True, True, False]
    bare = pose_gallery([PosePanel((PoseLayer(pose),))], COCO17, size=128)
    one = pose_gallery(panels[:1], COCO17, size=128)
    assert one.shape[0] > bare.shape[0]
    assert (one[bare.shape[0] - 10 :] < 200).any()  # the caption


def test_png_round_trip_and_no_overwriting(tmp_path: Path) -> None:
    import cv2

    image = draw_pose(_white(), PoseLayer(POINTS), ARM)
    path = tmp_path / "pose.png"
    write_png(image, path)
    assert path.read_bytes() == encode_png(image)
    assert np.array_equal(cv2.imread(str(path))[..., ::-1], image)
    with pytest.raises(FileExistsError):
        write_png(image, path)
    write_png(image, path, force=True)
