"""PoseSpace: normalise and restore undo each other, and the units mean what they say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pct.pose_space import PoseSpace

_COORDINATE = st.floats(-5000, 5000, width=32)
_LENGTH = st.floats(1, 4000, width=32)


@settings(max_examples=60, deadline=None)
@given(
    x=_COORDINATE,
    y=_COORDINATE,
    box=st.tuples(_COORDINATE, _COORDINATE, _LENGTH, _LENGTH),
    padding=st.floats(1, 2),
    units=st.sampled_from(["unit", "pixels"]),
)
def test_restore_undoes_normalise_in_2d(x, y, box, padding, units) -> None:
    space = PoseSpace(padding=padding, units=units)
    keypoints, bbox = torch.tensor([[[x, y]]]), torch.tensor([box])
    restored = space.restore(space.normalise(keypoints, bbox), bbox)
    # Float32 of the model's numbers: a relative error of 1e-6 of what lies between joint and box.
    reach = (keypoints[0, 0] - bbox[0, :2]).abs().max() + bbox[0, 2:].max() + keypoints.abs().max()
    torch.testing.assert_close(restored, keypoints, rtol=0, atol=float(1e-6 * reach))


@settings(max_examples=30, deadline=None)
@given(place=st.tuples(_COORDINATE, _COORDINATE, _COORDINATE), millimetres=st.floats(1, 2000))
def test_restore_undoes_normalise_in_3d(place, millimetres) -> None:
    space = PoseSpace(kind="root3d", millimetres=millimetres)
    root = torch.tensor([place])
    keypoints = root[:, None] + torch.tensor([[[0.0, 0.0, 0.0], [100.0, -900.0, 33.0]]])
    normal = space.normalise(keypoints, root)
    assert normal[0, 0].tolist() == [0.0, 0.0, 0.0]
    torch.testing.assert_close(space.restore(normal, root), keypoints, rtol=1e-6, atol=2e-3)


def test_crop_spans_the_unit_square_and_the_pixels_of_the_crop() -> None:
    bbox = torch.tensor([[100.0, 50.0, 80.0, 160.0]])  # the crop is 200 pixels, round (140, 130)
    corners = torch.tensor([[[40.0, 30.0], [240.0, 230.0], [140.0, 130.0]]])
    assert PoseSpace().normalise(corners, bbox)[0].tolist() == [[-1, -1], [1, 1], [0, 0]]
    pixels = PoseSpace(units="pixels", crop_size=256).normalise(corners, bbox)
    assert pixels[0].tolist() == [[0, 0], [256, 256], [128, 128]]


@pytest.mark.parametrize("space", [PoseSpace(), PoseSpace(units="pixels"), PoseSpace(kind="root3d", millimetres=500.0)])
def test_report_scale_gives_pixels_of_the_crop_or_millimetres(space: PoseSpace) -> None:
    if space.kind == "root3d":
        reference, step, expected = torch.zeros(1, 3), 10.0, 10.0
    else:
        reference, step = torch.tensor([[0.0, 0.0, 100.0, 50.0]]), 5.0
        expected = step * 256 / 125
    keypoints = torch.zeros(1, 2, space.num_dims)
    keypoints[0, 1, 0] = step
    normal = space.normalise(keypoints, reference)
    distance = (normal[0, 1] - normal[0, 0]).norm() * space.report_scale
    assert float(distance) == pytest.approx(expected, rel=1e-6)
    assert space.report_unit == ("mm" if space.kind == "root3d" else "px")


def test_large_images_keep_a_hundredth_of_a_pixel() -> None:
    bbox = torch.tensor([[100_000.0, 100_000.0, 30.0, 30.0]])
    keypoints = bbox[:, None, :2] + torch.tensor([[[0.0, 0.0], [0.25, 0.5]]])
    step = PoseSpace().normalise(keypoints, bbox)
    torch.testing.assert_close((step[0, 1] - step[0, 0]) * 37.5 / 2, torch.tensor([0.25, 0.5]), atol=0.01, rtol=0)


def test_plain_values_give_the_same_space() -> None:
    space = PoseSpace(padding=1.1, units="pixels", crop_size=192)
    assert PoseSpace(**space.to_dict()) == space
    assert space.bounds == (0.0, 192.0)
    assert PoseSpace().bounds == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "crop3d"}, "kind is 'crop3d'; allowed are crop2d, root3d"),
        ({"units": "metres"}, "units are 'metres'; allowed are unit, pixels"),
        ({"padding": 0}, "padding must be a positive number, got 0"),
        ({"padding": "a"}, "padding must be a positive number"),
        ({"crop_size": -1}, "crop_size must be a positive number"),
        ({"crop_size": 0}, "crop_size must be a positive number"),
        ({"millimetres": float("inf")}, "millimetres must be a positive number"),
        ({"root": -1}, "root must be the index of a joint"),
        ({"root": 0.5}, "root must be the index of a joint"),
        ({"millimetres": float("nan")}, "millimetres must be a positive number"),
    ],
)
def test_bad_space(values, message) -> None:
    with pytest.raises(ValueError, match=message):
        PoseSpace(**values)


def test_wrong_number_of_dimensions() -> None:
    with pytest.raises(ValueError, match=r"takes keypoints \(B, K, 2\); got shape \(1, 17, 3\)"):
        PoseSpace().normalise(torch.zeros(1, 17, 3), torch.ones(1, 4))
    with pytest.raises(ValueError, match=r"root positions must be \(B, 3\)"):
        PoseSpace(kind="root3d").restore(torch.zeros(1, 17, 3), torch.ones(1, 4))
