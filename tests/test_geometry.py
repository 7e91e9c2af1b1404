"""Geometry: crops and boxes agree with their definition."""

from __future__ import annotations

import math

import pytest
import torch

from pct.geometry import bbox_from_keypoints, crop_from_bbox, rotation_matrix_2d


def test_crop_is_a_square_round_the_middle_of_the_box() -> None:
    bbox = torch.tensor([[10.0, 20.0, 40.0, 80.0], [-5.0, 0.0, 30.0, 10.0]])
    center, side = crop_from_bbox(bbox, 1.25)
    assert center.tolist() == [[30.0, 60.0], [10.0, 5.0]]
    assert side.tolist() == [100.0, 37.5]


@pytest.mark.parametrize(
    "row", [[0.0, 0.0, 0.0, 5.0], [0.0, 0.0, 5.0, -1.0], [math.nan, 0.0, 5.0, 5.0], [0.0, math.inf, 5.0, 5.0]]
)
def test_crop_refuses_a_box_without_area_and_names_its_row(row) -> None:
    with pytest.raises(ValueError, match="bbox of row 1 is"):
        crop_from_bbox(torch.tensor([[0.0, 0.0, 1.0, 1.0], row]), 1.25)


def test_crop_refuses_another_shape() -> None:
    with pytest.raises(ValueError, match=r"bbox must be \(B, 4\)"):
        crop_from_bbox(torch.ones(3, 5), 1.25)


def test_box_holds_known_joints_only_and_moves_with_them() -> None:
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.rand(50, 17, 2, generator=generator) * 500
    visible = torch.rand(50, 17, generator=generator) < 0.5
    visible[:, 3] = True
    bbox = bbox_from_keypoints(keypoints, visible, margin=0.0)
    far_away = torch.where(visible[..., None], keypoints, 1e6)
    assert torch.equal(bbox_from_keypoints(far_away, visible, margin=0.0), bbox)
    low = torch.where(visible[..., None], keypoints, torch.inf).amin(1)
    assert torch.equal(bbox[:, :2], low)
    wider = bbox_from_keypoints(keypoints, visible, margin=0.1)
    longer = bbox[:, 2:].amax(dim=1).clamp(min=1.0)
    torch.testing.assert_close(wider[:, 2:], bbox[:, 2:] + 0.2 * longer[:, None])
    moved = bbox_from_keypoints(keypoints + 7, visible)
    torch.testing.assert_close(moved[:, :2], wider[:, :2] + 7)


def test_box_of_one_joint_has_an_area() -> None:
    bbox = bbox_from_keypoints(torch.full((1, 2, 2), 9.0), torch.tensor([[True, False]]))
    torch.testing.assert_close(bbox, torch.tensor([[8.5, 8.5, 1.0, 1.0]]))


def test_pose_without_known_joint_has_no_box() -> None:
    with pytest.raises(ValueError, match="pose 1 has no visible joint"):
        bbox_from_keypoints(torch.zeros(2, 3, 2), torch.tensor([[True] * 3, [False] * 3]))


def test_rotation_turns_x_to_y_and_keeps_lengths() -> None:
    angle = torch.tensor([math.pi / 2, 0.3, -1.1])
    matrix = rotation_matrix_2d(angle)
    torch.testing.assert_close(matrix[0] @ torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(matrix @ matrix.transpose(1, 2), torch.eye(2).expand(3, 2, 2))
    torch.testing.assert_close(matrix @ rotation_matrix_2d(-angle), torch.eye(2).expand(3, 2, 2))
