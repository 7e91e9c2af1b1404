"""Poses: rows stay together when tables are selected, split and joined."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pct.poses import Poses
from pct.skeleton import COCO17, CROWDPOSE14


def make_table(n: int = 40, skeleton=COCO17) -> Poses:
    """Poses whose every number tells the row it belongs to."""
    row = torch.arange(n)
    k = skeleton.num_keypoints
    return Poses(
        skeleton=skeleton,
        keypoints=row[:, None, None].expand(n, k, 2).float(),
        visible=torch.ones(n, k, dtype=torch.bool),
        bbox=row[:, None].expand(n, 4).float() + 1,
        area=row.float() + 1,
        image_ids=row // 3,
        annotation_ids=row + 1000,
    )


def test_select_keeps_rows_together() -> None:
    chosen = make_table().select(torch.tensor([7, 3]))
    assert chosen.annotation_ids.tolist() == [1007, 1003]
    assert chosen.keypoints[:, 5, 1].tolist() == [7.0, 3.0]
    assert chosen.area.tolist() == [8.0, 4.0]
    assert chosen.skeleton is COCO17


def test_split_has_no_image_in_both_and_loses_nobody() -> None:
    table = make_table()
    larger, smaller = table.split_by_image(0.25, seed=1)
    assert not set(larger.image_ids.tolist()) & set(smaller.image_ids.tolist())
    ids = larger.annotation_ids.tolist() + smaller.annotation_ids.tolist()
    assert sorted(ids) == table.annotation_ids.tolist()
    assert len(set(smaller.image_ids.tolist())) == round(0.25 * 14)
    again = table.split_by_image(0.25, seed=1)[1]
    assert torch.equal(again.annotation_ids, smaller.annotation_ids)


def test_poses_of_one_image_are_not_split_and_of_two_both_parts_have_some() -> None:
    table = make_table()
    one = replace(table, image_ids=torch.zeros(40, dtype=torch.int64))
    with pytest.raises(ValueError, match="all 40 poses are of one image, so none is left to train on"):
        one.split_by_image(0.02)
    two = replace(table, image_ids=torch.arange(40) % 2)
    assert [len(part) for part in two.split_by_image(0.9)] == [20, 20]


def test_concatenate_undoes_a_cut() -> None:
    table = make_table()
    rows = torch.arange(40)
    joined = Poses.concatenate([table.select(rows < 11), table.select(rows >= 11)])
    assert torch.equal(joined.keypoints, table.keypoints)
    assert torch.equal(joined.annotation_ids, table.annotation_ids)


def test_concatenate_refuses_other_joints_and_nothing() -> None:
    with pytest.raises(ValueError, match="different skeletons: coco17, crowdpose14"):
        Poses.concatenate([make_table(), make_table(skeleton=CROWDPOSE14)])
    with pytest.raises(ValueError, match="no pose tables"):
        Poses.concatenate([])


@pytest.mark.parametrize(
    ("field", "shape", "message"),
    [
        ("keypoints", (40, 14, 2), r"keypoints must be \(N, 17, 2 or 3\)"),
        ("visible", (40, 17, 1), r"visible must have shape \(40, 17\)"),
        ("bbox", (39, 4), r"bbox must have shape \(40, 4\); got \(39, 4\)"),
        ("area", (40, 1), r"area must have shape \(40,\)"),
    ],
)
def test_wrong_shapes_are_named(field, shape, message) -> None:
    with pytest.raises(ValueError, match=message):
        replace(make_table(), **{field: torch.zeros(shape)})
